//! Which window what was used falls into, while a run goes on.
//!
//! A window stays open until a reading lies after it; then its row is due. What falls into a window whose row
//! is written (the wall clock was set back, an allocation became known late) opens it again, for a correction.

use serde::{Deserialize, Serialize};
use tenantry_model::window::{Quantities, Quantity, WindowQuality, WindowWidth};
use tenantry_model::{Moment, Usec, WallTime};

use crate::INTERPOLATED_AFTER;
use crate::counted::COUNTERS;
use crate::window::split;

/// An interval over more windows than this has a clock's mistake in it: what was used in it goes to its end.
const MOST_WINDOWS: u64 = 20_000;

/// The windows of one run.
///
/// # Invariants
/// What was added to it is in its rows: those that [`Windows::due`] gave out and those that are open, to the
/// last unit. Held by [`Windows::add`], the only writer, and `run::tests::the_rows_are_the_record`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    width: WindowWidth,
    /// How many rows were given out.
    given: u32,
    /// The end of the latest window that has a row.
    given_until: Option<WallTime>,
    /// By their begins. Nearly always there is one.
    open: Vec<(WallTime, Open)>,
    /// Of memory over time, what is not a whole byte x second yet, in half bytes x microseconds.
    memory_rest: i128,
    /// Of allocated memory over time, in bytes x microseconds.
    allocated_rest: i128,
}

/// A window whose row is not written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    quality: WindowQuality,
    sequences: Option<(u64, u64)>,
    figures: Quantities<i128>,
}

impl Open {
    fn new() -> Self {
        Self { quality: WindowQuality::Exact, sequences: None, figures: Quantities::default() }
    }
}

/// A row that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// 1, 2, 3, ... within the run.
    pub number: u32,
    pub from: WallTime,
    pub to: WallTime,
    pub correction: bool,
    pub quality: WindowQuality,
    pub sequences: Option<(u64, u64)>,
    pub figures: Quantities<i128>,
}

/// Where a figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The block's sequence, where it is one of the run's boot.
    pub sequence: Option<u64>,
}

impl Windows {
    pub fn new(width: WindowWidth) -> Self {
        Self { width, given: 0, given_until: None, open: Vec::new(), memory_rest: 0, allocated_rest: 0 }
    }

    /// Of a run whose rows are all written, the last of them up to `until`: each further one is a correction.
    /// `allocated` is what was allocated so far, in bytes x microseconds.
    pub fn corrections(width: WindowWidth, until: WallTime, allocated: i128) -> Self {
        let mut windows = Self::new(width);
        windows.given_until = windows.window(until).and_then(|from| windows.end_of(from));
        whole(&mut windows.allocated_rest, allocated, 1_000_000);
        windows
    }

    /// What was used between two moments of the monotonic clock, evenly.
    pub fn spread(&mut self, quantity: Quantity, since: Usec, at: Moment, amount: i128, source: Source) {
        let time = Usec(at.boottime_usec.0.saturating_sub(since.0));
        let quality_of = |parts: usize| {
            let placed = quantity != Quantity::Memory && parts <= 1;
            let counted = quantity == Quantity::Memory || COUNTERS.contains(&quantity);
            if counted && !placed && time > INTERPOLATED_AFTER {
                WindowQuality::Interpolated
            } else {
                WindowQuality::Exact
            }
        };
        // Nearly always: an interval of seconds in a window of an hour needs no cutting.
        if amount >= 0
            && let Some(window) = self.one_window(time, at.wall)
        {
            return self.add(window, quantity, amount, quality_of(1), source);
        }
        let from = Moment { boottime_usec: since, ..at };
        let many = time.0.checked_div(self.width.usec().0).is_none_or(|windows| windows > MOST_WINDOWS);
        let parts = match u128::try_from(amount) {
            Ok(amount) if !many => split(from, at, amount, self.width.usec()),
            _ => None,
        };
        let Some(parts) = parts else { return self.put(quantity, at, amount, WindowQuality::Exact, source) };
        let quality = quality_of(parts.len());
        for part in parts {
            // A part is at most the whole.
            let part_amount = i128::try_from(part.quantity).unwrap_or(amount);
            self.add(part.window, quantity, part_amount, quality, source);
        }
    }

    /// What was used, whenever, all into one moment's window.
    pub fn put(
        &mut self,
        quantity: Quantity,
        at: Moment,
        amount: i128,
        quality: WindowQuality,
        source: Source,
    ) {
        if let Some(window) = self.window(at.wall) {
            self.add(window, quantity, amount, quality, source);
        }
    }

    fn add(
        &mut self,
        window: WallTime,
        quantity: Quantity,
        amount: i128,
        quality: WindowQuality,
        source: Source,
    ) {
        let whole = match quantity {
            Quantity::Memory => whole(&mut self.memory_rest, amount, 2_000_000),
            Quantity::AllocatedMemory => whole(&mut self.allocated_rest, amount, 1_000_000),
            _ => amount,
        };
        self.change(window, |open| {
            open.quality = open.quality.max(quality);
            if let Some(sequence) = source.sequence {
                let (first, last) = open.sequences.unwrap_or((sequence, sequence));
                open.sequences = Some((first.min(sequence), last.max(sequence)));
            }
            let figure = open.figures.get(quantity).unwrap_or_default().saturating_add(whole);
            open.figures.set(quantity, Some(figure));
        });
    }

    /// Changes a window, which is opened for that where it is not.
    fn change(&mut self, from: WallTime, change: impl FnOnce(&mut Open)) {
        if let Some((_, open)) = self.open.iter_mut().find(|(begin, _)| *begin == from) {
            return change(open);
        }
        let mut open = Open::new();
        change(&mut open);
        let place = self.open.partition_point(|(begin, _)| *begin < from);
        self.open.reserve_exact(1);
        self.open.insert(place, (from, open));
    }

    /// How much the run's end is worth, in the window it lies in. Of a run without counters each window is a gap.
    pub fn end(&mut self, at: Moment, quality: WindowQuality) {
        if let Some(window) = self.window(at.wall) {
            self.change(window, |open| open.quality = open.quality.max(quality));
        }
        if quality == WindowQuality::Gap {
            let open = self.open.iter_mut().map(|(_, open)| open);
            open.filter(|open| open.figures.get(Quantity::CpuUsage).is_none())
                .for_each(|open| open.quality = WindowQuality::Gap);
        }
    }

    /// The rows of windows that were over at `now`; of all with `None`. They are given out once.
    pub fn due(&mut self, now: Option<WallTime>) -> Vec<Due> {
        let over = match now {
            Some(now) => {
                let Some(until) = self.window(now) else { return Vec::new() };
                self.open.partition_point(|(from, _)| *from < until)
            }
            None => self.open.len(),
        };
        let over: Vec<_> = self.open.drain(..over).collect();
        over.into_iter().filter_map(|(from, open)| self.give(from, &open)).collect()
    }

    /// The rows that would be due now, with the numbers they would have.
    pub fn pending(&self) -> Vec<Due> {
        self.clone().due(None)
    }

    fn give(&mut self, from: WallTime, open: &Open) -> Option<Due> {
        let to = self.end_of(from)?;
        let correction = self.given_until.is_some_and(|until| from < until);
        self.given_until = self.given_until.max(Some(to));
        self.given = self.given.saturating_add(1);
        let Open { quality, sequences, figures } = *open;
        Some(Due { number: self.given, from, to, correction, quality, sequences, figures })
    }

    /// Where the window begins that a time lies in.
    fn window(&self, at: WallTime) -> Option<WallTime> {
        let width = i64::try_from(self.width.usec().0).ok()?;
        let begin = at.unix_usec().checked_sub(at.unix_usec().checked_rem_euclid(width)?)?;
        WallTime::from_unix_usec(begin).ok()
    }

    /// The window that the whole of an interval lies in, if it lies in one.
    fn one_window(&self, time: Usec, end: WallTime) -> Option<WallTime> {
        let begin = WallTime::from_unix_usec(end.unix_usec().checked_sub_unsigned(time.0)?).ok()?;
        let holds = |from: WallTime| {
            self.end_of(from).is_some_and(|until| from <= begin && begin < until && end <= until)
        };
        // Nearly always the one that is open: no division.
        let open = self.open.last().map(|(from, _)| *from).filter(|from| holds(*from));
        open.or_else(|| self.window(begin).filter(|from| holds(*from)))
    }

    fn end_of(&self, from: WallTime) -> Option<WallTime> {
        WallTime::from_unix_usec(from.unix_usec().checked_add_unsigned(self.width.usec().0)?).ok()
    }
}

/// Adds to a rest; what is whole of it is taken out.
fn whole(rest: &mut i128, amount: i128, unit: i64) -> i128 {
    let sum = rest.saturating_add(amount);
    // Nearly always: a division of 128 bits takes ten times as long.
    if let Ok(sum) = i64::try_from(sum) {
        *rest = sum.checked_rem_euclid(unit).unwrap_or_default().into();
        return sum.checked_div_euclid(unit).unwrap_or_default().into();
    }
    let unit = i128::from(unit);
    *rest = sum.checked_rem_euclid(unit).unwrap_or_default();
    sum.checked_div_euclid(unit).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]

    use super::*;
    use proptest::prelude::*;

    const HOUR_USEC: i64 = 3_600_000_000;

    proptest! {
        #[test]
        fn nothing_is_lost_by_taking_out_what_is_whole(amounts in prop::collection::vec((any::<i64>(), 0_u32..16), 1..20)) {
            let (mut rest, mut taken, mut all) = (0, 0_i128, 0_i128);
            for (amount, shift) in amounts {
                let amount = i128::from(amount) << shift;
                taken += whole(&mut rest, amount, 2_000_000);
                all += amount;
                prop_assert!((0..2_000_000).contains(&rest));
                prop_assert_eq!(taken * 2_000_000 + rest, all);
            }
        }

        #[test]
        fn the_open_window_is_no_other_than_the_one_by_division(
            open in 0_i64..3, end in 0_i64..3 * HOUR_USEC, edge in -1_i64..2, time in 0_u64..4_000_000_000, short: bool,
        ) {
            // Many of them end or begin at an edge, or next to it.
            let end = if short { end / HOUR_USEC * HOUR_USEC + edge } else { end };
            let time = Usec(if short { time % 3 } else { time });
            let end = WallTime::from_unix_usec(end).unwrap();
            let mut windows = Windows::new(WindowWidth::HOUR);
            let by_division = windows.one_window(time, end);
            windows.change(WallTime::from_unix_usec(open * HOUR_USEC).unwrap(), |_| {});
            prop_assert_eq!(windows.one_window(time, end), by_division);
        }
    }
}
