//! How systemd runs slurmd: what of it would keep the graft from being seen where it must be.

use std::path::Path;

use super::Check;
use crate::doctor::facts::{Facts, Properties, Slurmd};
use crate::doctor::finding::{Place, Verdict, error, note, ok, unseen, warning};
use crate::doctor::machine::Seen;
use crate::doctor::mounts;

/// Settings that give a unit a mount namespace of its own, and the value that does not.
const PRIVATE: [(&str, &str); 9] = [
    ("PrivateTmp", "no"),
    ("PrivateMounts", "no"),
    ("PrivateDevices", "no"),
    ("ProtectSystem", "no"),
    ("ProtectHome", "no"),
    ("ProtectKernelTunables", "no"),
    ("ProtectKernelModules", "no"),
    ("InaccessiblePaths", ""),
    ("ReadOnlyPaths", ""),
];

pub const CHECKS: &[Check] = &[
    Check {
        id: "slurmd-unit",
        subject: "slurmd",
        wanted: "an active unit",
        why: "what follows is asked of the running slurmd",
        fix: "systemctl status slurmd",
        look: unit,
    },
    Check {
        id: "slurmd-control-groups",
        subject: "ProtectControlGroups of slurmd",
        wanted: "ProtectControlGroups=no",
        why: "with it cgroups are read-only to slurmd: neither it nor the prolog can make a group",
        fix: "in `systemctl edit slurmd` write [Service] ProtectControlGroups=no, then restart slurmd",
        look: control_groups,
    },
    Check {
        id: "slurmd-namespace",
        subject: "slurmd's mount namespace",
        wanted: "the machine's own: no PrivateTmp, PrivateMounts, ProtectSystem or the like",
        why: "a graft is a mount; in a namespace of slurmd's own it is unseen by the warden and gone when slurmd restarts, and its jobs then run outside their tenants",
        fix: "take the settings out (`systemctl edit slurmd`), then restart slurmd",
        look: namespace,
    },
    Check {
        id: "slurmd-propagation",
        subject: "mount propagation of /sys/fs/cgroup",
        wanted: "shared, and one peer group for slurmd and the first process",
        why: "what the prolog mounts must be seen by steps, by a restarted slurmd and by the warden",
        fix: "mount --make-shared /sys/fs/cgroup, take MountFlags= out of slurmd's unit, then restart slurmd",
        look: propagation,
    },
    Check {
        id: "slurmd-delegate",
        subject: "Delegate of slurmd",
        wanted: "Delegate=yes",
        why: "without it systemd may take controllers back and move processes in slurmd's groups, at a daemon-reload for one",
        fix: "in `systemctl edit slurmd` write [Service] Delegate=yes, then restart slurmd",
        look: |facts| property(facts, "Delegate", |value| if value == "yes" { ok("") } else { warning("") }),
    },
    Check {
        id: "slurmd-kill-mode",
        subject: "KillMode of slurmd",
        wanted: "KillMode=process",
        why: "otherwise a restart of slurmd ends what stands in its unit's group with it",
        fix: "in `systemctl edit slurmd` write [Service] KillMode=process",
        look: |facts| {
            property(facts, "KillMode", |value| if value == "process" { ok("") } else { warning("") })
        },
    },
    Check {
        id: "slurmd-unit-user",
        subject: "User of slurmd's unit",
        wanted: "root: no User=",
        why: "groups are made and mounted as root",
        fix: "take User= out of slurmd's unit",
        look: |facts| {
            property(
                facts,
                "User",
                |value| if matches!(value, "" | "root" | "0") { ok("") } else { error("") },
            )
        },
    },
];

fn unit(facts: &Facts) -> Vec<Verdict> {
    match &facts.units {
        Seen::Is(_) if facts.slurmds.is_empty() => {
            vec![note("no unit of slurmd is active: this is no compute node, or slurmd is down")]
        }
        Seen::Is(_) => facts.slurmds.iter().map(|slurmd| ok(format!("{} is active", slurmd.unit))).collect(),
        Seen::Absent => vec![unseen(facts.uid, "no systemctl").fix("look at how slurmd is started by hand")],
        Seen::Unseen(reason) => vec![unseen(facts.uid, reason)],
    }
}

/// Each active slurmd with its unit's properties.
fn active(facts: &Facts) -> impl Iterator<Item = (&Slurmd, &Properties)> {
    facts.slurmds.iter().filter_map(|slurmd| Some((slurmd, facts.units.is()?.get(&slurmd.unit)?)))
}

/// Where a setting stands; the unit's file where it stands nowhere.
fn place(slurmd: &Slurmd, unit: &Properties, key: &str) -> Option<Place> {
    let file = unit.get("FragmentPath").filter(|path| !path.is_empty());
    slurmd.places.get(key).cloned().or_else(|| file.map(|path| Place::file(Path::new(path))))
}

fn property(facts: &Facts, key: &str, judge: impl Fn(&str) -> Verdict) -> Vec<Verdict> {
    let judged = active(facts).map(|(slurmd, unit)| match unit.get(key) {
        Some(value) => {
            let verdict = judge(value);
            Verdict { found: format!("{}: {key}={value}", slurmd.unit), ..verdict }
                .at(place(slurmd, unit, key))
        }
        None => unseen(facts.uid, &format!("systemctl does not tell {key} of {}", slurmd.unit)),
    });
    judged.collect()
}

fn control_groups(facts: &Facts) -> Vec<Verdict> {
    property(facts, "ProtectControlGroups", |value| if value == "no" { ok("") } else { error("") })
}

fn namespace(facts: &Facts) -> Vec<Verdict> {
    let judged = active(facts).map(|(slurmd, unit)| {
        let set: Vec<(&str, String)> = PRIVATE
            .iter()
            .filter_map(|(key, free)| Some((key, free, unit.get(*key)?)))
            .filter(|(_, free, value)| value != *free)
            .map(|(key, _, value)| (*key, format!("{key}={value}")))
            .collect();
        let Some((first, _)) = set.first() else {
            return ok(format!("{}: the machine's", slurmd.unit));
        };
        let by: Vec<_> = set.iter().map(|(_, setting)| setting.as_str()).collect();
        error(format!("{}: one of its own, by {}", slurmd.unit, by.join(" "))).at(place(slurmd, unit, first))
    });
    judged.collect()
}

fn propagation(facts: &Facts) -> Vec<Verdict> {
    const AT: &str = "/sys/fs/cgroup";
    let judged = facts.slurmds.iter().map(|slurmd| {
        let own = match (&slurmd.mounts, &facts.init_mounts) {
            (Seen::Is(own), Seen::Is(init)) => (mounts::at(own, AT), mounts::at(init, AT)),
            (Seen::Unseen(reason), _) | (_, Seen::Unseen(reason)) => return unseen(facts.uid, reason),
            _ => return unseen(facts.uid, &format!("no mountinfo of {}", slurmd.unit)),
        };
        let name = &slurmd.unit;
        let verdict = match own {
            (Some(own), Some(init)) => match (&own.shared, &init.shared) {
                (Some(own), Some(init)) if own == init => ok(format!("{name}: shared, group {own}")),
                (Some(own), Some(init)) => {
                    error(format!("{name}: group {own}, the first process has group {init}"))
                }
                (None, Some(_)) => error(format!("{name}: not shared; its mounts reach nobody")),
                (_, None) => warning("the first process has it private: mounts reach no other namespace"),
            },
            _ => error(format!("{name}: {AT} is not mounted for slurmd and the first process both")),
        };
        verdict.at(Place::file(Path::new(AT)))
    });
    judged.collect()
}
