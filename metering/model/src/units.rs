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
unit! {
    /// Millijoules.
    MilliJoules
}
unit! {
    /// Microjoules.
    MicroJoules
}

impl Bytes {
    /// One mebibyte, the unit of Slurm's memory figures.
    pub const MIB: u64 = 1 << 20;

    /// For people: `64GiB`, and `1.92GiB` where it is no whole number of a unit, cut to two decimals.
    #[must_use]
    pub fn human(self) -> String {
        const UNITS: [(&str, u64); 4] =
            [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        let Some((name, unit)) = UNITS.into_iter().find(|(_, unit)| self.0 >= *unit) else {
            return format!("{}B", self.0);
        };
        let hundredths =
            u128::from(self.0).saturating_mul(100).checked_div(u128::from(unit)).unwrap_or_default();
        let whole = self.0.checked_div(unit).unwrap_or_default();
        match hundredths.checked_rem(100).unwrap_or_default() {
            0 if self.0.checked_rem(unit) == Some(0) => format!("{whole}{name}"),
            decimals => format!("{whole}.{decimals:02}{name}"),
        }
    }

    /// Rounded down to whole pages, as the kernel keeps it.
    #[must_use]
    pub fn in_pages_of(self, page: Bytes) -> Self {
        Self(self.0.saturating_sub(self.0.checked_rem(page.0).unwrap_or_default()))
    }
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

impl<T> Limit<T> {
    /// The same of another quantity.
    #[must_use]
    pub fn map<U>(self, quantity: impl FnOnce(T) -> U) -> Limit<U> {
        match self {
            Limit::Max => Limit::Max,
            Limit::At(value) => Limit::At(quantity(value)),
        }
    }
}

impl<T: fmt::Display> fmt::Display for Limit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Max => f.write_str("max"),
            Limit::At(value) => value.fmt(f),
        }
    }
}

/// A part of what the node has: `40%`, `12.5%`, `0.25%`.
///
/// # Invariants
/// 0.01% to 100%. Held by `FromStr`, its only constructor, and `tests::a_share_reads_back_and_is_a_part`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share {
    /// Hundredths of a percent.
    basis_points: u16,
}

impl Share {
    /// The whole, in hundredths of a percent.
    pub const WHOLE: u16 = 10_000;

    /// Hundredths of a percent, 1 to [`Share::WHOLE`].
    #[must_use]
    pub fn basis_points(self) -> u16 {
        self.basis_points
    }

    /// This part of a whole, rounded down.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        let part = u128::from(whole).saturating_mul(u128::from(self.basis_points));
        // A part is at most the whole, so that it always fits.
        u64::try_from(part.checked_div(u128::from(Self::WHOLE)).unwrap_or_default()).unwrap_or(whole)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:03}", self.basis_points);
        let (whole, decimals) =
            digits.split_at_checked(digits.len().saturating_sub(2)).unwrap_or((&digits, ""));
        match decimals.trim_end_matches('0') {
            "" => write!(f, "{whole}%"),
            decimals => write!(f, "{whole}.{decimals}%"),
        }
    }
}

impl FromStr for Share {
    type Err = InvalidQuantity;

    /// `40%`, `12.5%`: up to two decimals, exactly.
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        let refused = || InvalidQuantity {
            text: text.to_owned(),
            what: "share",
            example: "a percentage from 0.01% to 100% with at most two decimals, like \"40%\"",
        };
        let number = text.strip_suffix('%').ok_or_else(refused)?.trim_end();
        let basis_points = fixed_point::<2>(number).ok_or_else(refused)?;
        let valid = (1..=u64::from(Self::WHOLE)).contains(&basis_points);
        let basis_points = u16::try_from(basis_points).ok().filter(|_| valid).ok_or_else(refused)?;
        Ok(Self { basis_points })
    }
}

impl TryFrom<String> for Share {
    type Error = InvalidQuantity;

    fn try_from(text: String) -> Result<Self, InvalidQuantity> {
        text.parse()
    }
}

impl From<Share> for String {
    fn from(share: Share) -> String {
        share.to_string()
    }
}

/// A decimal number of up to `DECIMALS` decimals as a whole number of its last place: `1.5` with
/// three is 1500. Digits and one dot only.
fn fixed_point<const DECIMALS: usize>(number: &str) -> Option<u64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || decimals.len() > DECIMALS
        || number.ends_with('.')
        || !digits(whole)
        || !digits(decimals)
    {
        return None;
    }
    format!("{whole}{decimals:0<DECIMALS$}").parse().ok()
}

/// What the tenants file says of a quantity: so much, or a part of what the node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Amount<T> {
    /// So much on every node.
    Absolute(T),
    /// A part of what the node has.
    Share(Share),
}

impl<T: fmt::Display> fmt::Display for Amount<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Absolute(value) => value.fmt(f),
            Amount::Share(share) => share.fmt(f),
        }
    }
}

impl<T: FromStr> FromStr for Amount<T> {
    type Err = AmountError<T::Err>;

    /// A share where it ends in `%`, else what `T` reads.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.ends_with('%') {
            text.parse().map(Amount::Share).map_err(AmountError::Share)
        } else {
            text.parse().map(Amount::Absolute).map_err(AmountError::Absolute)
        }
    }
}

/// Why a text is no [`Amount`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError<E> {
    /// It ends in `%`, and is no share.
    #[error(transparent)]
    Share(InvalidQuantity),
    /// It is not what it should be.
    #[error(transparent)]
    Absolute(E),
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
    pub const LEAST: Usec = Usec(1_000);

    /// For people: `1.5 cores`.
    #[must_use]
    pub fn human(self) -> String {
        // A period of 100 ms: 100 µs of it are a thousandth of a core.
        let (whole, rest) = (self.quota.0 / Self::PERIOD.0, self.quota.0 % Self::PERIOD.0);
        let decimals = format!("{rest:05}");
        match (whole, decimals.trim_end_matches('0')) {
            (1, "") => "1 core".to_owned(),
            (_, "") => format!("{whole} cores"),
            (_, decimals) => format!("{whole}.{decimals} cores"),
        }
    }
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
        let millicores = fixed_point::<3>(number).ok_or_else(refused)?;
        let quota =
            millicores.checked_mul(100).filter(|quota| *quota >= Self::LEAST.0).ok_or_else(refused)?;
        Ok(Self { quota: Usec(quota) })
    }
}

impl FromStr for Usec {
    type Err = InvalidQuantity;

    /// `20ms`, `500us`, `1s`. A bare number is refused: its unit would be a guess.
    fn from_str(text: &str) -> Result<Self, InvalidQuantity> {
        const UNITS: [(&str, u64); 3] = [("us", 1), ("ms", 1_000), ("s", 1_000_000)];
        let refused = || InvalidQuantity {
            text: text.to_owned(),
            what: "time",
            example: "a whole number and its unit, like \"20ms\" or \"500us\"",
        };
        let (number, unit) = UNITS
            .iter()
            .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number.trim_end(), unit)))
            .ok_or_else(refused)?;
        let number: u64 = number.parse().map_err(|_| refused())?;
        number.checked_mul(*unit).map(Usec).ok_or_else(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_need_their_unit() {
        assert_eq!("20ms".parse(), Ok(Usec(20_000)));
        assert_eq!("500 us".parse(), Ok(Usec(500)));
        assert_eq!("2s".parse(), Ok(Usec(2_000_000)));
        for text in ["20", "ms", "-1ms", "1.5ms", "1h", ""] {
            assert!(text.parse::<Usec>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn shares_are_exact_and_at_most_the_whole() {
        let of = |text: &str, whole| text.parse::<Share>().map(|share| share.of(whole));
        assert_eq!(of("40%", 1_000), Ok(400));
        assert_eq!(of("12.5%", 1_000), Ok(125));
        assert_eq!(of("0.01%", 10_000), Ok(1));
        assert_eq!(of("100%", u64::MAX), Ok(u64::MAX));
        for text in
            ["0%", "0.00%", "100.01%", "1.005%", "-1%", "+1%", "40", "%", "1.%", ".5%", "4 0%", "65536%"]
        {
            assert!(text.parse::<Share>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn an_amount_is_a_share_where_it_says_percent() {
        assert_eq!("64KiB".parse(), Ok(Amount::Absolute(Bytes(65_536))));
        assert_eq!("40%".parse(), Ok(Amount::<Bytes>::Share("40%".parse().unwrap())));
        assert!("40".parse::<Amount<Bytes>>().unwrap_err().to_string().contains("64GiB"));
        assert!("400%".parse::<Amount<Bytes>>().unwrap_err().to_string().contains("100%"));
    }

    #[test]
    fn figures_for_people_are_cut_never_rounded_up() {
        let human = |bytes| Bytes(bytes).human();
        assert_eq!((human(0), human(1023)), ("0B".to_owned(), "1023B".to_owned()));
        assert_eq!((human(64 << 30), human(1 << 40)), ("64GiB".to_owned(), "1TiB".to_owned()));
        assert_eq!(
            (human((2 << 30) - 1), human((1 << 30) + 1)),
            ("1.99GiB".to_owned(), "1.00GiB".to_owned())
        );
        let cores = |text: &str| text.parse::<CpuBandwidth>().unwrap().human();
        assert_eq!(
            (cores("1 core"), cores("1.5 cores"), cores("0.025 cores")),
            ("1 core".into(), "1.5 cores".into(), "0.025 cores".into())
        );
        assert_eq!(Bytes(8_191).in_pages_of(Bytes(4_096)), Bytes(4_096));
    }

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
        fn a_share_reads_back_and_is_a_part(basis_points in 1..=Share::WHOLE, whole: u64) {
            let share = Share { basis_points };
            prop_assert_eq!(share.to_string().parse(), Ok(share));
            prop_assert!(share.of(whole) <= whole);
        }

        #[test]
        fn a_difference_never_wraps(earlier: u64, later: u64) {
            prop_assert_eq!(Usec(later).since(Usec(earlier)).is_some(), later >= earlier);
        }
    }
}
