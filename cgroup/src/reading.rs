use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tenantry_model::catalogue::Metric;
use tenantry_model::clock::Clock;
use tenantry_model::reading::{Counters, DeviceId, DeviceIo, IoStat, Reading};

use crate::bpf;
use crate::parse::{flat_keyed, nested_keyed, number};
use crate::{Error, GroupPath, Result, Root};

/// One group's files, opened once and read again and again.
///
/// A file the kernel does not offer is absent from every reading. Once the group is removed,
/// [`GroupReader::read`] answers with all of them absent.
#[derive(Debug)]
pub struct GroupReader {
    files: Files,
    buffer: Vec<u8>,
    traffic: Option<(Arc<bpf::Counters>, u64)>,
}

#[derive(Debug)]
struct Files {
    cpu_stat: Option<File>,
    memory_current: Option<File>,
    memory_peak: Option<File>,
    memory_swap_current: Option<File>,
    memory_stat: Option<File>,
    memory_events: Option<File>,
    pids_current: Option<File>,
    pids_peak: Option<File>,
    io_stat: Option<File>,
    cpu_pressure: Option<File>,
    memory_pressure: Option<File>,
    io_pressure: Option<File>,
}

/// `memory.stat` is the longest by far: some 1.5 KiB today.
const BUFFER_BYTES: usize = 16 << 10;

impl GroupReader {
    /// The files a reading is made of.
    pub const FILES: [&str; 12] = [
        "cpu.stat",
        "memory.current",
        "memory.peak",
        "memory.swap.current",
        "memory.stat",
        "memory.events",
        "pids.current",
        "pids.peak",
        "io.stat",
        "cpu.pressure",
        "memory.pressure",
        "io.pressure",
    ];

    /// Opens a group's files.
    ///
    /// # Errors
    /// Where the kernel refuses one for another reason than that it is not there.
    pub fn open(root: &Root, group: &GroupPath) -> Result<Self> {
        Self::open_with(root, group, None)
    }

    /// Opens a group's files; its traffic is read from `traffic`, where that counts.
    ///
    /// # Errors
    /// Where the kernel refuses one for another reason than that it is not there.
    pub fn open_with(root: &Root, group: &GroupPath, traffic: Option<Arc<bpf::Counters>>) -> Result<Self> {
        let open = |file: &str| root.open_file(group, file);
        let files = Files {
            cpu_stat: open("cpu.stat")?,
            memory_current: open("memory.current")?,
            memory_peak: open("memory.peak")?,
            memory_swap_current: open("memory.swap.current")?,
            memory_stat: open("memory.stat")?,
            memory_events: open("memory.events")?,
            pids_current: open("pids.current")?,
            pids_peak: open("pids.peak")?,
            io_stat: open("io.stat")?,
            cpu_pressure: open("cpu.pressure")?,
            memory_pressure: open("memory.pressure")?,
            io_pressure: open("io.pressure")?,
        };
        let traffic = traffic.map(|counters| Ok((counters, bpf::group_id(root, group)?))).transpose()?;
        Ok(Self { files, buffer: vec![0; BUFFER_BYTES], traffic })
    }

    /// The group's counters now.
    ///
    /// # Errors
    /// Where the clock cannot be read.
    pub fn read(&mut self, clock: &dyn Clock) -> Result<Reading> {
        let mut reading = Reading::empty(clock.now().map_err(Error::Clock)?);
        let Self { files, buffer, traffic } = self;
        let counters = &mut reading.counters;
        for (file, metric) in [
            (&files.memory_current, Metric::MEMORY_CURRENT),
            (&files.memory_peak, Metric::MEMORY_PEAK),
            (&files.memory_swap_current, Metric::MEMORY_SWAP),
            (&files.pids_current, Metric::PIDS_CURRENT),
            (&files.pids_peak, Metric::PIDS_PEAK),
        ] {
            counters.set(metric, pread(file.as_ref(), buffer).and_then(number));
        }
        for file in [&files.cpu_stat, &files.memory_stat, &files.memory_events] {
            if let Some(text) = pread(file.as_ref(), buffer) {
                keyed(text, counters);
            }
        }
        for (file, some, full) in [
            (&files.cpu_pressure, Metric::CPU_PRESSURE_SOME, None),
            (&files.memory_pressure, Metric::MEMORY_PRESSURE_SOME, Some(Metric::MEMORY_PRESSURE_FULL)),
            (&files.io_pressure, Metric::IO_PRESSURE_SOME, Some(Metric::IO_PRESSURE_FULL)),
        ] {
            if let Some(text) = pread(file.as_ref(), buffer) {
                counters.set(some, total(text, b"some"));
                if let Some(full) = full {
                    counters.set(full, total(text, b"full"));
                }
            }
        }
        reading.io = pread(files.io_stat.as_ref(), buffer).map(io_stat);
        reading.set_network(traffic.as_ref().and_then(|(traffic, id)| traffic.read(*id).ok().flatten()));
        Ok(reading)
    }
}

/// The file's text now; `None` where there is no file or no group any more, or where the text
/// fills the buffer, so that its end may be missing.
fn pread<'b>(file: Option<&File>, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let length = file?.read_at(buffer, 0).ok()?;
    buffer.get(..length).filter(|text| text.len() < BUFFER_BYTES)
}

/// The lines of `cpu.stat`, `memory.stat` and `memory.events` that the catalogue has.
fn keyed(text: &[u8], counters: &mut Counters) {
    for (key, value) in flat_keyed(text) {
        let metric = match key {
            b"usage_usec" => Metric::CPU_USAGE,
            b"user_usec" => Metric::CPU_USER,
            b"system_usec" => Metric::CPU_SYSTEM,
            b"nr_periods" => Metric::CPU_PERIODS,
            b"nr_throttled" => Metric::CPU_THROTTLED_PERIODS,
            b"throttled_usec" => Metric::CPU_THROTTLED,
            b"anon" => Metric::MEMORY_ANON,
            b"file" => Metric::MEMORY_FILE,
            b"kernel" => Metric::MEMORY_KERNEL,
            b"shmem" => Metric::MEMORY_SHMEM,
            b"high" => Metric::MEMORY_HIGH_EVENTS,
            b"max" => Metric::MEMORY_MAX_EVENTS,
            b"oom" => Metric::MEMORY_OOM_EVENTS,
            b"oom_kill" => Metric::MEMORY_OOM_KILLS,
            _ => continue,
        };
        counters.set(metric, Some(value));
    }
}

/// By device. A line without all four counters is none: the kernel writes them together.
fn io_stat(text: &[u8]) -> Vec<DeviceIo> {
    let device = |(key, subs): (&[u8], crate::parse::Subkeys<'_>)| {
        let device: DeviceId = str::from_utf8(key).ok()?.parse().ok()?;
        let columns = [subs.get(b"rbytes")?, subs.get(b"wbytes")?, subs.get(b"rios")?, subs.get(b"wios")?];
        Some(DeviceIo { device, stat: IoStat::from_columns(columns) })
    };
    let mut io: Vec<DeviceIo> = nested_keyed(text).filter_map(device).collect();
    io.sort_by_key(|io| io.device);
    io
}

/// A pressure file's total of one kind, in microseconds.
fn total(text: &[u8], kind: &[u8]) -> Option<u64> {
    nested_keyed(text).find(|(key, _)| *key == kind).and_then(|(_, subs)| subs.get(b"total"))
}

#[cfg(test)]
mod tests;
