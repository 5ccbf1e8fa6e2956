//! `tenantry tenants check`.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde_json::json;
use tenantry_cgroup::{Root, node};
use tenantry_model::TenantPath;
use tenantry_model::tenants::{Tenants, Warning};

use super::{CGROUP_ROOT, Format, write};
use crate::error::Error;

/// What a good file is, and what this node has not of it.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    #[serde(skip)]
    dir: &'a Path,
    tenants: Vec<&'a TenantPath>,
    warnings: Vec<Warning>,
    /// Why the file was not compared with this machine.
    not_compared: Option<String>,
}

pub fn run(dir: &Path, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let tenants = match Tenants::load(dir) {
        Ok(tenants) => tenants,
        Err(error) if format == Format::Json => {
            writeln!(out, "{}", json!({ "ok": false, "error": error }))?;
            return Err(Error::ConfigAlreadySaid);
        }
        Err(error) => return Err(error.into()),
    };
    // A file may be written on a machine that is no node.
    let compared = Root::open(Path::new(CGROUP_ROOT)).and_then(|root| node::size(&root, &tenants));
    let (warnings, not_compared) = match compared {
        Ok(node) => (tenants.on(&node).warnings, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let names = tenants.iter().map(|(path, _)| path).collect();
    write(&Report { ok: true, dir, tenants: names, warnings, not_compared }, text, format, out)
}

fn text(report: &Report<'_>) -> String {
    let noun = if report.tenants.len() == 1 { "tenant" } else { "tenants" };
    let mut lines = vec![format!("ok: {} {noun} in {}\n", report.tenants.len(), report.dir.display())];
    lines.extend(report.warnings.iter().map(|warning| format!("warning: {warning}\n")));
    lines.extend(
        report
            .not_compared
            .iter()
            .map(|reason| format!("note: not compared with what this machine has: {reason}\n")),
    );
    lines.concat()
}
