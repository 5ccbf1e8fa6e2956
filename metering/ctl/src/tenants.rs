//! `tenantry tenants`: what the file says of the tenants, and what their groups have on this node.

mod apply;
mod check;
mod figures;
mod limits;
mod policies;
mod tree;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use nix::unistd::geteuid;
use serde::Serialize;
use tenantry_cgroup::bpf::{Part, Policy, State};
use tenantry_cgroup::{GroupPath, Root, node};
use tenantry_isolation::{enforce, scope};
use tenantry_model::tenants::{Resolved, Tenants};
use tenantry_model::{Clock, SystemClock, TenantPath};

use crate::error::Error;

/// Check, show and apply the tenants' limits and policies on this node
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Where tenants.toml stands
    #[arg(long, global = true, value_name = "DIR", default_value = "/etc/tenantry")]
    dir: PathBuf,
    /// How the result is written
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Subcommand)]
enum Action {
    /// Check the file, and whether this node has what it gives out
    ///
    /// Ends with 78 where the file has a mistake, and says its place and what to write instead. What this
    /// node has not is a warning.
    Check,
    /// Show the limits and policies of a tenant, or of all, beside those its group has
    ///
    /// In parentheses stands what is the kernel's default; "-" where the tenant has no group now. Whether
    /// device lists and network policies are in force only root sees.
    Show {
        /// Only this one
        tenant: Option<TenantPath>,
    },
    /// Show the tenants in one another, the jobs in each and what they use
    Tree,
    /// Show the limits and policies that running tenants have otherwise than the file says
    ///
    /// Ends with 1 where there is one.
    Diff,
    /// Put the limits and policies of the tenants that run now in force (as root)
    ///
    /// A tenant without a group gets its own with its next job.
    Apply,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Where cgroup v2 is mounted.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

pub fn run(args: &Args) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    if matches!(args.action, Action::Check) {
        return check::run(&args.dir, args.format, &mut out);
    }
    if matches!(args.action, Action::Apply) && !geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let tenants = Tenants::load(&args.dir)?;
    let root = Root::open(Path::new(CGROUP_ROOT))?;
    let limits = tenants.on(&node::size(&root, &tenants)?);
    let scopes = scope::all(&root)?;
    let compare: Option<Compare> = if geteuid().is_root() { Some(enforce::compare) } else { None };
    Here { root: &root, scopes, tenants, limits, compare, clock: &SystemClock }.act(
        &args.action,
        args.format,
        &mut out,
    )
}

/// How a group stands to a policy: [`enforce::compare`].
type Compare = fn(&Root, &GroupPath, &Policy<'_>) -> Result<BTreeMap<Part, State>, tenantry_cgroup::Error>;

/// This node, and what the file says of it.
struct Here<'a> {
    root: &'a Root,
    scopes: Vec<GroupPath>,
    tenants: Tenants,
    /// The file's limits here.
    limits: Resolved,
    /// `None`: who asks may not see programs.
    compare: Option<Compare>,
    clock: &'a dyn Clock,
}

impl Here<'_> {
    fn act(&self, action: &Action, format: Format, out: &mut impl Write) -> Result<(), Error> {
        match action {
            Action::Check => Ok(()),
            Action::Show { tenant } => limits::show(self, tenant.as_ref(), format, out),
            _ if self.scopes.is_empty() => Err(Error::NoScope),
            Action::Tree => tree::run(self, format, out),
            Action::Diff => limits::diff(self, format, out),
            Action::Apply => apply::run(self, format, out),
        }
    }
}

/// The report as JSON, or as `table` writes it.
fn write<R: Serialize>(
    report: &R,
    table: impl FnOnce(&R) -> String,
    format: Format,
    out: &mut impl Write,
) -> Result<(), Error> {
    match format {
        Format::Table => write!(out, "{}", table(report))?,
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(report).map_err(io::Error::from)?)?,
    }
    Ok(())
}

/// What could not be done for a tenant, or not be in force.
#[derive(Serialize)]
struct Failure {
    tenant: TenantPath,
    scope: String,
    error: String,
}

fn failures(failed: &[Failure]) -> String {
    let line = |failure: &Failure| format!("failed: tenant {}: {}\n", failure.tenant, failure.error);
    failed.iter().map(line).collect::<Vec<_>>().concat()
}

/// Where several slurmds run on a machine a tenant is named with the scope.
fn in_scope(tenant: &TenantPath, scope: Option<&str>, several: bool) -> String {
    match scope.filter(|_| several) {
        Some(scope) => format!("{tenant} ({scope})"),
        None => tenant.to_string(),
    }
}

fn several_scopes<'a>(mut scopes: impl Iterator<Item = &'a str>) -> bool {
    let first = scopes.next();
    scopes.any(|scope| Some(scope) != first)
}

#[cfg(test)]
mod tests;
