//! A run of a job on a node, from its first block to its record: what it adds up to, and in which windows.

use serde::{Deserialize, Serialize};
use tenantry_model::job::{Allocation, JobEnd, Quality, Registration};
use tenantry_model::reading::Reading;
use tenantry_model::usage::{UsageRecord, UsageState};
use tenantry_model::window::{Quantity, UsageWindow, WindowQuality, WindowWidth};
use tenantry_model::{Moment, Usec, WallTime};

use crate::windows::{Due, Source, Windows};
use crate::{Integral, allocated, record_of_end};

/// A run so far. It is serialized between blocks.
///
/// # Invariants
/// The rows it gives out add up to the record it ends with: CPU, IO, network, elapsed and allocated time to the
/// unit, memory over time to the byte x second. Held by `tests::the_rows_are_the_record`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    integral: Integral,
    windows: Windows,
    /// Time, and what was allocated over it: time itself, CPUs, bytes.
    accrued: [Option<Accrued>; 3],
}

const ACCRUED: [Quantity; 3] = [Quantity::Elapsed, Quantity::AllocatedCpu, Quantity::AllocatedMemory];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Accrued {
    until: Usec,
    /// In the rate x microseconds.
    total: i128,
}

/// A row of a window, and its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// 1, 2, 3, ... within the revision of the run's record.
    pub number: u32,
    /// What is in it.
    pub window: UsageWindow,
}

impl Run {
    /// A run whose group is made at `began`.
    #[must_use]
    pub fn new(began: Moment, width: WindowWidth) -> Self {
        Self { integral: Integral::new(began), windows: Windows::new(width), accrued: [None; 3] }
    }

    /// A run of which a reading comes before its registration: when its group was made follows from
    /// the wall clock.
    #[must_use]
    pub fn first_read(began: WallTime, reading: Moment, width: WindowWidth) -> Self {
        let passed = reading.wall.unix_usec().saturating_sub(began.unix_usec());
        let passed = u64::try_from(passed).unwrap_or_default();
        let boottime_usec = Usec(reading.boottime_usec.0.saturating_sub(passed));
        Self::new(Moment { wall: began, boottime_usec }, width)
    }

    /// What its readings add up to.
    #[must_use]
    pub fn integral(&self) -> &Integral {
        &self.integral
    }

    /// Takes a reading that came in the block `sequence` of the run's boot. One that is not after the last
    /// changes nothing.
    pub fn read(&mut self, reading: &Reading, sequence: u64) {
        let source = Source { sequence: Some(sequence) };
        for step in self.integral.take(reading).into_iter().flatten() {
            self.windows.spread(step.quantity, step.since, reading.at, step.amount, source);
        }
    }

    /// Counts the time up to `at`, and what was allocated over it.
    pub fn pass(
        &mut self,
        registration: &Registration,
        allocation: Option<&Allocation>,
        at: Moment,
        sequence: u64,
    ) {
        let source = Source { sequence: Some(sequence) };
        let began = registration.began.boottime_usec;
        let rates = rates(registration, allocation);
        for ((quantity, accrued), rate) in ACCRUED.into_iter().zip(&mut self.accrued).zip(rates) {
            let Some(rate) = rate else { continue };
            let accrued = accrued.get_or_insert(Accrued { until: began, total: 0 });
            let Some(time) = at.boottime_usec.since(accrued.until) else { continue };
            let amount = i128::from(rate).saturating_mul(time.0.into());
            self.windows.spread(quantity, accrued.until, at, amount, source);
            *accrued = Accrued { until: at.boottime_usec, total: accrued.total.saturating_add(amount) };
        }
    }

    /// The rows of windows that were over at `now`. They are given out once.
    pub fn due(&mut self, registration: &Registration, now: WallTime) -> Vec<Row> {
        let due = self.windows.due(Some(now));
        due.into_iter().map(|due| row(registration, &due, UsageState::Final)).collect()
    }

    /// What the rows to come hold so far.
    #[must_use]
    pub fn pending(&self, registration: &Registration) -> Vec<UsageWindow> {
        let pending = self.windows.pending();
        pending.into_iter().map(|due| row(registration, &due, UsageState::Running).window).collect()
    }

    /// The run's end: its record, and the rows that were not due before. `sequence` is the block's that
    /// brought it, where that is of the run's boot.
    #[must_use]
    pub fn end(mut self, end: &JobEnd, sequence: Option<u64>) -> (UsageRecord, Vec<Row>) {
        let source = Source { sequence };
        let record = record_of_end(end, Some(self.integral.clone()));
        if let Some(reading) = &end.reading {
            for step in self.integral.settle(reading).into_iter().flatten() {
                self.windows.spread(step.quantity, step.since, reading.at, step.amount, source);
            }
        }
        let registration = &end.registration;
        if let Some(elapsed) = end.ended.since(&registration.began) {
            self.settle_time(registration, end.allocation.as_ref(), end.ended, elapsed, source);
        }
        self.windows.end(
            end.ended,
            match end.quality {
                Quality::Exact => WindowQuality::Exact,
                Quality::Estimated => WindowQuality::Estimated,
                Quality::Gap => WindowQuality::Gap,
            },
        );
        let due = self.windows.due(None);
        (record, due.into_iter().map(|due| row(registration, &due, UsageState::Final)).collect())
    }

    /// What was allocated is known in full now: what was counted of it so far may have been less or more.
    fn settle_time(
        &mut self,
        registration: &Registration,
        allocation: Option<&Allocation>,
        ended: Moment,
        elapsed: Usec,
        source: Source,
    ) {
        let began = registration.began.boottime_usec;
        let rates = rates(registration, allocation);
        for ((quantity, accrued), rate) in ACCRUED.into_iter().zip(&mut self.accrued).zip(rates) {
            let Some(rate) = rate else { continue };
            let accrued = accrued.unwrap_or(Accrued { until: began, total: 0 });
            let total = i128::from(rate).saturating_mul(elapsed.0.into());
            let amount = total.saturating_sub(accrued.total);
            let since = accrued.until.min(ended.boottime_usec);
            self.windows.spread(quantity, since, ended, amount, source);
        }
    }
}

/// Time itself, CPUs and bytes.
fn rates(registration: &Registration, allocation: Option<&Allocation>) -> [Option<u64>; 3] {
    let (cpus, memory) = allocated(registration, allocation);
    [Some(1), cpus.map(u64::from), memory.map(|memory| memory.0)]
}

/// What has to be added to the rows of a run whose record is `kept`, once a better end of it is known. Where
/// the better one lacks a figure, what is known of it stays.
#[must_use]
pub fn corrections(kept: &UsageRecord, end: &JobEnd, width: WindowWidth, sequence: Option<u64>) -> Vec<Row> {
    let source = Source { sequence };
    let better = record_of_end(end, None);
    let figures_kept = figures(kept);
    let [.., (_, allocated)] = figures_kept;
    let until = kept.ended.max(better.ended);
    let mut windows = Windows::corrections(width, until, allocated.unwrap_or_default());
    let longer = better.elapsed_usec.zip(kept.elapsed_usec).and_then(|(better, kept)| better.since(kept));
    let since = Usec(end.ended.boottime_usec.0.saturating_sub(longer.unwrap_or_default().0));
    for ((quantity, before), (_, now)) in figures_kept.into_iter().zip(figures(&better)) {
        let Some(now) = now else { continue };
        let amount = now.saturating_sub(before.unwrap_or_default());
        if amount != 0 || before.is_none() {
            windows.spread(quantity, since, end.ended, amount, source);
        }
    }
    let due = windows.due(None);
    due.into_iter().map(|due| row(&end.registration, &due, UsageState::Final)).collect()
}

/// A record's figures; allocated memory in bytes x microseconds. Memory in use is left out: it is known by
/// the readings before the end alone.
fn figures(record: &UsageRecord) -> [(Quantity, Option<i128>); 8] {
    let usec = |time: Option<Usec>| time.map(|time| i128::from(time.0));
    let bytes = |bytes: Option<tenantry_model::Bytes>| bytes.map(|bytes| i128::from(bytes.0));
    let memory = record.allocated_memory_bytes.zip(record.elapsed_usec);
    [
        (Quantity::Elapsed, usec(record.elapsed_usec)),
        (Quantity::CpuUsage, usec(record.cpu_usage_usec)),
        (Quantity::IoRead, bytes(record.io_read_bytes)),
        (Quantity::IoWrite, bytes(record.io_write_bytes)),
        (Quantity::NetworkReceive, bytes(record.network_receive_bytes)),
        (Quantity::NetworkTransmit, bytes(record.network_transmit_bytes)),
        (Quantity::AllocatedCpu, usec(record.allocated_cpu_usec)),
        (
            Quantity::AllocatedMemory,
            memory.map(|(memory, time)| i128::from(memory.0).saturating_mul(time.0.into())),
        ),
    ]
}

fn row(registration: &Registration, due: &Due, state: UsageState) -> Row {
    let incarnation = &registration.incarnation;
    let window = UsageWindow {
        cluster: incarnation.cluster.clone(),
        job_id: incarnation.job_id,
        restart_count: registration.restart_count,
        node: incarnation.node.clone(),
        tenant: registration.placement.tenant().cloned(),
        account: registration.account.clone(),
        partition: registration.partition.clone(),
        uid: registration.uid,
        user: registration.user.clone(),
        began: incarnation.began,
        window_from: due.from,
        window_to: due.to,
        state,
        correction: due.correction,
        quality: due.quality,
        first_sequence: due.sequences.map(|(first, _)| first),
        last_sequence: due.sequences.map(|(_, last)| last),
        figures: due.figures.narrowed(),
    };
    Row { number: due.number, window }
}

#[cfg(test)]
mod tests;
