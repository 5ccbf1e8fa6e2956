//! A group's limits as settings: in which file each stands, what should, and what does, both in the
//! form in which the kernel prints it, so that the two can be compared.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use tenantry_model::tenants::{IoMax, NodeLimits, RdmaMax};
use tenantry_model::{Bytes, Limit};

use crate::parse::{Subkeys, flat_keyed, nested_keyed};
use crate::{Error, GroupPath, Result, Root};

/// One limit of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The file.
    pub file: String,
    /// The device, in a file with a line for each.
    pub device: Option<String>,
    /// What should stand there.
    pub wanted: String,
    /// Whether that is the kernel's default: then a kernel without the file does as well.
    pub is_default: bool,
    /// What stands there; `None` where the kernel has no such file.
    pub actual: Option<String>,
}

impl Setting {
    /// Whether what should be so is so.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.actual.as_ref().map_or(self.is_default, |actual| *actual == self.wanted)
    }

    /// What is written to get there.
    fn text(&self) -> String {
        match (self.file.as_str(), &self.device) {
            ("io.weight", _) => format!("default {}", self.wanted),
            (_, Some(device)) => format!("{device} {}", self.wanted),
            // An empty text would not be written at all.
            (_, None) if self.wanted.is_empty() => "\n".to_owned(),
            (_, None) => self.wanted.clone(),
        }
    }

    /// Whether writing it gives the group more, or takes from it.
    fn direction(&self) -> Ordering {
        let actual = self.actual.as_deref().unwrap_or_default();
        figure(&self.wanted).cmp(&figure(actual))
    }
}

/// A limit's first word as a number; `max` is above all.
fn figure(text: &str) -> u64 {
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(u64::MAX)
}

/// All limits of a group: those wanted, and the kernel's default for the rest. They stand in the order
/// in which it is safe to raise them; lowered, the other way round.
///
/// # Errors
/// Where the kernel does not let one be read.
pub(super) fn read(root: &Root, group: &GroupPath, limits: &NodeLimits) -> Result<Vec<Setting>> {
    with(limits, |file| root.read(group, file))
}

/// What should stand in a tenant's group, where there is none to look at.
#[must_use]
pub fn wanted(limits: &NodeLimits) -> Vec<Setting> {
    // Nothing is read, so nothing fails.
    with(limits, |_| Ok(None)).unwrap_or_default()
}

fn with(limits: &NodeLimits, read: impl Fn(&str) -> Result<Option<Vec<u8>>>) -> Result<Vec<Setting>> {
    fn text<T: Display>(limit: Option<&T>) -> Option<String> {
        limit.map(ToString::to_string)
    }
    let plain = [
        ("cpu.weight", text(limits.cpu_weight.as_ref()), "100"),
        // A burst may never be above the quota.
        ("cpu.max", text(limits.cpu_max.as_ref()), "max 100000"),
        ("cpu.max.burst", limits.cpu_burst.map(|burst| burst.0.to_string()), "0"),
        ("cpuset.cpus", text(limits.cpus.as_ref()), ""),
        // While high stands above max, a group that grows is killed where it should be slowed.
        ("memory.swap.max", text(limits.memory_swap_max.as_ref()), "max"),
        ("memory.max", text(limits.memory_max.as_ref()), "max"),
        ("memory.high", text(limits.memory_high.as_ref()), "max"),
        ("memory.low", text(limits.memory_low.as_ref()), "0"),
        ("memory.min", text(limits.memory_min.as_ref()), "0"),
        ("memory.oom.group", limits.memory_oom_group.then(|| "1".to_owned()), "0"),
        ("pids.max", text(limits.pids_max.as_ref()), "max"),
        ("io.weight", text(limits.io_weight.as_ref()), "100"),
        ("cgroup.max.descendants", text(limits.descendants_max.as_ref()), "max"),
    ];
    let mut settings = Vec::with_capacity(plain.len().saturating_add(4));
    for (file, wanted, default) in plain {
        settings.push(setting(file.to_owned(), read(file)?, wanted, default));
    }
    for (size, max) in &limits.hugetlb_max {
        let file = format!("hugetlb.{size}.max");
        let text = read(&file)?;
        settings.push(setting(file, text, Some(max.to_string()), "max"));
    }
    let io = limits.io_max.iter().map(|(number, max)| (number.to_string(), *max)).collect();
    settings.extend(lines("io.max", read("io.max")?.as_deref(), &io, IoMax::NONE, io_line));
    settings.extend(lines(
        "rdma.max",
        read("rdma.max")?.as_deref(),
        &limits.rdma_max,
        RdmaMax::NONE,
        rdma_line,
    ));
    Ok(settings)
}

fn setting(file: String, text: Option<Vec<u8>>, wanted: Option<String>, default: &str) -> Setting {
    let actual = text.map(|text| match file.as_str() {
        // It may have lines for single devices, which are not ours.
        "io.weight" => flat_keyed(&text)
            .find(|(key, _)| *key == b"default")
            .map_or_else(String::new, |(_, weight)| weight.to_string()),
        _ => String::from_utf8_lossy(text.trim_ascii()).into_owned(),
    });
    let wanted = wanted.unwrap_or_else(|| default.to_owned());
    Setting { is_default: wanted == default, file, device: None, wanted, actual }
}

/// A file with a line for each device. One that has a line and is not wanted goes back to `none`.
fn lines<T: Copy + Display>(
    file: &str,
    text: Option<&[u8]>,
    wanted: &BTreeMap<String, T>,
    none: T,
    read: fn(Subkeys<'_>) -> T,
) -> Vec<Setting> {
    let name = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
    let actual: Option<BTreeMap<_, _>> =
        text.map(|text| nested_keyed(text).map(|(key, line)| (name(key), read(line))).collect());
    let devices: BTreeSet<&String> = wanted.keys().chain(actual.iter().flat_map(BTreeMap::keys)).collect();
    let none = none.to_string();
    let line = |device: &String| {
        let wanted = wanted.get(device).map_or_else(|| none.clone(), ToString::to_string);
        let actual =
            actual.as_ref().map(|lines| lines.get(device).map_or_else(|| none.clone(), ToString::to_string));
        Setting {
            file: file.to_owned(),
            device: Some(device.clone()),
            is_default: wanted == none,
            wanted,
            actual,
        }
    };
    devices.into_iter().map(line).collect()
}

/// `max` is no number, and so is what is not there.
fn io_line(line: Subkeys<'_>) -> IoMax {
    IoMax {
        rbps: line.get(b"rbps").map_or(Limit::Max, |rate| Limit::At(Bytes(rate))),
        wbps: line.get(b"wbps").map_or(Limit::Max, |rate| Limit::At(Bytes(rate))),
        riops: line.get(b"riops").map_or(Limit::Max, Limit::At),
        wiops: line.get(b"wiops").map_or(Limit::Max, Limit::At),
    }
}

fn rdma_line(line: Subkeys<'_>) -> RdmaMax {
    RdmaMax {
        hca_handle: line.get(b"hca_handle").map_or(Limit::Max, Limit::At),
        hca_object: line.get(b"hca_object").map_or(Limit::Max, Limit::At),
    }
}

/// Writes what does not hold; gives back what was written, and what could not be.
pub(super) fn write(root: &Root, group: &GroupPath, settings: Vec<Setting>) -> (Vec<Setting>, Vec<Error>) {
    let mut raised = Vec::new();
    let mut lowered = Vec::new();
    // A limit that already holds is not written again: a write to memory.max reclaims.
    for setting in settings.into_iter().filter(|setting| !setting.holds()) {
        if setting.direction() == Ordering::Less { lowered.push(setting) } else { raised.push(setting) }
    }
    let mut written = Vec::new();
    let mut failed = Vec::new();
    for setting in raised.into_iter().chain(lowered.into_iter().rev()) {
        match write_one(root, group, &setting) {
            Ok(()) => written.push(setting),
            Err(error) => failed.push(error),
        }
    }
    (written, failed)
}

fn write_one(root: &Root, group: &GroupPath, setting: &Setting) -> Result<()> {
    let (path, file, value) = (|| group.as_path().to_owned(), setting.file.clone(), setting.text());
    if setting.actual.is_none() {
        return Err(Error::NoSuchLimit { group: path(), file, value });
    }
    match root.write(group, &setting.file, &value) {
        Err(Error::Io { source, .. }) => {
            Err(Error::LimitRefused { group: path(), file, value: value.trim_end().to_owned(), source })
        }
        written => written,
    }
}
