//! Runs of jobs: told, read, ended.

use tenantry_model::block::Registered;
use tenantry_model::job::{Incarnation, JobEnd, Quality};
use tenantry_model::reading::Reading;
use tenantry_model::usage::UsageRecord;
use tenantry_model::{BootId, Moment, Usec};
use tenantry_usage::{Run as SoFar, corrections, record_of_end};

use super::{Plan, Run, Running, UsageRow, run_name};
use crate::{AuditKind, StoreError, column};

impl Plan<'_> {
    /// A job that readings name, or what is newly known of its allocation.
    pub(super) fn registered(&mut self, told: &Registered) {
        let run = &told.registration.incarnation;
        if self.is_passed_over(run) {
            return;
        }
        let mut running = self.take_running(run);
        running.registration = Some(told.registration.clone());
        running.allocation = told.allocation.or(running.allocation);
        self.keep(run, running);
    }

    /// Only later readings count, and none comes back after the job's end.
    pub(super) fn running(&mut self, run: &Incarnation, readings: &[Reading]) -> Result<(), StoreError> {
        if self.is_passed_over(run) {
            return Ok(());
        }
        for reading in readings.iter().filter(|reading| i64::try_from(reading.counters.bits()).is_err()) {
            for (metric, figure) in reading.counters.iter() {
                column(metric.info().key, figure)?;
            }
        }
        let width = self.arrival.width;
        let sequence = self.arrival.sent.key().sequence;
        let mut running = self.take_running(run);
        let mut latest: Option<&Reading> = None;
        for reading in readings {
            let last = latest.or(running.reading.as_ref());
            if last.is_some_and(|last| reading.at.boottime_usec <= last.at.boottime_usec) {
                continue;
            }
            let registration = running.registration.as_ref();
            let so_far = running.so_far.get_or_insert_with(|| match registration {
                Some(registration) => SoFar::new(registration.began, width),
                None => SoFar::first_read(run.began, reading.at, width),
            });
            so_far.read(reading, sequence);
            latest = Some(reading);
        }
        if let Some(latest) = latest {
            running.reading = Some(latest.clone());
        }
        let told = running.registration.as_ref().zip(running.reading.as_ref());
        if let (Some((registration, last)), Some(so_far)) = (told, running.so_far.as_mut()) {
            so_far.pass(registration, running.allocation.as_ref(), last.at, sequence);
            let due = so_far.due(registration, last.at.wall);
            self.windows(run, 1, due);
        }
        self.keep(run, running);
        Ok(())
    }

    /// A run's first end is its record. The same again changes nothing (a daemon killed between
    /// its spool and its outbox sends an end twice); one of a better quality is a new revision;
    /// any other is kept as evidence in its block, and audited.
    pub(super) fn end(&mut self, end: &JobEnd) {
        let run = &end.registration.incarnation;
        if self.is_foreign(run) {
            self.changes.repeatable = false;
            return;
        }
        let latest = self.facts.runs.get(run).and_then(|run| run.latest.as_deref());
        let Some((revision, kept)) = latest.cloned() else {
            let so_far = self.take_running(run).so_far;
            self.first_end(end, so_far);
            self.forget(run);
            return;
        };
        self.changes.repeatable = false;
        // What its readings added up to is in the first record; without them the rest is the same.
        let record = UsageRecord {
            memory_mib_seconds: kept.memory_mib_seconds,
            memory_mib_seconds_bound: kept.memory_mib_seconds_bound,
            interpolated_usec: kept.interpolated_usec,
            cpu_energy_mj: kept.cpu_energy_mj,
            gpu_energy_mj: kept.gpu_energy_mj,
            gpu_energy_known_usec: kept.gpu_energy_known_usec,
            gpu_busy_usec: kept.gpu_busy_usec,
            gpu_busy_known_usec: kept.gpu_busy_known_usec,
            gpu_memory_peak_bytes: kept.gpu_memory_peak_bytes,
            ..record_of_end(end, None)
        };
        if kept == record {
            return;
        }
        let subject = run_name(run);
        let detail = format!(
            "{:?} is kept, {:?} came in block {}",
            kept.quality,
            record.quality,
            self.arrival.sent.key()
        );
        if worth(record.quality) <= worth(kept.quality) {
            self.audit(AuditKind::EndConflict, subject, detail);
            return;
        }
        let revision = revision.saturating_add(1);
        self.windows(run, revision, corrections(&kept, end, self.arrival.width, self.sequence_in(run)));
        self.record(run, revision, record);
        self.audit(AuditKind::EndCorrected, subject, detail);
    }

    /// The node went down without a word: what still ran there is closed with its latest reading,
    /// marked estimated. `last` is when its last block was closed; it went down after that, and
    /// before the boot that this block is of.
    pub(super) fn close_boot(&mut self, boot_id: &BootId, last: Moment) {
        self.changes.repeatable = false;
        if self.facts.foreign.contains(boot_id) {
            let subject = format!("boot {boot_id}");
            let detail = format!("block {} ends it, and it is another node's", self.arrival.sent.key());
            self.audit(AuditKind::ForeignRun, subject, detail);
            return;
        }
        let closed = self.arrival.sent.closed();
        let booted = closed.wall.unix_usec().saturating_sub_unsigned(closed.boottime_usec.0);
        let of_boot = self.facts.runs.keys().filter(|run| run.boot_id == *boot_id);
        for run in of_boot.cloned().collect::<Vec<_>>() {
            let state = self.facts.runs.entry(run.clone()).or_default();
            let told = state.running.take_if(|running| running.registration.is_some());
            let Some(Running { registration: Some(registration), allocation, reading, so_far }) =
                told.map(|running| *running)
            else {
                continue;
            };
            let ended = reading.as_ref().map_or(registration.began, |reading| reading.at);
            let quality = if reading.is_some() { Quality::Estimated } else { Quality::Gap };
            let unmeasured = booted.saturating_sub(ended.wall.unix_usec());
            let unmeasured_usec = u64::try_from(unmeasured).ok().map(Usec);
            let end =
                JobEnd { registration, allocation, reading, steps: None, ended, quality, unmeasured_usec };
            if state.latest.is_none() {
                self.first_end(&end, so_far);
                let detail = format!("its node went down between {} and its next boot", last.wall);
                self.audit(AuditKind::EndEstimated, run_name(&run), detail);
            }
            self.forget(&run);
        }
    }

    /// A node speaks of its own boots. One that speaks of another's is not believed, and the block says who.
    fn is_foreign(&mut self, run: &Incarnation) -> bool {
        if !self.facts.foreign.contains(&run.boot_id) {
            return false;
        }
        let subject = run_name(run);
        if !self.changes.audit.iter().any(|event| event.subject == subject) {
            let detail =
                format!("block {} speaks of it, and its boot is another node's", self.arrival.sent.key());
            self.audit(AuditKind::ForeignRun, subject, detail);
        }
        true
    }

    /// What is told of it changes nothing.
    fn is_passed_over(&mut self, run: &Incarnation) -> bool {
        let passed_over = self.has_ended(run) || self.is_foreign(run);
        self.changes.repeatable &= !passed_over;
        passed_over
    }

    fn has_ended(&self, run: &Incarnation) -> bool {
        self.facts.runs.get(run).is_some_and(|run| run.latest.is_some())
    }

    fn take_running(&mut self, run: &Incarnation) -> Box<Running> {
        self.facts.runs.get_mut(run).and_then(|run| run.running.take()).unwrap_or_default()
    }

    fn keep(&mut self, run: &Incarnation, running: Box<Running>) {
        // Nearly always it is there: a name is three allocations.
        if let Some(state) = self.facts.runs.get_mut(run) {
            (state.running, state.changed) = (Some(running), true);
        } else {
            self.facts.runs.insert(run.clone(), Run { changed: true, ..Run::running(running) });
        }
    }

    fn forget(&mut self, run: &Incarnation) {
        let state = self.facts.runs.entry(run.clone()).or_default();
        (state.running, state.changed) = (None, true);
    }

    /// A run's record, and the rows of its windows that were not due before.
    fn first_end(&mut self, end: &JobEnd, so_far: Option<SoFar>) {
        let run = &end.registration.incarnation;
        let so_far = so_far.unwrap_or_else(|| SoFar::new(end.registration.began, self.arrival.width));
        let (record, rows) = so_far.end(end, self.sequence_in(run));
        self.windows(run, 1, rows);
        self.record(run, 1, record);
    }

    /// The block's sequence, where it is of the run's boot.
    fn sequence_in(&self, run: &Incarnation) -> Option<u64> {
        let key = self.arrival.sent.key();
        (key.boot_id == run.boot_id).then_some(key.sequence)
    }

    fn record(&mut self, run: &Incarnation, revision: i64, record: UsageRecord) {
        self.cpu_time(run, &record);
        self.changes.usage.push(UsageRow { run: run.clone(), revision, record: record.clone() });
        let state = self.facts.runs.entry(run.clone()).or_default();
        state.latest = Some(Box::new((revision, record)));
        state.running = None;
    }
}

fn worth(quality: Quality) -> u8 {
    match quality {
        Quality::Gap => 0,
        Quality::Estimated => 1,
        Quality::Exact => 2,
    }
}
