//! A column: what all groups have of one thing, each value as its difference from what was foretold.

use crate::bits::{BitReader, BitWriter};
use crate::code::{Coder, Counts, Table, class};
use crate::foretold::{Before, Kind, Place};
use crate::presence::Presence;
use crate::wire::{from_zigzag, zigzag};

/// The columns that another may be foretold by, by their numbers: as many values as that has. One that is not there is empty.
pub type Others = Vec<Vec<u64>>;

/// Into how many parts a column's values may fall that are coded apart: the first of each group, the second, and those after it.
const MOST_PARTS: usize = 3;
/// How many bounds the classes of the values before may have, so that what follows small ones is coded apart.
const MOST_BOUNDS: usize = 3;
const KIND_BITS: u32 = 3;
const OTHER_BITS: u32 = 6;
const SHIFT_BITS: u32 = 6;
const PARTS_BITS: u32 = 2;
const BOUNDS_BITS: u32 = 2;
const CLASS_BITS: u32 = 7;
/// A class that none reaches.
const NO_BOUND: u8 = u8::MAX;

/// How many values each group has, and which of them are there.
#[derive(Debug, Clone, Copy)]
pub struct Layout<'a> {
    pub counts: &'a [usize],
    pub presence: &'a Presence,
}

impl Layout<'_> {
    /// Whether some group has more than one value.
    fn has_later(self) -> bool {
        let mut start = 0_usize;
        self.counts.iter().any(|count| {
            let end = start.saturating_add(*count);
            let there = self.presence.count(start..end);
            start = end;
            there > 1
        })
    }
}

fn write_kind(out: &mut BitWriter, kind: Kind) {
    let number = match kind {
        Kind::Nothing => 0,
        Kind::Last => 1,
        Kind::Step => 2,
        Kind::Mean => 3,
        Kind::Share(_) => 4,
        Kind::AtLeast(_) => 5,
        Kind::Beside => 6,
    };
    out.put(number, KIND_BITS);
    if let Some(other) = kind.other() {
        out.put(other.into(), OTHER_BITS);
    }
}

fn read_kind(bits: &mut BitReader<'_>) -> Option<Kind> {
    Some(match bits.small(KIND_BITS) {
        0 => Kind::Nothing,
        1 => Kind::Last,
        2 => Kind::Step,
        3 => Kind::Mean,
        4 => Kind::Share(bits.small(OTHER_BITS)),
        5 => Kind::AtLeast(bits.small(OTHER_BITS)),
        6 => Kind::Beside,
        _ => return None,
    })
}

/// The other column's values; `None` where it is needed and not there.
fn other_of(kind: Kind, others: &Others, length: usize) -> Option<&[u64]> {
    match kind.other() {
        None => Some(&[]),
        Some(other) => {
            others.get(usize::from(other)).map(Vec::as_slice).filter(|values| values.len() == length)
        }
    }
}

/// Where a group stands in a column, and the group before it.
struct Walk {
    start: usize,
    before: usize,
}

impl Walk {
    fn each(counts: &[usize]) -> impl Iterator<Item = (Self, usize)> + '_ {
        let mut walk = (0_usize, 0_usize);
        counts.iter().map(move |count| {
            let (before, start) = walk;
            walk = (start, start.saturating_add(*count));
            (Self { start, before }, *count)
        })
    }
}

fn shifted(value: u64, shift: u32) -> i64 {
    value.cast_signed().wrapping_shr(shift)
}

// Reading.

/// How the values of one part are written.
struct Part {
    /// Nothing in it is below what was foretold: its numbers need no sign.
    plain: bool,
    /// How many zero bits all of them end with.
    shift: u32,
    bounds: [u8; MOST_BOUNDS],
    tables: Vec<Table>,
}

impl Part {
    fn read(bits: &mut BitReader<'_>, has_bounds: bool) -> Option<Self> {
        let plain = bits.flag();
        let shift = if bits.flag() { Some(bits.small(SHIFT_BITS)).filter(|shift| *shift > 0)? } else { 0 };
        let count = if has_bounds { usize::from(bits.small(BOUNDS_BITS)) } else { 0 };
        let mut bounds = [NO_BOUND; MOST_BOUNDS];
        let mut least = 1;
        for bound in bounds.iter_mut().take(count) {
            // Rising, and above the least class there is.
            *bound = Some(bits.small(CLASS_BITS)).filter(|bound| *bound >= least)?;
            least = bound.saturating_add(1);
        }
        let tables = (0..=count).map(|_| Table::read(bits)).collect::<Option<_>>()?;
        Some(Self { plain, shift: shift.into(), bounds, tables })
    }

    /// The table for what follows a number of a class. By branches, which are foretold well: the number is not waited for.
    #[inline]
    fn table(&self, last: u8) -> Option<&Table> {
        let mut tables = self.tables.iter();
        let mut table = tables.next()?;
        for (next, bound) in tables.zip(&self.bounds) {
            if last < *bound {
                break;
            }
            table = next;
        }
        Some(table)
    }

    #[inline]
    fn residual(&self, number: u64) -> i64 {
        let residual = if self.plain { number.cast_signed() } else { from_zigzag(number) };
        residual.wrapping_shl(self.shift)
    }
}

/// What stands before a column's values.
struct Head<'a> {
    layout: Layout<'a>,
    kind: Kind,
    other: &'a [u64],
    shift: u32,
    parts: Vec<Part>,
    length: usize,
}

impl<'a> Head<'a> {
    fn read(bits: &mut BitReader<'_>, layout: Layout<'a>, others: &'a Others) -> Option<Self> {
        let length = layout.counts.iter().copied().fold(0, usize::saturating_add);
        let kind = read_kind(bits)?;
        let other = other_of(kind, others, length)?;
        let shift = u32::from(bits.small(SHIFT_BITS));
        let has_later = layout.has_later();
        let more = if has_later { usize::from(bits.small(PARTS_BITS)) } else { 0 };
        let parts = (0..=more).map(|part| Part::read(bits, has_later && part == more));
        let parts = parts.collect::<Option<Vec<_>>>().filter(|parts| parts.len() <= MOST_PARTS)?;
        bits.is_within().then_some(Self { layout, kind, other, shift, parts, length })
    }

    /// The values, each foretold by the function: there is one for each kind, so that none is asked which it is.
    fn values(&self, bits: &mut BitReader<'_>, foretell: impl Fn(&Before, Place) -> i64) -> Option<Vec<u64>> {
        let mut values = vec![0; self.length];
        for (walk, count) in Walk::each(self.layout.counts) {
            let (done, own) = values.split_at_mut_checked(walk.start)?;
            let beside = done.get(walk.before..)?;
            let other = self.other.get(walk.start..).unwrap_or_default();
            let mut before = Before::default();
            let mut left = self.parts.iter();
            let (mut part, mut last) = (left.next()?, 0);
            for (n, value) in own.iter_mut().take(count).enumerate() {
                if !self.layout.presence.has(walk.start.wrapping_add(n)) {
                    continue;
                }
                let place = Place {
                    other: other.get(n).map_or(0, |value| value.cast_signed()),
                    beside: beside.get(n).map(|value| shifted(*value, self.shift)),
                };
                let number = part.table(last)?.number(bits);
                let read = foretell(&before, place).wrapping_add(part.residual(number));
                last = class(number);
                part = left.next().unwrap_or(part);
                before.saw(read, place);
                *value = read.wrapping_shl(self.shift).cast_unsigned();
            }
            if !bits.is_within() {
                return None;
            }
        }
        Some(values)
    }
}

/// Reads a column's values; those that are not there are 0.
pub fn read(bits: &mut BitReader<'_>, layout: Layout<'_>, others: &Others) -> Option<Vec<u64>> {
    let head = Head::read(bits, layout, others)?;
    let shift = head.shift;
    match head.kind {
        Kind::Nothing => head.values(bits, |before, place| before.foretell(Kind::Nothing, place, shift)),
        Kind::Last => head.values(bits, |before, place| before.foretell(Kind::Last, place, shift)),
        Kind::Step => head.values(bits, |before, place| before.foretell(Kind::Step, place, shift)),
        Kind::Mean => head.values(bits, |before, place| before.foretell(Kind::Mean, place, shift)),
        Kind::Share(_) => head.values(bits, |before, place| before.foretell(Kind::Share(0), place, shift)),
        Kind::AtLeast(_) => {
            head.values(bits, |before, place| before.foretell(Kind::AtLeast(0), place, shift))
        }
        Kind::Beside => head.values(bits, |before, place| before.foretell(Kind::Beside, place, shift)),
    }
}

// Writing.

/// A value as it is written: which of its group it is, and how far it is from what was foretold.
#[derive(Clone, Copy)]
struct Residual {
    place: usize,
    residual: i64,
}

fn residuals(
    layout: Layout<'_>,
    values: &[u64],
    others: &Others,
    kind: Kind,
    shift: u32,
) -> Option<Vec<Residual>> {
    let other = other_of(kind, others, values.len())?;
    let mut all = Vec::with_capacity(values.len());
    for (walk, count) in Walk::each(layout.counts) {
        let mut before = Before::default();
        let mut place = 0_usize;
        for n in 0..count {
            let at = walk.start.saturating_add(n);
            if !layout.presence.has(at) {
                continue;
            }
            let beside = Some(walk.before.saturating_add(n)).filter(|beside| *beside < walk.start);
            let known = Place {
                other: other.get(at).map_or(0, |value| value.cast_signed()),
                beside: beside.and_then(|beside| values.get(beside)).map(|value| shifted(*value, shift)),
            };
            let value = shifted(*values.get(at)?, shift);
            let residual = value.wrapping_sub(before.foretell(kind, known, shift));
            before.saw(value, known);
            all.push(Residual { place, residual });
            place = place.saturating_add(1);
        }
    }
    Some(all)
}

/// What is in one part: whether a value is below what was foretold, all their bits, and the classes of both forms.
#[derive(Default, Clone)]
struct Tally {
    below: bool,
    bits: u64,
    signed: Counts,
    plain: Counts,
}

impl Tally {
    fn add(&mut self, residual: i64) {
        self.below |= residual < 0;
        self.bits |= residual.cast_unsigned();
        self.signed.add(class(zigzag(residual)), 1);
        self.plain.add(class(residual.cast_unsigned()), 1);
    }

    fn with(mut self, other: &Self) -> Self {
        self.below |= other.below;
        self.bits |= other.bits;
        self.signed.add_all(&other.signed);
        self.plain.add_all(&other.plain);
        self
    }

    /// How many zero bits all residuals end with.
    fn shift(&self) -> u32 {
        if self.bits == 0 { 0 } else { self.bits.trailing_zeros() }
    }

    /// As it is written.
    fn number(&self, residual: i64) -> u64 {
        let residual = residual.wrapping_shr(self.shift());
        if self.below { zigzag(residual) } else { residual.cast_unsigned() }
    }

    fn counts(&self) -> Counts {
        let counts = if self.below { &self.signed } else { &self.plain };
        counts.shifted(self.shift())
    }
}

/// How the values of a part are written, each by the class of the number before it.
struct Plan<'a> {
    tally: &'a Tally,
    bounds: Vec<u8>,
    coders: Vec<Coder>,
}

impl Plan<'_> {
    fn write_head(&self, out: &mut BitWriter, has_bounds: bool) {
        out.flag(!self.tally.below);
        let shift = self.tally.shift();
        out.flag(shift > 0);
        if shift > 0 {
            out.put(shift.into(), SHIFT_BITS);
        }
        if has_bounds {
            out.put(u64::try_from(self.bounds.len()).unwrap_or_default(), BOUNDS_BITS);
            self.bounds.iter().for_each(|bound| out.put(u64::from(*bound), CLASS_BITS));
        }
        self.coders.iter().for_each(|coder| coder.write_table(out));
    }

    fn coder(&self, last: u8) -> Option<&Coder> {
        self.coders.get(self.bounds.iter().filter(|bound| last >= **bound).count())
    }
}

/// The parts that take least, and about how much.
fn cut(residuals: &[Residual], has_later: bool) -> (Vec<Tally>, u64) {
    let mut places = vec![Tally::default(); MOST_PARTS];
    for Residual { place, residual } in residuals {
        if let Some(tally) = places.get_mut((*place).min(MOST_PARTS.saturating_sub(1))) {
            tally.add(*residual);
        }
    }
    let most = if has_later { MOST_PARTS } else { 1 };
    let ways = (1..=most).map(|count| {
        let (apart, rest) = places.split_at(count.saturating_sub(1));
        let mut parts = apart.to_vec();
        parts.push(rest.iter().fold(Tally::default(), Tally::with));
        let cost = parts.iter().map(|part| part.counts().estimate()).fold(0, u64::saturating_add);
        (parts, cost)
    });
    ways.min_by_key(|(_, cost)| *cost).unwrap_or_default()
}

/// The last part's bounds, and what is between them: each more than the one before only where that takes less.
fn bounded(residuals: &[Residual], parts: &[Tally]) -> (Vec<u8>, Vec<Counts>) {
    let last_part = parts.len().saturating_sub(1);
    // Of each class of the number before: the classes, with those after the lesser ones.
    let mut sums = vec![Counts::default(); usize::from(class(u64::MAX)).saturating_add(2)];
    let mut last = 0;
    for Residual { place, residual } in residuals {
        let part = (*place).min(last_part);
        if *place == 0 {
            last = 0;
        }
        let class = class(parts.get(part).map_or(0, |part| part.number(*residual)));
        if part == last_part
            && let Some(counts) = sums.get_mut(usize::from(last).saturating_add(1))
        {
            counts.add(class, 1);
        }
        last = class;
    }
    let mut sum = Counts::default();
    for counts in &mut sums {
        sum.add_all(counts);
        *counts = sum.clone();
    }
    let between = |bounds: &[u8]| -> Vec<Counts> {
        let ends = bounds.iter().copied().chain([class(u64::MAX).saturating_add(1)]);
        let mut start = 0_u8;
        ends.map(|end| {
            let both = (sums.get(usize::from(end)), sums.get(usize::from(start)));
            start = end;
            if let (Some(all), Some(before)) = both { all.without(before) } else { Counts::default() }
        })
        .collect()
    };
    let cost = |counts: &[Counts]| counts.iter().map(Counts::estimate).fold(0, u64::saturating_add);
    let mut best = (Vec::new(), between(&[]));
    let mut lowest = cost(&best.1);
    for _ in 0..MOST_BOUNDS {
        let ways = (1..=class(u64::MAX)).filter(|bound| !best.0.contains(bound)).map(|bound| {
            let mut bounds = best.0.clone();
            bounds.push(bound);
            bounds.sort_unstable();
            let counts = between(&bounds);
            (cost(&counts).saturating_add(u64::from(CLASS_BITS).saturating_mul(256)), (bounds, counts))
        });
        match ways.min_by_key(|(cost, _)| *cost) {
            Some((cost, way)) if cost < lowest => (lowest, best) = (cost, way),
            _ => break,
        }
    }
    best
}

/// Writes a column, foretold by whichever of the kinds makes it shortest. The values of those that are not there do not matter.
pub fn write(out: &mut BitWriter, layout: Layout<'_>, values: &[u64], others: &Others, kinds: &[Kind]) {
    let there = values.iter().enumerate().filter(|(n, _)| layout.presence.has(*n));
    let all = there.fold(0, |all, (_, value)| all | value);
    let shift = if all == 0 { 0 } else { all.trailing_zeros() };
    let has_later = layout.has_later();
    let ways = kinds.iter().filter_map(|kind| {
        let residuals = residuals(layout, values, others, *kind, shift)?;
        let (parts, cost) = cut(&residuals, has_later);
        Some((cost, (*kind, residuals, parts)))
    });
    let Some((_, (kind, residuals, parts))) = ways.min_by_key(|(cost, _)| *cost) else { return };
    write_kind(out, kind);
    out.put(shift.into(), SHIFT_BITS);
    if has_later {
        out.put(u64::try_from(parts.len().saturating_sub(1)).unwrap_or_default(), PARTS_BITS);
    }
    let last_part = parts.len().saturating_sub(1);
    let mut plans = Vec::with_capacity(parts.len());
    for (part, tally) in parts.iter().enumerate() {
        let has_bounds = has_later && part == last_part;
        let (bounds, counts) =
            if has_bounds { bounded(&residuals, &parts) } else { (Vec::new(), vec![tally.counts()]) };
        let plan = Plan { tally, bounds, coders: counts.iter().map(Coder::new).collect() };
        plan.write_head(out, has_bounds);
        plans.push(plan);
    }
    let mut last = 0;
    for Residual { place, residual } in &residuals {
        let last_of_group = if *place == 0 { 0 } else { last };
        let Some(plan) = plans.get((*place).min(last_part)) else { return };
        let number = plan.tally.number(*residual);
        if let Some(coder) = plan.coder(last_of_group) {
            coder.write(out, number);
        }
        last = class(number);
    }
}
