//! Busy time out of NVML's samples. A sample says for which part of the time since the sample before some
//! kernel ran, in percent. So busy time is the sum of each part times its time; where samples are missing
//! that time is not known.

/// Two samples further apart have others between them that are lost: NVML takes one each sixth of a second
/// to each second.
const MOST_USEC: u64 = 2_000_000;

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// By NVML's clock, in µs.
    pub at_usec: u64,
    /// 0 to 100.
    pub percent: u32,
}

/// One GPU's busy time since the daemon began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Busy {
    /// The time of the latest sample, in µs.
    last: Option<u64>,
    /// Percents x µs.
    percents: u64,
    /// In µs.
    known: u64,
}

impl Busy {
    /// The time of the latest sample: only later ones count.
    #[must_use]
    pub fn last_usec(&self) -> Option<u64> {
        self.last
    }

    /// Samples that NVML has, in whatever order.
    pub fn add(&mut self, samples: &mut [Sample]) {
        samples.sort_unstable_by_key(|sample| sample.at_usec);
        for Sample { at_usec, percent } in samples.iter().copied().filter(|sample| sample.at_usec > 0) {
            let time = match self.last {
                Some(last) => at_usec.saturating_sub(last),
                // The first one only tells when the next one begins.
                None => 0,
            };
            if (1..=MOST_USEC).contains(&time) {
                let busy = time.saturating_mul(percent.min(100).into());
                self.percents = self.percents.saturating_add(busy);
                self.known = self.known.saturating_add(time);
            }
            self.last = self.last.max(Some(at_usec));
        }
    }

    /// Time in which some kernel ran, in µs, rounded down.
    #[must_use]
    pub fn busy_usec(&self) -> u64 {
        self.percents / 100
    }

    /// For how much time that is known, in µs.
    #[must_use]
    pub fn known_usec(&self) -> u64 {
        self.known
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]

    use super::*;
    use proptest::prelude::*;

    fn sample(at_usec: u64, percent: u32) -> Sample {
        Sample { at_usec, percent }
    }

    #[test]
    fn each_part_counts_for_the_time_since_the_sample_before() {
        let mut busy = Busy::default();
        busy.add(&mut [sample(1_000_000, 77), sample(1_200_000, 50), sample(1_300_000, 100)]);
        assert_eq!((busy.busy_usec(), busy.known_usec()), (200_000, 300_000));
        // The same ones again change nothing; one that NVML has not filled in is none.
        busy.add(&mut [sample(0, 99), sample(1_300_000, 100), sample(1_200_000, 50), sample(1_400_000, 0)]);
        assert_eq!((busy.busy_usec(), busy.known_usec()), (200_000, 400_000));
    }

    #[test]
    fn where_samples_are_missing_the_time_is_not_known() {
        let mut busy = Busy::default();
        busy.add(&mut [sample(1_000_000, 0), sample(9_000_000, 100), sample(9_500_000, 100)]);
        assert_eq!((busy.busy_usec(), busy.known_usec()), (500_000, 500_000));
    }

    proptest! {
        #[test]
        fn busy_time_is_a_part_of_what_is_known_however_samples_come(
            steps in prop::collection::vec((0_u64..3_000_000, 0_u32..=100), 0..40),
            parts in 1_usize..8,
        ) {
            let mut at = 1;
            let all: Vec<Sample> = steps.iter().map(|(step, percent)| { at += step; sample(at, *percent) }).collect();
            let mut whole = Busy::default();
            whole.add(&mut all.clone());
            let mut cut = Busy::default();
            for part in all.chunks(parts) {
                cut.add(&mut part.to_vec());
            }
            prop_assert!(whole.busy_usec() <= whole.known_usec());
            prop_assert_eq!(whole, cut);
        }
    }
}
