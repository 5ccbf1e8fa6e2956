//! Huffman's code over the classes of numbers: how long each word is, which word it is, and how a table says so.

use crate::bits::{BitReader, BitWriter};

/// How many classes there are: a number's is how many bits it has, without the zeros above.
pub const CLASSES: usize = 65;
/// What a class is written as where a table names one.
pub const CLASS_BITS: u32 = 7;
/// No word is longer.
pub const LONGEST: u8 = 10;
/// From none to the longest.
const LENGTHS: usize = 11;
const LENGTH_BITS: u32 = 4;

/// The lengths of Huffman's code words, none longer than [`LONGEST`]. At least two classes occur.
pub fn lengths(counts: &[u32; CLASSES]) -> [u8; CLASSES] {
    let mut weights = *counts;
    loop {
        let lengths = huffman(&weights);
        if lengths.iter().all(|length| *length <= LONGEST) {
            return lengths;
        }
        // Rare ones become less rare, until no word is too long.
        for weight in weights.iter_mut().filter(|weight| **weight > 0) {
            *weight = weight.wrapping_shr(1).saturating_add(1);
        }
    }
}

/// The two lightest become one, until one is left; a class is as deep as how often it was part of that.
fn huffman(weights: &[u32; CLASSES]) -> [u8; CLASSES] {
    let mut lengths = [0_u8; CLASSES];
    // Each with the classes in it, as bits.
    let mut trees: Vec<(u64, u128)> = (0_u32..)
        .zip(weights)
        .filter(|(_, weight)| **weight > 0)
        .map(|(class, weight)| (u64::from(*weight), 1_u128.wrapping_shl(class)))
        .collect();
    // The lightest last.
    trees.sort_unstable_by(|one, other| other.cmp(one));
    while let (Some((light, some)), Some((heavy, more))) = (trees.pop(), trees.pop()) {
        let (weight, classes) = (light.saturating_add(heavy), some | more);
        for (class, length) in (0_u32..).zip(&mut lengths) {
            let within = classes.wrapping_shr(class) & 1 == 1;
            *length = length.saturating_add(u8::from(within));
        }
        if trees.is_empty() {
            break;
        }
        let place = trees.partition_point(|(other, _)| *other > weight);
        trees.insert(place, (weight, classes));
    }
    lengths
}

/// Each class that has a word, with the word (its first bit lowest) and how long that is. Words are counted upwards: from
/// shorter to longer ones, those of one length by their classes.
pub fn canonical(lengths: &[u8; CLASSES]) -> impl Iterator<Item = (u8, u64, u32)> + '_ {
    let mut of_length = [0_u64; LENGTHS];
    for length in lengths.iter().filter(|length| **length > 0) {
        if let Some(count) = of_length.get_mut(usize::from(*length)) {
            *count = count.wrapping_add(1);
        }
    }
    // The first word of each length.
    let mut next = of_length;
    let mut first = 0_u64;
    for (place, count) in next.iter_mut().zip(of_length) {
        *place = first;
        first = first.wrapping_add(count).wrapping_shl(1);
    }
    (0_u8..).zip(lengths).filter(|(_, length)| **length > 0).filter_map(move |(class, length)| {
        let next = next.get_mut(usize::from(*length))?;
        let length = u32::from(*length);
        let word = next.reverse_bits().wrapping_shr(u64::BITS.saturating_sub(length));
        *next = next.wrapping_add(1);
        Some((class, word, length))
    })
}

// The lengths of a table: each by the one before it, until the words are all there are.

/// A length as a table has it.
enum Token {
    /// The lowest class that has a word.
    Lowest(u8),
    Less,
    Same,
    More,
    Other(u8),
}

/// What all words of a code take of the space there is: this.
const WHOLE: u32 = 1 << LONGEST;

fn share(length: u8) -> u32 {
    if length == 0 { 0 } else { WHOLE.wrapping_shr(length.into()) }
}

fn each_length(lengths: &[u8; CLASSES], mut put: impl FnMut(Token)) {
    let lowest = lengths.iter().position(|length| *length > 0).unwrap_or_default();
    put(Token::Lowest(u8::try_from(lowest).unwrap_or_default()));
    let (mut before, mut taken) = (LONGEST, 0_u32);
    for length in lengths.iter().skip(lowest).copied() {
        if taken == WHOLE {
            break;
        }
        put(match length {
            0 => Token::Other(0),
            length if length.checked_add(1) == Some(before) => Token::Less,
            length if length == before => Token::Same,
            length if before.checked_add(1) == Some(length) => Token::More,
            length => Token::Other(length),
        });
        if length > 0 {
            before = length;
        }
        taken = taken.saturating_add(share(length));
    }
}

/// How many bits a table of lengths takes.
pub fn bits_of_lengths(lengths: &[u8; CLASSES]) -> u64 {
    let mut bits = 0_u64;
    each_length(lengths, |token| {
        let (_, count) = token.written();
        bits = bits.saturating_add(count.into());
    });
    bits
}

impl Token {
    /// As bits, the first one lowest, and how many.
    fn written(self) -> (u64, u32) {
        match self {
            Self::Lowest(class) => (class.into(), CLASS_BITS),
            Self::Less => (0b0, 1),
            Self::Same => (0b01, 2),
            Self::More => (0b011, 3),
            Self::Other(length) => (0b111 | u64::from(length).wrapping_shl(3), LENGTH_BITS.saturating_add(3)),
        }
    }
}

pub fn write_lengths(out: &mut BitWriter, lengths: &[u8; CLASSES]) {
    each_length(lengths, |token| {
        let (bits, count) = token.written();
        out.put(bits, count);
    });
}

fn read_length(bits: &mut BitReader<'_>, before: u8) -> Option<u8> {
    let length = match (0..3).take_while(|_| bits.flag()).count() {
        0 => before.checked_sub(1)?,
        1 => before,
        2 => before.checked_add(1)?,
        _ => {
            // One form of each: what can be said by the one before is.
            let length = bits.small(LENGTH_BITS);
            let near = length > 0 && length.abs_diff(before) <= 1;
            return (length <= LONGEST && !near).then_some(length);
        }
    };
    (1..=LONGEST).contains(&length).then_some(length)
}

/// `None` where the words are more than there are, or end before they are all.
pub fn read_lengths(bits: &mut BitReader<'_>) -> Option<[u8; CLASSES]> {
    let mut lengths = [0; CLASSES];
    let lowest = usize::from(bits.small(CLASS_BITS));
    let (mut before, mut taken) = (LONGEST, 0_u32);
    let mut places = lengths.iter_mut().skip(lowest);
    while taken < WHOLE {
        let place = places.next()?;
        *place = read_length(bits, before)?;
        if *place > 0 {
            before = *place;
        } else if taken == 0 {
            // The lowest class has a word.
            return None;
        }
        taken = taken.saturating_add(share(*place));
    }
    // One word for all would be of no bits.
    (taken == WHOLE && before > 0).then_some(lengths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of docs/block-format.md.
    #[test]
    fn words_are_given_by_length_and_then_by_class() {
        let mut lengths = [0; CLASSES];
        lengths[3..7].copy_from_slice(&[3, 3, 2, 1]);
        // The first bit of a word is the lowest here.
        let words = canonical(&lengths).collect::<Vec<_>>();
        assert_eq!(words, [(3, 0b011, 3), (4, 0b111, 3), (5, 0b01, 2), (6, 0b0, 1)]);
        let mut out = BitWriter::default();
        write_lengths(&mut out, &lengths);
        let bytes = out.finish();
        assert_eq!(read_lengths(&mut BitReader::new(&bytes)), Some(lengths));
    }

    #[test]
    fn no_word_is_too_long() {
        let mut counts = [0; CLASSES];
        let (mut one, mut two) = (1_u32, 1_u32);
        for count in counts.iter_mut().take(40) {
            *count = one;
            (one, two) = (two, one.saturating_add(two));
        }
        let lengths = lengths(&counts);
        assert!(lengths.iter().all(|length| *length <= LONGEST));
        assert_eq!(lengths.iter().map(|length| share(*length)).sum::<u32>(), WHOLE);
    }

    #[test]
    fn a_code_that_is_not_whole_is_refused() {
        let read = |tokens: Vec<Token>| {
            let mut out = BitWriter::default();
            for (bits, count) in tokens.into_iter().map(Token::written) {
                out.put(bits, count);
            }
            let bytes = out.finish();
            let mut bits = BitReader::new(&bytes);
            read_lengths(&mut bits).filter(|_| bits.is_within())
        };
        assert!(read(vec![Token::Lowest(4), Token::Other(1), Token::Same]).is_some());
        // More words than there are.
        assert!(read(vec![Token::Lowest(4), Token::Other(2), Token::Less, Token::Same]).is_none());
        // No more classes.
        assert!(read(vec![Token::Lowest(64), Token::Other(1), Token::Same]).is_none());
        // A class without a word before the lowest, and a length that has a shorter form.
        assert!(read(vec![Token::Lowest(4), Token::Other(0), Token::Other(1), Token::Same]).is_none());
        assert!(read(vec![Token::Lowest(4), Token::Other(1), Token::Other(1)]).is_none());
        assert!(read(vec![Token::Lowest(4), Token::Other(11)]).is_none());
    }
}
