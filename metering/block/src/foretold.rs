//! What the next value of a group will be, by what was read before it. Both directions ask the same.

/// What a value is foretold by. The writer takes for each column what makes it shortest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: it is 0.
    Nothing,
    /// The last value.
    Last,
    /// The last value, and its step again.
    Step,
    /// The last value, and the mean of the steps so far.
    Mean,
    /// The last value, and a step as the other column's.
    Share(u8),
    /// The last value, or the other column's where that is more.
    AtLeast(u8),
    /// The value at the same place in the group before, and how far this group was from that so far.
    Beside,
}

impl Kind {
    /// The column that must be known.
    pub fn other(self) -> Option<u8> {
        match self {
            Self::Share(other) | Self::AtLeast(other) => Some(other),
            _ => None,
        }
    }
}

/// What is known of the place of the next value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place {
    /// The other column's value, in its own unit.
    pub other: i64,
    /// The value at the same place in the group before.
    pub beside: Option<i64>,
}

/// A group's values so far. Sums and differences wrap.
#[derive(Debug, Clone, Default)]
pub struct Before {
    count: i64,
    first: i64,
    last: i64,
    step: i64,
    other_first: i64,
    other_last: i64,
    /// How far this group's values were from those beside them, in sum, and how many had one.
    apart: i64,
    beside: i64,
}

impl Before {
    /// What comes next. `shift`: how many bits of the other column's values this one leaves out.
    #[inline]
    pub fn foretell(&self, kind: Kind, place: Place, shift: u32) -> i64 {
        match kind {
            Kind::Nothing => 0,
            Kind::Last => self.last,
            Kind::Step => self.last.wrapping_add(self.step),
            Kind::Mean => {
                let steps = self.count.saturating_sub(1);
                let mean = self.last.wrapping_sub(self.first).checked_div(steps).unwrap_or_default();
                self.last.wrapping_add(mean)
            }
            Kind::Share(_) => self.last.wrapping_add(self.share(place.other)),
            Kind::AtLeast(_) => self.last.max(place.other.wrapping_shr(shift)),
            Kind::Beside => match place.beside {
                Some(value) => value.wrapping_add(self.apart.checked_div(self.beside).unwrap_or_default()),
                None => self.last.wrapping_add(self.step),
            },
        }
    }

    /// The other column's step, in the ratio of both columns' steps so far; before there are steps, of both last values.
    fn share(&self, other: i64) -> i64 {
        let step = other.wrapping_sub(self.other_last);
        let (own, others) = match self.count {
            0 => return 0,
            1 => (self.last, self.other_last),
            _ => (self.last.wrapping_sub(self.first), self.other_last.wrapping_sub(self.other_first)),
        };
        let quotient = step.checked_mul(own).and_then(|product| product.checked_div(others));
        quotient.unwrap_or_else(|| {
            let product = i128::from(step).saturating_mul(own.into());
            low(product.checked_div(others.into()).unwrap_or_default())
        })
    }

    #[inline]
    pub fn saw(&mut self, value: i64, place: Place) {
        if self.count == 0 {
            (self.first, self.other_first) = (value, place.other);
        } else {
            self.step = value.wrapping_sub(self.last);
        }
        self.count = self.count.saturating_add(1);
        (self.last, self.other_last) = (value, place.other);
        if let Some(beside) = place.beside {
            self.apart = self.apart.wrapping_add(value.wrapping_sub(beside));
            self.beside = self.beside.saturating_add(1);
        }
    }
}

/// The low 64 bits.
fn low(value: i128) -> i64 {
    let [bytes @ .., _, _, _, _, _, _, _, _] = value.to_le_bytes();
    i64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn foretold(kind: Kind, values: &[(i64, i64)], other: i64) -> i64 {
        let mut before = Before::default();
        for (value, other) in values {
            before.saw(*value, Place { other: *other, beside: Some(*other) });
        }
        before.foretell(kind, Place { other, beside: Some(other) }, 0)
    }

    #[test]
    fn each_kind_foretells_what_it_says() {
        let values = [(10, 100), (14, 120), (30, 200)];
        let of = |kind| foretold(kind, &values, 240);
        assert_eq!((of(Kind::Nothing), of(Kind::Last)), (0, 30));
        assert_eq!((of(Kind::Step), of(Kind::Mean)), (46, 40));
        // 20 over 100 so far, and 40 more.
        assert_eq!(of(Kind::Share(0)), 38);
        assert_eq!((of(Kind::AtLeast(0)), foretold(Kind::AtLeast(0), &values, 7)), (240, 30));
        // Apart by 90, 106 and 170, which is 122 in the mean.
        assert_eq!(of(Kind::Beside), 118);
    }

    #[test]
    fn the_second_value_grows_as_the_other_column_by_their_totals() {
        assert_eq!(foretold(Kind::Share(0), &[(50, 1000)], 1100), 55);
        assert_eq!(foretold(Kind::Share(0), &[], 1100), 0);
        assert_eq!(foretold(Kind::Share(0), &[(50, 0)], 1100), 50);
    }

    #[test]
    fn quotients_are_cut_towards_zero() {
        assert_eq!(foretold(Kind::Mean, &[(0, 0), (0, 0), (-3, 0)], 0), -4);
        assert_eq!(foretold(Kind::Share(0), &[(0, 0), (-3, 2)], 3), -4);
    }

    #[test]
    fn the_largest_and_the_least_numbers_have_a_share() {
        for one in [i64::MIN, -1, 0, 1, i64::MAX] {
            for other in [i64::MIN, -1, 0, 1, i64::MAX] {
                let _ = foretold(Kind::Share(0), &[(one, other), (other, one)], one);
                let _ = foretold(Kind::Mean, &[(one, other), (other, one)], one);
            }
        }
        assert_eq!(foretold(Kind::Share(0), &[(0, 0), (1 << 40, 1 << 40)], 1 << 41), 1 << 41);
    }
}
