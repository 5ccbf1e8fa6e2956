//! Time as a parameter: one trait, one real clock, and the one place that may ask the machine.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::units::Usec;

/// Wall time, UTC, in microseconds since 1970. Written as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WallTime(i64);

/// A text or a number that is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no time in RFC 3339, like \"2026-11-22T10:00:00Z\"")]
pub struct InvalidTime(String);

/// What `jiff` has a date for. As numbers, since it is asked of each reading many times.
const KNOWN_USEC: RangeInclusive<i64> = -377_705_023_201_000_000..=253_402_207_200_999_999;

impl WallTime {
    /// From microseconds since 1970.
    ///
    /// # Errors
    /// Where the year would lie outside -9999 to 9999.
    pub fn from_unix_usec(usec: i64) -> Result<Self, InvalidTime> {
        if KNOWN_USEC.contains(&usec) { Ok(Self(usec)) } else { Err(InvalidTime(usec.to_string())) }
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn unix_usec(self) -> i64 {
        self.0
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{} µs since 1970", self.0),
        }
    }
}

impl FromStr for WallTime {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        let time: jiff::Timestamp = text.parse().map_err(|_| InvalidTime(text.to_owned()))?;
        Ok(Self(time.as_microsecond()))
    }
}

impl TryFrom<String> for WallTime {
    type Error = InvalidTime;

    fn try_from(text: String) -> Result<Self, InvalidTime> {
        text.parse()
    }
}

impl From<WallTime> for String {
    fn from(time: WallTime) -> String {
        time.to_string()
    }
}

/// One instant by both clocks: monotonic decides durations, wall labels them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// UTC.
    pub wall: WallTime,
    /// `CLOCK_BOOTTIME`: microseconds since this boot, suspended time included.
    pub boottime_usec: Usec,
}

impl Moment {
    /// How long after `earlier`, by the monotonic clock; `None` if it is not after it (another boot).
    #[must_use]
    pub fn since(&self, earlier: &Moment) -> Option<Usec> {
        self.boottime_usec.since(earlier.boottime_usec)
    }

    /// The instant of a later reading of the monotonic clock, as far from this one by wall time too.
    /// `None`: it is no later one, or no calendar has it.
    #[must_use]
    pub fn at_boottime(&self, boottime: Usec) -> Option<Self> {
        let passed = i64::try_from(boottime.since(self.boottime_usec)?.0).ok()?;
        let wall = WallTime::from_unix_usec(self.wall.0.checked_add(passed)?).ok()?;
        Some(Self { wall, boottime_usec: boottime })
    }
}

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// The instant now.
    ///
    /// # Errors
    /// Where the machine's clock cannot be read or shows no year a calendar has.
    fn now(&self) -> std::io::Result<Moment>;

    /// The monotonic clock alone.
    ///
    /// # Errors
    /// Where the machine's clock cannot be read.
    fn boottime(&self) -> std::io::Result<Usec> {
        Ok(self.now()?.boottime_usec)
    }

    /// CPU time that the calling thread has used.
    ///
    /// # Errors
    /// Where the machine's clock cannot be read.
    fn thread_cpu(&self) -> std::io::Result<Usec> {
        clock(ClockId::CLOCK_THREAD_CPUTIME_ID)
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> std::io::Result<Moment> {
        let wall = i64::try_from(clock(ClockId::CLOCK_REALTIME)?.0).map_err(std::io::Error::other)?;
        let wall = WallTime::from_unix_usec(wall).map_err(std::io::Error::other)?;
        Ok(Moment { wall, boottime_usec: self.boottime()? })
    }

    fn boottime(&self) -> std::io::Result<Usec> {
        clock(ClockId::CLOCK_BOOTTIME)
    }
}

fn clock(id: ClockId) -> std::io::Result<Usec> {
    let time = clock_gettime(id)?;
    let usec = || {
        let whole = u64::try_from(time.tv_sec()).ok()?.checked_mul(1_000_000)?;
        whole.checked_add(u64::try_from(time.tv_nsec()).ok()?.checked_div(1000)?)
    };
    usec().map(Usec).ok_or_else(|| std::io::Error::other("a clock out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_goes_through_its_text_unchanged() {
        let time = WallTime::from_unix_usec(1_795_000_000_000_007).unwrap();
        assert_eq!(time.to_string(), "2026-11-18T11:06:40.000007Z");
        assert_eq!(time.to_string().parse(), Ok(time));
    }

    #[test]
    fn a_time_is_known_where_it_has_a_date() {
        let (first, last) = (jiff::Timestamp::MIN.as_microsecond(), jiff::Timestamp::MAX.as_microsecond());
        assert_eq!((*KNOWN_USEC.start(), *KNOWN_USEC.end()), (first, last));
        assert!(
            WallTime::from_unix_usec(first).is_ok()
                && WallTime::from_unix_usec(first.saturating_sub(1)).is_err()
        );
        assert!(
            WallTime::from_unix_usec(last).is_ok()
                && WallTime::from_unix_usec(last.saturating_add(1)).is_err()
        );
    }

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let (first, second) = (SystemClock.now().unwrap(), SystemClock.now().unwrap());
        assert!(second.since(&first).is_some());
    }

    #[test]
    fn a_moment_is_known_by_the_monotonic_clock_from_an_earlier_one() {
        let first =
            Moment { wall: WallTime::from_unix_usec(1_795_000_000_000_000).unwrap(), boottime_usec: Usec(7) };
        let later = first.at_boottime(Usec(10)).unwrap();
        assert_eq!((later.wall.unix_usec(), later.since(&first)), (1_795_000_000_000_003, Some(Usec(3))));
        assert_eq!(first.at_boottime(Usec(6)), None, "another boot");
        assert_eq!(first.at_boottime(Usec(u64::MAX)), None, "no calendar has it");
    }
}
