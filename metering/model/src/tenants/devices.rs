//! The devices a tenant may use: an allow-list, beside what Slurm's own GRES programs allow.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One entry of a tenant's allow-list as the file has it: `c 1:3 rw`, `/dev/fuse rw`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceSpec {
    /// By kind and number.
    Number(DeviceRule),
    /// By the path of its node; each node of the cluster finds the number there.
    Path {
        /// Below `/dev`.
        path: PathBuf,
        /// What is allowed.
        access: DeviceAccess,
    },
}

/// A device's major and minor number: `8:0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceNumber {
    /// Its driver.
    pub major: u32,
    /// Which of the driver's devices.
    pub minor: u32,
}

/// One entry of a tenant's allow-list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    /// Character or block device.
    pub kind: DeviceKind,
    /// Its major number; `None` for any.
    pub major: Option<u32>,
    /// Its minor number; `None` for any.
    pub minor: Option<u32>,
    /// What is allowed.
    pub access: DeviceAccess,
}

/// The kernel's two kinds of device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// `b`.
    Block,
    /// `c`.
    Char,
}

/// The kernel's `r`, `w` and `m`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAccess {
    /// `r`: open it for reading.
    pub read: bool,
    /// `w`: open it for writing.
    pub write: bool,
    /// `m`: make a node for it.
    pub mknod: bool,
}

/// Why a text is no device or no entry of an allow-list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}; write {example}")]
pub struct InvalidDevice {
    text: String,
    what: &'static str,
    example: &'static str,
}

impl InvalidDevice {
    fn rule(text: &str) -> Self {
        let example =
            "\"c 1:3 rw\", \"b 8:* r\" or \"/dev/fuse rw\": a device, then what is allowed of r, w and m";
        Self { text: text.to_owned(), what: "entry of a device list", example }
    }
}

/// Whether the text is the absolute path of something below `/dev`, without a detour.
fn is_dev_path(text: &str) -> bool {
    text.strip_prefix("/dev/").is_some_and(|rest| {
        rest.split('/').all(|name| !matches!(name, "" | "." | "..")) && !rest.contains(char::is_whitespace)
    })
}

impl DeviceSpec {
    /// The path, where it is named by one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            DeviceSpec::Number(_) => None,
            DeviceSpec::Path { path, .. } => Some(path),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        let refused = || InvalidDevice::rule(text);
        let words: Vec<_> = text.split_whitespace().collect();
        match *words.as_slice() {
            [path, access] if is_dev_path(path) => {
                Ok(Self::Path { path: path.into(), access: access.parse().map_err(|_| refused())? })
            }
            [kind, number, access] => {
                let kind = match kind {
                    "c" => DeviceKind::Char,
                    "b" => DeviceKind::Block,
                    _ => return Err(refused()),
                };
                let (major, minor) = number.split_once(':').ok_or_else(refused)?;
                let part = |text: &str, most| match text {
                    "*" => Ok(None),
                    text => number_up_to(text, most).map(Some).ok_or_else(refused),
                };
                let major = part(major, DeviceNumber::LARGEST_MAJOR)?;
                let minor = part(minor, DeviceNumber::LARGEST_MINOR)?;
                Ok(Self::Number(DeviceRule {
                    kind,
                    major,
                    minor,
                    access: access.parse().map_err(|_| refused())?,
                }))
            }
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceSpec::Number(rule) => rule.fmt(f),
            DeviceSpec::Path { path, access } => write!(f, "{} {access}", path.display()),
        }
    }
}

impl TryFrom<String> for DeviceSpec {
    type Error = InvalidDevice;

    fn try_from(text: String) -> Result<Self, InvalidDevice> {
        text.parse()
    }
}

impl From<DeviceSpec> for String {
    fn from(spec: DeviceSpec) -> String {
        spec.to_string()
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::Block => 'b',
            DeviceKind::Char => 'c',
        };
        let part = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        write!(f, "{kind} {}:{} {}", part(self.major), part(self.minor), self.access)
    }
}

impl fmt::Display for DeviceAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (letter, allowed) in [("r", self.read), ("w", self.write), ("m", self.mknod)] {
            f.write_str(if allowed { letter } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for DeviceAccess {
    type Err = InvalidDevice;

    /// Letters of `r`, `w` and `m`, each once, at least one.
    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        let refused = || InvalidDevice { text: text.to_owned(), what: "access", example: "some of \"rwm\"" };
        let mut access = Self::default();
        for letter in text.chars() {
            let allowed = match letter {
                'r' => &mut access.read,
                'w' => &mut access.write,
                'm' => &mut access.mknod,
                _ => return Err(refused()),
            };
            if std::mem::replace(allowed, true) {
                return Err(refused());
            }
        }
        if access == Self::default() { Err(refused()) } else { Ok(access) }
    }
}

impl DeviceNumber {
    /// The kernel keeps a major number in 12 bits.
    pub const LARGEST_MAJOR: u32 = (1 << 12) - 1;
    /// And a minor in 20.
    pub const LARGEST_MINOR: u32 = (1 << 20) - 1;
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl FromStr for DeviceNumber {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        let refused =
            || InvalidDevice { text: text.to_owned(), what: "device", example: "its numbers, like \"8:0\"" };
        let (major, minor) = text.split_once(':').ok_or_else(refused)?;
        Ok(Self {
            major: number_up_to(major, Self::LARGEST_MAJOR).ok_or_else(refused)?,
            minor: number_up_to(minor, Self::LARGEST_MINOR).ok_or_else(refused)?,
        })
    }
}

fn number_up_to(text: &str, most: u32) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number <= most)
}

/// A device as the file names it: `/dev/nvme0n1`, or for a disk `259:0`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// By number; a block device.
    Number(DeviceNumber),
    /// By the path of its node.
    Path(PathBuf),
}

impl FromStr for DeviceName {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        if is_dev_path(text) {
            return Ok(Self::Path(text.into()));
        }
        text.parse().map(Self::Number).map_err(|_| InvalidDevice {
            text: text.to_owned(),
            what: "block device",
            example: "a path below /dev, like \"/dev/nvme0n1\", or numbers, like \"8:0\"",
        })
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceName::Number(number) => number.fmt(f),
            DeviceName::Path(path) => path.display().fmt(f),
        }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = InvalidDevice;

    fn try_from(text: String) -> Result<Self, InvalidDevice> {
        text.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> String {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_are_read_and_odd_ones_refused() {
        let read = |text: &str| text.parse::<DeviceSpec>().map(|spec| spec.to_string());
        assert_eq!(read("c 1:3 rw").as_deref(), Ok("c 1:3 rw"));
        assert_eq!(read(" b  8:*  mr").as_deref(), Ok("b 8:* rm"));
        assert_eq!(read("/dev/dri/card0 rw").as_deref(), Ok("/dev/dri/card0 rw"));
        for text in [
            "",
            "c 1:3",
            "c 1:3 ",
            "c 1:3 x",
            "c 1:3 rr",
            "a 1:3 rw",
            "c 1 rw",
            "c 4096:0 r",
            "c 1:1048576 r",
            "c -1:0 r",
            "c +1:0 r",
            "c *:x r",
            "/dev/fuse",
            "dev/fuse rw",
            "/etc/passwd r",
            "/dev/../etc/x r",
            "/dev/ r",
            "/dev//x r",
            "/dev/. r",
            "c 1:3 rw x",
        ] {
            assert!(read(text).is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn disks_are_paths_or_numbers() {
        for text in ["/dev/nvme0n1", "/dev/disk/by-id/x", "8:0"] {
            assert_eq!(text.parse::<DeviceName>().unwrap().to_string(), text);
        }
        for text in ["nvme0n1", "8", "8:*", "/dev", "/dev/../x", ""] {
            assert!(text.parse::<DeviceName>().is_err(), "{text:?} was accepted");
        }
    }

    fn access() -> impl Strategy<Value = DeviceAccess> {
        (any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(read, write, mknod)| DeviceAccess { read, write, mknod })
            .prop_filter("something is allowed", |access| *access != DeviceAccess::default())
    }

    fn spec() -> impl Strategy<Value = DeviceSpec> {
        let number = |most| prop::option::of(0..=most);
        let rule = (
            any::<bool>(),
            number(DeviceNumber::LARGEST_MAJOR),
            number(DeviceNumber::LARGEST_MINOR),
            access(),
        )
            .prop_map(|(block, major, minor, access)| {
                let kind = if block { DeviceKind::Block } else { DeviceKind::Char };
                DeviceSpec::Number(DeviceRule { kind, major, minor, access })
            });
        let path = ("/dev/[a-z]{1,4}(/[a-z0-9]{1,3})?", access())
            .prop_map(|(path, access)| DeviceSpec::Path { path: path.into(), access });
        prop_oneof![rule, path]
    }

    proptest! {
        #[test]
        fn an_entry_reads_back(spec in spec()) {
            prop_assert_eq!(spec.to_string().parse(), Ok(spec));
        }
    }
}
