//! Time as a parameter: one trait, one real clock, and the one place that may ask the machine.

use std::fmt;
use std::str::FromStr;

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

impl WallTime {
    /// From microseconds since 1970.
    ///
    /// # Errors
    /// Where the year would lie outside -9999 to 9999.
    pub fn from_unix_usec(usec: i64) -> Result<Self, InvalidTime> {
        match jiff::Timestamp::from_microsecond(usec) {
            Ok(_) => Ok(Self(usec)),
            Err(_) => Err(InvalidTime(usec.to_string())),
        }
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
}

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// The instant now.
    ///
    /// # Errors
    /// Where the machine's clock cannot be read or shows no year a calendar has.
    fn now(&self) -> std::io::Result<Moment>;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> std::io::Result<Moment> {
        use nix::time::{ClockId, clock_gettime};
        let usec = |id: ClockId| -> std::io::Result<i64> {
            let time = clock_gettime(id)?;
            let sub_usec = time.tv_nsec().checked_div(1000);
            time.tv_sec()
                .checked_mul(1_000_000)
                .and_then(|usec| usec.checked_add(sub_usec?))
                .ok_or_else(|| std::io::Error::other("a clock out of range"))
        };
        let boottime = u64::try_from(usec(ClockId::CLOCK_BOOTTIME)?).map_err(std::io::Error::other)?;
        let wall = WallTime::from_unix_usec(usec(ClockId::CLOCK_REALTIME)?).map_err(std::io::Error::other)?;
        Ok(Moment { wall, boottime_usec: Usec(boottime) })
    }
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
    fn the_monotonic_clock_does_not_go_back() {
        let (first, second) = (SystemClock.now().unwrap(), SystemClock.now().unwrap());
        assert!(second.since(&first).is_some());
    }
}
