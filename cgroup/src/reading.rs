use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tenantry_model::catalogue::Metric;
use tenantry_model::clock::{Clock, Moment};
use tenantry_model::reading::{Counters, DeviceId, DeviceIo, IoStat, Reading};

use crate::bpf;
use crate::parse::{nested_keyed, number, pick, words};
use crate::{Error, GroupPath, Result, Root};

/// One group's files, opened once and read again and again.
///
/// A file the kernel does not offer is absent from every reading. Once the group is removed, all
/// of them are.
#[derive(Debug)]
pub struct GroupReader {
    files: Files,
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

/// What readings are made in: one for any number of groups, read one after the other.
#[derive(Debug)]
pub struct ReadBuffer {
    text: Box<[u8]>,
    /// The devices of the last reading that had any, to be filled again.
    io: Vec<DeviceIo>,
    traffic: bpf::CountersBuffer,
}

/// `memory.stat` is the longest by far: some 1.5 KiB today.
const BUFFER_BYTES: usize = 16 << 10;

impl Default for ReadBuffer {
    fn default() -> Self {
        Self {
            text: vec![0; BUFFER_BYTES].into_boxed_slice(),
            io: Vec::new(),
            traffic: bpf::CountersBuffer::default(),
        }
    }
}

impl ReadBuffer {
    /// Takes a reading back that is not wanted any more, so that the next one need not allocate.
    pub fn reclaim(&mut self, reading: Reading) {
        if let Some(devices) = reading.io {
            self.io = devices;
        }
    }
}

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
    /// Where the kernel refuses one for another reason than that it is not there; [`Error::is_absent`] where
    /// the group is being removed.
    pub fn open(root: &Root, group: &GroupPath) -> Result<Self> {
        Self::open_with(root, group, None)
    }

    /// Opens a group's files; its traffic is read from `traffic`, where that counts.
    ///
    /// # Errors
    /// As [`GroupReader::open`].
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
        let controllers = root.read(group, "cgroup.controllers")?.unwrap_or_default();
        if files.lack_one_of(&controllers) {
            let path = group.as_path().to_owned();
            return Err(Error::Io { operation: "read", path, source: io::ErrorKind::NotFound.into() });
        }
        let traffic = traffic.map(|counters| Ok((counters, bpf::group_id(root, group)?))).transpose()?;
        Ok(Self { files, traffic })
    }

    /// The group's counters now.
    ///
    /// # Errors
    /// Where the clock cannot be read.
    pub fn read(&self, clock: &dyn Clock) -> Result<Reading> {
        let mut reading = Reading::empty(clock.now().map_err(Error::Clock)?);
        self.read_into(reading.at, &mut ReadBuffer::default(), &mut reading);
        Ok(reading)
    }

    /// The group's counters now, in the place of what `reading` held. Nothing is allocated where
    /// buffer and reading have held as many devices before.
    pub fn read_into(&self, at: Moment, buffer: &mut ReadBuffer, reading: &mut Reading) {
        let ReadBuffer { text, io, traffic } = buffer;
        if let Some(devices) = reading.io.take() {
            *io = devices;
        }
        reading.at = at;
        reading.counters = Counters::default();
        let traffic = self.traffic.as_ref().and_then(|(all, id)| all.read_in(traffic, *id).ok().flatten());
        match self.files.read(text, io, &mut reading.counters) {
            Ok(devices) => {
                reading.io = devices;
                reading.set_network(traffic);
            }
            // Files read before it went are no reading of a group: half of one would tell that the rest is
            // not measured here.
            Err(Gone) => reading.counters = Counters::default(),
        }
    }
}

/// The group was removed while it was read, or before.
struct Gone;

impl Files {
    /// Whether the group has a controller and not its first file. The kernel takes a group's files away one by
    /// one, `cpu.stat` after the controllers': such a group is half gone.
    fn lack_one_of(&self, controllers: &[u8]) -> bool {
        words(controllers).any(|controller| match controller {
            b"memory" => self.memory_current.is_none(),
            b"pids" => self.pids_current.is_none(),
            b"io" => self.io_stat.is_none(),
            _ => false,
        })
    }

    /// All files' figures; the devices are made in `io`'s memory.
    fn read(
        &self,
        text: &mut [u8],
        io: &mut Vec<DeviceIo>,
        counters: &mut Counters,
    ) -> std::result::Result<Option<Vec<DeviceIo>>, Gone> {
        if let Some(text) = pread(self.cpu_stat.as_ref(), text)? {
            keyed(text, &CPU_STAT, counters);
        }
        if let Some(text) = pread(self.memory_stat.as_ref(), text)? {
            keyed(text, &MEMORY_STAT, counters);
        }
        if let Some(text) = pread(self.memory_events.as_ref(), text)? {
            keyed(text, &MEMORY_EVENTS, counters);
        }
        for (file, metric) in [
            (&self.memory_current, Metric::MEMORY_CURRENT),
            (&self.memory_peak, Metric::MEMORY_PEAK),
            (&self.memory_swap_current, Metric::MEMORY_SWAP),
            (&self.pids_current, Metric::PIDS_CURRENT),
            (&self.pids_peak, Metric::PIDS_PEAK),
        ] {
            if let Some(text) = pread(file.as_ref(), text)? {
                counters.set(metric, number(text));
            }
        }
        for (file, some, full) in [
            (&self.cpu_pressure, Metric::CPU_PRESSURE_SOME, None),
            (&self.memory_pressure, Metric::MEMORY_PRESSURE_SOME, Some(Metric::MEMORY_PRESSURE_FULL)),
            (&self.io_pressure, Metric::IO_PRESSURE_SOME, Some(Metric::IO_PRESSURE_FULL)),
        ] {
            if let Some(text) = pread(file.as_ref(), text)? {
                pressure(text, some, full, counters);
            }
        }
        Ok(pread(self.io_stat.as_ref(), text)?.map(|text| {
            io_stat(text, io);
            std::mem::take(io)
        }))
    }
}

/// What a file says; `None` where there is no such file, or its text fills the buffer, so that its end may
/// be missing.
fn pread<'b>(file: Option<&File>, buffer: &'b mut [u8]) -> std::result::Result<Option<&'b [u8]>, Gone> {
    let Some(file) = file else { return Ok(None) };
    match file.read_at(buffer, 0) {
        Ok(length) if length < BUFFER_BYTES => Ok(buffer.get(..length)),
        Err(error) if is_gone(&error) => Err(Gone),
        Ok(_) | Err(_) => Ok(None),
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::libc::ENODEV)
}

/// The lines of a file that the catalogue has, in the kernel's order.
type Lines<const N: usize> = [(&'static [u8], Metric); N];

const CPU_STAT: Lines<6> = [
    (b"usage_usec", Metric::CPU_USAGE),
    (b"user_usec", Metric::CPU_USER),
    (b"system_usec", Metric::CPU_SYSTEM),
    (b"nr_periods", Metric::CPU_PERIODS),
    (b"nr_throttled", Metric::CPU_THROTTLED_PERIODS),
    (b"throttled_usec", Metric::CPU_THROTTLED),
];

const MEMORY_STAT: Lines<4> = [
    (b"anon", Metric::MEMORY_ANON),
    (b"file", Metric::MEMORY_FILE),
    (b"kernel", Metric::MEMORY_KERNEL),
    (b"shmem", Metric::MEMORY_SHMEM),
];

const MEMORY_EVENTS: Lines<4> = [
    (b"high", Metric::MEMORY_HIGH_EVENTS),
    (b"max", Metric::MEMORY_MAX_EVENTS),
    (b"oom", Metric::MEMORY_OOM_EVENTS),
    (b"oom_kill", Metric::MEMORY_OOM_KILLS),
];

fn keyed<const N: usize>(text: &[u8], lines: &Lines<N>, counters: &mut Counters) {
    let values = pick(text, lines.map(|(key, _)| key));
    lines.iter().zip(values).for_each(|((_, metric), value)| counters.set(*metric, value));
}

/// A pressure file's totals, in microseconds.
fn pressure(text: &[u8], some: Metric, full: Option<Metric>, counters: &mut Counters) {
    for (kind, subkeys) in nested_keyed(text) {
        match (kind, full) {
            (b"some", full) => {
                counters.set(some, subkeys.get_last(b"total"));
                if full.is_none() {
                    return;
                }
            }
            (b"full", Some(full)) => counters.set(full, subkeys.get_last(b"total")),
            _ => {}
        }
    }
}

/// By device. A line without all four counters is none: the kernel writes them together.
fn io_stat(text: &[u8], io: &mut Vec<DeviceIo>) {
    io.clear();
    for (key, subkeys) in nested_keyed(text) {
        if let Some(device) = device(key)
            && let [Some(rbytes), Some(wbytes), Some(rios), Some(wios)] =
                subkeys.pick([b"rbytes", b"wbytes", b"rios", b"wios"])
        {
            io.push(DeviceIo { device, stat: IoStat::from_columns([rbytes, wbytes, rios, wios]) });
        }
    }
    io.sort_unstable_by_key(|io| io.device);
}

fn device(text: &[u8]) -> Option<DeviceId> {
    let mut numbers = text.splitn(2, |byte| *byte == b':').map(|text| u32::try_from(number(text)?).ok());
    Some(DeviceId { major: numbers.next()??, minor: numbers.next()?? })
}

#[cfg(test)]
mod tests;
