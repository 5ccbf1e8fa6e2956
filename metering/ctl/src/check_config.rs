//! `tenantry check-config`.

use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::json;
use tenantry_model::tenants::Tenants;

use crate::error::Error;
use crate::format::Format;

/// Check tenants.toml and tenants.d/*.toml
///
/// Reads them as tenantryd and the plugin do. Says the file, the line and what to write instead
/// where something is wrong, and ends with 78.
#[derive(clap::Args)]
pub struct Args {
    /// Where tenants.toml stands
    #[arg(long, value_name = "DIR", default_value = "/etc/tenantry")]
    dir: PathBuf,
    /// How the result is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match (Tenants::load(&args.dir), args.format) {
        (Ok(tenants), Format::Text) => {
            let (count, dir) = (tenants.iter().count(), args.dir.display());
            let noun = if count == 1 { "tenant" } else { "tenants" };
            Ok(writeln!(out, "ok: {count} {noun} in {dir}")?)
        }
        (Ok(tenants), Format::Json) => {
            let names: Vec<_> = tenants.iter().map(|(path, _)| path).collect();
            Ok(writeln!(out, "{}", json!({ "ok": true, "tenants": names }))?)
        }
        (Err(error), Format::Text) => Err(error.into()),
        (Err(error), Format::Json) => {
            writeln!(out, "{}", json!({ "ok": false, "error": error }))?;
            Err(Error::ConfigAlreadySaid)
        }
    }
}
