//! A node's energy, split among its jobs.
//!
//! A job's share of a time's energy is the part of the node's CPU time that it used: energy x its CPU
//! time / (CPUs x elapsed time), rounded down. What remains, of idle CPUs and of the system's own work, is
//! no job's. So a job's share does not depend on what others do, and the shares and the rest are the
//! node's energy, to the unit.

use tenantry_model::{MicroJoules, Usec};

/// One node's energy between two moments, being split.
///
/// # Invariants
/// What was given out and what is left are the energy it was made with: held by [`Split::share`], and the
/// test `shares_and_the_rest_are_the_nodes_energy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    energy: MicroJoules,
    capacity: Usec,
    left: MicroJoules,
}

impl Split {
    /// The energy of a node that could have used so much CPU time: its CPUs times the time.
    #[must_use]
    pub fn new(energy: MicroJoules, capacity: Usec) -> Self {
        Self { energy, capacity, left: energy }
    }

    /// The share of a job that used so much CPU time. Where readings lie apart, so that the jobs' CPU time
    /// comes to more than there was, the last ones get what is left.
    pub fn share(&mut self, cpu: Usec) -> MicroJoules {
        let share = u128::from(self.energy.0)
            .saturating_mul(cpu.0.into())
            .checked_div(self.capacity.0.into())
            .and_then(|share| u64::try_from(share).ok());
        // Without any capacity there is no share.
        let share = if self.capacity.0 == 0 { 0 } else { share.unwrap_or(u64::MAX) };
        let share = share.min(self.left.0);
        self.left = MicroJoules(self.left.0.saturating_sub(share));
        MicroJoules(share)
    }

    /// What is no job's.
    #[must_use]
    pub fn rest(&self) -> MicroJoules {
        self.left
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_job_that_used_half_of_the_cpus_has_half_of_the_energy() {
        let mut split = Split::new(MicroJoules(1001), Usec(40));
        assert_eq!(split.share(Usec(20)), MicroJoules(500));
        assert_eq!(split.share(Usec(0)), MicroJoules(0));
        assert_eq!(split.rest(), MicroJoules(501));
    }

    #[test]
    fn no_more_is_given_out_than_there_was() {
        let mut split = Split::new(MicroJoules(100), Usec(10));
        assert_eq!((split.share(Usec(8)), split.share(Usec(8))), (MicroJoules(80), MicroJoules(20)));
        let mut nothing = Split::new(MicroJoules(100), Usec(0));
        assert_eq!((nothing.share(Usec(8)), nothing.rest()), (MicroJoules(0), MicroJoules(100)));
    }

    proptest! {
        #[test]
        fn shares_and_the_rest_are_the_nodes_energy(
            energy: u64,
            capacity: u64,
            jobs in prop::collection::vec(prop_oneof![0_u64..1 << 40, any::<u64>()], 0..20),
        ) {
            let mut split = Split::new(MicroJoules(energy), Usec(capacity));
            let shares: u128 = jobs.iter().map(|cpu| u128::from(split.share(Usec(*cpu)).0)).sum();
            prop_assert_eq!(shares + u128::from(split.rest().0), u128::from(energy));
        }

        #[test]
        fn jobs_that_fit_on_the_node_get_their_parts_whatever_their_order(
            energy: u64,
            mut jobs in prop::collection::vec(0_u64..1 << 40, 1..20),
            idle in 1_u64..1 << 45,
        ) {
            let capacity = jobs.iter().sum::<u64>() + idle;
            let shares = |jobs: &[u64]| {
                let mut split = Split::new(MicroJoules(energy), Usec(capacity));
                let mut shares: Vec<_> = jobs.iter().map(|cpu| (*cpu, split.share(Usec(*cpu)))).collect();
                shares.sort_unstable();
                (shares, split.rest())
            };
            let before = shares(&jobs);
            jobs.reverse();
            prop_assert_eq!(shares(&jobs), before);
        }
    }
}
