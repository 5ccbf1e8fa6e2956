//! Runs of jobs: told, read, ended.

use tenantry_model::block::Registered;
use tenantry_model::job::{Incarnation, JobEnd, Quality};
use tenantry_model::reading::Reading;
use tenantry_model::usage::UsageRecord;
use tenantry_model::{BootId, Moment, Usec};
use tenantry_usage::{Integral, record_of_end};

use super::{Plan, Running, UsageRow, run_name};
use crate::{AuditKind, StoreError, column};

impl Plan<'_> {
    /// A job that readings name, or what is newly known of its allocation.
    pub(super) fn registered(&mut self, told: &Registered) {
        let run = &told.registration.incarnation;
        if self.has_ended(run) || self.is_foreign(run) {
            return;
        }
        let known = self.take_running(run);
        let running = Running {
            registration: Some(told.registration.clone()),
            allocation: told.allocation.or(known.allocation),
            ..known
        };
        self.keep(run, running);
    }

    /// Only later readings count, and none comes back after the job's end.
    pub(super) fn running(&mut self, run: &Incarnation, readings: &[Reading]) -> Result<(), StoreError> {
        if self.has_ended(run) || self.is_foreign(run) {
            return Ok(());
        }
        for (metric, figure) in readings.iter().flat_map(|reading| reading.counters.iter()) {
            column(metric.info().key, figure)?;
        }
        let mut running = self.take_running(run);
        for reading in readings {
            let later =
                running.reading.as_ref().is_none_or(|last| reading.at.boottime_usec > last.at.boottime_usec);
            if !later {
                continue;
            }
            // A run whose registration has not come begins where it is first read.
            let integral = running.integral.take().unwrap_or_else(|| {
                Integral::new(
                    running.registration.as_ref().map_or(reading.at, |registration| registration.began),
                )
            });
            running.integral = Some(integral.with(reading));
            running.reading = Some(reading.clone());
        }
        self.keep(run, running);
        Ok(())
    }

    /// A run's first end is its record. The same again changes nothing (a daemon killed between
    /// its spool and its outbox sends an end twice); one of a better quality is a new revision;
    /// any other is kept as evidence in its block, and audited.
    pub(super) fn end(&mut self, end: &JobEnd) -> Result<(), StoreError> {
        let run = &end.registration.incarnation;
        if self.is_foreign(run) {
            return Ok(());
        }
        let Some((revision, kept)) = self.facts.runs.get_mut(run).and_then(|run| run.latest.clone()) else {
            let integral = self.take_running(run).integral;
            self.record(run, 1, record_of_end(end, integral))?;
            self.changes.running.insert(run.clone(), None);
            return Ok(());
        };
        // What its readings added up to is in the first record; without them the rest is the same.
        let record = UsageRecord {
            memory_mib_seconds: kept.memory_mib_seconds,
            memory_mib_seconds_bound: kept.memory_mib_seconds_bound,
            interpolated_usec: kept.interpolated_usec,
            ..record_of_end(end, None)
        };
        if kept == record {
            return Ok(());
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
            return Ok(());
        }
        self.record(run, revision.saturating_add(1), record)?;
        self.audit(AuditKind::EndCorrected, subject, detail);
        Ok(())
    }

    /// The node went down without a word: what still ran there is closed with its latest reading,
    /// marked estimated. `last` is when its last block was closed; it went down after that, and
    /// before the boot that this block is of.
    pub(super) fn close_boot(&mut self, boot_id: &BootId, last: Moment) -> Result<(), StoreError> {
        if self.facts.foreign.contains(boot_id) {
            let subject = format!("boot {boot_id}");
            let detail = format!("block {} ends it, and it is another node's", self.arrival.sent.key());
            self.audit(AuditKind::ForeignRun, subject, detail);
            return Ok(());
        }
        let closed = self.arrival.sent.closed();
        let booted = closed.wall.unix_usec().saturating_sub_unsigned(closed.boottime_usec.0);
        let of_boot = self.facts.runs.keys().filter(|run| run.boot_id == *boot_id);
        for run in of_boot.cloned().collect::<Vec<_>>() {
            let state = self.facts.runs.entry(run.clone()).or_default();
            let Some(Running { registration: Some(registration), allocation, reading, integral }) =
                state.running.take()
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
                self.record(&run, 1, record_of_end(&end, integral))?;
                let detail = format!("its node went down between {} and its next boot", last.wall);
                self.audit(AuditKind::EndEstimated, run_name(&run), detail);
            }
            self.changes.running.insert(run, None);
        }
        Ok(())
    }

    /// A node speaks of its own boots. One that speaks of another's is not believed, and the block says who.
    fn is_foreign(&mut self, run: &Incarnation) -> bool {
        let foreign = self.facts.foreign.contains(&run.boot_id);
        let subject = run_name(run);
        if foreign && !self.changes.audit.iter().any(|event| event.subject == subject) {
            let detail =
                format!("block {} speaks of it, and its boot is another node's", self.arrival.sent.key());
            self.audit(AuditKind::ForeignRun, subject, detail);
        }
        foreign
    }

    fn has_ended(&self, run: &Incarnation) -> bool {
        self.facts.runs.get(run).is_some_and(|run| run.latest.is_some())
    }

    fn take_running(&mut self, run: &Incarnation) -> Running {
        self.facts.runs.get_mut(run).and_then(|run| run.running.take()).unwrap_or_default()
    }

    fn keep(&mut self, run: &Incarnation, running: Running) {
        self.facts.runs.entry(run.clone()).or_default().running = Some(running.clone());
        self.changes.running.insert(run.clone(), Some(running));
    }

    fn record(&mut self, run: &Incarnation, revision: i64, record: UsageRecord) -> Result<(), StoreError> {
        self.cpu_time(run, &record);
        let text = record_text(&record)?;
        self.changes.usage.push(UsageRow { run: run.clone(), revision, record: text });
        let state = self.facts.runs.entry(run.clone()).or_default();
        state.latest = Some((revision, record));
        state.running = None;
        Ok(())
    }
}

/// A record on its way into its column: every number in it must fit SQL's integers.
pub(crate) fn record_text(record: &UsageRecord) -> Result<String, StoreError> {
    let unreadable =
        |source: serde_json::Error| StoreError::Unreadable { table: "usage", source: source.into() };
    let value = serde_json::to_value(record).map_err(unreadable)?;
    for (name, figure) in value.as_object().into_iter().flatten() {
        if let Some(figure) = figure.as_u64() {
            column(name, figure)?;
        }
    }
    serde_json::to_string(record).map_err(unreadable)
}

fn worth(quality: Quality) -> u8 {
    match quality {
        Quality::Gap => 0,
        Quality::Estimated => 1,
        Quality::Exact => 2,
    }
}
