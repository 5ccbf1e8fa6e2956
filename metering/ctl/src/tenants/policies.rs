//! Device lists and network policies: what the file wants of a tenant's group, and what is there.

use serde::Serialize;
use tenantry_cgroup::bpf::{Part, Policy, State};
use tenantry_cgroup::tenant;
use tenantry_isolation::{Error as Isolation, enforce};
use tenantry_model::TenantPath;
use tenantry_model::tenants::AclVerdict;

use super::{Failure, Here, failures, in_scope, several_scopes};
use crate::error::Error;
use crate::table::aligned;

/// One part of one tenant's policy.
#[derive(Serialize)]
pub struct PolicyRow {
    tenant: TenantPath,
    /// `None` where the tenant has no group now.
    scope: Option<String>,
    part: &'static str,
    /// In words; `None` where the file wants nothing of it.
    wanted: Option<String>,
    /// `None` where the tenant has no group now, or its programs could not be compared.
    state: Option<&'static str>,
    /// `None` where the tenant has no group now, or nobody looked.
    pub holds: Option<bool>,
}

impl PolicyRow {
    fn actual(&self) -> &'static str {
        match (self.state, self.holds) {
            (Some(state), _) => state,
            (None, Some(_)) => "not as wanted",
            (None, None) if self.scope.is_some() => "not seen",
            (None, None) => "-",
        }
    }
}

/// The policies of some tenants.
#[derive(Default, Serialize)]
pub struct Policies {
    #[serde(rename = "policies")]
    pub parts: Vec<PolicyRow>,
    /// Policies that cannot be in force here as they are wanted, and why.
    pub failed: Vec<Failure>,
    /// Why policies were not compared with what is in force.
    pub not_compared: Option<&'static str>,
}

/// What is said where nobody could look.
const NOT_ROOT: &str = "only root sees whether device lists and network policies are in force";

impl Policies {
    pub fn new(here: &Here<'_>) -> Self {
        Self { not_compared: here.compare.is_none().then_some(NOT_ROOT), ..Self::default() }
    }

    /// Adds a tenant's policy in each scope in which it has a group, or else what it will get.
    pub fn add(&mut self, here: &Here<'_>, tenant: &TenantPath) -> Result<(), Error> {
        let policy = enforce::wanted(tenant, &here.tenants, &here.limits);
        let mut is_running = false;
        for scope in &here.scopes {
            let group = tenant::group(scope, tenant)?;
            if !here.root.exists(&group)? {
                continue;
            }
            is_running = true;
            let scope = scope.to_string();
            match here.compare.map(|compare| compare(here.root, &group, &policy)) {
                None => self.add_wanted(tenant, Some(&scope), &policy, None),
                Some(Ok(states)) => self.parts.extend(states.into_iter().map(|(part, state)| PolicyRow {
                    tenant: tenant.clone(),
                    scope: Some(scope.clone()),
                    part: name(part),
                    // An ACL has the sockets refused that it cannot see.
                    wanted:
                        (state != State::Unwanted).then(|| {
                            describe(part, &policy).unwrap_or_else(|| "what the acl needs".to_owned())
                        }),
                    state: Some(word(state)),
                    holds: Some(state == State::InForce),
                })),
                // It went in the meantime.
                Some(Err(_)) if !here.root.exists(&group)? => {}
                Some(Err(error)) => {
                    self.add_wanted(tenant, Some(&scope), &policy, Some(false));
                    let error = Isolation::from(error).describe();
                    self.failed.push(Failure { tenant: tenant.clone(), scope, error });
                }
            }
        }
        if !is_running {
            self.add_wanted(tenant, None, &policy, None);
        }
        Ok(())
    }

    fn add_wanted(
        &mut self,
        tenant: &TenantPath,
        scope: Option<&str>,
        policy: &Policy<'_>,
        holds: Option<bool>,
    ) {
        let row = |part| {
            let wanted = Some(describe(part, policy)?);
            let scope = scope.map(str::to_owned);
            Some(PolicyRow { tenant: tenant.clone(), scope, part: name(part), wanted, state: None, holds })
        };
        self.parts.extend(Part::ALL.into_iter().filter_map(row));
    }

    /// A table, what failed and what was not seen; empty where there is nothing to say.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.parts.is_empty() {
            let several = several_scopes(self.parts.iter().filter_map(|row| row.scope.as_deref()));
            let mut lines = vec![["TENANT", "POLICY", "WANTED", "ACTUAL", ""].map(str::to_owned)];
            lines.extend(self.parts.iter().map(|row| {
                [
                    in_scope(&row.tenant, row.scope.as_deref(), several),
                    row.part.to_owned(),
                    row.wanted.clone().unwrap_or_else(|| "(none)".to_owned()),
                    row.actual().to_owned(),
                    if row.holds == Some(false) { "differs".to_owned() } else { String::new() },
                ]
            }));
            text.push_str(&aligned(&lines, 5));
        }
        text.push_str(&failures(&self.failed));
        text.extend(self.not_compared.map(|reason| format!("note: {reason}: run it as root\n")));
        text
    }
}

/// A part, by the key of the tenants file that asks for it.
pub fn name(part: Part) -> &'static str {
    match part {
        Part::Devices => "devices",
        Part::Sockets => "sockets",
        Part::Acl => "acl",
        Part::EgressGuard => "interfaces",
        Part::Counters => "counters",
        Part::Rdma => "rdma",
    }
}

pub fn word(state: State) -> &'static str {
    match state {
        State::InForce => "in force",
        State::Unwanted => "unwanted",
        State::Different => "different",
        State::Missing => "missing",
    }
}

/// What a policy wants of a part, in words; `None`: nothing.
fn describe(part: Part, policy: &Policy<'_>) -> Option<String> {
    match part {
        Part::Devices => policy.devices.map(|rules| count(rules.len())),
        Part::Sockets => {
            let network = policy.network?;
            let bound = network.bind_to.as_ref().map(|name| format!("bound to {name}"));
            let marked = network.mark.map(|mark| format!("mark {mark}"));
            let wanted: Vec<_> = bound.into_iter().chain(marked).collect();
            (!wanted.is_empty()).then(|| wanted.join(", "))
        }
        Part::Acl => {
            let network = policy.network?;
            let default = match network.acl_default {
                AclVerdict::Allow if network.acl.is_empty() => return None,
                AclVerdict::Allow => "allow",
                AclVerdict::Deny => "deny",
            };
            Some(format!("{}, else {default}", count(network.acl.len())))
        }
        Part::EgressGuard => {
            let names: Vec<_> = policy.network?.interfaces.as_ref()?.iter().map(String::as_str).collect();
            Some(if names.is_empty() { "none".to_owned() } else { names.join(" ") })
        }
        Part::Counters | Part::Rdma => None,
    }
}

fn count(rules: usize) -> String {
    match rules {
        0 => "no rule".to_owned(),
        1 => "1 rule".to_owned(),
        rules => format!("{rules} rules"),
    }
}
