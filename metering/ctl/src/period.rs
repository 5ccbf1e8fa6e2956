//! Times as people write them: `2026-11-22`, `2026-11`, `today`, `36h`, `7d`. All in UTC.

use std::str::FromStr;

use tenantry_model::WallTime;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A point in time, before it is known what time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    At(WallTime),
    /// Microseconds before now.
    Ago(i64),
    /// The beginning of a UTC day, so many days ago.
    DayAgo(i64),
}

/// A text that is no point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no time: write 2026-11-22T10:00:00Z, 2026-11-22, 2026-11, today, yesterday, or 90m, 36h, 7d for so long ago"
)]
pub struct InvalidPoint(String);

impl FromStr for Point {
    type Err = InvalidPoint;

    fn from_str(text: &str) -> Result<Self, InvalidPoint> {
        let ago = || {
            let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
            let unit = match unit {
                "m" => MINUTE,
                "h" => HOUR,
                "d" => DAY,
                _ => return None,
            };
            number.parse::<u32>().ok().and_then(|number| i64::from(number).checked_mul(unit)).map(Self::Ago)
        };
        let at = |text: String| text.parse::<WallTime>().ok().map(Self::At);
        let found = match text {
            "now" => Some(Self::Ago(0)),
            "today" => Some(Self::DayAgo(0)),
            "yesterday" => Some(Self::DayAgo(1)),
            _ if text.contains('T') => at(text.to_owned()),
            _ if text.len() == 10 => at(format!("{text}T00:00:00Z")),
            _ if text.len() == 7 => at(format!("{text}-01T00:00:00Z")),
            _ => ago(),
        };
        found.ok_or_else(|| InvalidPoint(text.to_owned()))
    }
}

impl Point {
    /// When that is. `None` where no calendar has it.
    pub fn at(self, now: WallTime) -> Option<WallTime> {
        let usec = match self {
            Self::At(at) => return Some(at),
            Self::Ago(usec) => now.unix_usec().checked_sub(usec)?,
            Self::DayAgo(days) => {
                let today = now.unix_usec().checked_div_euclid(DAY)?;
                today.checked_sub(days)?.checked_mul(DAY)?
            }
        };
        WallTime::from_unix_usec(usec).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_what_people_write() {
        let now: WallTime = "2026-11-22T10:30:00Z".parse().unwrap();
        for (text, expected) in [
            ("2026-11-20T01:02:03Z", "2026-11-20T01:02:03.000000Z"),
            ("2026-11-20", "2026-11-20T00:00:00.000000Z"),
            ("2026-11", "2026-11-01T00:00:00.000000Z"),
            ("today", "2026-11-22T00:00:00.000000Z"),
            ("yesterday", "2026-11-21T00:00:00.000000Z"),
            ("now", "2026-11-22T10:30:00.000000Z"),
            ("90m", "2026-11-22T09:00:00.000000Z"),
            ("2d", "2026-11-20T10:30:00.000000Z"),
        ] {
            let point: Point = text.parse().unwrap();
            assert_eq!(point.at(now).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "d", "7", "-7d", "7w", "2026-13", "2026-02-30", "tomorrow", "2026-11-22 10:00", "é"]
        {
            assert!(text.parse::<Point>().is_err(), "{text}");
        }
    }
}
