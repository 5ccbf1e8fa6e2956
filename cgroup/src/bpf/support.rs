//! What this kernel offers.

use std::fmt;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;

use tenantry_model::tenants::{AclVerdict, NetworkPolicy};

use super::attach::{explain, load};
use super::counters::check_file_system;
use super::hook::{Hook, Part, Program};
use super::network::{self, COUNTERS_SIZE, Direction};
use super::policy::{self, Policy};
use super::sys;
use crate::Root;

/// For each part whether the kernel here offers it, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Support(Vec<(Part, Option<String>)>);

impl Support {
    /// Each part with the reason why it is not offered; `None`: it is.
    pub fn iter(&self) -> impl Iterator<Item = (Part, Option<&str>)> {
        self.0.iter().map(|(part, reason)| (*part, reason.as_deref()))
    }

    /// Why a part is not offered; `None` where it is.
    #[must_use]
    pub fn missing(&self, part: Part) -> Option<&str> {
        self.iter().find(|(other, _)| *other == part).and_then(|(_, reason)| reason)
    }
}

/// One line a part: `device lists: yes`.
impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (part, reason)) in self.iter().enumerate() {
            let newline = if at == 0 { "" } else { "\n" };
            match reason {
                None => write!(f, "{newline}{part}: yes")?,
                Some(reason) => write!(f, "{newline}{part}: no: {reason}")?,
            }
        }
        Ok(())
    }
}

/// Asks the kernel, by loading a program of each kind and attaching none.
///
/// `pins` is where counters are to be pinned. Needs the privileges that enforcing needs.
#[must_use]
pub fn support(root: &Root, pins: &Path) -> Support {
    let probes = probes();
    let of = |part| {
        let reason = match part {
            Part::Rdma => rdma(root),
            Part::Counters => counters(root, pins),
            _ => probes.as_ref().map_err(Clone::clone).and_then(|probes| {
                probes
                    .iter()
                    .filter(|probe| probe.hook.part() == part)
                    .try_for_each(|probe| try_out(root, probe))
            }),
        };
        (part, reason.err())
    };
    Support(Part::ALL.map(of).into())
}

/// One program of every kind: a policy that uses all there is.
fn probes() -> std::result::Result<Vec<Program>, String> {
    let network = NetworkPolicy {
        bind_to: Some(String::new()),
        interfaces: Some([String::new()].into()),
        mark: Some(1),
        acl: vec![tenantry_model::tenants::AclRule {
            verdict: AclVerdict::Allow,
            operation: None,
            prefix: Ipv4Addr::LOCALHOST.to_ipv6_mapped().to_canonical().into(),
            ports: Some((1, 2)),
        }],
        acl_default: AclVerdict::Deny,
    };
    policy::programs(&Policy { devices: Some(&[]), network: Some(&network) }, |_| Ok(1))
        .map_err(|error| error.to_string())
}

fn try_out(root: &Root, program: &Program) -> std::result::Result<(), String> {
    load(program.hook, &program.code)?;
    hook_exists(root, program.hook)
}

fn hook_exists(root: &Root, hook: Hook) -> std::result::Result<(), String> {
    let dir =
        File::open(root.path()).map_err(|error| format!("cannot open {}: {error}", root.path().display()))?;
    sys::query(dir.as_fd(), hook.spec().attach_type).map(drop).map_err(|error| explain(&error, &[]))
}

fn counters(root: &Root, pins: &Path) -> std::result::Result<(), String> {
    let map = sys::make_group_storage("tnty_traffic", COUNTERS_SIZE).map_err(|error| explain(&error, &[]))?;
    for (hook, direction) in Hook::COUNTERS.into_iter().zip([Direction::Ingress, Direction::Egress]) {
        let code = network::counter(direction, map.as_fd()).unwrap_or_default();
        try_out(root, &Program { hook, code })?;
    }
    check_file_system(pins)
}

fn rdma(root: &Root) -> std::result::Result<(), String> {
    let file = root.path().join("cgroup.controllers");
    let controllers =
        fs::read_to_string(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    if controllers.split_whitespace().any(|name| name == "rdma") {
        return Ok(());
    }
    Err(format!(
        "it is not in {}; it needs CONFIG_CGROUP_RDMA, and must not be mounted as cgroup v1",
        file.display()
    ))
}
