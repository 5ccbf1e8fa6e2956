//! Block devices and GPUs: which a group has, then what each counted in the group's readings.

use std::collections::BTreeSet;

use tenantry_model::GpuName;
use tenantry_model::block::Series;
use tenantry_model::catalogue::{GPU, IO};
use tenantry_model::reading::{DeviceId, DeviceIo, GpuReading, GpuStat, IoStat, Reading};

use crate::bits::{BitReader, BitWriter};
use crate::column::{self, Layout, Others};
use crate::foretold::Kind;
use crate::frame::Load;
use crate::presence::Presence;
use crate::readings::{ALONE, keep, others};
use crate::subjects::{named_by, place, read_row, write_row};

/// The devices of all groups, one after the other: whose, of how many readings, and for how long the group was there.
struct Owners {
    groups: Vec<usize>,
    counts: Vec<usize>,
    ages: Vec<u64>,
}

impl Owners {
    /// As many devices as `each` says of each group. `None`: no machine has so many, or a group without readings has one.
    fn new(series: &[Series], each: &[u64], ages: &[u64], load: &mut Load, most: Load) -> Option<Self> {
        let mut owners = Self { groups: Vec::new(), counts: Vec::new(), ages: Vec::new() };
        let mut rest = ages;
        for ((group, series), devices) in series.iter().enumerate().zip(each) {
            let count = series.readings.len();
            let own;
            (own, rest) = rest.split_at_checked(count)?;
            let devices = usize::try_from(*devices).ok()?;
            if devices > 0 && count == 0 {
                return None;
            }
            load.add_devices(devices.checked_mul(count)?)?;
            if !load.is_within(most) {
                return None;
            }
            for _ in 0..devices {
                owners.groups.push(group);
                owners.counts.push(count);
                owners.ages.extend_from_slice(own);
            }
        }
        Some(owners)
    }

    fn len(&self) -> usize {
        self.groups.len()
    }
}

/// As many as anything can have: the writer weighs its load when it has it.
const ANY: Load = Load { things: usize::MAX, weight: usize::MAX };

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// Writes how many each group has; only whether there is any, where there is none.
fn write_counts(out: &mut BitWriter, each: &[u64]) -> bool {
    let some = each.iter().any(|devices| *devices > 0);
    out.flag(some);
    if some {
        write_row(out, &Presence::All, each);
    }
    some
}

/// How many each group has; no numbers where none has any.
fn read_counts(bits: &mut BitReader<'_>, groups: usize) -> Option<Vec<u64>> {
    if !bits.flag() {
        return Some(Vec::new());
    }
    read_row(bits, &Presence::All, groups).filter(|each| each.iter().any(|devices| *devices > 0))
}

/// What the columns of devices may be foretold by, as the writer tries them: operations by bytes.
fn kinds(by: Option<u8>) -> Vec<Kind> {
    ALONE.into_iter().chain(by.map(Kind::Share)).collect()
}

/// Writes whether `io.stat` was read, the devices and their counters, then the GPUs.
pub fn write(
    out: &mut BitWriter,
    names: &[&str],
    series: &[Series],
    ages: &[u64],
    load: &mut Load,
) -> Option<()> {
    write_io(out, series, ages, load)?;
    write_gpus(out, names, series, ages, load)
}

/// Reads what [`write`] wrote.
pub fn read(
    bits: &mut BitReader<'_>,
    names: &[&str],
    series: &mut [Series],
    ages: &[u64],
    load: &mut Load,
    most: Load,
) -> Option<()> {
    read_io(bits, series, ages, load, most)?;
    read_gpus(bits, names, series, ages, load, most)
}

// Block devices.

fn devices(series: &Series) -> BTreeSet<DeviceId> {
    series.readings.iter().flat_map(|reading| reading.io.iter().flatten()).map(|io| io.device).collect()
}

fn of_device(reading: &Reading, device: DeviceId) -> Option<[u64; IO.len()]> {
    reading.io.as_ref()?.iter().find(|io| io.device == device).map(|io| io.stat.columns())
}

fn write_io(out: &mut BitWriter, series: &[Series], ages: &[u64], load: &mut Load) -> Option<()> {
    let readings = series.iter().flat_map(|series| &series.readings);
    let read = Presence::of(readings.map(|reading| reading.io.is_some()).collect());
    let counts: Vec<usize> = series.iter().map(|series| series.readings.len()).collect();
    read.write(out, &counts);
    if read == Presence::Nothing {
        return Some(());
    }
    let by_group: Vec<BTreeSet<DeviceId>> = series.iter().map(devices).collect();
    let each: Vec<u64> = by_group.iter().map(|devices| count(devices.len())).collect();
    if !write_counts(out, &each) {
        return Some(());
    }
    let owners = Owners::new(series, &each, ages, load, ANY)?;
    let all: Vec<DeviceId> = by_group.into_iter().flatten().collect();
    write_row(out, &Presence::All, &all.iter().map(|device| device.major.into()).collect::<Vec<_>>());
    write_row(out, &Presence::All, &all.iter().map(|device| device.minor.into()).collect::<Vec<_>>());
    let owned = all.iter().zip(&owners.groups);
    let stats: Vec<Option<[u64; IO.len()]>> = owned
        .filter_map(|(device, group)| Some((device, series.get(*group)?)))
        .flat_map(|(device, series)| series.readings.iter().map(|reading| of_device(reading, *device)))
        .collect();
    let presence = Presence::of(stats.iter().map(Option::is_some).collect());
    presence.write(out, &owners.counts);
    let layout = Layout { counts: &owners.counts, presence: &presence };
    let mut others = others(owners.ages);
    for (column, by) in (0_u8..).zip([None, None, Some(0), Some(1)]) {
        let of = |stat: &Option<[u64; IO.len()]>| {
            stat.as_ref().and_then(|stat| stat.get(usize::from(column)).copied()).unwrap_or_default()
        };
        let values: Vec<u64> = stats.iter().map(of).collect();
        column::write(out, layout, &values, &others, &kinds(by));
        keep(&mut others, column, values);
    }
    Some(())
}

fn read_io(
    bits: &mut BitReader<'_>,
    series: &mut [Series],
    ages: &[u64],
    load: &mut Load,
    most: Load,
) -> Option<()> {
    let counts: Vec<usize> = series.iter().map(|series| series.readings.len()).collect();
    let read = Presence::read(bits, &counts)?;
    if read == Presence::Nothing {
        return Some(());
    }
    let readings = series.iter_mut().flat_map(|series| &mut series.readings).enumerate();
    readings.filter(|(n, _)| read.has(*n)).for_each(|(_, reading)| reading.io = Some(Vec::new()));
    let each = read_counts(bits, counts.len())?;
    if each.is_empty() {
        return Some(());
    }
    let owners = Owners::new(series, &each, ages, load, most)?;
    let majors = read_row(bits, &Presence::All, owners.len())?;
    let minors = read_row(bits, &Presence::All, owners.len())?;
    let presence = Presence::read(bits, &owners.counts)?;
    let layout = Layout { counts: &owners.counts, presence: &presence };
    let mut columns = others(owners.ages);
    for column in 0..4 {
        let values = column::read(bits, layout, &columns)?;
        keep(&mut columns, column, values);
    }
    let [rbytes, wbytes, rios, wios, ..] = columns.as_slice() else { return None };
    let mut stats = rbytes.iter().zip(wbytes).zip(rios).zip(wios).enumerate();
    for ((group, major), minor) in owners.groups.into_iter().zip(majors).zip(minors) {
        let device = DeviceId { major: u32::try_from(major).ok()?, minor: u32::try_from(minor).ok()? };
        for reading in &mut series.get_mut(group)?.readings {
            let (n, (((rbytes, wbytes), rios), wios)) = stats.next()?;
            if !presence.has(n) {
                continue;
            }
            // A device is named where io.stat was read, once, in order.
            let io = reading.io.as_mut()?;
            if io.last().is_some_and(|last| last.device >= device) {
                return None;
            }
            io.push(DeviceIo { device, stat: IoStat::from_columns([*rbytes, *wbytes, *rios, *wios]) });
        }
    }
    Some(())
}

// GPUs.

/// The GPUs of a group's readings, each once, by their names.
pub fn gpus(series: &Series) -> BTreeSet<&GpuName> {
    series.readings.iter().flat_map(|reading| &reading.gpus).map(|gpu| &gpu.gpu).collect()
}

fn of_gpu(reading: &Reading, gpu: &GpuName) -> [Option<u64>; GPU.len()] {
    let found = reading.gpus.iter().find(|one| one.gpu == *gpu);
    found.map_or([None; GPU.len()], |one| one.stat.columns())
}

fn write_gpus(
    out: &mut BitWriter,
    names: &[&str],
    series: &[Series],
    ages: &[u64],
    load: &mut Load,
) -> Option<()> {
    let by_group: Vec<BTreeSet<&GpuName>> = series.iter().map(gpus).collect();
    let each: Vec<u64> = by_group.iter().map(|gpus| count(gpus.len())).collect();
    if !write_counts(out, &each) {
        return Some(());
    }
    let owners = Owners::new(series, &each, ages, load, ANY)?;
    let all: Vec<&GpuName> = by_group.into_iter().flatten().collect();
    let places: Vec<u64> = all.iter().map(|gpu| place(names, gpu.as_str())).collect();
    write_row(out, &Presence::All, &places);
    let owned = all.iter().zip(&owners.groups);
    let stats: Vec<[Option<u64>; GPU.len()]> = owned
        .filter_map(|(gpu, group)| Some((gpu, series.get(*group)?)))
        .flat_map(|(gpu, series)| series.readings.iter().map(|reading| of_gpu(reading, gpu)))
        .collect();
    let mut others = others(owners.ages);
    for (column, by) in (0_u8..).zip([None, None, Some(1), None]) {
        let of = |stat: &[Option<u64>; GPU.len()]| stat.get(usize::from(column)).copied().flatten();
        let presence = Presence::of(stats.iter().map(|stat| of(stat).is_some()).collect());
        presence.write(out, &owners.counts);
        if presence == Presence::Nothing {
            continue;
        }
        let values: Vec<u64> = stats.iter().map(|stat| of(stat).unwrap_or_default()).collect();
        let layout = Layout { counts: &owners.counts, presence: &presence };
        column::write(out, layout, &values, &others, &kinds(by));
        keep(&mut others, column, values);
    }
    Some(())
}

fn read_gpus(
    bits: &mut BitReader<'_>,
    names: &[&str],
    series: &mut [Series],
    ages: &[u64],
    load: &mut Load,
    most: Load,
) -> Option<()> {
    let each = read_counts(bits, series.len())?;
    if each.is_empty() {
        return Some(());
    }
    let owners = Owners::new(series, &each, ages, load, most)?;
    let gpus = read_row(bits, &Presence::All, owners.len())?;
    let mut columns: Others = others(owners.ages);
    let mut presences = Vec::with_capacity(GPU.len());
    for column in 0..4 {
        let presence = Presence::read(bits, &owners.counts)?;
        if presence != Presence::Nothing {
            let layout = Layout { counts: &owners.counts, presence: &presence };
            let values = column::read(bits, layout, &columns)?;
            keep(&mut columns, column, values);
        }
        presences.push(presence);
    }
    let stat = |n: usize| {
        let mut stat = [None; GPU.len()];
        for ((place, column), presence) in stat.iter_mut().zip(&columns).zip(&presences) {
            *place = column.get(n).copied().filter(|_| presence.has(n));
        }
        GpuStat::from_columns(stat)
    };
    let mut places = 0_usize..;
    let mut before = None;
    for (group, name) in owners.groups.into_iter().zip(gpus) {
        // Those of a group by their names, each once.
        if before.replace((group, name)).is_some_and(|before| before >= (group, name)) {
            return None;
        }
        let gpu: GpuName = named_by(names, name)?.parse().ok()?;
        for reading in &mut series.get_mut(group)?.readings {
            let stat = stat(places.next()?);
            if !stat.is_empty() {
                reading.gpus.push(GpuReading { gpu: gpu.clone(), stat });
            }
        }
    }
    Some(())
}
