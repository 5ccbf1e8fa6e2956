//! What a tenant may use, as the file has it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{DeviceName, DeviceSpec};
use crate::cpu_list::CpuList;
use crate::units::{Amount, Bytes, CpuBandwidth, Limit, Usec};

/// What a group may use. What is absent stands at the kernel's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// `cpu.weight`, 1 to 10000; the kernel's default is 100.
    pub cpu_weight: Option<u64>,
    /// `cpu.max`.
    pub cpu_max: Option<Limit<Amount<CpuBandwidth>>>,
    /// `cpu.max.burst`: unused CPU time of a period kept for the next ones; at most the quota.
    pub cpu_burst: Option<Usec>,
    /// `cpuset.cpus`: these CPUs, or a share of the cores of the tenant it stands in.
    pub cpus: Option<Amount<CpuList>>,
    /// `memory.min`: never taken from it.
    pub memory_min: Option<Limit<Amount<Bytes>>>,
    /// `memory.low`: kept for it as long as others have some to give.
    pub memory_low: Option<Limit<Amount<Bytes>>>,
    /// `memory.high`: above it the group is slowed and made to give back.
    pub memory_high: Option<Limit<Amount<Bytes>>>,
    /// `memory.max`: above it a process of the group is killed.
    pub memory_max: Option<Limit<Amount<Bytes>>>,
    /// `memory.swap.max`; a share is of the node's swap.
    pub memory_swap_max: Option<Limit<Amount<Bytes>>>,
    /// `memory.oom.group`: where memory runs out all of the group is killed, not one process.
    pub memory_oom_group: bool,
    /// `pids.max`: processes and threads.
    pub pids_max: Option<Limit<u64>>,
    /// `io.weight`, 1 to 10000; the kernel's default is 100.
    pub io_weight: Option<u64>,
    /// `io.max`, for each disk.
    pub io_max: BTreeMap<DeviceName, IoMax>,
    /// `cgroup.max.descendants`: groups in it, its jobs' and theirs.
    pub descendants_max: Option<Limit<u64>>,
    /// `hugetlb.SIZE.max`.
    pub hugetlb_max: BTreeMap<HugePageSize, Limit<Bytes>>,
    /// `rdma.max`, for each device.
    pub rdma_max: BTreeMap<String, RdmaMax>,
    /// The device nodes its processes may use; `None`: any.
    pub devices: Option<Vec<DeviceSpec>>,
}

/// A disk's line in `io.max`, in the kernel's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoMax {
    /// Bytes read in a second.
    pub rbps: Limit<Bytes>,
    /// Bytes written in a second.
    pub wbps: Limit<Bytes>,
    /// Reads in a second.
    pub riops: Limit<u64>,
    /// Writes in a second.
    pub wiops: Limit<u64>,
}

impl IoMax {
    /// What a disk has that the file does not name.
    pub const NONE: Self = Self { rbps: Limit::Max, wbps: Limit::Max, riops: Limit::Max, wiops: Limit::Max };
}

impl fmt::Display for IoMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rbps, wbps, riops, wiops } = self;
        write!(f, "rbps={rbps} wbps={wbps} riops={riops} wiops={wiops}")
    }
}

/// An RDMA device's line in `rdma.max`, in the kernel's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RdmaMax {
    /// Open handles of the device.
    pub hca_handle: Limit<u64>,
    /// Objects made on it.
    pub hca_object: Limit<u64>,
}

impl RdmaMax {
    /// What a device has that the file does not name.
    pub const NONE: Self = Self { hca_handle: Limit::Max, hca_object: Limit::Max };
}

impl fmt::Display for RdmaMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hca_handle={} hca_object={}", self.hca_handle, self.hca_object)
    }
}

/// A size of huge page as the kernel names it in `hugetlb.2MB.max`: `64KB`, `2MB`, `1GB`, in powers of 1024.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HugePageSize {
    bytes: Bytes,
}

/// Why a text is no size of a huge page.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no size of a huge page; write it as the kernel does, like \"2MB\" or \"1GB\"")]
pub struct InvalidHugePageSize {
    text: String,
}

impl HugePageSize {
    const UNITS: [(&'static str, u64); 3] = [("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];

    /// From its bytes; `None` unless it is a power of two of at least a kibibyte.
    #[must_use]
    pub fn of(bytes: Bytes) -> Option<Self> {
        (bytes.0.is_power_of_two() && bytes.0 >= 1 << 10).then_some(Self { bytes })
    }

    /// How large.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes
    }
}

impl fmt::Display for HugePageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Self::UNITS.into_iter().find(|(_, unit)| self.bytes.0 >= *unit);
        let (name, unit) = unit.unwrap_or(("B", 1));
        write!(f, "{}{name}", self.bytes.0.checked_div(unit).unwrap_or_default())
    }
}

impl FromStr for HugePageSize {
    type Err = InvalidHugePageSize;

    fn from_str(text: &str) -> Result<Self, InvalidHugePageSize> {
        let refused = || InvalidHugePageSize { text: text.to_owned() };
        let (number, unit) = Self::UNITS
            .into_iter()
            .find_map(|(name, unit)| text.strip_suffix(name).map(|number| (number, unit)))
            .ok_or_else(refused)?;
        let number: u64 = number.parse().map_err(|_| refused())?;
        // "1024MB" names no file of the kernel's: that is "1GB".
        let size = number.checked_mul(unit).and_then(|bytes| Self::of(Bytes(bytes)));
        size.filter(|size| size.to_string() == text).ok_or_else(refused)
    }
}

impl TryFrom<String> for HugePageSize {
    type Error = InvalidHugePageSize;

    fn try_from(text: String) -> Result<Self, InvalidHugePageSize> {
        text.parse()
    }
}

impl From<HugePageSize> for String {
    fn from(size: HugePageSize) -> String {
        size.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn huge_pages_are_named_as_the_kernel_names_their_files() {
        for text in ["64KB", "2MB", "512MB", "1GB", "16GB"] {
            assert_eq!(text.parse::<HugePageSize>().unwrap().to_string(), text);
        }
        for text in ["", "2", "2MiB", "1024MB", "3MB", "0MB", "2mb", "+2MB", "2 MB"] {
            assert!(text.parse::<HugePageSize>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn lines_are_in_the_kernels_form() {
        let io = IoMax { wbps: Limit::At(Bytes(1_048_576)), ..IoMax::NONE };
        assert_eq!(io.to_string(), "rbps=max wbps=1048576 riops=max wiops=max");
        let rdma = RdmaMax { hca_handle: Limit::At(2), ..RdmaMax::NONE };
        assert_eq!(rdma.to_string(), "hca_handle=2 hca_object=max");
    }
}
