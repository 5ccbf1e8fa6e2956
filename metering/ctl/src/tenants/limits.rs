//! `tenantry tenants show` and `diff`: what is wanted beside what is there.

use std::io::Write;

use serde::Serialize;
use tenantry_cgroup::tenant::{self, Setting};
use tenantry_model::TenantPath;
use tenantry_model::tenants::NodeLimits;

use super::figures::{human, unit};
use super::policies::Policies;
use super::{Format, Here, in_scope, several_scopes, write};
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
    let mut policies = Policies::new(here);
    for (tenant, wanted) in here.limits.iter().filter(|(tenant, _)| only.is_none_or(|only| only == *tenant)) {
        let running = of_groups(here, tenant, wanted)?;
        if running.is_empty() {
            // Its wanted limits, as a group that does not exist has them.
            let unborn = tenant::wanted(wanted).into_iter();
            rows.extend(unborn.map(|setting| LimitRow::new(tenant, None, setting)));
        }
        rows.extend(running);
        policies.add(here, tenant)?;
    }
    let text = |shown: &Shown| shown_table(&shown.limits) + &shown.policies.text();
    write(&Shown { limits: rows, policies }, text, format, out)
}

#[derive(Serialize)]
struct Shown {
    limits: Vec<LimitRow>,
    #[serde(flatten)]
    policies: Policies,
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
    let mut policies = Policies::new(here);
    for (tenant, wanted) in here.limits.iter() {
        let rows = of_groups(here, tenant, wanted)?;
        differences.extend(rows.into_iter().filter(|row| row.holds == Some(false)));
        policies.add(here, tenant)?;
    }
    policies.parts.retain(|row| row.holds == Some(false));
    let report = Differences { differences, policies };
    write(&report, diff_table, format, out)?;
    if report.is_empty() { Ok(()) } else { Err(Error::Differs) }
}

#[derive(Serialize)]
struct Differences {
    differences: Vec<LimitRow>,
    #[serde(flatten)]
    policies: Policies,
}

impl Differences {
    fn is_empty(&self) -> bool {
        let Policies { parts, failed, .. } = &self.policies;
        self.differences.is_empty() && parts.is_empty() && failed.is_empty()
    }
}

fn diff_table(report: &Differences) -> String {
    let rows = &report.differences;
    let mut text = String::new();
    if report.is_empty() {
        // What nobody looked at may differ.
        let looked_at = if report.policies.not_compared.is_some() { "No limit" } else { "Nothing" };
        text = format!("{looked_at} of a running tenant differs from the file.\n");
    }
    if !rows.is_empty() {
        let several = several_scopes(rows.iter().filter_map(|row| row.scope.as_deref()));
        let mut lines = vec![["TENANT", "LIMIT", "WANTED", "ACTUAL"].map(str::to_owned)];
        lines.extend(rows.iter().map(|row| {
            let tenant = in_scope(&row.tenant, row.scope.as_deref(), several);
            [tenant, row.name(), human(&row.file, &row.wanted), row.actual()]
        }));
        text.push_str(&aligned(&lines, 4));
    }
    text + &report.policies.text()
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
