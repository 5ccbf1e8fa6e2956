//! Which GPU Slurm means. In the prolog's `SLURM_JOB_GPUS` stand places in the node's GRES: of the
//! gres.conf lines of this node in their order, or, by `AutoDetect`, in the order slurmd found. That is not
//! always NVML's order, which is the PCI bus's, nor always the N of `/dev/nvidiaN`. So a place counts only
//! where both say the same GPU, or where the site lists them as `slurmd -G` does.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use tenantry_model::GpuName;

/// A GPU, or a MIG device of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Its UUID.
    pub name: GpuName,
    /// Its place in NVML's order: of the GPU, also for a MIG device.
    pub order: u32,
    /// The N of `/dev/nvidiaN`: of the GPU, also for a MIG device.
    pub minor: Option<u32>,
    /// What it is.
    pub kind: GpuKind,
}

/// What may be allocated of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuKind {
    /// All of it.
    Whole,
    /// Only its MIG devices.
    Divided,
    /// This is a MIG device.
    Mig,
}

/// A GPU as `slurmd -G` names it: by its device file, or by its UUID (`UniqueId`), as with MIG.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listed {
    /// `/dev/nvidiaN`.
    Minor(u32),
    /// `GPU-...` or `MIG-...`.
    Name(GpuName),
}

/// A text that names no GPU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no GPU: write \"/dev/nvidia0\", \"GPU-...\" or \"MIG-...\", as slurmd -G shows File or UniqueId"
)]
pub struct InvalidListed(String);

impl FromStr for Listed {
    type Err = InvalidListed;

    fn from_str(text: &str) -> Result<Self, InvalidListed> {
        let minor = text.strip_prefix("/dev/nvidia").map(str::parse);
        let name = text.parse().map(Self::Name);
        minor
            .map_or(name.ok(), |minor| minor.ok().map(Self::Minor))
            .ok_or_else(|| InvalidListed(text.chars().take(100).collect()))
    }
}

impl TryFrom<String> for Listed {
    type Error = InvalidListed;

    fn try_from(text: String) -> Result<Self, InvalidListed> {
        text.parse()
    }
}

/// Why a place is no GPU. It is attributed to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unplaced {
    /// Its order and its device file differ.
    Ambiguous,
    /// Some GPU is divided into MIG devices, whose places nothing tells.
    Mig,
    /// The list of the settings, or NVML, has no such GPU.
    Unknown,
}

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ambiguous => "NVML's order and the device files' numbers differ",
            Self::Mig => "a GPU of this node is divided into MIG devices",
            Self::Unknown => "there is no such GPU",
        })
    }
}

/// The GPU that a place in the node's GRES means.
///
/// # Errors
/// Where that is not certain.
pub fn at<'g>(place: u32, listed: Option<&[Listed]>, gpus: &'g [Gpu]) -> Result<&'g GpuName, Unplaced> {
    let found = match listed {
        Some(listed) => {
            let listed = usize::try_from(place).ok().and_then(|place| listed.get(place));
            gpus.iter().find(|gpu| match listed {
                Some(Listed::Minor(minor)) => gpu.minor == Some(*minor) && gpu.kind == GpuKind::Whole,
                Some(Listed::Name(name)) => gpu.name == *name && gpu.kind != GpuKind::Divided,
                None => false,
            })
        }
        None if gpus.iter().any(|gpu| gpu.kind != GpuKind::Whole) => return Err(Unplaced::Mig),
        None => {
            let by_order = gpus.iter().find(|gpu| gpu.order == place);
            if by_order.is_some_and(|gpu| gpu.minor != Some(place)) {
                return Err(Unplaced::Ambiguous);
            }
            by_order
        }
    };
    found.map(|gpu| &gpu.name).ok_or(Unplaced::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(name: &str, order: u32, minor: u32, kind: GpuKind) -> Gpu {
        Gpu { name: name.parse().unwrap(), order, minor: Some(minor), kind }
    }

    fn listed(all: &[&str]) -> Vec<Listed> {
        all.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn name(place: u32, list: Option<&[Listed]>, gpus: &[Gpu]) -> Result<String, Unplaced> {
        at(place, list, gpus).map(ToString::to_string)
    }

    #[test]
    fn a_place_counts_where_order_and_device_file_say_the_same() {
        let gpus = [
            gpu("GPU-a", 0, 0, GpuKind::Whole),
            gpu("GPU-b", 1, 2, GpuKind::Whole),
            gpu("GPU-c", 2, 1, GpuKind::Whole),
        ];
        assert_eq!(name(0, None, &gpus), Ok("GPU-a".into()));
        assert_eq!(name(1, None, &gpus), Err(Unplaced::Ambiguous));
        assert_eq!(name(2, None, &gpus), Err(Unplaced::Ambiguous));
        assert_eq!(name(3, None, &gpus), Err(Unplaced::Unknown));
    }

    #[test]
    fn a_list_says_which_file_is_which_place() {
        let gpus = [gpu("GPU-a", 0, 1, GpuKind::Whole), gpu("GPU-b", 1, 0, GpuKind::Whole)];
        let list = listed(&["/dev/nvidia0", "GPU-a", "/dev/nvidia7"]);
        assert_eq!(name(0, Some(&list), &gpus), Ok("GPU-b".into()));
        assert_eq!(name(1, Some(&list), &gpus), Ok("GPU-a".into()));
        assert_eq!(name(2, Some(&list), &gpus), Err(Unplaced::Unknown));
        assert_eq!(name(3, Some(&list), &gpus), Err(Unplaced::Unknown));
        // An empty list attributes nothing.
        assert_eq!(name(0, Some(&[]), &gpus), Err(Unplaced::Unknown));
    }

    #[test]
    fn a_mig_device_is_named_by_its_uuid_and_its_gpu_is_nobodys() {
        let gpus = [gpu("GPU-a", 0, 0, GpuKind::Divided), gpu("MIG-1", 0, 0, GpuKind::Mig)];
        assert_eq!(name(0, None, &gpus), Err(Unplaced::Mig));
        let list = listed(&["MIG-1", "GPU-a", "/dev/nvidia0"]);
        assert_eq!(name(0, Some(&list), &gpus), Ok("MIG-1".into()));
        assert_eq!(name(1, Some(&list), &gpus), Err(Unplaced::Unknown));
        assert_eq!(name(2, Some(&list), &gpus), Err(Unplaced::Unknown));
    }

    #[test]
    fn what_names_no_gpu_is_refused() {
        for text in ["", "/dev/nvidia", "/dev/nvidiactl", "/dev/nvidia-1", "0", "nvidia0", "GPU-a b"] {
            assert!(text.parse::<Listed>().is_err(), "{text:?}");
        }
    }
}
