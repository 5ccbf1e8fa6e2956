use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tenantry_model::clock::Clock;
use tenantry_model::reading::{CpuStat, DeviceId, IoStat, MemoryStat, PidsStat, Pressure, Reading};
use tenantry_model::{Bytes, Usec};

use crate::bpf::{self, Counters};
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
    traffic: Option<(Arc<Counters>, u64)>,
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
    pub fn open_with(root: &Root, group: &GroupPath, traffic: Option<Arc<Counters>>) -> Result<Self> {
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
        let at = clock.now().map_err(Error::Clock)?;
        let Self { files, buffer, traffic } = self;
        Ok(Reading {
            at,
            cpu: pread(files.cpu_stat.as_ref(), buffer).and_then(cpu_stat),
            memory: files.memory(buffer),
            pids: files.pids(buffer),
            io: pread(files.io_stat.as_ref(), buffer).map(io_stat),
            pressure: Pressure {
                cpu_some_usec: pread(files.cpu_pressure.as_ref(), buffer).and_then(some_total),
                memory_some_usec: pread(files.memory_pressure.as_ref(), buffer).and_then(some_total),
                io_some_usec: pread(files.io_pressure.as_ref(), buffer).and_then(some_total),
            },
            network: traffic.as_ref().and_then(|(counters, id)| counters.read(*id).ok().flatten()),
        })
    }
}

impl Files {
    fn memory(&self, buffer: &mut [u8]) -> Option<MemoryStat> {
        let mut memory = MemoryStat {
            current: pread(self.memory_current.as_ref(), buffer).and_then(number).map(Bytes),
            peak: pread(self.memory_peak.as_ref(), buffer).and_then(number).map(Bytes),
            swap_current: pread(self.memory_swap_current.as_ref(), buffer).and_then(number).map(Bytes),
            ..MemoryStat::default()
        };
        for (key, value) in pread(self.memory_stat.as_ref(), buffer).into_iter().flat_map(flat_keyed) {
            match key {
                b"anon" => memory.anon = Some(Bytes(value)),
                b"file" => memory.file = Some(Bytes(value)),
                b"shmem" => memory.shmem = Some(Bytes(value)),
                _ => {}
            }
        }
        for (key, value) in pread(self.memory_events.as_ref(), buffer).into_iter().flat_map(flat_keyed) {
            match key {
                b"oom" => memory.oom = Some(value),
                b"oom_kill" => memory.oom_kill = Some(value),
                _ => {}
            }
        }
        (memory != MemoryStat::default()).then_some(memory)
    }

    fn pids(&self, buffer: &mut [u8]) -> Option<PidsStat> {
        let pids = PidsStat {
            current: pread(self.pids_current.as_ref(), buffer).and_then(number),
            peak: pread(self.pids_peak.as_ref(), buffer).and_then(number),
        };
        (pids != PidsStat::default()).then_some(pids)
    }
}

/// The file's text now; `None` where there is no file or no group any more, or where the text
/// fills the buffer, so that its end may be missing.
fn pread<'b>(file: Option<&File>, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let length = file?.read_at(buffer, 0).ok()?;
    buffer.get(..length).filter(|text| text.len() < BUFFER_BYTES)
}

fn cpu_stat(text: &[u8]) -> Option<CpuStat> {
    let mut usage_usec = None;
    let mut rest = CpuStat {
        usage_usec: Usec(0),
        user_usec: None,
        system_usec: None,
        nr_periods: None,
        nr_throttled: None,
        throttled_usec: None,
    };
    for (key, value) in flat_keyed(text) {
        match key {
            b"usage_usec" => usage_usec = Some(Usec(value)),
            b"user_usec" => rest.user_usec = Some(Usec(value)),
            b"system_usec" => rest.system_usec = Some(Usec(value)),
            b"nr_periods" => rest.nr_periods = Some(value),
            b"nr_throttled" => rest.nr_throttled = Some(value),
            b"throttled_usec" => rest.throttled_usec = Some(Usec(value)),
            _ => {}
        }
    }
    usage_usec.map(|usage_usec| CpuStat { usage_usec, ..rest })
}

fn io_stat(text: &[u8]) -> BTreeMap<DeviceId, IoStat> {
    let device = |(key, subs): (&[u8], crate::parse::Subkeys<'_>)| {
        let stat = IoStat {
            rbytes: Bytes(subs.get(b"rbytes")?),
            wbytes: Bytes(subs.get(b"wbytes")?),
            rios: subs.get(b"rios")?,
            wios: subs.get(b"wios")?,
        };
        Some((DeviceId(str::from_utf8(key).ok()?.to_owned()), stat))
    };
    nested_keyed(text).filter_map(device).collect()
}

fn some_total(text: &[u8]) -> Option<Usec> {
    nested_keyed(text).find(|(key, _)| *key == b"some").and_then(|(_, subs)| subs.get(b"total")).map(Usec)
}

#[cfg(test)]
mod tests;
