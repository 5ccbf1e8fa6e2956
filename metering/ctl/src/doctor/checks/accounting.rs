//! slurm.conf: what the bill rests on.

use super::Check;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Verdict, error, note, ok, warning};
use crate::doctor::machine::Seen;
use crate::doctor::slurm::{File, has, items, plugin, yes};

/// Each of them makes Slurm ask for an association.
const ENFORCING: [&str; 6] = ["associations", "limits", "qos", "safe", "wckeys", "all"];

pub const CHECKS: &[Check] = &[
    Check {
        id: "accounting-storage",
        subject: "AccountingStorageType",
        wanted: "AccountingStorageType=accounting_storage/slurmdbd",
        why: "without slurmdbd accounts are not real: any user may name any account, and another tenant pays",
        fix: "set up slurmdbd, and write AccountingStorageType=accounting_storage/slurmdbd and AccountingStorageEnforce=associations,limits",
        look: |facts| {
            judge(facts, "AccountingStorageType", |value| match value.map(plugin).as_deref() {
                Some("slurmdbd") => ok(""),
                _ => error("accounts are not real"),
            })
        },
    },
    Check {
        id: "accounting-enforce",
        subject: "AccountingStorageEnforce",
        wanted: "associations among AccountingStorageEnforce",
        why: "without it `-A anything` is accepted: a user puts his jobs on another tenant's bill and into its share",
        fix: "write AccountingStorageEnforce=associations,limits, then restart slurmctld",
        look: enforce,
    },
    Check {
        id: "job-acct-gather",
        subject: "JobAcctGatherType",
        wanted: "JobAcctGatherType=jobacct_gather/cgroup",
        why: "Slurm's own figures are what the bill can be compared with; those of jobacct_gather/linux miss what ended between two looks",
        fix: "write JobAcctGatherType=jobacct_gather/cgroup, then restart slurmd",
        look: |facts| {
            judge(facts, "JobAcctGatherType", |value| match value.map(plugin).as_deref() {
                Some("cgroup") => ok(""),
                _ => note("sacct has no figures of the kernel's to compare with"),
            })
        },
    },
    Check {
        id: "job-acct-params",
        subject: "JobAcctGatherParams",
        wanted: "no OverMemoryKill",
        why: "with it slurmd ends jobs by its own sampled sums, next to the kernel's limits",
        fix: "take OverMemoryKill out of JobAcctGatherParams; ConstrainRAMSpace=yes holds the limit",
        look: |facts| {
            judge(
                facts,
                "JobAcctGatherParams",
                |value| {
                    if has(value, "overmemorykill") { note("") } else { ok("") }
                },
            )
        },
    },
    Check {
        id: "select-type-parameters",
        subject: "SelectTypeParameters",
        wanted: "memory as a consumable: CR_Core_Memory, CR_CPU_Memory, CR_Socket_Memory or CR_Memory",
        why: "otherwise no job is allocated memory: the bill's memory allocation is empty, and jobs crowd each other out",
        fix: "write SelectTypeParameters=CR_Core_Memory and a DefMemPerCPU, then restart slurmctld",
        look: |facts| {
            judge(facts, "SelectTypeParameters", |value| {
                let memory = value.is_some_and(|list| items(list).any(|item| item.ends_with("_memory")));
                if memory { ok("") } else { warning("memory is not allocated") }
            })
        },
    },
    Check {
        id: "over-subscribe",
        subject: "OverSubscribe of partitions",
        wanted: "OverSubscribe=NO, or EXCLUSIVE",
        why: "where jobs share CPUs each is allocated them in full: bills by allocation count them more than once",
        fix: "write OverSubscribe=NO in the partition's line, or bill its jobs by use",
        look: over_subscribe,
    },
    Check {
        id: "exclusive-user",
        subject: "ExclusiveUser of partitions",
        wanted: "nothing: it is good to know",
        why: "a node holds one user's jobs at a time; what stays free of it is nobody's, and on nobody's bill",
        fix: "bill such a partition by whole nodes, if it shall not be lost",
        look: exclusive_user,
    },
];

fn judge(facts: &Facts, key: &str, judge: impl FnOnce(Option<&str>) -> Verdict) -> Vec<Verdict> {
    facts.slurm.judge(facts.uid, File::Slurm, key, judge)
}

fn enforce(facts: &Facts) -> Vec<Verdict> {
    judge(facts, "AccountingStorageEnforce", |value| {
        if !ENFORCING.iter().any(|word| has(value, word)) {
            return error("any account is accepted");
        }
        let unrecorded: Vec<_> = ["nojobs", "nosteps"].into_iter().filter(|word| has(value, word)).collect();
        match unrecorded.as_slice() {
            [] => ok(""),
            _ => note("sacct has no records to compare the bill with").fix("take nojobs and nosteps out"),
        }
    })
}

/// A verdict for each partition's value that calls for one.
fn partitions(facts: &Facts, key: &str, notable: impl Fn(&str) -> bool) -> Vec<Verdict> {
    // slurm-conf says what could not be read.
    let Seen::Is(conf) = &facts.slurm.conf else { return Vec::new() };
    let found: Vec<_> = conf
        .of_each("partitionname", key)
        .filter(|entry| notable(&entry.value))
        .map(|entry| {
            let name = entry.of.as_ref().map_or("?", |(_, name)| name);
            note(format!("partition {name}: {key}={}", entry.value)).at(entry.place.clone())
        })
        .collect();
    if found.is_empty() { vec![ok("in no partition")] } else { found }
}

fn over_subscribe(facts: &Facts) -> Vec<Verdict> {
    partitions(facts, "OverSubscribe", |value| {
        let value = value.to_lowercase();
        value.starts_with("force") || value.starts_with("yes")
    })
}

fn exclusive_user(facts: &Facts) -> Vec<Verdict> {
    partitions(facts, "ExclusiveUser", |value| yes(Some(value)))
}
