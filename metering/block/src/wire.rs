//! Bytes in, bytes out: little-endian integers, LEB128, zigzag. Nothing here trusts a length.

/// What is being written.
#[derive(Debug, Default)]
pub struct Writer(pub Vec<u8>);

impl Writer {
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// LEB128: seven bits a byte, the lowest first.
    pub fn varint(&mut self, mut value: u64) {
        while let Some(rest) = value.checked_shr(7).filter(|rest| *rest > 0) {
            self.byte(low_bits(value) | 0x80);
            value = rest;
        }
        self.byte(low_bits(value));
    }

    /// The length, then the bytes.
    pub fn text(&mut self, text: &[u8]) {
        self.count(text.len());
        self.bytes(text);
    }

    /// How many follow. No vector is longer than a u64 counts.
    pub fn count(&mut self, count: usize) {
        self.varint(u64::try_from(count).unwrap_or(u64::MAX));
    }
}

/// 0, -1, 1, -2, … as 0, 1, 2, 3, …
pub fn zigzag(value: i64) -> u64 {
    (value.wrapping_shl(1) ^ value.wrapping_shr(63)).cast_unsigned()
}

/// 0, 1, 2, 3, … as 0, -1, 1, -2, …
#[inline]
pub fn from_zigzag(value: u64) -> i64 {
    value.wrapping_shr(1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

fn low_bits(value: u64) -> u8 {
    let [low, ..] = value.to_le_bytes();
    low & 0x7f
}

/// What is being read. Each method takes from the front, and answers `None` where that is not there.
#[derive(Debug, Clone)]
pub struct Reader<'b>(pub &'b [u8]);

impl<'b> Reader<'b> {
    pub fn bytes(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Refuses what has more than 64 bits, and what is longer than it must be: a number has one form.
    pub fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let placed = bits.checked_shl(shift)?;
            if placed.checked_shr(shift)? != bits || (byte == 0 && shift > 0) {
                return None;
            }
            value |= placed;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub fn text(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.bytes(length)
    }

    /// How many follow, each of at least one byte: never more than there are bytes.
    pub fn count(&mut self) -> Option<usize> {
        usize::try_from(self.varint()?).ok().filter(|count| *count <= self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_has_one_form() {
        for longer in [&[0x80, 0x00][..], &[0xff, 0x80, 0x00], &[0xff; 10]] {
            assert_eq!(Reader(longer).varint(), None, "{longer:?}");
        }
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Reader(&most).varint(), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn numbers_read_back(unsigned: u64, signed: i64) {
            let mut out = Writer::default();
            out.varint(unsigned);
            let mut reader = Reader(&out.0);
            prop_assert_eq!((reader.varint(), reader.byte()), (Some(unsigned), None));
            prop_assert_eq!(from_zigzag(zigzag(signed)), signed);
        }

        #[test]
        fn numbers_near_nothing_are_small(value in -64_i64..64) {
            prop_assert!(zigzag(value) < 128);
        }
    }
}
