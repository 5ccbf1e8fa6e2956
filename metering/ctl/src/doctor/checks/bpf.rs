//! BPF: what limits cannot do.

use std::path::Path;

use tenantry_cgroup::bpf::Part;
use tenantry_model::tenants::{AclVerdict, Tenant, Unenforceable};

use super::Check;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Place, Verdict, error, note, ok, unseen, warning};
use crate::doctor::machine::Seen;
use crate::doctor::mounts;

const BPF_FS: &str = "/sys/fs/bpf";

pub const CHECKS: &[Check] = &[
    Check {
        id: "bpf-fs",
        subject: "BPF file system",
        wanted: "bpf mounted at /sys/fs/bpf",
        why: "traffic counters are pinned there so that they outlive every daemon",
        fix: "mount -t bpf bpf /sys/fs/bpf; systemd does it at boot where the kernel has BPF",
        look: bpf_fs,
    },
    Check {
        id: "bpf-cgroup",
        subject: "BPF programs on cgroups",
        wanted: "all that Tenantry has of them: device lists, sockets, ACLs, the egress guard, counters, and the rdma controller",
        why: "devices, network policy and traffic counters of tenants are such programs, as Slurm's own ConstrainDevices is; where a tenant wants what is missing its jobs fail, or run without it, as unenforceable says",
        fix: "boot a kernel with CONFIG_BPF_SYSCALL, CONFIG_CGROUP_BPF and, for rdma_max, CONFIG_CGROUP_RDMA, or take what needs it out of the tenants file",
        look: bpf_support,
    },
    Check {
        id: "unprivileged-bpf",
        subject: "kernel.unprivileged_bpf_disabled",
        wanted: "1 or 2",
        why: "a user's own BPF programs are a way into the kernel, below every cgroup",
        fix: "echo kernel.unprivileged_bpf_disabled=1 >> /etc/sysctl.d/50-tenantry.conf && sysctl --system",
        look: unprivileged_bpf,
    },
];

fn bpf_fs(facts: &Facts) -> Vec<Verdict> {
    let at = Place::file(Path::new(BPF_FS));
    vec![match &facts.kernel.mounts {
        Seen::Is(all) => match mounts::at(all, BPF_FS) {
            Some(mount) if mount.kind == "bpf" => ok("mounted"),
            _ => warning("not mounted"),
        }
        .at(at),
        Seen::Absent => unseen(facts.uid, "no /proc/self/mountinfo"),
        Seen::Unseen(reason) => unseen(facts.uid, reason),
    }]
}

/// What the kernel said to root, or else what any user may see of it.
fn bpf_support(facts: &Facts) -> Vec<Verdict> {
    let Some(parts) = facts.kernel.bpf.is() else { return vec![visible_to_all(facts)] };
    let missing = parts.iter().filter_map(|(part, reason)| Some((*part, reason.as_ref()?)));
    let missing: Vec<_> = missing.map(|(part, reason)| lack(facts, part, reason)).collect();
    if missing.is_empty() { vec![ok("all of them")] } else { missing }
}

fn lack(facts: &Facts, part: Part, reason: &str) -> Verdict {
    let tenants = facts.tenantry.tenants.is().and_then(|tenants| tenants.as_ref().ok());
    let wanting = tenants.and_then(|tenants| tenants.iter().find(|(_, tenant)| wants(tenant, part)));
    match (tenants, wanting) {
        (Some(tenants), Some((path, _))) => {
            let found = format!("{part}, which {path} wants: {reason}");
            match tenants.policy().unenforceable {
                Unenforceable::IsolationFailure => error(found),
                Unenforceable::RunWithout => warning(found),
            }
        }
        (Some(_), None) if part != Part::Counters => note(format!("{part}, which no tenant wants: {reason}")),
        _ => warning(format!("{part}: {reason}")),
    }
}

fn wants(tenant: &Tenant, part: Part) -> bool {
    let network = &tenant.network;
    match part {
        Part::Devices => tenant.limits.devices.is_some(),
        Part::Sockets => network.bind_to.is_some() || network.mark.is_some() || restricts(tenant),
        Part::Acl => restricts(tenant),
        Part::EgressGuard => network.interfaces.is_some(),
        Part::Rdma => !tenant.limits.rdma_max.is_empty(),
        // Every job is counted.
        Part::Counters => false,
    }
}

/// Whether an ACL refuses anything.
fn restricts(tenant: &Tenant) -> bool {
    let network = &tenant.network;
    network.acl_default == AclVerdict::Deny || network.acl.iter().any(|rule| rule.verdict == AclVerdict::Deny)
}

fn visible_to_all(facts: &Facts) -> Verdict {
    match (&facts.kernel.unprivileged_bpf, &facts.kernel.bpf_attach) {
        (Seen::Absent, _) => warning("no bpf(2)"),
        (_, Seen::Is(true)) => {
            let reason = match &facts.kernel.bpf {
                Seen::Unseen(reason) => reason,
                Seen::Is(_) | Seen::Absent => "nobody asked",
            };
            unseen(facts.uid, &format!("which of Tenantry's programs the kernel takes: {reason}"))
        }
        (_, Seen::Is(false)) => warning("the kernel has bpf(2), and no programs on cgroups"),
        (_, Seen::Absent) => unseen(facts.uid, "no /proc/kallsyms to find them in")
            .fix("look for CONFIG_CGROUP_BPF=y in /boot/config-$(uname -r)"),
        (_, Seen::Unseen(reason)) => unseen(facts.uid, reason),
    }
}

fn unprivileged_bpf(facts: &Facts) -> Vec<Verdict> {
    vec![match &facts.kernel.unprivileged_bpf {
        Seen::Is(value) if value == "0" => warning("0: every user may load BPF programs"),
        Seen::Is(value) => ok(value),
        Seen::Absent => return Vec::new(),
        Seen::Unseen(reason) => unseen(facts.uid, reason),
    }]
}
