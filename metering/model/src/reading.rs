//! A reading: the cumulative counters of one group at one moment, in the kernel's names and units.
//! What the kernel does not offer is absent, never zero.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::units::{Bytes, Usec};

/// One group's counters at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// When the pass over the group's files began.
    pub at: Moment,
    /// `cpu.stat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<CpuStat>,
    /// `memory.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryStat>,
    /// `pids.*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<PidsStat>,
    /// `io.stat`, by `major:minor`. An empty map: the file was there and named no device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io: Option<BTreeMap<DeviceId, IoStat>>,
    /// `cpu.pressure`, `memory.pressure`, `io.pressure`.
    #[serde(default, skip_serializing_if = "Pressure::is_absent")]
    pub pressure: Pressure,
    /// What its sockets sent and received, where the group has counters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkStat>,
}

/// `cpu.stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuStat {
    /// CPU time of the group and of every group that ever stood in it.
    pub usage_usec: Usec,
    /// Its part in user mode, by the kernel's split.
    pub user_usec: Option<Usec>,
    /// Its part in the kernel.
    pub system_usec: Option<Usec>,
    /// Enforcement periods that have passed (where `cpu.max` is set).
    pub nr_periods: Option<u64>,
    /// Periods in which the group was held back.
    pub nr_throttled: Option<u64>,
    /// Time for which it was held back.
    pub throttled_usec: Option<Usec>,
}

/// `memory.current`, `memory.peak`, `memory.swap.current`, and the keys of `memory.stat` and
/// `memory.events` that usage is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStat {
    /// `memory.current`.
    pub current: Option<Bytes>,
    /// `memory.peak` (kernel 5.19 and later).
    pub peak: Option<Bytes>,
    /// `memory.swap.current`.
    pub swap_current: Option<Bytes>,
    /// `anon` of `memory.stat`.
    pub anon: Option<Bytes>,
    /// `file` of `memory.stat`: page cache.
    pub file: Option<Bytes>,
    /// `shmem` of `memory.stat`: tmpfs and shared memory, part of `file`.
    pub shmem: Option<Bytes>,
    /// `oom` of `memory.events`: times the group was out of memory.
    pub oom: Option<u64>,
    /// `oom_kill` of `memory.events`: processes killed for it.
    pub oom_kill: Option<u64>,
}

/// `pids.current`, `pids.peak`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidsStat {
    /// Processes and threads now.
    pub current: Option<u64>,
    /// The most there ever were at once.
    pub peak: Option<u64>,
}

/// A block device as `io.stat` names it: `major:minor`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceId(pub String);

/// One device's line of `io.stat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoStat {
    /// Bytes read.
    pub rbytes: Bytes,
    /// Bytes written.
    pub wbytes: Bytes,
    /// Read operations.
    pub rios: u64,
    /// Write operations.
    pub wios: u64,
}

/// Stall totals of the pressure files: time in which some task waited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// `some total` of `cpu.pressure`.
    pub cpu_some_usec: Option<Usec>,
    /// `some total` of `memory.pressure`.
    pub memory_some_usec: Option<Usec>,
    /// `some total` of `io.pressure`.
    pub io_some_usec: Option<Usec>,
}

/// IP packets of a group's sockets, counted by BPF at the socket: headers included, RDMA not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkStat {
    /// To and from other hosts.
    pub wire: Traffic,
    /// Over the loopback interface: never leaves the node.
    pub loopback: Traffic,
}

/// Bytes and packets, in and out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes received.
    pub rx_bytes: Bytes,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: Bytes,
    /// Packets sent.
    pub tx_packets: u64,
}

impl Pressure {
    fn is_absent(&self) -> bool {
        *self == Self::default()
    }
}

impl Reading {
    /// `cpu.stat`'s `usage_usec`.
    #[must_use]
    pub fn cpu_usage(&self) -> Option<Usec> {
        self.cpu.map(|cpu| cpu.usage_usec)
    }
}
