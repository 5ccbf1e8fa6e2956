//! Sets of CPUs in the kernel's list form.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// CPUs by number: `0-15,32-47`.
///
/// # Invariants
/// No number above [`CpuList::LARGEST`]. Held by its constructors and
/// `tests::a_list_reads_back_as_the_kernel_would_print_it`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CpuList(BTreeSet<u32>);

/// Why a text is no list of CPUs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no list of CPUs; write numbers and ranges, like \"0-15,32-47\"")]
pub struct InvalidCpuList {
    text: String,
}

impl CpuList {
    /// Beyond what any kernel is built for; it keeps `0-4294967295` from being counted out.
    pub const LARGEST: u32 = 65_535;

    /// The CPUs, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }

    /// Whether all of these are in `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.is_subset(&other.0)
    }

    /// Whether none of these is in `other`.
    #[must_use]
    pub fn is_disjoint(&self, other: &Self) -> bool {
        self.0.is_disjoint(&other.0)
    }

    /// One CPU.
    #[must_use]
    pub fn one(cpu: u32) -> Option<Self> {
        (cpu <= Self::LARGEST).then(|| Self(BTreeSet::from([cpu])))
    }
}

impl<'a> FromIterator<&'a CpuList> for CpuList {
    /// All that are in any.
    fn from_iter<I: IntoIterator<Item = &'a CpuList>>(lists: I) -> Self {
        Self(lists.into_iter().flat_map(CpuList::iter).collect())
    }
}

impl FromStr for CpuList {
    type Err = InvalidCpuList;

    /// At least one CPU; ranges may touch and overlap.
    fn from_str(text: &str) -> Result<Self, InvalidCpuList> {
        let refused = || InvalidCpuList { text: text.chars().take(64).collect() };
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u32>().ok().filter(|cpu| digits && *cpu <= Self::LARGEST).ok_or_else(refused)
        };
        let mut cpus = BTreeSet::new();
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (number(first.trim())?, number(last.trim())?);
            if first > last {
                return Err(refused());
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().peekable();
        let mut comma = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if(|next| last.checked_add(1) == Some(*next)) {
                last = next;
            }
            write!(f, "{comma}{first}")?;
            if first != last {
                write!(f, "-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

impl TryFrom<String> for CpuList {
    type Error = InvalidCpuList;

    fn try_from(text: String) -> Result<Self, InvalidCpuList> {
        text.parse()
    }
}

impl From<CpuList> for String {
    fn from(list: CpuList) -> String {
        list.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_are_read_and_odd_ones_refused() {
        let printed = |text: &str| text.parse::<CpuList>().map(|list| list.to_string());
        assert_eq!(printed("0-3,8").as_deref(), Ok("0-3,8"));
        assert_eq!(printed("3, 2,1 ,0,8,9").as_deref(), Ok("0-3,8-9"));
        for text in ["", ",", "1-", "-1", "3-1", "a", "0-4294967295", "0-3:2/4", "+1", "1 2"] {
            assert!(text.parse::<CpuList>().is_err(), "{text:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn a_list_reads_back_as_the_kernel_would_print_it(cpus in prop::collection::btree_set(0..40_u32, 1..40)) {
            let list = CpuList(cpus);
            let text = list.to_string();
            prop_assert_eq!(text.parse(), Ok(list));
            prop_assert!(!text.contains(' '));
        }

        #[test]
        fn whatever_is_read_is_within_bounds(text in "[0-9,-]{0,12}") {
            if let Ok(list) = text.parse::<CpuList>() {
                prop_assert!(!list.is_empty() && list.iter().all(|cpu| cpu <= CpuList::LARGEST));
            }
        }
    }
}
