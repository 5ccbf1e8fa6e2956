//! Readings as columns: what one counter did in all groups stands together, as differences, so that
//! it compresses. `docs/block-format.md` has the layout.

use std::collections::BTreeSet;

use tenantry_model::block::{Series, Subject};
use tenantry_model::catalogue::{GPU, IO, Metric};
use tenantry_model::job::Incarnation;
use tenantry_model::reading::{DeviceId, DeviceIo, GpuReading, GpuStat, IoStat, Reading};
use tenantry_model::{BootId, GpuName, JobId, Moment, Usec, WallTime};

use crate::wire::{Reader, Writer};
use crate::{EncodeError, Malformed};

/// After the last column. No metric has this number.
const NO_MORE: u8 = 0xff;

/// What both directions measure times from.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    pub boot_id: &'a BootId,
    pub closed: Moment,
}

fn offset(at: Moment) -> i64 {
    at.wall.unix_usec().wrapping_sub(at.boottime_usec.0.cast_signed())
}

// Whose readings.

fn names(series: &[Series]) -> Vec<&str> {
    let mut names: Vec<&str> = series
        .iter()
        .flat_map(|series| match &series.subject {
            Subject::Job(run) => [run.cluster.as_ref().map_or("", |name| name.as_str()), run.node.as_str()],
            Subject::Tenant { node, tenant } => [node.as_str(), tenant.as_str()],
            Subject::Node { node } => [node.as_str(), ""],
        })
        .chain(series.iter().flat_map(|series| gpus(series)).map(GpuName::as_str))
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// 0 is no name; names are counted from 1.
fn place(names: &[&str], name: &str) -> u64 {
    let place = names.binary_search(&name).ok().and_then(|place| place.checked_add(1));
    place.and_then(|place| u64::try_from(place).ok()).unwrap_or_default()
}

fn write_subject(
    out: &mut Writer,
    names: &[&str],
    subject: &Subject,
    frame: Frame<'_>,
) -> Result<(), EncodeError> {
    match subject {
        Subject::Job(run) => {
            if run.boot_id != *frame.boot_id {
                return Err(EncodeError::OtherBoot(run.job_id));
            }
            out.byte(0);
            out.varint(place(names, run.cluster.as_ref().map_or("", |name| name.as_str())));
            out.varint(place(names, run.node.as_str()));
            out.varint(run.job_id.0.into());
            out.zigzag(run.began.unix_usec().wrapping_sub(frame.closed.wall.unix_usec()));
        }
        Subject::Tenant { node, tenant } => {
            out.byte(1);
            out.varint(place(names, node.as_str()));
            out.varint(place(names, tenant.as_str()));
        }
        Subject::Node { node } => {
            out.byte(2);
            out.varint(place(names, node.as_str()));
        }
    }
    Ok(())
}

fn read_subject(input: &mut Reader<'_>, names: &[&str], frame: Frame<'_>) -> Option<Subject> {
    let kind = input.byte()?;
    let mut name = || -> Option<Option<&str>> {
        match usize::try_from(input.varint()?).ok()?.checked_sub(1) {
            Some(place) => names.get(place).copied().map(Some),
            None => Some(None),
        }
    };
    match kind {
        0 => {
            let cluster = name()?.map(str::parse).transpose().ok()?;
            let node = name()??.parse().ok()?;
            let job_id = JobId(u32::try_from(input.varint()?).ok()?);
            let began = frame.closed.wall.unix_usec().wrapping_add(input.zigzag()?);
            let began = WallTime::from_unix_usec(began).ok()?;
            Some(Subject::Job(Incarnation { cluster, node, boot_id: frame.boot_id.clone(), job_id, began }))
        }
        1 => Some(Subject::Tenant { node: name()??.parse().ok()?, tenant: name()??.parse().ok()? }),
        2 => Some(Subject::Node { node: name()??.parse().ok()? }),
        _ => None,
    }
}

// When.

/// The differences from reading to reading are foretold by the group before, which was read in the
/// same rounds.
#[derive(Default)]
struct Times {
    first: u64,
    steps: Vec<i64>,
    offset: i64,
}

impl Times {
    fn new(frame: Frame<'_>) -> Self {
        Self { first: frame.closed.boottime_usec.0, steps: Vec::new(), offset: offset(frame.closed) }
    }

    fn write(&mut self, out: &mut Writer, readings: &[Reading]) {
        let mut steps: Vec<i64> = Vec::with_capacity(readings.len());
        let mut last = None;
        for reading in readings {
            let at = reading.at.boottime_usec.0;
            match last {
                None => {
                    out.zigzag(at.wrapping_sub(self.first).cast_signed());
                    self.first = at;
                }
                Some(last) => {
                    let step = at.wrapping_sub(last).cast_signed();
                    out.zigzag(step.wrapping_sub(self.foretold(&steps)));
                    steps.push(step);
                }
            }
            last = Some(at);
            let offset = offset(reading.at);
            out.zigzag(offset.wrapping_sub(self.offset));
            self.offset = offset;
        }
        self.steps = steps;
    }

    fn read(&mut self, input: &mut Reader<'_>, count: usize) -> Option<Vec<Moment>> {
        let mut steps: Vec<i64> = Vec::with_capacity(count);
        let mut moments = Vec::with_capacity(count);
        let mut last: Option<u64> = None;
        for _ in 0..count {
            let coded = input.zigzag()?;
            let at = match last {
                None => {
                    self.first = self.first.wrapping_add(coded.cast_unsigned());
                    self.first
                }
                Some(last) => {
                    let step = coded.wrapping_add(self.foretold(&steps));
                    steps.push(step);
                    last.wrapping_add(step.cast_unsigned())
                }
            };
            last = Some(at);
            self.offset = self.offset.wrapping_add(input.zigzag()?);
            let wall = WallTime::from_unix_usec(at.cast_signed().wrapping_add(self.offset)).ok()?;
            moments.push(Moment { wall, boottime_usec: Usec(at) });
        }
        self.steps = steps;
        Some(moments)
    }

    fn foretold(&self, own: &[i64]) -> i64 {
        self.steps.get(own.len()).or(own.last()).copied().unwrap_or_default()
    }
}

// How much.

/// The columns in the order in which they stand: each after those that foretell it.
fn in_order() -> [Metric; Metric::COUNT] {
    let mut order = Metric::ALL;
    order.sort_by_key(|metric| match *metric {
        Metric::CPU_USER => (Metric::CPU_SYSTEM, true),
        Metric::MEMORY_CURRENT => (Metric::MEMORY_KERNEL, true),
        metric => (metric, false),
    });
    order
}

/// What a counter should be by others of its reading; those that are absent count as nothing.
fn by_others(metric: Metric, reading: &Reading) -> u64 {
    let get = |metric| reading.get(metric).unwrap_or_default();
    match metric {
        Metric::CPU_USER => get(Metric::CPU_USAGE).wrapping_sub(get(Metric::CPU_SYSTEM)),
        Metric::MEMORY_CURRENT => get(Metric::MEMORY_ANON)
            .wrapping_add(get(Metric::MEMORY_FILE))
            .wrapping_add(get(Metric::MEMORY_KERNEL)),
        _ => 0,
    }
}

/// Values as differences, or as differences of differences: whichever is shorter; without the zero
/// bits that all of them end with.
fn write_values(out: &mut Writer, groups: &[Vec<Option<u64>>]) {
    let all = groups.iter().flatten().flatten().fold(0, |all, value| all | value);
    let shift = if all == 0 { 0 } else { all.trailing_zeros() };
    let written = [1, 2].map(|order| {
        let mut out = Writer::default();
        out.byte(order);
        out.varint(shift.into());
        for group in groups {
            write_group(&mut out, group, order, shift);
        }
        out.0
    });
    let shorter = written.iter().min_by_key(|bytes| bytes.len()).map_or(&[][..], |bytes| bytes);
    out.bytes(shorter);
}

fn write_group(out: &mut Writer, values: &[Option<u64>], order: u8, shift: u32) {
    let present = values.iter().flatten().count();
    if present == 0 {
        return out.byte(0);
    }
    if present == values.len() {
        out.byte(1);
    } else {
        out.byte(2);
        for eight in values.chunks(8) {
            let bits =
                eight.iter().rev().fold(0_u8, |bits, value| bits.wrapping_shl(1) | u8::from(value.is_some()));
            out.byte(bits);
        }
    }
    let mut foretold = Foretold::new(order);
    for value in values.iter().flatten() {
        // Signed, so that a difference below nothing is a small number, too.
        let value = value.cast_signed().wrapping_shr(shift);
        out.zigzag(value.wrapping_sub(foretold.next()));
        foretold.saw(value);
    }
}

fn read_values(input: &mut Reader<'_>, counts: &[usize]) -> Option<Vec<Vec<Option<u64>>>> {
    let coding = read_coding(input)?;
    let group = |count: &usize| {
        let mut values = Vec::with_capacity(*count);
        read_group(input, *count, coding, |value| {
            values.push(value);
            Some(())
        })?;
        Some(values)
    };
    counts.iter().map(group).collect()
}

/// How a column's values are written: the order of the differences, and the zero bits that are left out.
type Coding = (u8, u32);

fn read_coding(input: &mut Reader<'_>) -> Option<Coding> {
    let order = input.byte().filter(|order| [1, 2].contains(order))?;
    let shift = u32::try_from(input.varint()?).ok().filter(|shift| *shift < u64::BITS)?;
    Some((order, shift))
}

/// Gives each value to `put`, in their order.
fn read_group(
    input: &mut Reader<'_>,
    count: usize,
    (order, shift): Coding,
    mut put: impl FnMut(Option<u64>) -> Option<()>,
) -> Option<()> {
    let mut bits = match input.byte()? {
        0 => return (0..count).try_for_each(|_| put(None)),
        1 => None,
        2 => Some(
            input
                .bytes(count.div_ceil(8))?
                .iter()
                .flat_map(|byte| (0..8).map(move |bit| byte.wrapping_shr(bit) & 1 == 1)),
        ),
        _ => return None,
    };
    let mut foretold = Foretold::new(order);
    (0..count).try_for_each(|_| {
        if !bits.as_mut().is_none_or(|bits| bits.next().unwrap_or_default()) {
            return put(None);
        }
        let value = foretold.next().wrapping_add(input.zigzag()?);
        foretold.saw(value);
        put(Some(value.wrapping_shl(shift).cast_unsigned()))
    })
}

/// The next value by those before: the last again, or the last and its step again.
struct Foretold {
    order: u8,
    last: Option<i64>,
    step: i64,
}

impl Foretold {
    fn new(order: u8) -> Self {
        Self { order, last: None, step: 0 }
    }

    fn next(&self) -> i64 {
        self.last.unwrap_or_default().wrapping_add(self.step)
    }

    fn saw(&mut self, value: i64) {
        if let Some(last) = self.last
            && self.order == 2
        {
            self.step = value.wrapping_sub(last);
        }
        self.last = Some(value);
    }
}

fn devices(series: &Series) -> Vec<DeviceId> {
    let mut devices: Vec<DeviceId> =
        series.readings.iter().flat_map(|reading| reading.io.iter().flatten()).map(|io| io.device).collect();
    devices.sort_unstable();
    devices.dedup();
    devices
}

/// The GPUs of a group's readings, each once, by their names.
fn gpus(series: &Series) -> BTreeSet<&GpuName> {
    series.readings.iter().flat_map(|reading| &reading.gpus).map(|gpu| &gpu.gpu).collect()
}

/// The GPUs' part, which is not there where there are none.
fn write_gpus(out: &mut Writer, names: &[&str], series: &[Series]) {
    let mut owners = Vec::new();
    let mut listed = Writer::default();
    for series in series {
        let gpus = gpus(series);
        listed.count(gpus.len());
        for gpu in gpus {
            listed.varint(place(names, gpu.as_str()));
            let of = |reading: &Reading| {
                reading
                    .gpus
                    .iter()
                    .find(|one| one.gpu == *gpu)
                    .map_or([None; GPU.len()], |one| one.stat.columns())
            };
            owners.push(series.readings.iter().map(of).collect::<Vec<_>>());
        }
    }
    if owners.is_empty() {
        return;
    }
    out.bytes(&listed.0);
    for column in 0..GPU.len() {
        let of = |readings: &Vec<[Option<u64>; GPU.len()]>| {
            readings.iter().map(|stat| stat.get(column).copied().flatten()).collect()
        };
        write_values(out, &owners.iter().map(of).collect::<Vec<_>>());
    }
}

fn of_device(reading: &Reading, device: DeviceId) -> Option<[u64; IO.len()]> {
    reading.io.as_ref()?.iter().find(|io| io.device == device).map(|io| io.stat.columns())
}

/// Writes the body of a readings record.
pub fn write(series: &[Series], frame: Frame<'_>) -> Result<Vec<u8>, EncodeError> {
    let mut out = Writer::default();
    let names = names(series);
    out.count(names.len());
    for name in &names {
        out.text(name.as_bytes());
    }
    out.count(series.len());
    for series in series {
        write_subject(&mut out, &names, &series.subject, frame)?;
        out.count(series.readings.len());
    }
    let mut times = Times::new(frame);
    for series in series {
        times.write(&mut out, &series.readings);
    }
    for metric in in_order() {
        let of = |series: &Series| {
            let coded =
                |reading: &Reading| Some(reading.get(metric)?.wrapping_sub(by_others(metric, reading)));
            series.readings.iter().map(coded).collect()
        };
        let groups: Vec<Vec<_>> = series.iter().map(of).collect();
        if groups.iter().flatten().any(Option::is_some) {
            out.byte(metric.id());
            write_values(&mut out, &groups);
        }
    }
    out.byte(NO_MORE);
    // io.stat: whether it was read, then the devices it named, then their counters as columns.
    let mut io = Vec::new();
    for series in series {
        let read: Vec<_> = series.readings.iter().map(|reading| reading.io.is_some().then_some(0)).collect();
        write_group(&mut out, &read, 1, 0);
        let devices = devices(series);
        out.count(devices.len());
        for device in devices {
            out.varint(device.major.into());
            out.varint(device.minor.into());
            io.push(series.readings.iter().map(|reading| of_device(reading, device)).collect::<Vec<_>>());
        }
    }
    for column in 0..IO.len() {
        let of = |readings: &Vec<Option<[u64; IO.len()]>>| {
            readings.iter().map(|stat| stat.as_ref().and_then(|stat| stat.get(column).copied())).collect()
        };
        write_values(&mut out, &io.iter().map(of).collect::<Vec<_>>());
    }
    write_gpus(&mut out, &names, series);
    Ok(out.0)
}

/// Reads what [`write`] wrote, and nothing else.
pub fn read(body: &[u8], frame: Frame<'_>) -> Result<Vec<Series>, Malformed> {
    let mut input = Reader(body);
    let series = read_series(&mut input, frame).ok_or(Malformed::Readings)?;
    if input.0.is_empty() { Ok(series) } else { Err(Malformed::Readings) }
}

fn read_series(input: &mut Reader<'_>, frame: Frame<'_>) -> Option<Vec<Series>> {
    let names = input.count()?;
    let names: Vec<&str> = (0..names).map(|_| str::from_utf8(input.text()?).ok()).collect::<Option<_>>()?;
    let length = input.count()?;
    let subjects: Vec<(Subject, usize)> = (0..length)
        .map(|_| {
            let subject = read_subject(input, &names, frame)?;
            Some((subject, input.count()?))
        })
        .collect::<Option<_>>()?;
    let mut times = Times::new(frame);
    let mut series: Vec<Series> = Vec::with_capacity(length);
    for (subject, count) in subjects {
        // Each reading's time takes two bytes at least.
        if count > input.0.len() {
            return None;
        }
        let moments = times.read(input, count)?;
        series.push(Series { subject, readings: moments.into_iter().map(Reading::empty).collect() });
    }
    let mut order = in_order().into_iter();
    loop {
        let id = input.byte()?;
        if id == NO_MORE {
            break;
        }
        // In their order, each once.
        let metric = order.find(|metric| metric.id() == id)?;
        let coding = read_coding(input)?;
        for series in &mut series {
            let count = series.readings.len();
            let mut readings = series.readings.iter_mut();
            read_group(input, count, coding, |value| {
                let reading = readings.next()?;
                let value = value.map(|value| value.wrapping_add(by_others(metric, reading)));
                reading.counters.set(metric, value);
                Some(())
            })?;
        }
    }
    read_io(input, &mut series)?;
    if !input.0.is_empty() {
        read_gpus(input, &names, &mut series)?;
    }
    Some(series)
}

fn read_gpus(input: &mut Reader<'_>, names: &[&str], series: &mut [Series]) -> Option<()> {
    let mut owners: Vec<(usize, GpuName)> = Vec::new();
    let mut counts = Vec::new();
    for (place, series) in series.iter().enumerate() {
        let mut before = 0;
        for _ in 0..input.count()? {
            // By their names, each once.
            let name = usize::try_from(input.varint()?).ok().filter(|name| *name > before)?;
            before = name;
            owners.push((place, names.get(name.checked_sub(1)?)?.parse().ok()?));
            counts.push(series.readings.len());
        }
    }
    if owners.is_empty() {
        return None;
    }
    let mut columns = Vec::with_capacity(GPU.len());
    for _ in 0..GPU.len() {
        columns.push(read_values(input, &counts)?.into_iter());
    }
    for (place, gpu) in owners {
        let stats: Vec<Vec<Option<u64>>> = columns.iter_mut().map(Iterator::next).collect::<Option<_>>()?;
        for (n, reading) in series.get_mut(place)?.readings.iter_mut().enumerate() {
            let stat: Vec<Option<u64>> =
                stats.iter().map(|column| column.get(n).copied()).collect::<Option<_>>()?;
            let stat = GpuStat::from_columns(stat.try_into().ok()?);
            if !stat.is_empty() {
                reading.gpus.push(GpuReading { gpu: gpu.clone(), stat });
            }
        }
    }
    Some(())
}

fn read_io(input: &mut Reader<'_>, series: &mut [Series]) -> Option<()> {
    let mut owners: Vec<(usize, DeviceId)> = Vec::new();
    let mut counts = Vec::new();
    for (place, series) in series.iter_mut().enumerate() {
        let count = series.readings.len();
        let mut readings = series.readings.iter_mut();
        read_group(input, count, (1, 0), |read| {
            readings.next()?.io = read.map(|_| Vec::new());
            Some(())
        })?;
        for _ in 0..input.count()? {
            let [major, minor] = [input.varint()?, input.varint()?].map(|number| u32::try_from(number).ok());
            owners.push((place, DeviceId { major: major?, minor: minor? }));
            counts.push(count);
        }
    }
    let mut columns = Vec::with_capacity(IO.len());
    for _ in 0..IO.len() {
        columns.push(read_values(input, &counts)?.into_iter());
    }
    for (place, device) in owners {
        let stats: Vec<Vec<Option<u64>>> = columns.iter_mut().map(Iterator::next).collect::<Option<_>>()?;
        for (n, reading) in series.get_mut(place)?.readings.iter_mut().enumerate() {
            let stat: Vec<Option<u64>> =
                stats.iter().map(|column| column.get(n).copied()).collect::<Option<_>>()?;
            if stat.iter().all(Option::is_none) {
                continue;
            }
            let stat: Vec<u64> = stat.into_iter().collect::<Option<_>>()?;
            let stat = IoStat::from_columns(stat.try_into().ok()?);
            // A device is named where io.stat was read, once, in order.
            let io = reading.io.as_mut()?;
            if io.last().is_some_and(|last| last.device >= device) {
                return None;
            }
            io.push(DeviceIo { device, stat });
        }
    }
    Some(())
}

/// Whether a subject stands twice.
pub fn has_twins(series: &[Series]) -> bool {
    let mut seen = BTreeSet::new();
    !series.iter().all(|series| seen.insert(&series.subject))
}
