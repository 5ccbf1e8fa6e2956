//! Every check, and what they find. docs/doctor.md is this table.

mod accounting;
mod bpf;
mod cgroup_conf;
mod jobs;
mod kernel;
mod login;
mod network;
mod plugstack;
mod slurm_conf;
mod slurmd;
mod tenantry;

use super::facts::Facts;
use super::finding::{self, Finding};

/// A check of the machine.
type Check = finding::Check<Facts>;

/// A heading of docs/doctor.md and its checks.
const TABLE: [(&str, &[Check]); 11] = [
    ("Kernel and cgroups", kernel::CHECKS),
    ("BPF", bpf::CHECKS),
    ("Networks", network::CHECKS),
    ("slurmd's unit", slurmd::CHECKS),
    ("slurm.conf: where jobs run", slurm_conf::CHECKS),
    ("slurm.conf: what the bill rests on", accounting::CHECKS),
    ("slurm.conf: how jobs start and end", jobs::CHECKS),
    ("cgroup.conf", cgroup_conf::CHECKS),
    ("plugstack.conf", plugstack::CHECKS),
    ("Logins", login::CHECKS),
    ("Tenantry", tenantry::CHECKS),
];

/// All that the checks find, the least first.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<_> = all().flat_map(|check| check.findings(facts)).collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// Every check, in the table's order.
fn all() -> impl Iterator<Item = &'static Check> {
    TABLE.iter().flat_map(|(_, checks)| checks.iter())
}

#[cfg(test)]
pub(crate) mod tests;
