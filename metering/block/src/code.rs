//! Numbers as a class, which a code of its own table says, and the bits that the class leaves open.

use crate::bits::{BitReader, BitWriter, WINDOW, ones};
use crate::huffman::{CLASS_BITS, CLASSES, bits_of_lengths, canonical, lengths, read_lengths, write_lengths};

// What stands for a table's form.
const ONE_CLASS: u8 = 0;
const FIXED: u8 = 1;
const CODE: u8 = 2;
const FORM_BITS: u32 = 2;

/// How many bits a number has, without the zeros above.
#[inline]
pub fn class(number: u64) -> u8 {
    let [class, ..] = u64::BITS.saturating_sub(number.leading_zeros()).to_le_bytes();
    class
}

/// The bits that a class leaves open: all but the highest, which is set.
fn open_bits(class: u8) -> u32 {
    class.saturating_sub(1).into()
}

/// How numbers are written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// All are of one class.
    OneClass(u8),
    /// All have as many bits.
    Fixed(u8),
    /// Each class has a code word of so many bits; 0: it has none, and does not occur.
    Code([u8; CLASSES]),
}

/// How often each class occurs.
#[derive(Debug, Clone)]
pub struct Counts([u32; CLASSES]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; CLASSES])
    }
}

impl Counts {
    pub fn add(&mut self, class: u8, times: u32) {
        if let Some(count) = self.0.get_mut(usize::from(class)) {
            *count = count.saturating_add(times);
        }
    }

    pub fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count = count.saturating_add(more));
    }

    /// The classes of the same numbers without the lowest bits, where all of those are zeros.
    pub fn shifted(&self, bits: u32) -> Self {
        let mut shifted = Self::default();
        for (class, count) in self.occurring() {
            let [less, ..] = bits.to_le_bytes();
            shifted.add(class.saturating_sub(less), count);
        }
        shifted
    }

    /// What is left where some, which are among these, are taken away.
    pub fn without(&self, some: &Self) -> Self {
        let mut rest = self.clone();
        rest.0.iter_mut().zip(some.0).for_each(|(count, less)| *count = count.saturating_sub(less));
        rest
    }

    /// The classes that occur, rising, each with how often it does.
    fn occurring(&self) -> impl Iterator<Item = (u8, u32)> {
        (0_u8..).zip(self.0).filter(|(_, count)| *count > 0)
    }

    /// About as many 256ths of a bit as these take, with what their table takes.
    pub fn estimate(&self) -> u64 {
        let (mut all, mut bits, mut classes, mut highest) = (0_u64, 0_u64, 0_u64, 0_u8);
        for (class, count) in self.occurring() {
            let count = u64::from(count);
            let open = u64::from(open_bits(class)).saturating_mul(256);
            bits = bits.saturating_add(count.saturating_mul(open.saturating_sub(log2(count))));
            all = all.saturating_add(count);
            classes = classes.saturating_add(1);
            highest = class;
        }
        let by_class = bits;
        let head = u64::from(CLASS_BITS.saturating_add(FORM_BITS));
        let table = if classes > 1 { classes.saturating_mul(2).saturating_add(head) } else { head };
        let coded =
            by_class.saturating_add(all.saturating_mul(log2(all))).saturating_add(table.saturating_mul(256));
        let fixed = all.saturating_mul(highest.into()).saturating_add(head).saturating_mul(256);
        if classes > 1 { coded.min(fixed) } else { coded }
    }
}

/// The logarithm, in 256ths; that of 0 as that of 1.
fn log2(value: u64) -> u64 {
    let whole = value.checked_ilog2().unwrap_or_default();
    // The eight bits below the highest, as a straight line from one power of two to the next.
    let part = value.wrapping_shl(63_u32.saturating_sub(whole)).wrapping_shr(55) & 0xff;
    u64::from(whole).saturating_mul(256).saturating_add(part)
}

/// A table from the writer's side.
#[derive(Debug)]
pub struct Coder {
    form: Form,
    /// Of each class: its word, the first bit lowest, and how long it is.
    words: [(u64, u32); CLASSES],
}

impl Coder {
    /// The shortest form for numbers of these classes.
    pub fn new(counts: &Counts) -> Self {
        let highest = counts.occurring().last().map_or(0, |(class, _)| class);
        let form = if counts.occurring().nth(1).is_none() {
            Form::OneClass(highest)
        } else {
            let lengths = lengths(&counts.0);
            let [fixed, code] = [Form::Fixed(highest), Form::Code(lengths)];
            if cost(&fixed, counts) <= cost(&code, counts) { fixed } else { code }
        };
        let mut words = [(0, 0); CLASSES];
        if let Form::Code(lengths) = &form {
            for (class, word, length) in canonical(lengths) {
                if let Some(place) = words.get_mut(usize::from(class)) {
                    *place = (word, length);
                }
            }
        }
        Self { form, words }
    }

    pub fn write_table(&self, out: &mut BitWriter) {
        match &self.form {
            Form::OneClass(class) => {
                out.put(ONE_CLASS.into(), FORM_BITS);
                out.put(u64::from(*class), CLASS_BITS);
            }
            Form::Fixed(width) => {
                out.put(FIXED.into(), FORM_BITS);
                out.put(u64::from(*width), CLASS_BITS);
            }
            Form::Code(lengths) => {
                out.put(CODE.into(), FORM_BITS);
                write_lengths(out, lengths);
            }
        }
    }

    pub fn write(&self, out: &mut BitWriter, number: u64) {
        let class = class(number);
        match &self.form {
            Form::OneClass(_) => out.put(number, open_bits(class)),
            Form::Fixed(width) => out.put(number, u32::from(*width)),
            Form::Code(_) => {
                let (word, length) = self.words.get(usize::from(class)).copied().unwrap_or_default();
                out.put(word, length);
                out.put(number, open_bits(class));
            }
        }
    }
}

/// How many bits the numbers take in a form, with the table.
fn cost(form: &Form, counts: &Counts) -> u64 {
    let bits = |class: u8| match form {
        Form::OneClass(_) => open_bits(class),
        Form::Fixed(width) => u32::from(*width),
        Form::Code(lengths) => {
            let length = lengths.get(usize::from(class)).copied().unwrap_or_default();
            open_bits(class).saturating_add(length.into())
        }
    };
    let numbers =
        counts.occurring().map(|(class, count)| u64::from(bits(class)).saturating_mul(count.into()));
    let table = match form {
        Form::OneClass(_) | Form::Fixed(_) => u64::from(CLASS_BITS),
        Form::Code(lengths) => bits_of_lengths(lengths),
    };
    numbers.fold(table.saturating_add(FORM_BITS.into()), u64::saturating_add)
}

/// A table from the reader's side: what the next bits say.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Entry>,
    /// As many of the next bits as tell entries apart.
    mask: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Entry {
    /// Of the word.
    length: u8,
    /// How many bits follow it.
    open: u8,
    /// Whether another stands above those.
    top: bool,
}

impl Entry {
    fn of_class(class: u8, length: u8) -> Self {
        Self { length, open: class.saturating_sub(1), top: class > 0 }
    }
}

impl Table {
    pub fn read(bits: &mut BitReader<'_>) -> Option<Self> {
        let one = |entry| Some(Self { entries: vec![entry], mask: 0 });
        let within = |class: u8| usize::from(class) < CLASSES;
        match bits.small(FORM_BITS) {
            ONE_CLASS => {
                let class = bits.small(CLASS_BITS);
                if within(class) { one(Entry::of_class(class, 0)) } else { None }
            }
            FIXED => {
                let open = bits.small(CLASS_BITS);
                if within(open) { one(Entry { length: 0, open, top: false }) } else { None }
            }
            CODE => Some(Self::of_lengths(&read_lengths(bits)?)),
            _ => None,
        }
    }

    fn of_lengths(lengths: &[u8; CLASSES]) -> Self {
        let longest = u32::from(lengths.iter().copied().max().unwrap_or_default());
        let mask = ones(longest);
        let size = usize::try_from(mask).unwrap_or_default().saturating_add(1);
        let mut entries = vec![Entry::default(); size];
        for (class, word, length) in canonical(lengths) {
            let first = usize::try_from(word).unwrap_or_default();
            let step = 1_usize.wrapping_shl(length);
            let [short, ..] = length.to_le_bytes();
            let places = entries.iter_mut().skip(first).step_by(step);
            places.for_each(|place| *place = Entry::of_class(class, short));
        }
        Self { entries, mask }
    }

    /// The next number.
    #[inline]
    pub fn number(&self, bits: &mut BitReader<'_>) -> u64 {
        let window = bits.window();
        let place = usize::try_from(window & self.mask).unwrap_or_default();
        let entry = self.entries.get(place).copied().unwrap_or_default();
        let (length, open) = (u32::from(entry.length), u32::from(entry.open));
        let both = length.wrapping_add(open);
        let low = if both < WINDOW {
            bits.skip(both);
            window.wrapping_shr(length) & ones(open)
        } else {
            bits.skip(length);
            bits.take(open)
        };
        low | u64::from(entry.top).wrapping_shl(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::huffman::LONGEST;
    use proptest::prelude::*;

    fn counts(numbers: &[u64]) -> Counts {
        let mut counts = Counts::default();
        for number in numbers {
            counts.add(class(*number), 1);
        }
        counts
    }

    fn written(numbers: &[u64]) -> (Vec<u8>, u64) {
        let coder = Coder::new(&counts(numbers));
        let cost = cost(&coder.form, &counts(numbers));
        let mut out = BitWriter::default();
        coder.write_table(&mut out);
        for number in numbers {
            coder.write(&mut out, *number);
        }
        (out.finish(), cost)
    }

    proptest! {
        #[test]
        fn numbers_read_back(numbers in prop::collection::vec((any::<u64>(), 0_u32..=64), 0..300)) {
            let numbers: Vec<u64> = numbers.into_iter().map(|(number, bits)| number & ones(bits)).collect();
            let (bytes, cost) = written(&numbers);
            prop_assert_eq!(u64::try_from(bytes.len()).unwrap(), cost.div_ceil(8));
            let mut bits = BitReader::new(&bytes);
            let table = Table::read(&mut bits).unwrap();
            for number in numbers {
                prop_assert_eq!(table.number(&mut bits), number);
            }
            prop_assert!(bits.finish(bytes.len()).is_some());
        }

        #[test]
        fn any_bits_are_a_table_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut bits = BitReader::new(&bytes);
            if let Some(table) = Table::read(&mut bits) {
                let _ = table.number(&mut bits);
                prop_assert!(table.entries.len() <= 1 << LONGEST);
            }
        }
    }
}
