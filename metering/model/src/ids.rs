//! Identifiers, parsed once at the edge.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not the identifier it was offered as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: {rule}")]
pub struct InvalidId {
    what: &'static str,
    text: String,
    rule: &'static str,
}

/// As much of a refused text as a log line should carry.
const QUOTED_CHARS: usize = 64;

impl InvalidId {
    fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        let mut quoted: String = text.chars().take(QUOTED_CHARS).collect();
        if quoted.len() < text.len() {
            quoted.push('…');
        }
        Self { what, text: quoted, rule }
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.into())) } else { Err(InvalidId::new($what, text, $rule)) }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn is_word(text: &str, longest: usize, also: &str) -> bool {
    (1..=longest).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || also.contains(c))
        && !text.starts_with('.')
}

text_id! {
    /// A Slurm account as this system accepts it. Slurm itself takes nearly anything, `../x`
    /// included; a name outside this rule can claim no tenant.
    AccountName, "account name this system accepts",
    "it takes 1 to 128 of a-z, 0-9 and _ - . @ + and does not start with a dot",
    |text| is_word(text, 128, "_-.@+") && !text.contains(|c: char| c.is_ascii_uppercase())
}

text_id! {
    /// Slurm's `NodeName`.
    NodeName, "node name", "it takes 1 to 64 of A-Z, a-z, 0-9 and _ - . and does not start with a dot",
    |text| is_word(text, 64, "_-.")
}

text_id! {
    /// Slurm's `ClusterName`.
    ClusterName, "cluster name", "it takes 1 to 40 of A-Z, a-z, 0-9 and _ - . and does not start with a dot",
    |text| is_word(text, 40, "_-.")
}

text_id! {
    /// `/proc/sys/kernel/random/boot_id`: one run of one kernel.
    BootId, "boot id", "it is a UUID: 8, 4, 4, 4 and 12 of 0-9 and a-f with - between them",
    |text| text.len() == 36 && text.char_indices().all(|(place, c)| match place {
        8 | 13 | 18 | 23 => c == '-',
        _ => c.is_ascii_digit() || ('a'..='f').contains(&c),
    })
}

impl NodeName {
    /// The host's name up to its first dot: Slurm's own default. `None` where that is no node name.
    #[must_use]
    pub fn of_this_host() -> Option<Self> {
        let full = nix::unistd::gethostname().ok()?;
        full.to_str()?.split('.').next()?.parse().ok()
    }
}

impl BootId {
    /// The boot this runs in.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn current() -> std::io::Result<Self> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        text.trim_ascii().parse().map_err(std::io::Error::other)
    }
}

text_id! {
    /// A GPU's or a MIG device's UUID, as NVML writes it: `GPU-...`, `MIG-...`. It stays over boots.
    GpuName, "GPU's name", "it takes 1 to 96 of A-Z, a-z, 0-9 and - / and begins with GPU- or MIG-",
    |text| is_word(text, 96, "-/") && (text.starts_with("GPU-") || text.starts_with("MIG-"))
}

text_id! {
    /// Slurm's sortable job id (25.11 and later), the name of a job's directory since 26.05.
    Sluid, "SLUID", "it is 1 to 32 of A-Z, a-z and 0-9", |text| is_word(text, 32, "")
}

/// A Slurm job id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u32);

impl FromStr for JobId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.parse().map(Self).map_err(|_| InvalidId::new("job id", text, "it is a whole number"))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A tenant and the tenants it stands in: `acme`, `acme/physics`.
///
/// # Invariants
/// One to four segments, each `[a-z0-9][a-z0-9-]{0,30}`; so it can stand in a path, a metric
/// label or a file name as it is. Held by `tests::a_path_is_safe_or_refused`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantPath(String);

impl TenantPath {
    /// How deep tenants may be nested.
    pub const MAX_DEPTH: usize = 4;
    const RULE: &'static str =
        "it is 1 to 4 segments joined by '/', each 1 to 31 of a-z, 0-9 and '-', not starting with '-'";

    /// The names from the outermost tenant inwards.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The tenant this one stands in.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(parent.to_owned()))
    }

    /// This tenant and those it stands in, outermost first.
    pub fn lineage(&self) -> impl Iterator<Item = Self> {
        let ends = self.0.match_indices('/').map(|(at, _)| at).chain([self.0.len()]);
        ends.filter_map(|end| self.0.get(..end)).map(|path| Self(path.to_owned()))
    }

    /// Whether `self` is `other` or stands somewhere in it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.strip_prefix(&other.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantPath {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let segment_ok = |segment: &str| {
            (1..=31).contains(&segment.len())
                && !segment.starts_with('-')
                && segment.chars().all(|c| c == '-' || c.is_ascii_digit() || c.is_ascii_lowercase())
        };
        if text.split('/').all(segment_ok) && text.split('/').count() <= Self::MAX_DEPTH {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidId::new("tenant", text, Self::RULE))
        }
    }
}

impl TryFrom<String> for TenantPath {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<TenantPath> for String {
    fn from(path: TenantPath) -> String {
        path.0
    }
}

impl fmt::Display for TenantPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_account_names_are_refused() {
        let long = "a".repeat(300);
        for text in ["", "../x", "a/b", "a\nb", "a'b", "a\"b", "ACME", ".", "..", "a b", "a\0b", &long] {
            assert!(text.parse::<AccountName>().is_err(), "{text:?} was accepted");
        }
        for text in ["acme", "acme-physics", "p_1.2", "a@b+c"] {
            assert!(text.parse::<AccountName>().is_ok(), "{text:?} was refused");
        }
    }

    #[test]
    fn a_refusal_quotes_no_more_than_a_line_should_carry() {
        let said = "x/".repeat(300).parse::<AccountName>().unwrap_err().to_string();
        assert!(said.len() < 300, "{said}");
        assert!("a\nb".parse::<AccountName>().unwrap_err().to_string().lines().count() == 1);
    }

    #[test]
    fn lineage_runs_from_the_outermost_tenant() {
        let path: TenantPath = "a/b/c".parse().unwrap();
        let names: Vec<_> = path.lineage().map(String::from).collect();
        assert_eq!(names, ["a", "a/b", "a/b/c"]);
        assert_eq!(path.parent().unwrap().as_str(), "a/b");
    }

    #[test]
    fn a_tenant_is_not_within_its_namesake() {
        let within = |a: &str, b: &str| a.parse::<TenantPath>().unwrap().is_within(&b.parse().unwrap());
        assert!(within("acme/physics", "acme") && within("acme", "acme"));
        assert!(!within("acme2", "acme") && !within("acme", "acme/physics"));
    }

    proptest! {
        #[test]
        fn a_path_is_safe_or_refused(text in "[a-zA-Z0-9./ \\n-]{0,40}") {
            if let Ok(path) = text.parse::<TenantPath>() {
                prop_assert!(path.segments().count() <= TenantPath::MAX_DEPTH);
                for segment in path.segments() {
                    prop_assert!(!segment.is_empty() && segment != "." && segment != "..");
                    prop_assert!(segment.bytes().all(|b| b == b'-' || b.is_ascii_digit() || b.is_ascii_lowercase()));
                }
            }
        }
    }
}
