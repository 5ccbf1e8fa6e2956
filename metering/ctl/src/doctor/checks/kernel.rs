//! The kernel, and the groups Slurm and we stand in.

use std::path::Path;

use super::Check;
use crate::doctor::facts::{Facts, Kernel};
use crate::doctor::finding::{Place, Verdict, error, note, ok, unseen, warning};
use crate::doctor::machine::Seen;
use crate::doctor::mounts::{self, Mount};

const CGROUPS: &str = "/sys/fs/cgroup";
/// Controllers without which no tenant can be limited, then those without which one limit is missing.
const REQUIRED: [&str; 3] = ["cpu", "memory", "pids"];
const USEFUL: [&str; 2] = ["cpuset", "io"];

pub const CHECKS: &[Check] = &[
    Check {
        id: "kernel-version",
        subject: "kernel",
        wanted: "5.14 or later",
        why: "jobs are ended by cgroup.kill (5.14) and groups opened by openat2 (5.6): without them no job can be placed or closed",
        fix: "boot a kernel of 5.14 or later (RHEL 9, Debian 12, Ubuntu 22.04 and SLES 15 SP4 have one)",
        look: kernel_version,
    },
    Check {
        id: "memory-peak",
        subject: "memory.peak",
        wanted: "kernel 5.19 or later, or a distribution's kernel that has memory.peak",
        why: "a job's peak memory is read from it; without it that column of the bill is empty",
        fix: "boot a kernel of 5.19 or later",
        look: memory_peak,
    },
    Check {
        id: "cgroup-v2",
        subject: "cgroup hierarchy",
        wanted: "cgroup2 alone at /sys/fs/cgroup",
        why: "a tenant's group limits and counts only what is in the one v2 hierarchy; a controller that v1 holds is not there",
        fix: "put systemd.unified_cgroup_hierarchy=1 cgroup_no_v1=all on the kernel's command line and boot",
        look: cgroup_v2,
    },
    Check {
        id: "cgroup-controllers",
        subject: "controllers at the root",
        wanted: "cpu, memory, pids, cpuset and io, given on in cgroup.subtree_control",
        why: "a limit or a counter of a controller that is missing does not exist; without cpu, memory or pids no job is placed",
        fix: "take cgroup_disable=... off the kernel's command line, and write EnableControllers=yes in cgroup.conf",
        look: root_controllers,
    },
    Check {
        id: "scope-controllers",
        subject: "controllers in slurmd's scope",
        wanted: "cpu, memory, pids, cpuset and io in the scope's cgroup.controllers",
        why: "tenants stand in slurmd's scope and have the controllers that its slice gives on",
        fix: "write EnableControllers=yes in cgroup.conf and restart slurmd",
        look: scope_controllers,
    },
    Check {
        id: "cgroup-nsdelegate",
        subject: "mount option nsdelegate",
        wanted: "nsdelegate among cgroup2's mount options",
        why: "with it the kernel holds a process in a cgroup namespace to that namespace's groups",
        fix: "mount -o remount,nsdelegate /sys/fs/cgroup; systemd does it at boot unless told otherwise",
        look: |facts| mount_option(facts, "nsdelegate", warning),
    },
    Check {
        id: "cgroup-recursiveprot",
        subject: "mount option memory_recursiveprot",
        wanted: "memory_recursiveprot among cgroup2's mount options",
        why: "without it a tenant's memory_min and memory_low protect none of its jobs, whose own are 0",
        fix: "mount -o remount,memory_recursiveprot /sys/fs/cgroup; systemd does it at boot unless told otherwise",
        look: |facts| mount_option(facts, "memory_recursiveprot", warning),
    },
    Check {
        id: "swap-accounting",
        subject: "swap accounting",
        wanted: "memory.swap.max in slurmd's scope, where there is swap",
        why: "without it a tenant over its memory fills the node's swap, which all tenants share",
        fix: "put swapaccount=1 on the kernel's command line (before 5.18), or swapoff -a",
        look: swap_accounting,
    },
    Check {
        id: "hugetlb",
        subject: "huge pages",
        wanted: "the hugetlb controller, where huge pages are set aside",
        why: "huge pages are not in memory.max: one tenant can take all of them",
        fix: "boot a kernel with CONFIG_CGROUP_HUGETLB, and set hugetlb_max for each tenant",
        look: hugetlb,
    },
    Check {
        id: "pressure",
        subject: "pressure stall information",
        wanted: "/proc/pressure",
        why: "it tells how long a tenant waited for CPU, memory and disk; nothing else rests on it",
        fix: "put psi=1 on the kernel's command line",
        look: pressure,
    },
    Check {
        id: "user-namespaces",
        subject: "user namespaces",
        wanted: "none for users, unless the site's containers need them",
        why: "in one a user reaches much of the kernel that is root's else, and any fault there is a way out of a tenant",
        fix: "echo user.max_user_namespaces=0 >> /etc/sysctl.d/50-tenantry.conf && sysctl --system, if no container runtime needs them",
        look: user_namespaces,
    },
];

/// `6.12.3-amd64` is (6, 12).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn kernel_version(facts: &Facts) -> Vec<Verdict> {
    vec![match &facts.kernel.release {
        Seen::Is(release) => match version(release) {
            Some(version) if version >= (5, 14) => ok(release),
            Some(_) => error(release),
            None => unseen(facts.uid, &format!("{release:?} is no version")),
        },
        Seen::Absent => unseen(facts.uid, "no /proc/sys/kernel/osrelease"),
        Seen::Unseen(reason) => unseen(facts.uid, reason),
    }]
}

fn memory_peak(facts: &Facts) -> Vec<Verdict> {
    let scopes = facts.kernel.scopes.is().map(Vec::as_slice).unwrap_or_default();
    let by_version = || facts.kernel.release.is().and_then(|release| version(release)).map(|v| v >= (5, 19));
    let there = match scopes.first() {
        Some(scope) => Some(scope.files.iter().any(|file| file == "memory.peak")),
        None => by_version(),
    };
    vec![match there {
        Some(true) => ok("there"),
        Some(false) => warning("absent"),
        None => unseen(facts.uid, "the kernel's version is unknown and slurmd has no scope"),
    }]
}

fn cgroup_mount(facts: &Facts) -> Result<Option<&Mount>, Verdict> {
    match &facts.kernel.mounts {
        Seen::Is(all) => Ok(mounts::at(all, CGROUPS)),
        Seen::Absent => Err(unseen(facts.uid, "no /proc/self/mountinfo")),
        Seen::Unseen(reason) => Err(unseen(facts.uid, reason)),
    }
}

fn cgroup_v2(facts: &Facts) -> Vec<Verdict> {
    let at = Place::file(Path::new(CGROUPS));
    let held = facts.kernel.mounts.is().and_then(|all| all.iter().find(|mount| mount.kind == "cgroup"));
    vec![match (cgroup_mount(facts), held) {
        (Err(unseen), _) => unseen,
        (Ok(Some(mount)), None) if mount.kind == "cgroup2" => ok("cgroup2 alone").at(at),
        (Ok(_), Some(v1)) => error(format!("cgroup v1 is mounted at {}", v1.point)).at(at),
        (Ok(Some(mount)), None) => error(format!("{} is mounted there", mount.kind)).at(at),
        (Ok(None), None) => error("nothing is mounted there").at(at),
    }]
}

fn mount_option(facts: &Facts, option: &str, otherwise: fn(String) -> Verdict) -> Vec<Verdict> {
    let at = Place::file(Path::new(CGROUPS));
    match cgroup_mount(facts) {
        Err(unseen) => vec![unseen],
        Ok(Some(mount)) if mount.kind == "cgroup2" => {
            let there = mount.options.iter().any(|o| o == option);
            vec![if there { ok(option) } else { otherwise(format!("mounted without {option}")) }.at(at)]
        }
        // cgroup-v2 has said so.
        Ok(_) => Vec::new(),
    }
}

fn missing(list: &str, wanted: &[&'static str]) -> Vec<&'static str> {
    wanted.iter().copied().filter(|name| !list.split_whitespace().any(|word| word == *name)).collect()
}

/// An error for what must be there, a warning for what is useful.
fn controllers(list: &str, lack: &str) -> Verdict {
    match (missing(list, &REQUIRED).as_slice(), missing(list, &USEFUL).as_slice()) {
        ([], []) => ok(list.trim()),
        ([], useful) => warning(format!("{lack} {}", useful.join(", "))),
        (required, useful) => error(format!("{lack} {}", [required, useful].concat().join(", "))),
    }
}

fn root_controllers(facts: &Facts) -> Vec<Verdict> {
    let Kernel { controllers: offered, subtree_control, .. } = &facts.kernel;
    let judged = |list: &Seen<String>, file: &str, lack: &str| {
        let at = Place::file(&Path::new(CGROUPS).join(file));
        match list {
            Seen::Is(list) => Some(controllers(list, lack).at(at)),
            Seen::Unseen(reason) => Some(unseen(facts.uid, reason)),
            // No cgroup2: cgroup-v2 has said so.
            Seen::Absent => None,
        }
    };
    match judged(offered, "cgroup.controllers", "the kernel has no") {
        Some(verdict) if verdict.severity > ok("").severity => vec![verdict],
        _ => judged(subtree_control, "cgroup.subtree_control", "not given on:").into_iter().collect(),
    }
}

fn scope_controllers(facts: &Facts) -> Vec<Verdict> {
    let scopes = match &facts.kernel.scopes {
        Seen::Is(scopes) => scopes,
        Seen::Unseen(reason) => return vec![unseen(facts.uid, reason)],
        Seen::Absent => return Vec::new(),
    };
    if scopes.is_empty() {
        let found = "no slurmstepd.scope in any slice";
        let fix = "start slurmd; with IgnoreSystemd=yes in cgroup.conf, see ignore-systemd";
        return vec![if facts.slurmds.is_empty() { note(found) } else { error(found) }.fix(fix)];
    }
    let judged = scopes.iter().map(|scope| {
        let at = Place::file(&scope.path.join("cgroup.controllers"));
        match &scope.controllers {
            Seen::Is(list) => controllers(list, "not given on by the slice:").at(at),
            Seen::Absent => unseen(facts.uid, "the scope went away meanwhile"),
            Seen::Unseen(reason) => unseen(facts.uid, reason),
        }
    });
    judged.collect()
}

fn swap_accounting(facts: &Facts) -> Vec<Verdict> {
    let scope = facts.kernel.scopes.is().and_then(|scopes| scopes.first());
    vec![match (&facts.kernel.swap_kib, scope) {
        (Seen::Is(0) | Seen::Absent, _) => ok("no swap"),
        (Seen::Is(kib), Some(scope)) if scope.files.iter().any(|file| file == "memory.swap.max") => {
            ok(format!("{} MiB of swap, accounted", kib >> 10))
        }
        (Seen::Is(kib), Some(scope)) => {
            warning(format!("{} MiB of swap, and no memory.swap.max", kib >> 10)).at(Place::file(&scope.path))
        }
        (Seen::Is(_), None) => unseen(facts.uid, "there is swap, and slurmd has no scope to look into"),
        (Seen::Unseen(reason), _) => unseen(facts.uid, reason),
    }]
}

fn hugetlb(facts: &Facts) -> Vec<Verdict> {
    vec![match (&facts.kernel.huge_pages, &facts.kernel.controllers) {
        (Seen::Is(0) | Seen::Absent, _) => ok("none are set aside"),
        (Seen::Is(pages), Seen::Is(list)) if missing(list, &["hugetlb"]).is_empty() => {
            ok(format!("{pages} are set aside, and hugetlb is there"))
        }
        (Seen::Is(pages), _) => warning(format!("{pages} are set aside, and there is no hugetlb controller")),
        (Seen::Unseen(reason), _) => unseen(facts.uid, reason),
    }]
}

fn pressure(facts: &Facts) -> Vec<Verdict> {
    vec![match &facts.kernel.pressure {
        Seen::Is(_) => ok("there"),
        Seen::Absent => note("absent"),
        Seen::Unseen(reason) => unseen(facts.uid, reason),
    }]
}

fn user_namespaces(facts: &Facts) -> Vec<Verdict> {
    let zero = |value: &Seen<String>| value.is().is_some_and(|value| value == "0");
    vec![match (&facts.kernel.userns_clone, &facts.kernel.max_userns) {
        (clone, most) if zero(clone) || zero(most) => ok("none for users"),
        (_, Seen::Is(most)) => note(format!("users may make them (user.max_user_namespaces = {most})")),
        (_, Seen::Absent) => ok("the kernel has none"),
        (_, Seen::Unseen(reason)) => unseen(facts.uid, reason),
    }]
}
