//! Usage as a reader gets it: one record for each run of a job on each node.

use serde::{Deserialize, Serialize};

use crate::clock::WallTime;
use crate::ids::{AccountName, ClusterName, JobId, NodeName, TenantPath};
use crate::job::Quality;
use crate::units::{Bytes, MilliJoules, Usec};

/// Whether a record can still change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageState {
    /// The job runs; the figures are those of its last reading.
    Running,
    /// The job has ended; the record is in the ledger and stays as it is.
    Final,
}

/// What one run of a job used of one node, and what it was allocated there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageRecord {
    /// Slurm's cluster.
    pub cluster: Option<ClusterName>,
    /// Slurm's job id.
    pub job_id: JobId,
    /// Slurm's restart count.
    pub restart_count: Option<u32>,
    /// Slurm's node.
    pub node: NodeName,
    /// Who pays; `None` for a refused job.
    pub tenant: Option<TenantPath>,
    /// Slurm's account.
    pub account: Option<AccountName>,
    /// Slurm's partition.
    pub partition: Option<String>,
    /// The job's owner.
    pub uid: u32,
    /// The owner's name.
    pub user: Option<String>,
    /// Whether the record can still change.
    pub state: UsageState,
    /// How much the figures are worth.
    pub quality: Quality,
    /// When the prolog began on this node.
    pub began: WallTime,
    /// When the epilog had read the counters, or the last reading's time.
    pub ended: WallTime,
    /// From `began` to `ended` by the monotonic clock.
    pub elapsed_usec: Option<Usec>,
    /// `usage_usec` of the job's group.
    pub cpu_usage_usec: Option<Usec>,
    /// `user_usec`, by the kernel's split.
    pub cpu_user_usec: Option<Usec>,
    /// `system_usec`.
    pub cpu_system_usec: Option<Usec>,
    /// CPU time of its steps' tasks alone, without Slurm's own processes in the job.
    #[serde(default)]
    pub steps_cpu_usec: Option<Usec>,
    /// What Slurm's own processes used in the job: `cpu_usage_usec` less `steps_cpu_usec`.
    #[serde(default)]
    pub slurm_overhead_usec: Option<Usec>,
    /// `memory.peak`.
    pub memory_peak_bytes: Option<Bytes>,
    /// Memory in use over time, in MiB x seconds, rounded down: the mean of two readings times the
    /// time between them.
    #[serde(default)]
    pub memory_mib_seconds: Option<u64>,
    /// By how much that may be off, either way, rounded up: how far memory may have moved between two readings.
    #[serde(default)]
    pub memory_mib_seconds_bound: Option<u64>,
    /// How much of the time lay between readings more than two minutes apart.
    #[serde(default)]
    pub interpolated_usec: Option<Usec>,
    /// For how long at most the run went on after `ended`, unmeasured: 0 unless it is estimated, or a gap.
    #[serde(default)]
    pub unmeasured_usec: Option<Usec>,
    /// `oom_kill` of `memory.events`.
    pub memory_oom_kills: Option<u64>,
    /// `pids.peak`.
    pub pids_peak: Option<u64>,
    /// `rbytes` of `io.stat`, all devices.
    pub io_read_bytes: Option<Bytes>,
    /// `wbytes` of `io.stat`, all devices.
    pub io_write_bytes: Option<Bytes>,
    /// Bytes its sockets received from other hosts, IP headers included; RDMA is not in it.
    #[serde(default)]
    pub network_receive_bytes: Option<Bytes>,
    /// Bytes they sent to other hosts.
    #[serde(default)]
    pub network_transmit_bytes: Option<Bytes>,
    /// CPUs Slurm allocated on this node.
    pub allocated_cpus: Option<u32>,
    /// `allocated_cpus` x `elapsed_usec`.
    pub allocated_cpu_usec: Option<Usec>,
    /// Memory Slurm allocated on this node.
    pub allocated_memory_bytes: Option<Bytes>,
    /// `allocated_memory_bytes` in MiB x `elapsed_usec` in seconds, rounded down.
    pub allocated_memory_mib_seconds: Option<u64>,
    /// Its share of the energy of the node's CPU packages and memory, by its CPU time, up to its last reading.
    #[serde(default)]
    pub cpu_energy_mj: Option<MilliJoules>,
    /// Energy of the GPUs it had alone, from its first reading to its last; `None` where one of them counts none.
    #[serde(default)]
    pub gpu_energy_mj: Option<MilliJoules>,
    /// For how much GPU time that is known: what `allocated_gpu_usec` has beyond it was not measured.
    #[serde(default)]
    pub gpu_energy_known_usec: Option<Usec>,
    /// GPU time in which some kernel ran.
    #[serde(default)]
    pub gpu_busy_usec: Option<Usec>,
    /// For how much GPU time that is known.
    #[serde(default)]
    pub gpu_busy_known_usec: Option<Usec>,
    /// The most GPU memory that a reading found in use.
    #[serde(default)]
    pub gpu_memory_peak_bytes: Option<Bytes>,
    /// GPUs or MIG devices Slurm allocated on this node; `None` where it told none.
    #[serde(default)]
    pub allocated_gpus: Option<u32>,
    /// `allocated_gpus` x `elapsed_usec`.
    #[serde(default)]
    pub allocated_gpu_usec: Option<Usec>,
}

/// A tenant's own group on one node, as last read: what its jobs there add up to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantCounter {
    /// Slurm's node.
    pub node: NodeName,
    /// Whose group.
    pub tenant: TenantPath,
    /// When it was read.
    pub read: WallTime,
    /// `usage_usec` since the group was made in this boot.
    pub cpu_usage_usec: Option<Usec>,
}

/// A time of which a node has no readings, or blocks of it that never came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The daemon's node.
    pub node: NodeName,
    /// Why: `down`, `late`, `spool_full`, `spool_failed`, `spool_lost`, `blocks_missing`.
    pub reason: String,
    /// The last moment before it; `None` where that is not known.
    pub from: Option<WallTime>,
    /// The first moment after it.
    pub to: WallTime,
}

/// The answer to a question about usage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageReport {
    /// By tenant, job, run and node.
    pub usage: Vec<UsageRecord>,
    /// The tenants' own groups.
    pub tenants: Vec<TenantCounter>,
    /// What is missing of the nodes' records.
    #[serde(default)]
    pub gaps: Vec<Gap>,
}
