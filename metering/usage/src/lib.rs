//! Readings into usage records, and usage records into totals: integers only, no IO.
//!
//! A quantity that was not measured, or does not fit its unit's integer, is absent: never zero,
//! never wrapped.
//!
//! ```
//! use tenantry_usage::Sum;
//!
//! let sum = Sum::default().with(Some(40)).and_then(|sum| sum.with(None));
//! assert_eq!(sum, Some(Sum { known: 40, lacking: 1 }));
//! ```
#![forbid(unsafe_code)]

mod totals;

pub use totals::{Sum, Totals, totals_by_tenant};

use tenantry_model::catalogue::Metric;
use tenantry_model::job::{Allocation, JobEnd, Quality, Registration};
use tenantry_model::reading::{IoStat, Reading};
use tenantry_model::usage::{UsageRecord, UsageState};
use tenantry_model::{Bytes, Moment, Usec};

/// The final record of a job's run on one node.
///
/// The job's group is made anew for each run, so its counters are the run's own. Where there was
/// no reading, only times and allocation are there.
#[must_use]
pub fn record_of_end(end: &JobEnd) -> UsageRecord {
    record(
        &end.registration,
        end.allocation.as_ref(),
        end.reading.as_ref(),
        end.ended,
        UsageState::Final,
        end.quality,
    )
}

/// What a running job has used up to `reading`: cumulative counters, exact for their moment.
#[must_use]
pub fn record_of_running(
    registration: &Registration,
    allocation: Option<&Allocation>,
    reading: &Reading,
) -> UsageRecord {
    record(registration, allocation, Some(reading), reading.at, UsageState::Running, Quality::Exact)
}

fn record(
    registration: &Registration,
    allocation: Option<&Allocation>,
    reading: Option<&Reading>,
    until: Moment,
    state: UsageState,
    quality: Quality,
) -> UsageRecord {
    let incarnation = &registration.incarnation;
    let elapsed = until.since(&registration.began);
    let usec = |metric| reading.and_then(|reading| reading.usec(metric));
    let bytes = |metric| reading.and_then(|reading| reading.bytes(metric));
    let count = |metric| reading.and_then(|reading| reading.get(metric));
    let allocated_cpus = allocation.and_then(|allocation| allocation.cpus).or(registration.allocated_cpus);
    let allocated_memory = allocation.and_then(|allocation| allocation.memory);
    UsageRecord {
        cluster: incarnation.cluster.clone(),
        job_id: incarnation.job_id,
        restart_count: registration.restart_count,
        node: incarnation.node.clone(),
        tenant: registration.placement.tenant().cloned(),
        account: registration.account.clone(),
        partition: registration.partition.clone(),
        uid: registration.uid,
        user: registration.user.clone(),
        state,
        quality,
        began: incarnation.began,
        ended: until.wall,
        elapsed_usec: elapsed,
        cpu_usage_usec: usec(Metric::CPU_USAGE),
        cpu_user_usec: usec(Metric::CPU_USER),
        cpu_system_usec: usec(Metric::CPU_SYSTEM),
        memory_peak_bytes: bytes(Metric::MEMORY_PEAK),
        memory_oom_kills: count(Metric::MEMORY_OOM_KILLS),
        pids_peak: count(Metric::PIDS_PEAK),
        io_read_bytes: reading.and_then(|reading| io_sum(reading, |io| io.rbytes)),
        io_write_bytes: reading.and_then(|reading| io_sum(reading, |io| io.wbytes)),
        network_receive_bytes: bytes(Metric::NETWORK_RX_BYTES),
        network_transmit_bytes: bytes(Metric::NETWORK_TX_BYTES),
        allocated_cpus,
        allocated_cpu_usec: allocated_cpus.zip(elapsed).and_then(|(cpus, time)| cpu_time(cpus, time)),
        allocated_memory_bytes: allocated_memory,
        allocated_memory_mib_seconds: allocated_memory
            .zip(elapsed)
            .and_then(|(memory, time)| mib_seconds(memory, time)),
    }
}

/// Over all devices; zero where `io.stat` was there and named none, since the kernel leaves out
/// devices without IO.
fn io_sum(reading: &Reading, figure: impl Fn(&IoStat) -> Bytes) -> Option<Bytes> {
    reading.io.as_ref()?.iter().try_fold(Bytes(0), |sum, io| sum.checked_add(figure(&io.stat)))
}

fn cpu_time(cpus: u32, time: Usec) -> Option<Usec> {
    u64::from(cpus).checked_mul(time.0).map(Usec)
}

/// MiB x seconds, rounded down once, at the end: half a MiB for two seconds is one.
fn mib_seconds(memory: Bytes, time: Usec) -> Option<u64> {
    const BYTE_USEC: u128 = 1_000_000 << 20;
    let byte_usec = u128::from(memory.0).checked_mul(u128::from(time.0))?;
    u64::try_from(byte_usec.checked_div(BYTE_USEC)?).ok()
}

#[cfg(test)]
mod tests;
