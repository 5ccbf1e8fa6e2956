//! `tenantry tenants apply`.

use std::io::Write;

use serde::Serialize;
use tenantry_cgroup::bpf::State;
use tenantry_isolation::enforce::{self, Applied, Change};
use tenantry_model::TenantPath;

use super::figures::human;
use super::policies::{name, word};
use super::{Failure, Format, Here, failures, in_scope, several_scopes, write};
use crate::error::Error;
use crate::table::aligned;

/// What was done.
#[derive(Default, Serialize)]
struct Report {
    /// The running tenants that were looked at.
    tenants: Vec<TenantPath>,
    changed: Vec<LimitChange>,
    policies: Vec<PolicyChange>,
    failed: Vec<Failure>,
}

#[derive(Serialize)]
struct LimitChange {
    tenant: TenantPath,
    scope: String,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    before: Option<String>,
    now: String,
}

#[derive(Serialize)]
struct PolicyChange {
    tenant: TenantPath,
    scope: String,
    part: &'static str,
    before: &'static str,
    now: &'static str,
}

pub fn run(here: &Here<'_>, format: Format, out: &mut impl Write) -> Result<(), Error> {
    let mut report = Report::default();
    for applied in enforce::apply(here.root, &here.tenants, &here.limits)? {
        report.add(applied);
    }
    report.tenants.sort();
    report.tenants.dedup();
    write(&report, table, format, out)?;
    if report.failed.is_empty() { Ok(()) } else { Err(Error::NotApplied) }
}

impl Report {
    fn add(&mut self, Applied { tenant, scope, changed, failed }: Applied) {
        let scope = scope.to_string();
        for change in changed {
            let (tenant, scope) = (tenant.clone(), scope.clone());
            match change {
                Change::Limit(setting) => self.changed.push(LimitChange {
                    tenant,
                    scope,
                    file: setting.file,
                    device: setting.device,
                    before: setting.actual,
                    now: setting.wanted,
                }),
                Change::Policy(part, before) => self.policies.push(PolicyChange {
                    tenant,
                    scope,
                    part: name(part),
                    before: word(before),
                    now: if before == State::Unwanted { "gone" } else { word(State::InForce) },
                }),
            }
        }
        self.failed.extend(failed.iter().map(|error| Failure {
            tenant: tenant.clone(),
            scope: scope.clone(),
            error: error.describe(),
        }));
        self.tenants.push(tenant);
    }
}

fn table(report: &Report) -> String {
    let limits = report.changed.iter().map(|change| change.scope.as_str());
    let policies = report.policies.iter().map(|change| change.scope.as_str());
    let several = several_scopes(limits.chain(policies));
    let limit = |change: &LimitChange| {
        let device = change.device.as_ref().map_or_else(String::new, |device| format!(" {device}"));
        let before = change.before.as_ref().map_or_else(|| "-".to_owned(), |text| human(&change.file, text));
        [
            in_scope(&change.tenant, Some(&change.scope), several),
            format!("{}{device}", change.file),
            before,
            human(&change.file, &change.now),
        ]
    };
    let policy = |change: &PolicyChange| {
        let tenant = in_scope(&change.tenant, Some(&change.scope), several);
        [tenant, change.part.to_owned(), change.before.to_owned(), change.now.to_owned()]
    };
    let mut lines: Vec<_> = report.changed.iter().map(limit).collect();
    lines.extend(report.policies.iter().map(policy));
    let mut text = String::new();
    if !lines.is_empty() {
        lines.insert(0, ["TENANT", "LIMIT", "BEFORE", "NOW"].map(str::to_owned));
        text.push_str(&aligned(&lines, 4));
    }
    text.push_str(&failures(&report.failed));
    if text.is_empty() {
        text.push_str(match report.tenants.len() {
            0 => "No tenant runs here now: each gets its limits and policies with its next job.\n",
            _ => "Nothing to change: every running tenant has its limits and policies.\n",
        });
    }
    text
}
