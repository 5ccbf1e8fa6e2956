//! What a run's GPUs used: differences of what NVML counts, where two readings in a row have the GPU.
//!
//! A GPU that a reading lacks was not the run's alone at that time, or could not be read: what it
//! counted until the next reading belongs to nobody. A counter that is less than before was begun
//! anew (the driver was loaded again, the daemon started again), and what it shows was added since.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tenantry_model::reading::{GpuReading, GpuStat};
use tenantry_model::{Bytes, GpuName, MilliJoules, Usec};

/// A run's GPUs so far.
///
/// # Invariants
/// No sum has more than its counters' last values less their first ones: held by [`GpuTime::add`], and
/// the test `sums_are_the_counters_own`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GpuTime {
    last: BTreeMap<GpuName, GpuStat>,
    energy_mj: u64,
    energy_known_usec: u64,
    /// Some GPU of the run counts no energy: the sum would be of the others.
    energy_lacking: bool,
    busy_usec: u64,
    busy_known_usec: u64,
    memory_peak: Option<Bytes>,
}

impl GpuTime {
    /// Whether the run had no GPU so far.
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// One more reading, and the time since the one before.
    pub(crate) fn add(&mut self, gpus: &[GpuReading], time: Usec) {
        let before = std::mem::take(&mut self.last);
        let mut memory = Some(Bytes(0));
        for GpuReading { gpu, stat } in gpus {
            memory = memory.zip(stat.memory_used_bytes).and_then(|(sum, used)| sum.checked_add(used));
            self.energy_lacking |= stat.energy_mj.is_none();
            if let Some(before) = before.get(gpu) {
                let energy =
                    more(before.energy_mj.map(|energy| energy.0), stat.energy_mj.map(|energy| energy.0));
                if let Some(energy) = energy {
                    self.energy_mj = self.energy_mj.saturating_add(energy);
                    self.energy_known_usec = self.energy_known_usec.saturating_add(time.0);
                }
                let usec = |time: Option<Usec>| time.map(|time| time.0);
                let busy = more(usec(before.busy_usec), usec(stat.busy_usec));
                let known = more(usec(before.busy_known_usec), usec(stat.busy_known_usec));
                if let Some((busy, known)) = busy.zip(known) {
                    self.busy_usec = self.busy_usec.saturating_add(busy);
                    self.busy_known_usec = self.busy_known_usec.saturating_add(known);
                }
            }
            self.last.insert(gpu.clone(), *stat);
        }
        if let Some(memory) = memory.filter(|_| !gpus.is_empty()) {
            self.memory_peak = self.memory_peak.max(Some(memory));
        }
    }

    /// Energy; `None` where it was never counted, or not of all.
    #[must_use]
    pub fn energy(&self) -> Option<MilliJoules> {
        (self.energy_known_usec > 0 && !self.energy_lacking).then_some(MilliJoules(self.energy_mj))
    }

    /// For how much GPU time the energy is known.
    #[must_use]
    pub fn energy_known(&self) -> Option<Usec> {
        self.energy().map(|_| Usec(self.energy_known_usec))
    }

    /// Time in which some kernel ran, over all GPUs.
    #[must_use]
    pub fn busy(&self) -> Option<Usec> {
        (self.busy_known_usec > 0).then_some(Usec(self.busy_usec))
    }

    /// For how much GPU time that is known.
    #[must_use]
    pub fn busy_known(&self) -> Option<Usec> {
        self.busy().map(|_| Usec(self.busy_known_usec))
    }

    /// The most memory that a reading found in use on all of them together.
    #[must_use]
    pub fn memory_peak(&self) -> Option<Bytes> {
        self.memory_peak
    }
}

/// What a counter counted between two readings.
fn more(before: Option<u64>, now: Option<u64>) -> Option<u64> {
    before.zip(now).map(|(before, now)| now.checked_sub(before).unwrap_or(now))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]

    use super::*;
    use proptest::prelude::*;

    fn gpu(name: u32, energy: Option<u64>, busy: u64, memory: u64) -> GpuReading {
        let columns = [energy, Some(busy), Some(2 * busy), Some(memory)];
        GpuReading { gpu: format!("GPU-{name}").parse().unwrap(), stat: GpuStat::from_columns(columns) }
    }

    fn all(rounds: &[Vec<GpuReading>]) -> GpuTime {
        let mut time = GpuTime::default();
        for gpus in rounds {
            time.add(gpus, Usec(10));
        }
        time
    }

    #[test]
    fn energy_and_busy_time_are_differences_over_all_gpus() {
        let time = all(&[
            vec![gpu(0, Some(100), 10, 1), gpu(1, Some(7000), 5, 2)],
            vec![gpu(0, Some(150), 12, 3), gpu(1, Some(7001), 6, 2)],
        ]);
        assert_eq!((time.energy(), time.energy_known()), (Some(MilliJoules(51)), Some(Usec(20))));
        assert_eq!((time.busy(), time.busy_known()), (Some(Usec(3)), Some(Usec(6))));
        assert_eq!(time.memory_peak(), Some(Bytes(5)));
    }

    #[test]
    fn one_reading_says_nothing_of_energy_and_none_nothing_at_all() {
        let time = all(&[vec![gpu(0, Some(100), 10, 1)]]);
        assert_eq!((time.energy(), time.busy(), time.memory_peak()), (None, None, Some(Bytes(1))));
        assert_eq!(all(&[Vec::new(), Vec::new()]), GpuTime::default());
    }

    #[test]
    fn what_a_gpu_counted_while_it_was_not_the_runs_alone_is_nobodys() {
        let time = all(&[
            vec![gpu(0, Some(100), 0, 0)],
            vec![gpu(0, Some(110), 0, 0)],
            Vec::new(),
            vec![gpu(0, Some(500), 0, 0)],
            vec![gpu(0, Some(501), 0, 0)],
        ]);
        assert_eq!((time.energy(), time.energy_known()), (Some(MilliJoules(11)), Some(Usec(20))));
    }

    #[test]
    fn a_driver_that_was_loaded_again_counts_from_nothing() {
        let time = all(&[
            vec![gpu(0, Some(1000), 0, 0)],
            vec![gpu(0, Some(1100), 0, 0)],
            vec![gpu(0, Some(30), 0, 0)],
        ]);
        assert_eq!(time.energy(), Some(MilliJoules(130)));
    }

    #[test]
    fn the_energy_of_some_of_the_gpus_is_not_told_as_that_of_all() {
        let time = all(&[
            vec![gpu(0, Some(100), 1, 0), gpu(1, None, 1, 0)],
            vec![gpu(0, Some(150), 2, 0), gpu(1, None, 2, 0)],
        ]);
        assert_eq!((time.energy(), time.busy()), (None, Some(Usec(2))));
    }

    proptest! {
        #[test]
        fn sums_are_the_counters_own(steps in prop::collection::vec((0_u64..1 << 40, any::<bool>()), 1..30)) {
            let (mut counter, mut rounds, mut expected, mut before) = (0, Vec::new(), 0, None);
            for (step, there) in steps {
                counter += step;
                rounds.push(if there { vec![gpu(0, Some(counter), counter, 0)] } else { Vec::new() });
                expected += before.map_or(0, |before| if there { counter - before } else { 0 });
                before = there.then_some(counter);
            }
            let time = all(&rounds);
            prop_assert_eq!((time.energy_mj, time.busy_usec), (expected, expected));
            // Cut anywhere into JSON and back, it goes on the same.
            let text = serde_json::to_string(&time).unwrap();
            prop_assert_eq!(serde_json::from_str::<GpuTime>(&text).unwrap(), time);
        }
    }
}
