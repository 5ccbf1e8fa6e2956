//! `--tenant=NAME` of srun, sbatch and salloc. What the user's side says of it decides nothing: the
//! node looks it up in its own tenants file, in the prolog.

use std::ffi::OsStr;

use spank::{Failure, Outcome, PluginOption, Side};
use tenantry_model::TenantPath;

/// The option.
pub const TENANT: PluginOption = PluginOption {
    name: c"tenant",
    arginfo: Some(c"NAME"),
    usage: c"Tenant that pays for the job, like acme/physics, if its administrator named you a member",
    callback: check,
};

/// Only that it is a name, so that a slip is seen where it was made.
fn check(argument: Option<&OsStr>, side: Side) -> Outcome {
    if side == Side::Step {
        return Ok(());
    }
    let text = argument.unwrap_or_default().to_string_lossy();
    text.parse::<TenantPath>().map(|_| ()).map_err(|error| Failure::new(error.to_string()))
}
