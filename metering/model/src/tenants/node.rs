//! What a node has, and a tenant's limits on it.

use std::collections::{BTreeMap, BTreeSet};

use super::{DeviceKind, DeviceName, DeviceNumber, DeviceRule, HugePageSize, IoMax, RdmaMax};
use crate::cpu_list::CpuList;
use crate::units::{Bytes, CpuBandwidth, Limit, Usec};

/// What a node has, as far as tenants' limits are measured by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSize {
    /// The CPUs that groups may use.
    pub cpus: CpuList,
    /// The same by core; `None`: each CPU counts as a core.
    pub cores: Option<Vec<CpuList>>,
    /// Memory the kernel manages.
    pub memory: Bytes,
    /// Swap; 0 where there is none.
    pub swap: Bytes,
    /// A page, the unit in which the kernel keeps memory limits.
    pub page: Bytes,
    /// `/proc/sys/kernel/pid_max`.
    pub pid_max: u64,
    /// The sizes of huge pages its kernel has.
    pub huge_pages: BTreeSet<HugePageSize>,
    /// Its RDMA devices.
    pub rdma: BTreeSet<String>,
    /// The devices that the tenants file names, as far as they are there.
    pub devices: BTreeMap<DeviceName, DeviceNode>,
}

/// A device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceNode {
    /// Character or block device.
    pub kind: DeviceKind,
    /// Its number.
    pub number: DeviceNumber,
    /// Whether it is a part of a disk: the kernel limits whole disks only.
    pub is_partition: bool,
}

/// A tenant's limits on one node: nothing is relative, and memory is in whole pages. What is absent
/// stands at the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeLimits {
    /// `cpu.weight`.
    pub cpu_weight: Option<u64>,
    /// `cpu.max`.
    pub cpu_max: Option<Limit<CpuBandwidth>>,
    /// `cpu.max.burst`.
    pub cpu_burst: Option<Usec>,
    /// `cpuset.cpus`.
    pub cpus: Option<CpuList>,
    /// `memory.min`.
    pub memory_min: Option<Limit<Bytes>>,
    /// `memory.low`.
    pub memory_low: Option<Limit<Bytes>>,
    /// `memory.high`.
    pub memory_high: Option<Limit<Bytes>>,
    /// `memory.max`.
    pub memory_max: Option<Limit<Bytes>>,
    /// `memory.swap.max`.
    pub memory_swap_max: Option<Limit<Bytes>>,
    /// `memory.oom.group`.
    pub memory_oom_group: bool,
    /// `pids.max`.
    pub pids_max: Option<Limit<u64>>,
    /// `io.weight`.
    pub io_weight: Option<u64>,
    /// `io.max`.
    pub io_max: BTreeMap<DeviceNumber, IoMax>,
    /// `cgroup.max.descendants`.
    pub descendants_max: Option<Limit<u64>>,
    /// `hugetlb.SIZE.max`, for every size the node has.
    pub hugetlb_max: BTreeMap<HugePageSize, Limit<Bytes>>,
    /// `rdma.max`.
    pub rdma_max: BTreeMap<String, RdmaMax>,
    /// The device nodes its processes may use; `None`: any.
    pub devices: Option<Vec<DeviceRule>>,
}
