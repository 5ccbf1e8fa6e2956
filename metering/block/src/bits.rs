//! Bits in, bits out: the lowest bit of a byte is its first.

/// What is being written.
#[derive(Debug, Default)]
pub struct BitWriter {
    bytes: Vec<u8>,
    /// Those that do not fill a byte yet, the first one lowest.
    pending: u64,
    count: u32,
}

/// As many bits, all set; 64 at most.
pub fn ones(count: u32) -> u64 {
    u64::MAX.checked_shr(64_u32.saturating_sub(count)).unwrap_or_default()
}

impl BitWriter {
    /// The lowest bits of a number, the lowest first.
    pub fn put(&mut self, value: u64, count: u32) {
        // A part of 32 bits fits above the seven that may be pending.
        self.put_part(value & ones(count.min(32)), count.min(32));
        if let Some(more) = count.checked_sub(32).filter(|more| *more > 0) {
            self.put_part(value.wrapping_shr(32) & ones(more), more);
        }
    }

    fn put_part(&mut self, value: u64, count: u32) {
        self.pending |= value.wrapping_shl(self.count);
        self.count = self.count.saturating_add(count);
        while let Some(rest) = self.count.checked_sub(8) {
            let [byte, ..] = self.pending.to_le_bytes();
            self.bytes.push(byte);
            self.pending = self.pending.wrapping_shr(8);
            self.count = rest;
        }
    }

    /// One bit.
    pub fn flag(&mut self, set: bool) {
        self.put(set.into(), 1);
    }

    /// The bytes; zero bits fill the last one.
    pub fn finish(mut self) -> Vec<u8> {
        if self.count > 0 {
            self.put(0, 8_u32.saturating_sub(self.count));
        }
        self.bytes
    }
}

/// What is being read. Behind the end there are zeros, as many as are asked for: whoever reads asks
/// [`BitReader::is_within`] before what was read is believed.
#[derive(Debug, Clone)]
pub struct BitReader<'b> {
    bytes: &'b [u8],
    /// Of the next bit.
    place: usize,
}

/// So many bits a [`BitReader::window`] has at least.
pub const WINDOW: u32 = 57;

impl<'b> BitReader<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, place: 0 }
    }

    /// The next bits, the first one lowest.
    #[inline]
    pub fn window(&self) -> u64 {
        let rest = self.bytes.get(self.place.wrapping_shr(3)..).unwrap_or_default();
        let eight = match rest.first_chunk() {
            Some(eight) => u64::from_le_bytes(*eight),
            None => last_bytes(rest),
        };
        // Less than 8.
        eight.wrapping_shr(u32::try_from(self.place & 7).unwrap_or_default())
    }

    #[inline]
    pub fn skip(&mut self, count: u32) {
        self.place = self.place.saturating_add(usize::try_from(count).unwrap_or(usize::MAX));
    }

    /// As many bits, 64 at most.
    #[inline]
    pub fn take(&mut self, count: u32) -> u64 {
        if count < WINDOW {
            let bits = self.window() & ones(count);
            self.skip(count);
            return bits;
        }
        let low = self.take(32);
        low | self.take(count.saturating_sub(32)).wrapping_shl(32)
    }

    /// As many bits, 8 at most, as a small number.
    pub fn small(&mut self, count: u32) -> u8 {
        let [low, ..] = self.take(count.min(8)).to_le_bytes();
        low
    }

    pub fn flag(&mut self) -> bool {
        self.take(1) == 1
    }

    /// Whether everything that was read was there.
    pub fn is_within(&self) -> bool {
        self.place.div_ceil(8) <= self.bytes.len()
    }

    /// Ends the reading. Only zeros may follow, and no more bytes than make up `least` in all.
    pub fn finish(self, least: usize) -> Option<()> {
        let used = self.place.div_ceil(8);
        let spare = u32::try_from(used.saturating_mul(8).saturating_sub(self.place)).ok()?;
        let rest = self.bytes.get(used..)?;
        let zeros = self.window() & ones(spare) == 0 && rest.iter().all(|byte| *byte == 0);
        (zeros && self.bytes.len() == used.max(least)).then_some(())
    }
}

#[cold]
fn last_bytes(rest: &[u8]) -> u64 {
    let mut eight = [0; 8];
    eight.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_bit_is_the_lowest_of_the_first_byte() {
        let mut out = BitWriter::default();
        out.flag(true);
        out.put(0b10, 2);
        out.put(0x1ff, 9);
        assert_eq!(out.finish(), [0b1111_1101, 0b0000_1111]);
    }

    #[test]
    fn behind_the_end_there_are_zeros_and_it_is_known() {
        let mut bits = BitReader::new(&[0xff]);
        assert_eq!((bits.take(8), bits.is_within()), (0xff, true));
        assert_eq!((bits.take(64), bits.is_within()), (0, false));
    }

    #[test]
    fn only_the_zeros_that_must_be_there_may_follow() {
        let read = |bytes: &[u8], count, least| {
            let mut bits = BitReader::new(bytes);
            bits.take(count);
            bits.finish(least).is_some()
        };
        assert!(read(&[0x07], 3, 1));
        assert!(!read(&[0x0f], 3, 1));
        assert!(!read(&[0x07, 0], 3, 1));
        assert!(read(&[0x07, 0], 3, 2));
        assert!(!read(&[0x07, 1], 3, 2));
        assert!(!read(&[0x07], 3, 2));
    }

    proptest! {
        #[test]
        fn numbers_read_back(numbers in prop::collection::vec((any::<u64>(), 0_u32..=64), 0..50)) {
            let mut out = BitWriter::default();
            for (value, count) in &numbers {
                out.put(*value, *count);
            }
            let bytes = out.finish();
            let mut bits = BitReader::new(&bytes);
            for (value, count) in numbers {
                prop_assert_eq!(bits.take(count), value & ones(count));
            }
            prop_assert!(bits.is_within() && bits.finish(bytes.len()).is_some());
        }
    }
}
