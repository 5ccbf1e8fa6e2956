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

mod counted;
pub mod csv;
pub mod energy;
mod gpu;
mod integral;
mod run;
mod totals;
pub mod window;
mod windows;

pub use gpu::GpuTime;
pub use integral::{INTERPOLATED_AFTER, Integral, MemoryTime};
pub use run::{Row, Run, corrections};
pub use totals::{Sum, Totals, totals_by_tenant};

use tenantry_model::catalogue::Metric;
use tenantry_model::job::{Allocation, JobEnd, Quality, Registration};
use tenantry_model::reading::Reading;
use tenantry_model::usage::{UsageRecord, UsageState};
use tenantry_model::window::Quantity;
use tenantry_model::{Bytes, MilliJoules, Moment, Usec};

use counted::counter;

/// The final record of a job's run on one node. `integral` is of the readings that came before its end.
///
/// The job's group is made anew for each run, so its counters are the run's own; what is billed is the sum of
/// their differences, which is the last counter where none was begun anew meanwhile. Where there was no
/// reading, only times and allocation are there.
#[must_use]
pub fn record_of_end(end: &JobEnd, integral: Option<Integral>) -> UsageRecord {
    let JobEnd { registration, allocation, reading, steps, ended, quality, unmeasured_usec } = end;
    let integral = integral.unwrap_or_else(|| Integral::new(registration.began));
    let integral = reading.as_ref().map(|reading| integral.ended(reading));
    let record = record(registration, allocation.as_ref(), reading.as_ref(), integral.as_ref(), *ended);
    let unmeasured_usec = match quality {
        Quality::Exact => Some(Usec(0)),
        Quality::Estimated | Quality::Gap => *unmeasured_usec,
    };
    let steps_cpu_usec = steps.as_ref().and_then(|steps| steps.cpu_usage_usec);
    // The kernel rounds each group's figure down to microseconds: a difference below nothing is none.
    let slurm_overhead_usec =
        record.cpu_usage_usec.zip(steps_cpu_usec).and_then(|(job, steps)| job.since(steps));
    UsageRecord {
        state: UsageState::Final,
        quality: *quality,
        unmeasured_usec,
        steps_cpu_usec,
        slurm_overhead_usec,
        ..record
    }
}

/// What a running job has used up to `reading`: cumulative counters, exact for their moment.
#[must_use]
pub fn record_of_running(
    registration: &Registration,
    allocation: Option<&Allocation>,
    reading: &Reading,
    integral: &Integral,
) -> UsageRecord {
    record(registration, allocation, Some(reading), Some(integral), reading.at)
}

fn record(
    registration: &Registration,
    allocation: Option<&Allocation>,
    reading: Option<&Reading>,
    integral: Option<&Integral>,
    until: Moment,
) -> UsageRecord {
    let incarnation = &registration.incarnation;
    let elapsed = until.since(&registration.began);
    let usec = |metric| reading.and_then(|reading| reading.usec(metric));
    let bytes = |metric| reading.and_then(|reading| reading.bytes(metric));
    let count = |metric| reading.and_then(|reading| reading.get(metric));
    // Where the last reading has it: what was counted before is not what was counted in all.
    let in_all = |quantity| counter(reading?, quantity).and(integral?.counted(quantity));
    let memory = integral.and_then(Integral::memory);
    let (allocated_cpus, allocated_memory) = allocated(registration, allocation);
    let gpu = integral.map(Integral::gpu);
    let gpu_count = u32::try_from(registration.allocated_gpus.len()).ok().filter(|gpus| *gpus > 0);
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
        state: UsageState::Running,
        quality: Quality::Exact,
        began: incarnation.began,
        ended: until.wall,
        elapsed_usec: elapsed,
        cpu_usage_usec: in_all(Quantity::CpuUsage).map(Usec),
        cpu_user_usec: usec(Metric::CPU_USER),
        cpu_system_usec: usec(Metric::CPU_SYSTEM),
        steps_cpu_usec: None,
        slurm_overhead_usec: None,
        memory_peak_bytes: bytes(Metric::MEMORY_PEAK),
        memory_mib_seconds: memory
            .and_then(|memory| u64::try_from(memory.byte_usec.checked_div(MIB_SECOND)?).ok()),
        memory_mib_seconds_bound: memory
            .and_then(|memory| u64::try_from(memory.bound_byte_usec?.div_ceil(MIB_SECOND)).ok()),
        interpolated_usec: integral.map(Integral::interpolated),
        unmeasured_usec: None,
        memory_oom_kills: count(Metric::MEMORY_OOM_KILLS),
        pids_peak: count(Metric::PIDS_PEAK),
        io_read_bytes: in_all(Quantity::IoRead).map(Bytes),
        io_write_bytes: in_all(Quantity::IoWrite).map(Bytes),
        network_receive_bytes: in_all(Quantity::NetworkReceive).map(Bytes),
        network_transmit_bytes: in_all(Quantity::NetworkTransmit).map(Bytes),
        allocated_cpus,
        allocated_cpu_usec: allocated_cpus.zip(elapsed).and_then(|(cpus, time)| cpu_time(cpus, time)),
        allocated_memory_bytes: allocated_memory,
        allocated_memory_mib_seconds: allocated_memory
            .zip(elapsed)
            .and_then(|(memory, time)| mib_seconds(memory, time)),
        cpu_energy_mj: integral.and_then(Integral::energy_share).map(|share| MilliJoules(share.0 / 1000)),
        gpu_energy_mj: gpu.and_then(GpuTime::energy),
        gpu_energy_known_usec: gpu.and_then(GpuTime::energy_known),
        gpu_busy_usec: gpu.and_then(GpuTime::busy),
        gpu_busy_known_usec: gpu.and_then(GpuTime::busy_known),
        gpu_memory_peak_bytes: gpu.and_then(GpuTime::memory_peak),
        allocated_gpus: gpu_count,
        allocated_gpu_usec: gpu_count.zip(elapsed).and_then(|(gpus, time)| cpu_time(gpus, time)),
    }
}

/// CPUs and memory on this node.
fn allocated(registration: &Registration, allocation: Option<&Allocation>) -> (Option<u32>, Option<Bytes>) {
    let cpus = allocation.and_then(|allocation| allocation.cpus).or(registration.allocated_cpus);
    (cpus, allocation.and_then(|allocation| allocation.memory))
}

/// A number of CPUs or GPUs x time.
fn cpu_time(cpus: u32, time: Usec) -> Option<Usec> {
    u64::from(cpus).checked_mul(time.0).map(Usec)
}

/// Bytes x microseconds in one MiB x second.
const MIB_SECOND: u128 = 1_000_000 << 20;

/// MiB x seconds, rounded down once, at the end: half a MiB for two seconds is one.
fn mib_seconds(memory: Bytes, time: Usec) -> Option<u64> {
    let byte_usec = u128::from(memory.0).checked_mul(u128::from(time.0))?;
    u64::try_from(byte_usec.checked_div(MIB_SECOND)?).ok()
}

#[cfg(test)]
mod tests;
