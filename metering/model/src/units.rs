//! Units as types. Arithmetic is checked: a counter that went backwards is not a small number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The sum, or `None` where it does not fit.
            #[must_use]
            pub fn checked_add(self, other: Self) -> Option<Self> {
                self.0.checked_add(other.0).map(Self)
            }

            /// What was added since `earlier`, or `None` where the counter went backwards.
            #[must_use]
            pub fn since(self, earlier: Self) -> Option<Self> {
                self.0.checked_sub(earlier.0).map(Self)
            }
        }
    };
}

unit! {
    /// Bytes.
    Bytes
}
unit! {
    /// Microseconds.
    Usec
}

impl Bytes {
    /// One mebibyte, the unit of Slurm's memory figures.
    pub const MIB: u64 = 1 << 20;
}

/// A limit as the kernel writes it: `max`, or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit<T> {
    /// No limit: the kernel's `max`.
    Max,
    /// This much.
    At(T),
}

impl<T: fmt::Display> fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Max => f.write_str("max"),
            Limit::At(value) => value.fmt(f),
        }
    }
}

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}; write {example}")]
pub struct InvalidQuantity {
    text: String,
    what: &'static str,
    example: &'static str,
}

/// The kernel prints a number without its unit; so does a limit written to it.
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Bytes {
    type Err = InvalidQuantity;

    /// `64GiB`, `500 MiB`, `1TB`, `4096B`. A bare number is refused: its unit would be a guess.
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        const UNITS: [(&str, u64); 9] = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("TiB", 1 << 40),
            ("kB", 1_000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("TB", 1_000_000_000_000),
            ("B", 1),
        ];
        let refused = || InvalidQuantity {
            text: text.to_owned(),
            what: "size",
            example: "a whole number and its unit, like \"64GiB\" or \"500MB\"",
        };
        let (number, unit) = UNITS
            .iter()
            .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number.trim_end(), unit)))
            .ok_or_else(refused)?;
        let number: u64 = number.parse().map_err(|_| refused())?;
        number.checked_mul(*unit).map(Bytes).ok_or_else(refused)
    }
}

/// CPU time a group may use in each period: the kernel's `cpu.max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuBandwidth {
    /// Microseconds of CPU time in each period.
    pub quota: Usec,
}

impl CpuBandwidth {
    /// The kernel's default period.
    pub const PERIOD: Usec = Usec(100_000);
    /// The least quota the kernel takes.
    const LEAST: u64 = 1_000;
}

impl fmt::Display for CpuBandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.quota.0, Self::PERIOD.0)
    }
}

impl FromStr for CpuBandwidth {
    type Err = InvalidQuantity;

    /// `1.5 cores`, `4 cores`, `0.25 cores`: up to three decimals, exactly.
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let refused = || InvalidQuantity {
            text: text.to_owned(),
            what: "CPU bandwidth",
            example: "a number of cores of at least 0.01, like \"4 cores\" or \"1.5 cores\"",
        };
        let number =
            text.strip_suffix("cores").or_else(|| text.strip_suffix("core")).ok_or_else(refused)?.trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        if decimals.len() > 3 || number.ends_with('.') {
            return Err(refused());
        }
        let millicores: u64 = format!("{whole}{decimals:0<3}").parse().map_err(|_| refused())?;
        let quota = millicores.checked_mul(100).filter(|quota| *quota >= Self::LEAST).ok_or_else(refused)?;
        Ok(Self { quota: Usec(quota) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_need_their_unit() {
        assert_eq!("64GiB".parse(), Ok(Bytes(64 << 30)));
        assert_eq!("500 MB".parse(), Ok(Bytes(500_000_000)));
        for text in ["64", "GiB", "-1GiB", "1.5GiB", "64gib", "99999999999TiB", ""] {
            assert!(text.parse::<Bytes>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn cores_become_the_kernels_quota_and_period() {
        let line = |text: &str| text.parse::<CpuBandwidth>().map(|bandwidth| bandwidth.to_string());
        assert_eq!(line("1.5 cores").as_deref(), Ok("150000 100000"));
        assert_eq!(line("4 cores").as_deref(), Ok("400000 100000"));
        assert_eq!(line("0.025 cores").as_deref(), Ok("2500 100000"));
        for text in ["0 cores", "0.001 cores", "1.5", "1.2345 cores", "x cores", "1. cores", "cores"] {
            assert!(line(text).is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn a_difference_never_wraps(earlier: u64, later: u64) {
            prop_assert_eq!(Usec(later).since(Usec(earlier)).is_some(), later >= earlier);
        }
    }
}
