use std::ffi::OsStr;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use crate::{Error, Result};

/// A group, named relative to the cgroup root.
///
/// # Invariants
/// Only normal components, at least one: it cannot leave the root. Held by
/// `tests::no_path_leaves_the_root`; the kernel is asked to hold it again (`RESOLVE_BENEATH`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupPath(PathBuf);

impl GroupPath {
    /// From a relative path.
    ///
    /// # Errors
    /// [`Error::InvalidPath`] for an empty or absolute path, or one with `..` or NUL in it.
    pub fn new(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let normal = |component: Component<'_>| matches!(component, Component::Normal(_));
        let has_nul = path.as_os_str().as_encoded_bytes().contains(&0);
        if path.as_os_str().is_empty() || has_nul || !path.components().all(normal) {
            return Err(Error::InvalidPath(path.to_owned()));
        }
        Ok(Self(path.components().collect()))
    }

    /// A group in this one.
    ///
    /// # Errors
    /// [`Error::InvalidPath`] where `name` is not one plain name.
    pub fn child(&self, name: impl AsRef<OsStr>) -> Result<Self> {
        let child = Self::new(Path::new(name.as_ref()))?;
        if child.0.components().count() != 1 {
            return Err(Error::InvalidPath(child.0));
        }
        Ok(Self(self.0.join(child.0)))
    }

    /// The group this one stands in; `None` at the top.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.parent().filter(|parent| !parent.as_os_str().is_empty()).map(|parent| Self(parent.to_owned()))
    }

    /// Its own name.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        self.0.file_name().unwrap_or_default()
    }

    /// The relative path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Whether `self` is `other` or stands somewhere in it.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl fmt::Display for GroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_child_is_one_plain_name() {
        let scope = GroupPath::new("system.slice/slurmstepd.scope").unwrap();
        assert_eq!(scope.child("job_7").unwrap().to_string(), "system.slice/slurmstepd.scope/job_7");
        for name in ["", ".", "..", "a/b", "/a", "a\0"] {
            assert!(scope.child(name).is_err(), "{name:?} was accepted");
        }
        assert_eq!(GroupPath::new("a").unwrap().parent(), None);
    }

    proptest! {
        #[test]
        fn no_path_leaves_the_root(text in "[a./\\x00]{0,12}") {
            if let Ok(path) = GroupPath::new(&text) {
                prop_assert!(path.as_path().is_relative());
                prop_assert!(path.as_path().components().all(|c| matches!(c, Component::Normal(_))));
                prop_assert!(path.as_path().components().count() > 0);
            }
        }
    }
}
