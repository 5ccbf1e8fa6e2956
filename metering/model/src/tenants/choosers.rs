//! Who may choose a tenant with `--tenant`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Users and Unix groups by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Choosers {
    pub(super) users: BTreeSet<String>,
    pub(super) groups: BTreeSet<String>,
}

impl Choosers {
    pub(super) fn include(&self, user: &str, groups: &[impl AsRef<str>]) -> bool {
        self.users.contains(user) || groups.iter().any(|group| self.groups.contains(group.as_ref()))
    }
}

/// Whether the text is a name that `useradd` or a directory service gives, and no number: of `1000`
/// nobody could say whether it is a name or an id.
pub(super) fn is_name(text: &str) -> bool {
    let body = text.strip_suffix('$').unwrap_or(text);
    (1..=128).contains(&text.len())
        && !body.starts_with(['-', '.', '+', '@'])
        && body.chars().all(|c| c.is_ascii_alphanumeric() || "_-.@+".contains(c))
        && !body.chars().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_posix_names_and_no_numbers() {
        for name in ["alice", "_apt", "a.b-c", "alice@example.org", "HOST1$", "4dm1n", "x"] {
            assert!(is_name(name), "{name:?} was refused");
        }
        for name in ["", "-x", ".x", "1000", "a b", "a:b", "a/b", "a\n", "$", "a$b", "é", &"x".repeat(129)] {
            assert!(!is_name(name), "{name:?} was accepted");
        }
    }
}
