//! Which values of a column are there.

use std::ops::Range;

use crate::bits::{BitReader, BitWriter};

/// Which values are there.
///
/// # Invariants
/// `Some` has a value that is there and one that is not, so that each presence has one form. Held by
/// its only constructor, [`Presence::of`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// All, as where there are no values.
    All,
    /// None of one or more.
    Nothing,
    /// Those that are set.
    Some(Vec<bool>),
}

impl Presence {
    pub fn of(there: Vec<bool>) -> Self {
        if there.iter().all(|there| *there) {
            Self::All
        } else if there.iter().any(|there| *there) {
            Self::Some(there)
        } else {
            Self::Nothing
        }
    }

    #[inline]
    pub fn has(&self, place: usize) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::Some(there) => there.get(place).copied().unwrap_or_default(),
        }
    }

    /// How many of some places.
    pub fn count(&self, places: Range<usize>) -> usize {
        match self {
            Self::All => places.len(),
            Self::Nothing => 0,
            Self::Some(there) => there.get(places).unwrap_or_default().iter().filter(|there| **there).count(),
        }
    }

    /// One bit where all are there; else another that is set where none is, or each group's: 0, none; 01, all; 11, a bit each.
    pub fn write(&self, out: &mut BitWriter, counts: &[usize]) {
        out.flag(*self == Self::All);
        if *self != Self::All {
            out.flag(*self == Self::Nothing);
        }
        let Self::Some(there) = self else { return };
        let mut rest = there.as_slice();
        for count in counts.iter().filter(|count| **count > 0) {
            let (own, others) = rest.split_at_checked(*count).unwrap_or_default();
            rest = others;
            let some = own.contains(&true);
            out.flag(some);
            if some {
                let not_all = own.contains(&false);
                out.flag(not_all);
                own.iter().filter(|_| not_all).for_each(|there| out.flag(*there));
            }
        }
    }

    pub fn read(bits: &mut BitReader<'_>, counts: &[usize]) -> Option<Self> {
        if bits.flag() {
            return Some(Self::All);
        }
        let length = counts.iter().copied().fold(0, usize::saturating_add);
        if bits.flag() {
            return (length > 0).then_some(Self::Nothing);
        }
        let mut there = Vec::with_capacity(length);
        for count in counts.iter().copied().filter(|count| *count > 0) {
            let start = there.len();
            let some = bits.flag();
            if some && bits.flag() {
                there.extend((0..count).map(|_| bits.flag()));
                let own = there.get(start..)?;
                if !own.contains(&true) || !own.contains(&false) {
                    return None;
                }
            } else {
                there.extend((0..count).map(|_| some));
            }
        }
        Some(Self::of(there)).filter(|read| matches!(read, Self::Some(_)) && bits.is_within())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_has_a_shorter_form_is_refused() {
        // No group has one, each has all, and a group's bits that are all set.
        for (bits, count) in [(0b0000_u64, 4), (0b01_0100, 6), (0b11_1100, 6)] {
            let mut out = BitWriter::default();
            out.put(bits, count);
            assert_eq!(Presence::read(&mut BitReader::new(&out.finish()), &[2, 2]), None, "{bits:b}");
        }
    }

    proptest! {
        #[test]
        fn it_reads_back(groups in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..5), 0..6)) {
            let counts: Vec<usize> = groups.iter().map(Vec::len).collect();
            let presence = Presence::of(groups.concat());
            let mut out = BitWriter::default();
            presence.write(&mut out, &counts);
            let bytes = out.finish();
            let mut bits = BitReader::new(&bytes);
            prop_assert_eq!(Presence::read(&mut bits, &counts), Some(presence));
            prop_assert!(bits.finish(bytes.len()).is_some());
        }
    }
}
