//! Readings as columns: what one counter did in all groups stands together. `docs/block-format.md` has the layout.

use std::collections::BTreeSet;
use std::iter::repeat;

use tenantry_model::block::Series;
use tenantry_model::catalogue::Metric;

use crate::bits::{BitReader, BitWriter};
use crate::column::{self, Layout, Others};
use crate::devices;
use crate::foretold::Kind;
use crate::frame::{Frame, Load};
use crate::presence::Presence;
use crate::wire::{Reader, Writer};
use crate::{EncodeError, subjects, times};

/// The number of the column of ages, which is told by the times. No metric has it.
pub const AGE: u8 = 63;

/// What any column may be foretold by.
pub const ALONE: [Kind; 5] = [Kind::Nothing, Kind::Last, Kind::Step, Kind::Mean, Kind::Share(AGE)];

/// How many columns may be named.
const PLACES: usize = 64;

/// No column yet but that of the ages.
pub fn others(ages: Vec<u64>) -> Others {
    let mut others = vec![Vec::new(); PLACES];
    keep(&mut others, AGE, ages);
    others
}

pub fn keep(others: &mut Others, number: u8, values: Vec<u64>) {
    if let Some(place) = others.get_mut(usize::from(number)) {
        *place = values;
    }
}

/// The columns in the order in which they stand: each after those that foretell it.
fn in_order() -> [Metric; Metric::COUNT] {
    let mut order = Metric::ALL;
    order.sort_by_key(|metric| match *metric {
        Metric::CPU_USER => (Metric::CPU_SYSTEM, 1),
        Metric::MEMORY_CURRENT => (Metric::MEMORY_KERNEL, 1),
        Metric::MEMORY_PEAK => (Metric::MEMORY_KERNEL, 2),
        metric => (metric, 0),
    });
    order
}

/// What a counter should be by others of its reading, at each place; nothing for most. Those that are absent count as 0.
fn by_others(metric: Metric, others: &Others) -> Vec<u64> {
    let column = |metric: Metric| others.get(usize::from(metric.id())).map(Vec::as_slice).unwrap_or_default();
    let more: &[Metric] = match metric {
        Metric::CPU_USER => &[Metric::CPU_USAGE],
        Metric::MEMORY_CURRENT => &[Metric::MEMORY_ANON, Metric::MEMORY_FILE, Metric::MEMORY_KERNEL],
        _ => return Vec::new(),
    };
    let length = others.get(usize::from(AGE)).map_or(0, Vec::len);
    let mut sums = vec![0_u64; length];
    for metric in more {
        sums.iter_mut().zip(column(*metric)).for_each(|(sum, value)| *sum = sum.wrapping_add(*value));
    }
    if metric == Metric::CPU_USER {
        let system = column(Metric::CPU_SYSTEM);
        sums.iter_mut().zip(system).for_each(|(sum, value)| *sum = sum.wrapping_sub(*value));
    }
    sums
}

/// What a column may be foretold by beside itself: the writer tries this, too.
fn kin(metric: Metric) -> Option<Kind> {
    let share = |other: Metric| Some(Kind::Share(other.id()));
    let at_least = |other: Metric| Some(Kind::AtLeast(other.id()));
    match metric {
        Metric::CPU_SYSTEM | Metric::CPU_PRESSURE_SOME | Metric::ENERGY_SHARE => share(Metric::CPU_USAGE),
        Metric::MEMORY_PEAK => at_least(Metric::MEMORY_CURRENT),
        Metric::MEMORY_PRESSURE_FULL => share(Metric::MEMORY_PRESSURE_SOME),
        Metric::IO_PRESSURE_FULL => share(Metric::IO_PRESSURE_SOME),
        Metric::PIDS_PEAK => at_least(Metric::PIDS_CURRENT),
        Metric::NETWORK_RX_PACKETS => share(Metric::NETWORK_RX_BYTES),
        Metric::NETWORK_TX_PACKETS => share(Metric::NETWORK_TX_BYTES),
        Metric::LOOPBACK_RX_PACKETS | Metric::LOOPBACK_TX_BYTES => share(Metric::LOOPBACK_RX_BYTES),
        Metric::LOOPBACK_TX_PACKETS => share(Metric::LOOPBACK_RX_PACKETS),
        _ => None,
    }
}

/// Writes the readings: names, then columns as bits. And how much is in them.
pub fn write(series: &[Series], frame: Frame<'_>) -> Result<(Vec<u8>, Load), EncodeError> {
    let mut head = Writer::default();
    let names = subjects::names(series);
    subjects::write_names(&mut head, &names);
    head.count(series.len());
    let mut out = BitWriter::default();
    subjects::write(&mut out, &names, series, frame)?;
    let counts: Vec<usize> = series.iter().map(|series| series.readings.len()).collect();
    let mut load = Load::default();
    let readings = counts.iter().copied().fold(0, usize::saturating_add);
    load.add_groups(series.len().saturating_add(readings)).ok_or(EncodeError::TooLong)?;
    if readings > 0 {
        times::write(&mut out, series, &counts, frame);
        let ages = times::ages(series);
        write_counters(&mut out, series, &counts, ages.clone());
        devices::write(&mut out, &names, series, &ages, &mut load).ok_or(EncodeError::TooLong)?;
    }
    let mut columns = out.finish();
    columns.resize(columns.len().max(load.least_bytes()), 0);
    head.bytes(&columns);
    Ok((head.0, load))
}

fn write_counters(out: &mut BitWriter, series: &[Series], counts: &[usize], ages: Vec<u64>) {
    let mut others = others(ages);
    let readings = || series.iter().flat_map(|series| &series.readings);
    let bit = |metric: Metric| 1_u64.wrapping_shl(metric.id().into());
    let has = |metric: &Metric| readings().any(|reading| reading.get(*metric).is_some());
    let all = Metric::ALL.into_iter().filter(has).fold(0, |bits, metric| bits | bit(metric));
    out.put(all, u64::BITS);
    for metric in in_order().into_iter().filter(|metric| all & bit(*metric) != 0) {
        let presence = Presence::of(readings().map(|reading| reading.get(metric).is_some()).collect());
        let values: Vec<u64> = readings().map(|reading| reading.get(metric).unwrap_or_default()).collect();
        let expected = by_others(metric, &others);
        let expected = expected.into_iter().chain(repeat(0));
        let coded: Vec<u64> =
            values.iter().zip(expected).map(|(value, expected)| value.wrapping_sub(expected)).collect();
        presence.write(out, counts);
        let kinds: Vec<Kind> = ALONE.into_iter().chain(kin(metric)).collect();
        column::write(out, Layout { counts, presence: &presence }, &coded, &others, &kinds);
        keep(&mut others, metric.id(), values);
    }
}

/// Reads what [`write`] wrote, and nothing else, if there is no more in it than there may be. And how much there is.
pub fn read(body: &[u8], frame: Frame<'_>, most_weight: usize) -> Option<(Vec<Series>, Load)> {
    let mut input = Reader(body);
    let names = subjects::read_names(&mut input)?;
    let groups = usize::try_from(input.varint()?).ok().filter(|groups| *groups > 0)?;
    let most = Load { things: input.0.len().saturating_mul(8), weight: most_weight };
    let mut load = Load::default();
    load.add_groups(groups)?;
    let mut bits = BitReader::new(input.0);
    let subjects = load.is_within(most).then(|| subjects::read(&mut bits, &names, groups, frame))??;
    let counts: Vec<usize> = subjects.iter().map(|(_, count)| *count).collect();
    let readings = counts.iter().try_fold(0_usize, |sum, count| sum.checked_add(*count))?;
    load.add_groups(readings)?;
    let mut series =
        load.is_within(most).then(|| times::read(&mut bits, subjects, &counts, readings, frame))??;
    if readings > 0 {
        let ages = times::ages(&series);
        read_counters(&mut bits, &mut series, &counts, ages.clone())?;
        devices::read(&mut bits, &names, &mut series, &ages, &mut load, most)?;
    }
    bits.finish(load.least_bytes())?;
    Some((series, load))
}

fn read_counters(
    bits: &mut BitReader<'_>,
    series: &mut [Series],
    counts: &[usize],
    ages: Vec<u64>,
) -> Option<()> {
    let mut others = others(ages);
    let mut all = bits.take(u64::BITS);
    for metric in in_order() {
        let bit = 1_u64.wrapping_shl(metric.id().into());
        if all & bit == 0 {
            continue;
        }
        all ^= bit;
        let presence = Presence::read(bits, counts).filter(|presence| *presence != Presence::Nothing)?;
        let mut values = column::read(bits, Layout { counts, presence: &presence }, &others)?;
        for (n, (value, expected)) in values.iter_mut().zip(by_others(metric, &others)).enumerate() {
            *value = if presence.has(n) { value.wrapping_add(expected) } else { 0 };
        }
        let mut left = values.iter().enumerate();
        for reading in series.iter_mut().flat_map(|series| &mut series.readings) {
            let (n, value) = left.next()?;
            if presence.has(n) {
                reading.counters.set(metric, Some(*value));
            }
        }
        keep(&mut others, metric.id(), values);
    }
    // Of a metric that this format does not have.
    (all == 0).then_some(())
}

/// Whether a subject stands twice.
pub fn has_twins(series: &[Series]) -> bool {
    let mut seen = BTreeSet::new();
    !series.iter().all(|series| seen.insert(&series.subject))
}
