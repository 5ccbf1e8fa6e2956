//! Runs of ours beside Slurm's, and why they differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use tenantry_model::usage::{UsageRecord, UsageState};
use tenantry_model::{JobId, Usec, WallTime};
use tenantry_usage::Sum;

use super::sacct::SlurmRun;
use crate::jobs::runs;

/// What is compared, and within which bounds a cause is believed.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Runs that ended in this time.
    pub from: Option<WallTime>,
    pub to: Option<WallTime>,
    /// By how much of the kernel's figure Slurm's may be more, in percent: it adds up what the kernel tells of
    /// each process, in clock ticks.
    pub tick_percent: u64,
}

/// slurmctld's time and the node's own differ by starts, prologs and epilogs; by more than this: something else.
const SLACK: Usec = Usec(60_000_000);

/// Below this Slurm's figures are not told apart: it writes milliseconds, and counts ticks.
const TICK: u64 = 10_000;

/// Pages that a process uses and another group has charged.
const SHARED_PAGES: u64 = 4 << 20;

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Run,
    CpuTimeUsec,
    MemoryPeakBytes,
    ElapsedUsec,
    AllocatedCpus,
}

macro_rules! causes {
    ($($name:ident $explained:literal $text:literal;)+) => {
        /// Why.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Cause { $(#[doc = $text] $name,)+ }

        impl Cause {
            pub fn is_explained(self) -> bool {
                match self { $(Self::$name => $explained,)+ }
            }

            pub fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

causes! {
    NeverRan true "the job never had a node";
    StillRunning true "the run is not over on one of the sides yet";
    Refused true "refused before its program: no group of it was made, so there is nothing to read";
    SlurmsOwn true "Slurm's own processes in the job are in the group's time, and not in Slurm's figure";
    NotWaitedFor true "Slurm adds up processes that its tasks waited for: killed and detached ones are not in it";
    Ticks true "Slurm adds up each process's time in clock ticks; the kernel's group counts microseconds";
    PageCache true "memory.peak has page cache, kernel memory and Slurm's processes; Slurm samples, and by task";
    SharedPages true "pages that another group has charged are in a task's RSS";
    PrologAndEpilog true "slurmctld's whole seconds beside the node's own, from prolog to epilog";
    Suspended true "Slurm leaves suspended time out; the node was not free meanwhile";
    Estimated true "the run's last reading closed it: its node went down, or its counters were lost";
    NotRecorded false "Slurm has it, and no record is here: metered nodes only? see the gaps of tenantry usage --format json";
    NotInSlurm false "a record is here, and Slurm has no such run: purged, or sacct was asked for another cluster or time";
    MoreInSlurm false "Slurm has more than the kernel counted of the whole group";
    Times false "the times differ by more than prolog, epilog and rounding";
    Allocation false "the CPUs that the node was told differ from Slurm's";
    Lacking false "the record lacks the figure";
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub job_id: JobId,
    pub restart_count: Option<u32>,
    pub kind: Kind,
    /// In the unit of the kind; `None`: not there.
    pub ours: Option<u128>,
    pub slurm: Option<u128>,
    pub cause: Cause,
    pub explained: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Runs that are on both sides, and have ended.
    pub compared: usize,
    /// CPU time of those: of their groups, of their steps' tasks, and Slurm's, in microseconds.
    pub cpu_usage_usec: u128,
    pub steps_cpu_usec: u128,
    pub slurm_cpu_usec: u128,
    pub explained: usize,
    pub unexplained: usize,
    pub differences: Vec<Difference>,
}

/// A run of ours, over its nodes.
struct Ours<'a> {
    records: Vec<&'a UsageRecord>,
    began: WallTime,
    ended: WallTime,
}

/// Holds the records against Slurm's runs.
pub fn compare(records: &[UsageRecord], slurm: &[SlurmRun], bounds: Bounds) -> Comparison {
    let mut ours: BTreeMap<JobId, Vec<Ours>> = BTreeMap::new();
    for records in runs(records) {
        let began = records.iter().map(|record| record.began).min();
        let ended = records.iter().map(|record| record.ended).max();
        if let (Some(job), Some((began, ended))) = (records.first(), began.zip(ended)) {
            ours.entry(job.job_id).or_default().push(Ours { records, began, ended });
        }
    }
    let mut done = Comparison {
        compared: 0,
        cpu_usage_usec: 0,
        steps_cpu_usec: 0,
        slurm_cpu_usec: 0,
        explained: 0,
        unexplained: 0,
        differences: Vec::new(),
    };
    let mut by_job: BTreeMap<JobId, Vec<&SlurmRun>> = BTreeMap::new();
    for run in slurm {
        by_job.entry(run.job_id).or_default().push(run);
    }
    let jobs: BTreeSet<JobId> = ours.keys().chain(by_job.keys()).copied().collect();
    for job in jobs {
        let mut ours = ours.remove(&job).unwrap_or_default();
        let mut slurm = by_job.remove(&job).unwrap_or_default();
        slurm.sort_by_key(|run| run.start);
        for theirs in slurm {
            // Of several runs, the one that overlaps it longest.
            let place = (0..ours.len()).max_by_key(|place| ours.get(*place).map(|run| overlap(run, theirs)));
            let place =
                place.filter(|place| ours.get(*place).is_some_and(|run| overlap(run, theirs).is_some()));
            let own = place.map(|place| ours.remove(place));
            if bounds.holds(theirs.end.or(own.as_ref().map(|own| own.ended))) {
                match &own {
                    Some(own) => pair(&mut done, own, theirs, bounds),
                    None => done.missing(theirs),
                }
            }
        }
        for own in ours.iter().filter(|own| bounds.holds(Some(own.ended))) {
            let running = own.records.iter().any(|record| record.state == UsageState::Running);
            let cause = if running { Cause::StillRunning } else { Cause::NotInSlurm };
            done.add(
                job,
                own.records.first().and_then(|record| record.restart_count),
                Kind::Run,
                Some(1),
                None,
                cause,
            );
        }
    }
    done
}

/// For how long two runs went on together, in microseconds; `None`: not at all.
fn overlap(ours: &Ours<'_>, slurm: &SlurmRun) -> Option<i64> {
    let slack = i64::try_from(SLACK.0).ok()?;
    let start = slurm.start?.unix_usec().saturating_sub(slack);
    let end = slurm.end.map_or(i64::MAX, |end| end.unix_usec().saturating_add(slack));
    let together = ours.ended.unix_usec().min(end).saturating_sub(ours.began.unix_usec().max(start));
    (together >= 0).then_some(together)
}

impl Bounds {
    fn holds(&self, ended: Option<WallTime>) -> bool {
        ended.is_none_or(|ended| {
            self.from.is_none_or(|from| ended >= from) && self.to.is_none_or(|to| ended < to)
        })
    }
}

impl Comparison {
    fn add(
        &mut self,
        job_id: JobId,
        restart_count: Option<u32>,
        kind: Kind,
        ours: Option<u128>,
        slurm: Option<u128>,
        cause: Cause,
    ) {
        let explained = cause.is_explained();
        let count = if explained { &mut self.explained } else { &mut self.unexplained };
        *count = count.saturating_add(1);
        self.differences.push(Difference { job_id, restart_count, kind, ours, slurm, cause, explained });
    }

    fn missing(&mut self, slurm: &SlurmRun) {
        let cause = match slurm.end {
            // A job that was cancelled in the queue, or is in it still.
            _ if slurm.start.is_none() || slurm.elapsed == Some(Usec(0)) => Cause::NeverRan,
            None => Cause::StillRunning,
            Some(_) => Cause::NotRecorded,
        };
        self.add(slurm.job_id, None, Kind::Run, None, Some(1), cause);
    }
}

fn pair(done: &mut Comparison, ours: &Ours<'_>, slurm: &SlurmRun, bounds: Bounds) {
    let restarts = ours.records.first().and_then(|record| record.restart_count);
    let mut add = |kind, own, theirs, cause| done.add(slurm.job_id, restarts, kind, own, theirs, cause);
    let running = ours.records.iter().any(|record| record.state == UsageState::Running);
    if running || slurm.end.is_none() {
        return add(Kind::Run, Some(1), Some(1), Cause::StillRunning);
    }
    let elapsed =
        ours.records.iter().filter_map(|record| record.elapsed_usec).max().map(|time| u128::from(time.0));
    let theirs = slurm.elapsed.map(|time| u128::from(time.0));
    if let Some(cause) = times(elapsed, slurm) {
        add(Kind::ElapsedUsec, elapsed, theirs, cause);
    }
    let refused =
        ours.records.iter().all(|record| record.tenant.is_none() && record.cpu_usage_usec.is_none());
    let sum = |figure: fn(&UsageRecord) -> Option<u64>| {
        let all = ours.records.iter().try_fold(Sum::default(), |sum, record| sum.with(figure(record)));
        all.filter(|sum| sum.lacking == 0).map(|sum| sum.known)
    };
    let cpus = sum(|record| record.allocated_cpus.map(u64::from));
    if !refused && cpus != slurm.allocated_cpus.map(u128::from) {
        add(Kind::AllocatedCpus, cpus, slurm.allocated_cpus.map(u128::from), Cause::Allocation);
    }
    let estimated = ours.records.iter().any(|record| record.unmeasured_usec != Some(Usec(0)));
    let group = sum(|record| record.cpu_usage_usec.map(|time| time.0));
    let steps = sum(|record| record.steps_cpu_usec.map(|time| time.0));
    let cpu = slurm.cpu.map_or(0, |time| u128::from(time.0));
    let cause = match group {
        None if refused => Some(Cause::Refused),
        None if estimated => Some(Cause::Estimated),
        None => Some(Cause::Lacking),
        Some(group) => cpu_time(group, steps, cpu, bounds).map(|cause| match cause {
            Cause::MoreInSlurm if estimated => Cause::Estimated,
            cause => cause,
        }),
    };
    if let Some(cause) = cause {
        add(Kind::CpuTimeUsec, group, slurm.cpu.map(|time| time.0.into()), cause);
    }
    let peak = ours.records.iter().filter_map(|record| record.memory_peak_bytes).max().map(|peak| peak.0);
    if let Some((peak, theirs)) =
        peak.zip(slurm.max_rss.map(|rss| rss.0)).filter(|(peak, theirs)| peak != theirs)
    {
        let cause = match theirs.checked_sub(peak) {
            None | Some(0) => Cause::PageCache,
            Some(more) if more <= SHARED_PAGES => Cause::SharedPages,
            Some(_) if estimated => Cause::Estimated,
            Some(_) => Cause::MoreInSlurm,
        };
        add(Kind::MemoryPeakBytes, Some(peak.into()), Some(theirs.into()), cause);
    }
    done.compared = done.compared.saturating_add(1);
    done.cpu_usage_usec = done.cpu_usage_usec.saturating_add(group.unwrap_or_default());
    done.steps_cpu_usec = done.steps_cpu_usec.saturating_add(steps.unwrap_or_default());
    done.slurm_cpu_usec = done.slurm_cpu_usec.saturating_add(cpu);
}

/// Why Slurm's time is not the node's; `None`: it is, to the second.
fn times(elapsed: Option<u128>, slurm: &SlurmRun) -> Option<Cause> {
    let (Some(elapsed), Some(theirs)) = (elapsed, slurm.elapsed) else { return Some(Cause::Lacking) };
    let suspended = u128::from(slurm.suspended.unwrap_or_default().0);
    let difference = elapsed.abs_diff(u128::from(theirs.0).saturating_add(suspended));
    match difference {
        _ if difference > u128::from(SLACK.0) => Some(Cause::Times),
        _ if suspended > 0 => Some(Cause::Suspended),
        _ if elapsed.abs_diff(theirs.0.into()) < 1_000_000 => None,
        _ => Some(Cause::PrologAndEpilog),
    }
}

/// Why Slurm's CPU time is not the group's; `None`: it is, to the tick.
fn cpu_time(group: u128, steps: Option<u128>, slurm: u128, bounds: Bounds) -> Option<Cause> {
    let tick = u128::from(TICK);
    if slurm.abs_diff(group) <= tick {
        return None;
    }
    if let Some(more) = slurm.checked_sub(group) {
        let percent = group.saturating_mul(bounds.tick_percent.into()).checked_div(100).unwrap_or_default();
        let within = more <= percent.saturating_add(tick.saturating_mul(10));
        return Some(if within { Cause::Ticks } else { Cause::MoreInSlurm });
    }
    // Less than the group's. What is less than the steps' tasks had is theirs.
    let lost = steps.and_then(|steps| steps.checked_sub(slurm)).unwrap_or_default();
    let percent = slurm.saturating_mul(bounds.tick_percent.into()).checked_div(100).unwrap_or_default();
    let rounding = percent.saturating_add(tick.saturating_mul(10));
    Some(if lost > rounding { Cause::NotWaitedFor } else { Cause::SlurmsOwn })
}

#[cfg(test)]
mod tests;
