//! cgroup.conf.

use super::Check;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Verdict, error, note, ok, warning};
use crate::doctor::machine::Seen;
use crate::doctor::slurm::{File, plugin, yes};

pub const CHECKS: &[Check] = &[
    Check {
        id: "cgroup-plugin",
        subject: "CgroupPlugin",
        wanted: "CgroupPlugin=autodetect or cgroup/v2",
        why: "tenants are groups of the v2 hierarchy; a job that Slurm puts elsewhere has no tenant",
        fix: "write CgroupPlugin=cgroup/v2, then restart slurmd",
        look: |facts| {
            judge(facts, "CgroupPlugin", |value| match value.map(plugin).as_deref() {
                None | Some("v2" | "autodetect") => ok(""),
                Some("disabled") => error("Slurm makes no groups at all"),
                Some(_) => error("no v2"),
            })
        },
    },
    Check {
        id: "constrain-cores",
        subject: "ConstrainCores",
        wanted: "ConstrainCores=yes",
        why: "without it a job runs on every core of the node: within its tenant's share, but not within its own allocation",
        fix: "write ConstrainCores=yes, then restart slurmd",
        look: |facts| constrain(facts, "ConstrainCores"),
    },
    Check {
        id: "constrain-ram",
        subject: "ConstrainRAMSpace",
        wanted: "ConstrainRAMSpace=yes",
        why: "without it only the tenant's limit holds a job: it can take the memory of its tenant's other jobs",
        fix: "write ConstrainRAMSpace=yes, then restart slurmd",
        look: |facts| constrain(facts, "ConstrainRAMSpace"),
    },
    Check {
        id: "constrain-swap",
        subject: "ConstrainSwapSpace",
        wanted: "ConstrainSwapSpace=yes, where there is swap",
        why: "without it a job over its memory fills the swap that all tenants share",
        fix: "write ConstrainSwapSpace=yes, then restart slurmd, or set memory_swap_max for each tenant",
        look: constrain_swap,
    },
    Check {
        id: "constrain-devices",
        subject: "ConstrainDevices",
        wanted: "ConstrainDevices=yes",
        why: "without it every job may open every GPU and other GRES of the node, also those of other tenants' jobs",
        fix: "write ConstrainDevices=yes, then restart slurmd",
        look: constrain_devices,
    },
    Check {
        id: "cgroup-mountpoint",
        subject: "CgroupMountpoint",
        wanted: "/sys/fs/cgroup",
        why: "Tenantry finds slurmd's scope below /sys/fs/cgroup, and nowhere else",
        fix: "take CgroupMountpoint out of cgroup.conf, then restart slurmd",
        look: |facts| {
            judge(facts, "CgroupMountpoint", |value| match value.map(|path| path.trim_end_matches('/')) {
                None | Some("/sys/fs/cgroup") => ok(""),
                Some(_) => error(""),
            })
        },
    },
    Check {
        id: "ignore-systemd",
        subject: "IgnoreSystemd",
        wanted: "IgnoreSystemd=no",
        why: "with it slurmd makes its scope behind systemd's back, which may take its controllers away",
        fix: "take IgnoreSystemd out of cgroup.conf, then restart slurmd",
        look: |facts| judge(facts, "IgnoreSystemd", |value| if yes(value) { warning("") } else { ok("") }),
    },
    Check {
        id: "cgroup-slice",
        subject: "CgroupSlice",
        wanted: "a name that ends in .slice",
        why: "slurmd's scope is looked for in slices only, where no user can make a group",
        fix: "write CgroupSlice=system.slice, or another slice",
        look: |facts| {
            judge(facts, "CgroupSlice", |value| match value {
                Some(slice) if slice.strip_suffix(".slice").is_none() => error(""),
                _ => ok(""),
            })
        },
    },
];

fn judge(facts: &Facts, key: &str, judge: impl FnOnce(Option<&str>) -> Verdict) -> Vec<Verdict> {
    facts.slurm.judge(facts.uid, File::Cgroup, key, judge)
}

fn constrain(facts: &Facts, key: &str) -> Vec<Verdict> {
    judge(facts, key, |value| if yes(value) { ok("") } else { warning("") })
}

fn constrain_swap(facts: &Facts) -> Vec<Verdict> {
    judge(facts, "ConstrainSwapSpace", |value| match &facts.kernel.swap_kib {
        _ if yes(value) => ok(""),
        Seen::Is(0) | Seen::Absent => ok("there is no swap"),
        Seen::Is(kib) => warning(format!("there are {} MiB of swap", kib >> 10)),
        Seen::Unseen(_) => warning("whether there is swap could not be seen"),
    })
}

fn constrain_devices(facts: &Facts) -> Vec<Verdict> {
    let gres = facts.slurm.value(File::Slurm, "GresTypes");
    judge(facts, "ConstrainDevices", |value| match gres {
        _ if yes(value) => ok(""),
        Some(types) => error(format!("GresTypes={types}: every job may open them all")),
        None => note("there are no GRES to hold jobs to"),
    })
}
