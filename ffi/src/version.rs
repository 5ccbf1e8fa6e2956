//! Slurm's version numbers. `build.rs` reads this file too, so it uses nothing of the crate.

use std::fmt;

/// A Slurm release, such as 24.11.5: year, month, and patch.
///
/// # Invariants
///
/// A value that came out of [`Version::parse`] has `minor` in 1..=12 (`parsed_versions_print_as_themselves`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The year, two digits: 24.
    pub major: u8,
    /// The month, two digits: 5 stands for `05`.
    pub minor: u8,
    /// The patch level. Slurm ignores it when it loads a SPANK plugin.
    pub micro: u8,
}

/// Why a text is not a Slurm version. `Display` says what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAVersion;

impl fmt::Display for NotAVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a Slurm version; write YY.MM or YY.MM.m, as `sinfo --version` prints it: 22.05, 24.11, 26.05.5",
        )
    }
}

impl std::error::Error for NotAVersion {}

impl Version {
    /// Reads `YY.MM` or `YY.MM.m`, both of the first two with two digits.
    ///
    /// # Errors
    ///
    /// [`NotAVersion`] for any other text, a month beyond 12, or a patch level beyond 255.
    pub fn parse(text: &str) -> Result<Self, NotAVersion> {
        let mut parts = text.split('.');
        let major = parts.next().and_then(two_digits).ok_or(NotAVersion)?;
        let minor = parts.next().and_then(two_digits).ok_or(NotAVersion)?;
        let micro = match parts.next() {
            None => 0,
            Some(part) => patch(part).ok_or(NotAVersion)?,
        };
        if parts.next().is_some() || !(1..=12).contains(&minor) {
            return Err(NotAVersion);
        }
        Ok(Self { major, minor, micro })
    }

    /// The number that Slurm compares: major, minor and micro in one byte each.
    ///
    /// ```
    /// assert_eq!(spank::Version { major: 24, minor: 11, micro: 5 }.number(), 0x18_0b_05);
    /// ```
    #[must_use]
    pub const fn number(self) -> u32 {
        u32::from_be_bytes([0, self.major, self.minor, self.micro])
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}.{:02}.{}", self.major, self.minor, self.micro)
    }
}

fn two_digits(part: &str) -> Option<u8> {
    if part.len() == 2 { digits(part) } else { None }
}

fn patch(part: &str) -> Option<u8> {
    if part.len() > 1 && part.starts_with('0') { None } else { digits(part) }
}

/// `u8::from_str` also takes a leading plus sign.
fn digits(part: &str) -> Option<u8> {
    if part.bytes().all(|b| b.is_ascii_digit()) { part.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::{NotAVersion, Version};
    use proptest::prelude::*;

    #[test]
    fn releases_encode_as_their_own_headers_do() {
        for (text, number) in [("22.05.8", 0x16_05_08), ("24.11.5", 0x18_0b_05), ("26.05.5", 0x1a_05_05)] {
            assert_eq!(Version::parse(text).map(Version::number), Ok(number), "{text}");
        }
    }

    #[test]
    fn a_missing_patch_level_is_zero() {
        assert_eq!(Version::parse("24.11"), Ok(Version { major: 24, minor: 11, micro: 0 }));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "24",
            "24.",
            ".11",
            "24.5",
            "24.11.",
            "24.11.5.1",
            "24.13",
            "24.00",
            "024.11",
            "+4.11",
            "24.+1",
            "24.11.+5",
            "24.11.05",
            "24.11.256",
            "24-11",
            "24.11-rc1",
            " 24.11",
            "24.11 ",
            "slurm 24.11",
            "２４.11",
        ] {
            assert_eq!(Version::parse(text), Err(NotAVersion), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parsed_versions_print_as_themselves(major in 0u8..100, minor in 1u8..=12, micro: u8) {
            let version = Version { major, minor, micro };
            prop_assert_eq!(Version::parse(&version.to_string()), Ok(version));
        }

        #[test]
        fn any_text_is_refused_or_in_range(text in "[0-9.]{0,9}|\\PC{0,9}") {
            if let Ok(version) = Version::parse(&text) {
                prop_assert!((1..=12).contains(&version.minor));
            }
        }
    }
}
