//! Usage over time, cut at the edges of windows: hours, UTC days, billing periods.
//!
//! The monotonic clock says how long an interval was; the wall clock at its end says where on the
//! calendar it lies. Where the wall clock was set in between, the interval keeps its length. Unix time
//! has no leap seconds: a day has 86,400 seconds, and a leap second is a step of the wall clock.

use tenantry_model::{Moment, Usec, WallTime};

/// A part of a quantity, in one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Where the window begins.
    pub window: WallTime,
    /// How long the interval lies in it.
    pub time: Usec,
    /// How much of the quantity falls to it.
    pub quantity: u128,
}

/// Cuts a quantity that was used evenly between two moments of one boot into windows of `width`
/// microseconds of Unix time. The parts add up to the quantity, to the last unit. `None` where `to` is
/// before `from`, or a time lies outside the calendar.
#[must_use]
pub fn split(from: Moment, to: Moment, quantity: u128, width: Usec) -> Option<Vec<Part>> {
    let whole = to.since(&from)?;
    let width = i128::from(width.0);
    let end = i128::from(to.wall.unix_usec());
    let begin = end.checked_sub(whole.0.into())?;
    let mut parts = Vec::new();
    let (mut at, mut counted) = (begin, 0_u128);
    loop {
        let window = at.checked_sub(at.checked_rem_euclid(width)?)?;
        let until = window.checked_add(width)?.min(end);
        let passed = u128::try_from(until.checked_sub(begin)?).ok()?;
        // Rounded down from the whole each time, so that no unit is lost between two windows.
        let so_far = if until == end { quantity } else { share(quantity, passed, whole.0.into())? };
        parts.push(Part {
            window: WallTime::from_unix_usec(i64::try_from(window).ok()?).ok()?,
            time: Usec(u64::try_from(until.checked_sub(at)?).ok()?),
            quantity: so_far.checked_sub(counted)?,
        });
        if until == end {
            return Some(parts);
        }
        (at, counted) = (until, so_far);
    }
}

/// `quantity` x `part` / `whole`, rounded down, without an intermediate that does not fit.
fn share(quantity: u128, part: u128, whole: u128) -> Option<u128> {
    let (each, rest) = (quantity.checked_div(whole)?, quantity.checked_rem(whole)?);
    each.checked_mul(part)?.checked_add(rest.checked_mul(part)?.checked_div(whole)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]

    use super::*;
    use proptest::prelude::*;

    const HOUR: Usec = Usec(3_600_000_000);

    fn moment(wall: &str, boottime: u64) -> Moment {
        Moment { wall: wall.parse().unwrap(), boottime_usec: Usec(boottime) }
    }

    fn seconds(parts: &[Part]) -> Vec<(String, u64, u128)> {
        parts.iter().map(|part| (part.window.to_string(), part.time.0 / 1_000_000, part.quantity)).collect()
    }

    #[test]
    fn a_job_across_midnight_falls_to_both_days() {
        let (from, to) = (moment("2026-12-31T23:59:50Z", 0), moment("2027-01-01T00:00:20Z", 30_000_000));
        let parts = split(from, to, 100, HOUR).unwrap();
        let expected = [
            ("2026-12-31T23:00:00.000000Z".to_owned(), 10, 33),
            ("2027-01-01T00:00:00.000000Z".to_owned(), 20, 67),
        ];
        assert_eq!(seconds(&parts), expected);
    }

    #[test]
    fn an_interval_keeps_its_length_where_the_wall_clock_was_set() {
        // Set back by an hour: it lies before the new time, thirty seconds long.
        let (from, to) = (moment("2026-11-22T11:00:10Z", 0), moment("2026-11-22T10:00:10Z", 30_000_000));
        let parts = split(from, to, 30, HOUR).unwrap();
        let expected = [
            ("2026-11-22T09:00:00.000000Z".to_owned(), 20, 20),
            ("2026-11-22T10:00:00.000000Z".to_owned(), 10, 10),
        ];
        assert_eq!(seconds(&parts), expected);
    }

    #[test]
    fn what_took_no_time_falls_to_one_window() {
        let at = moment("2026-11-22T10:00:00Z", 5);
        assert_eq!(split(at, at, 7, HOUR).unwrap().len(), 1);
        assert_eq!(split(moment("2026-11-22T10:00:00Z", 6), at, 7, HOUR), None);
    }

    proptest! {
        #[test]
        fn the_parts_are_the_whole(
            end in 0_i64..1 << 50, time in 0_u64..1 << 38, quantity: u64, width in 1_000_000_000_u64..1 << 40,
        ) {
            let to = Moment { wall: WallTime::from_unix_usec(end).unwrap(), boottime_usec: Usec(time) };
            let from = Moment { boottime_usec: Usec(0), ..to };
            let parts = split(from, to, quantity.into(), Usec(width)).unwrap();
            prop_assert_eq!(parts.iter().map(|part| part.quantity).sum::<u128>(), u128::from(quantity));
            prop_assert_eq!(parts.iter().map(|part| part.time.0).sum::<u64>(), time);
            for part in &parts {
                let fair = u128::from(quantity) * u128::from(part.time.0) / u128::from(time.max(1));
                prop_assert!(part.quantity.abs_diff(fair) <= 1 || time == 0, "{part:?} {fair}");
            }
            for pair in parts.windows(2) {
                prop_assert_eq!(pair[1].window.unix_usec() - pair[0].window.unix_usec(), i64::try_from(width).unwrap());
            }
        }
    }
}
