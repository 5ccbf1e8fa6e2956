//! slurm.conf: how jobs start and end.

use super::Check;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Verdict, note, ok, warning};
use crate::doctor::slurm::{File, has, seconds, yes};

/// How long the epilog waits for a killed job's processes to be gone, in seconds, with some to spare for
/// reading the counters and keeping them.
const EPILOG_NEEDS: u64 = 45;
/// The script that a site with `RunInJob` names as Prolog.
const OUR_PROLOG: &str = "tenantry-prolog";
/// Slurm's "no limit" where a number of seconds stands in 16 bits.
const INFINITE: u64 = 65_534;

pub const CHECKS: &[Check] = &[
    Check {
        id: "prolog-flags",
        subject: "PrologFlags",
        wanted: "PrologFlags=Contain; with RunInJob also Prolog=/usr/lib/tenantry/tenantry-prolog",
        why: "with Contain each job has its group from its allocation on, and logins have one to be adopted into; RunInJob keeps SPANK's prologs from running, and then only that Prolog puts a job under its tenant",
        fix: "write PrologFlags=Contain, then restart slurmctld and slurmd",
        look: prolog_flags,
    },
    Check {
        id: "prolog-epilog-timeout",
        subject: "PrologEpilogTimeout",
        wanted: "no limit, or 45 and more seconds",
        why: "the epilog waits up to 30 s for a job's killed processes to be gone; cut off before, it leaves the job's end to be closed later, and slurmd drains the node",
        fix: "write PrologEpilogTimeout=120, or take the line out",
        look: |facts| {
            judge(facts, "PrologEpilogTimeout", |value| match value.and_then(seconds) {
                None | Some(0 | INFINITE..) => ok(""),
                Some(limit) if limit >= EPILOG_NEEDS => ok(""),
                Some(_) => warning("shorter than an epilog may take"),
            })
        },
    },
    Check {
        id: "batch-start-timeout",
        subject: "BatchStartTimeout",
        wanted: "45 and more seconds",
        why: "a prolog that finds a killed job of the same id waits up to 30 s for it; slurmctld may give the new job up meanwhile, and requeue it",
        fix: "write BatchStartTimeout=60",
        look: |facts| {
            judge(facts, "BatchStartTimeout", |value| match value.and_then(seconds).unwrap_or(10) {
                EPILOG_NEEDS.. => ok(""),
                _ => note("shorter than a prolog may take, in the rarest case"),
            })
        },
    },
    Check {
        id: "unkillable-step-timeout",
        subject: "UnkillableStepTimeout",
        wanted: "60 and more seconds",
        why: "a step that slurmd gives up as unkillable drains the node; a busy file system holds processes for a while after their kill",
        fix: "write UnkillableStepTimeout=120",
        look: |facts| {
            judge(facts, "UnkillableStepTimeout", |value| match value.and_then(seconds).unwrap_or(60) {
                60.. => ok(""),
                _ => warning("shorter than Slurm's default"),
            })
        },
    },
    Check {
        id: "kill-on-bad-exit",
        subject: "KillOnBadExit",
        wanted: "KillOnBadExit=1",
        why: "where one node refuses a step's tasks, those on other nodes run on, and are billed, until they notice",
        fix: "write KillOnBadExit=1",
        look: |facts| judge(facts, "KillOnBadExit", |value| if yes(value) { ok("") } else { note("") }),
    },
];

fn judge(facts: &Facts, key: &str, judge: impl FnOnce(Option<&str>) -> Verdict) -> Vec<Verdict> {
    facts.slurm.judge(facts.uid, File::Slurm, key, judge)
}

fn prolog_flags(facts: &Facts) -> Vec<Verdict> {
    judge(facts, "PrologFlags", |flags| {
        // X11 and RunInJob bring Contain, and Contain brings Alloc.
        let contains = ["contain", "x11", "runinjob"].iter().any(|flag| has(flags, flag));
        if has(flags, "runinjob") {
            match facts.slurm.prolog_named(OUR_PROLOG) {
                Some(named) => ok(format!("and Prolog={named}")),
                None => warning("no SPANK prolog runs, and no Prolog puts jobs under their tenants").fix(
                    "write Prolog=/usr/lib/tenantry/tenantry-prolog, or call it from yours, then restart slurmctld and slurmd; or take RunInJob out of PrologFlags",
                ),
            }
        } else if contains {
            ok("")
        } else if has(flags, "alloc") {
            note("a job has no group of its own before its first step")
        } else {
            warning("the prolog runs with the first step: an allocation without one is not seen")
        }
    })
}
