//! `tenantry tenants show`, `diff` and `apply`: limits wanted and limits there.

use std::io::Write;

use serde::Serialize;
use tenantry_cgroup::tenant::{self, Setting};
use tenantry_model::TenantPath;
use tenantry_model::tenants::NodeLimits;

use super::figures::{human, unit};
use super::{Format, Here, write};
use crate::error::Error;
use crate::table::aligned;

/// One limit of one tenant. What stands in the kernel's files is as it prints it.
#[derive(Serialize)]
struct LimitRow {
    tenant: TenantPath,
    /// `None` where the tenant has no group now.
    scope: Option<String>,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'static str>,
    wanted: String,
    /// Whether the file says nothing of it.
    default: bool,
    /// `None` where the tenant has no group now, or the kernel no such file.
    actual: Option<String>,
    /// `None` where the tenant has no group now.
    holds: Option<bool>,
}

impl LimitRow {
    fn new(tenant: &TenantPath, scope: Option<String>, setting: Setting) -> Self {
        Self {
            tenant: tenant.clone(),
            holds: scope.is_some().then(|| setting.holds()),
            scope,
            unit: unit(&setting.file),
            default: setting.is_default,
            file: setting.file,
            device: setting.device,
            wanted: setting.wanted,
            actual: setting.actual,
        }
    }

    fn name(&self) -> String {
        match &self.device {
            Some(device) => format!("{} {device}", self.file),
            None => self.file.clone(),
        }
    }

    fn actual(&self) -> String {
        match (&self.actual, &self.scope) {
            (Some(actual), _) => human(&self.file, actual),
            (None, Some(_)) => "(no such file)".to_owned(),
            (None, None) => "-".to_owned(),
        }
    }
}

pub fn show(
    here: &Here<'_>,
    only: Option<&TenantPath>,
    format: Format,
    out: &mut impl Write,
) -> Result<(), Error> {
    if let Some(tenant) = only.filter(|tenant| here.limits.limits(tenant).is_none()) {
        return Err(Error::NoTenant(tenant.clone()));
    }
    let mut rows = Vec::new();
    for (tenant, wanted) in here.limits.iter().filter(|(tenant, _)| only.is_none_or(|only| only == *tenant)) {
        let running = of_groups(here, tenant, wanted)?;
        if running.is_empty() {
            // Its wanted limits, as a group that does not exist has them.
            let unborn = tenant::wanted(wanted).into_iter();
            rows.extend(unborn.map(|setting| LimitRow::new(tenant, None, setting)));
        }
        rows.extend(running);
    }
    write(&Shown { limits: rows }, |shown| shown_table(&shown.limits), format, out)
}

#[derive(Serialize)]
struct Shown {
    limits: Vec<LimitRow>,
}

fn shown_table(rows: &[LimitRow]) -> String {
    if rows.is_empty() {
        return "The file has no tenants.\n".to_owned();
    }
    let several = several_scopes(rows.iter().filter_map(|row| row.scope.as_deref()));
    let mut lines = vec![["TENANT", "LIMIT", "WANTED", "ACTUAL", ""].map(str::to_owned)];
    for row in rows {
        let wanted = human(&row.file, &row.wanted);
        lines.push([
            in_scope(&row.tenant, row.scope.as_deref(), several),
            row.name(),
            if row.default { format!("({wanted})") } else { wanted },
            row.actual(),
            if row.holds == Some(false) { "differs".to_owned() } else { String::new() },
        ]);
    }
    aligned(&lines, 5)
}

pub fn diff(here: &Here<'_>, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let mut differences = Vec::new();
    for (tenant, wanted) in here.limits.iter() {
        let rows = of_groups(here, tenant, wanted)?;
        differences.extend(rows.into_iter().filter(|row| row.holds == Some(false)));
    }
    let differs = !differences.is_empty();
    write(&Differences { differences }, |report| diff_table(&report.differences), format, out)?;
    if differs { Err(Error::Differs) } else { Ok(()) }
}

#[derive(Serialize)]
struct Differences {
    differences: Vec<LimitRow>,
}

fn diff_table(rows: &[LimitRow]) -> String {
    if rows.is_empty() {
        return "No limit of a running tenant differs from the file.\n".to_owned();
    }
    let several = several_scopes(rows.iter().filter_map(|row| row.scope.as_deref()));
    let mut lines = vec![["TENANT", "LIMIT", "WANTED", "ACTUAL"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        let tenant = in_scope(&row.tenant, row.scope.as_deref(), several);
        [tenant, row.name(), human(&row.file, &row.wanted), row.actual()]
    }));
    aligned(&lines, 4)
}

/// A tenant's limits in each scope in which it has a group.
fn of_groups(here: &Here<'_>, tenant: &TenantPath, wanted: &NodeLimits) -> Result<Vec<LimitRow>, Error> {
    let mut rows = Vec::new();
    for scope in &here.scopes {
        let settings = tenant::settings(here.root, scope, tenant, wanted)?.into_iter().flatten();
        rows.extend(settings.map(|setting| LimitRow::new(tenant, Some(scope.to_string()), setting)));
    }
    Ok(rows)
}

/// What was done.
#[derive(Serialize)]
struct Applied {
    /// The running tenants whose limits were looked at.
    tenants: Vec<TenantPath>,
    changed: Vec<Change>,
    failed: Vec<Failure>,
}

#[derive(Serialize)]
struct Change {
    tenant: TenantPath,
    scope: String,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    before: Option<String>,
    now: String,
}

#[derive(Serialize)]
struct Failure {
    tenant: TenantPath,
    scope: String,
    error: String,
}

pub fn apply(here: &Here<'_>, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let mut report = Applied { tenants: Vec::new(), changed: Vec::new(), failed: Vec::new() };
    for scope in &here.scopes {
        for tenant::Applied { tenant, changed, failed } in tenant::apply(here.root, scope, &here.limits)? {
            let scope = scope.to_string();
            report.changed.extend(changed.into_iter().map(|setting| Change {
                tenant: tenant.clone(),
                scope: scope.clone(),
                file: setting.file,
                device: setting.device,
                before: setting.actual,
                now: setting.wanted,
            }));
            let failure =
                |error| Failure { tenant: tenant.clone(), scope: scope.clone(), error: chain(&error) };
            report.failed.extend(failed.into_iter().map(failure));
            report.tenants.push(tenant);
        }
    }
    report.tenants.sort();
    report.tenants.dedup();
    write(&report, applied_table, format, out)?;
    if report.failed.is_empty() { Ok(()) } else { Err(Error::NotApplied) }
}

fn applied_table(report: &Applied) -> String {
    let several = several_scopes(report.changed.iter().map(|change| change.scope.as_str()));
    let mut text = String::new();
    if !report.changed.is_empty() {
        let mut lines = vec![["TENANT", "LIMIT", "BEFORE", "NOW"].map(str::to_owned)];
        lines.extend(report.changed.iter().map(|change| {
            let device = change.device.as_ref().map_or_else(String::new, |device| format!(" {device}"));
            let before =
                change.before.as_ref().map_or_else(|| "-".to_owned(), |text| human(&change.file, text));
            [
                in_scope(&change.tenant, Some(&change.scope), several),
                format!("{}{device}", change.file),
                before,
                human(&change.file, &change.now),
            ]
        }));
        text.push_str(&aligned(&lines, 4));
    }
    let failed = |failure: &Failure| format!("failed: tenant {}: {}\n", failure.tenant, failure.error);
    text.extend(report.failed.iter().map(failed));
    if text.is_empty() {
        match report.tenants.len() {
            0 => "No tenant runs here now: each gets its limits with its next job.\n".clone_into(&mut text),
            _ => "Nothing to change: every running tenant has its limits.\n".clone_into(&mut text),
        }
    }
    text
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

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", chain(cause)),
        None => error.to_string(),
    }
}
