//! When readings were made. Rounds go through all groups in one order: what a reading is after the one
//! beside it, in the group before, changes little from round to round.

use tenantry_model::block::{Series, Subject};
use tenantry_model::reading::Reading;
use tenantry_model::{Moment, Usec, WallTime};

use crate::bits::{BitReader, BitWriter};
use crate::column::{self, Layout, Others};
use crate::foretold::Kind;
use crate::frame::Frame;
use crate::presence::Presence;
use crate::subjects::{read_row, write_row};

const KINDS: [Kind; 4] = [Kind::Last, Kind::Step, Kind::Mean, Kind::Beside];

fn has_readings(counts: &[usize]) -> Presence {
    Presence::of(counts.iter().map(|count| *count > 0).collect())
}

/// Three columns: each group's first time, less the block's; each time, less its group's first; how far the wall clock is from it.
pub fn write(out: &mut BitWriter, series: &[Series], counts: &[usize], frame: Frame<'_>) {
    let first = |series: &Series| series.readings.first().map(|reading| reading.at.boottime_usec.0);
    let closed = frame.closed.boottime_usec.0;
    let firsts: Vec<u64> =
        series.iter().map(|series| first(series).unwrap_or_default().wrapping_sub(closed)).collect();
    write_row(out, &has_readings(counts), &firsts);
    let layout = Layout { counts, presence: &Presence::All };
    let since = series.iter().flat_map(|series| {
        let first = first(series).unwrap_or_default();
        series.readings.iter().map(move |reading| reading.at.boottime_usec.0.wrapping_sub(first))
    });
    column::write(out, layout, &since.collect::<Vec<_>>(), &Others::new(), &KINDS);
    let readings = series.iter().flat_map(|series| &series.readings);
    let offsets: Vec<u64> = readings.map(|reading| frame.offset(reading.at)).collect();
    column::write(out, layout, &offsets, &Others::new(), &KINDS);
}

/// A reading of nothing at each moment.
pub fn read(
    bits: &mut BitReader<'_>,
    subjects: Vec<(Subject, usize)>,
    counts: &[usize],
    readings: usize,
    frame: Frame<'_>,
) -> Option<Vec<Series>> {
    if readings == 0 {
        let empty = |(subject, _)| Series { subject, readings: Vec::new() };
        return Some(subjects.into_iter().map(empty).collect());
    }
    let firsts = read_row(bits, &has_readings(counts), counts.len())?;
    let layout = Layout { counts, presence: &Presence::All };
    let mut since = column::read(bits, layout, &Others::new())?.into_iter();
    let mut offsets = column::read(bits, layout, &Others::new())?.into_iter();
    let mut series = Vec::with_capacity(subjects.len());
    for ((subject, count), first) in subjects.into_iter().zip(firsts) {
        let first = first.wrapping_add(frame.closed.boottime_usec.0);
        let mut readings = Vec::with_capacity(count);
        for (since, offset) in since.by_ref().zip(offsets.by_ref()).take(count) {
            let boottime_usec = first.wrapping_add(since);
            let wall = WallTime::from_unix_usec(frame.wall_usec(boottime_usec, offset)).ok()?;
            readings.push(Reading::empty(Moment { wall, boottime_usec: Usec(boottime_usec) }));
        }
        // Its first is what it is the first of.
        if readings.first().is_some_and(|reading| reading.at.boottime_usec.0 != first) {
            return None;
        }
        series.push(Series { subject, readings });
    }
    Some(series)
}

/// For how long each reading's group has been there: a job since its prolog, by the wall clock, others since the boot.
pub fn ages(series: &[Series]) -> Vec<u64> {
    let age = |series: &Series, at: Moment| match &series.subject {
        Subject::Job(run) => at.wall.unix_usec().wrapping_sub(run.began.unix_usec()).cast_unsigned(),
        Subject::Tenant { .. } | Subject::Node { .. } => at.boottime_usec.0,
    };
    series
        .iter()
        .flat_map(|series| series.readings.iter().map(move |reading| age(series, reading.at)))
        .collect()
}
