//! Which Slurm a plugin's file was built for.

use object::{Object, ObjectSection, ObjectSymbol};

/// Slurm's number of a version, of which a plugin must share major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlurmVersion {
    /// 24 of 24.11.
    pub major: u8,
    /// 11 of 24.11.
    pub minor: u8,
}

impl SlurmVersion {
    /// Of `24.11.5`, or of `slurm-wlm 24.11.5-1` as `slurmd -V` prints it.
    pub fn parse(text: &str) -> Option<Self> {
        text.split_whitespace().find_map(|word| {
            let (major, rest) = word.split_once('.')?;
            let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
        })
    }
}

impl std::fmt::Display for SlurmVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:02}", self.major, self.minor)
    }
}

/// The value of the symbol `plugin_version`; `None` where the file is no plugin.
pub fn plugin_version(file: &[u8]) -> Option<SlurmVersion> {
    let file = object::File::parse(file).ok()?;
    let symbol = file.dynamic_symbols().find(|symbol| symbol.name() == Ok("plugin_version"))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let bytes: [u8; 4] = section.data_range(symbol.address(), 4).ok()??.try_into().ok()?;
    let number = if file.is_little_endian() { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
    // Major, minor and micro, a byte each, below an unused one.
    let [_, major, minor, _] = number.to_be_bytes();
    Some(SlurmVersion { major, minor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_slurm_prints() {
        let version = |text| SlurmVersion::parse(text).map(|version| version.to_string());
        assert_eq!(version("slurm-wlm 24.11.5\n").as_deref(), Some("24.11"));
        assert_eq!(version("slurm 25.05.0-0rc1").as_deref(), Some("25.05"));
        assert_eq!(version("22.05.8"), Some("22.05".into()));
        assert_eq!(version("slurm"), None);
    }

    #[test]
    fn what_is_no_plugin_has_no_version() {
        assert_eq!(plugin_version(b"\x7fELF"), None);
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(plugin_version(&own), None);
    }
}
