//! What a run's readings add up to: differences of counters, and memory over time.
//!
//! **Memory.** Between two readings the kernel does not say how much was charged when. What counts is
//! the mean of both times the monotonic time between them (the trapezoid). It cannot be more than
//! `memory.peak` throughout, nor less than nothing, and the bound says how far that could be off. A
//! group begins with nothing, at the job's start.
//!
//! **CPU, IO, network.** The kernel counts; differences only tell when ([`counted`](crate::counted)).
//!
//! **Energy.** The node's, as it was split in each round ([`energy`](crate::energy)), is a counter like CPU time. What the
//! run's GPUs used is in [`GpuTime`]. An end that the epilog read has neither: the last round's is what there is.

use serde::{Deserialize, Serialize};
use tenantry_model::catalogue::Metric;
use tenantry_model::reading::Reading;
use tenantry_model::window::Quantity;
use tenantry_model::{Bytes, MicroJoules, Moment, Usec};

use crate::counted::{COUNTERS, Counted, counter};
use crate::gpu::GpuTime;

/// Between readings further apart than this the memory is marked as interpolated.
pub const INTERPOLATED_AFTER: Usec = Usec(120_000_000);

/// A run so far.
///
/// # Invariants
/// Readings count in the order of the monotonic clock, each once: one that is not after the last is
/// passed over. Held by [`Integral::with`], and the tests `a_reading_counts_once_and_in_its_order` and
/// `the_sum_of_differences_is_the_last_counter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Integral {
    last: Point,
    /// Twice the bytes x microseconds, so that the mean of two readings stays whole.
    #[serde(with = "text")]
    doubled_byte_usec: u128,
    /// How far that may be off; `None` where `memory.peak` was absent.
    #[serde(with = "optional_text")]
    doubled_bound: Option<u128>,
    /// Whether each reading so far had memory at all.
    memory_known: bool,
    counters: [Counted; COUNTERS.len()],
    interpolated_usec: u64,
    readings: u64,
    /// Its share of the node's energy: the last counter, and the sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    energy: Option<(MicroJoules, MicroJoules)>,
    #[serde(default, skip_serializing_if = "GpuTime::is_none")]
    gpu: GpuTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Point {
    at: Usec,
    memory: Bytes,
}

/// By how much a quantity has grown with a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    pub quantity: Quantity,
    /// Since when, by the monotonic clock.
    pub since: Usec,
    /// In the quantity's unit; memory over time in half bytes x microseconds.
    pub amount: i128,
}

/// What has grown with a reading: memory, and the counters.
pub(crate) type Steps = [Option<Step>; 1 + COUNTERS.len()];

/// Memory over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryTime {
    /// Bytes x microseconds, rounded down once.
    pub byte_usec: u128,
    /// By how much that may be off, either way; `None` where the kernel has no `memory.peak`.
    pub bound_byte_usec: Option<u128>,
}

impl Integral {
    /// A group that is made at `began`, with nothing in it.
    #[must_use]
    pub fn new(began: Moment) -> Self {
        Self {
            last: Point { at: began.boottime_usec, memory: Bytes(0) },
            doubled_byte_usec: 0,
            doubled_bound: Some(0),
            memory_known: true,
            counters: [Counted::new(began.boottime_usec); COUNTERS.len()],
            interpolated_usec: 0,
            readings: 0,
            energy: None,
            gpu: GpuTime::default(),
        }
    }

    /// With one more reading.
    #[must_use]
    pub fn with(mut self, reading: &Reading) -> Self {
        self.take(reading);
        self
    }

    /// With the reading of the run's end, whose counters hold whenever they were read.
    #[must_use]
    pub fn ended(mut self, reading: &Reading) -> Self {
        self.settle(reading);
        self
    }

    /// Takes one more reading, unless it is not after the last: what has grown.
    pub(crate) fn take(&mut self, reading: &Reading) -> Steps {
        let at = reading.at.boottime_usec;
        if !self.is_next(at) {
            return Steps::default();
        }
        let since = std::mem::replace(&mut self.last.at, at);
        let time = Usec(at.0.saturating_sub(since.0));
        self.readings = self.readings.saturating_add(1);
        if time > INTERPOLATED_AFTER {
            self.interpolated_usec = self.interpolated_usec.saturating_add(time.0);
        }
        if let Some(counter) = reading.get(Metric::ENERGY_SHARE).map(MicroJoules) {
            let (last, sum) = self.energy.unwrap_or_default();
            let more = counter.since(last).unwrap_or(counter);
            self.energy = Some((counter, sum.checked_add(more).unwrap_or(sum)));
        }
        self.gpu.add(&reading.gpus, time);
        let memory = self.memory_step(reading, time);
        let memory = memory.map(|amount| Step { quantity: Quantity::Memory, since, amount });
        self.steps(memory, |quantity, counted| {
            let (since, amount) = counted.advance(at, counter(reading, quantity)?);
            Some(Step { quantity, since, amount: amount.into() })
        })
    }

    /// Takes the reading of the run's end. One that is not after the last was begun before that was: its
    /// counters are the final ones all the same, and the differences may be negative.
    pub(crate) fn settle(&mut self, reading: &Reading) -> Steps {
        let at = reading.at.boottime_usec;
        if self.is_next(at) {
            return self.take(reading);
        }
        self.steps(None, |quantity, counted| {
            let amount = counted.settle(counter(reading, quantity)?);
            Some(Step { quantity, since: at, amount })
        })
    }

    fn steps(
        &mut self,
        memory: Option<Step>,
        step: impl Fn(Quantity, &mut Counted) -> Option<Step>,
    ) -> Steps {
        let mut steps = Steps::default();
        let counters =
            COUNTERS.into_iter().zip(&mut self.counters).map(|(quantity, counted)| step(quantity, counted));
        for (place, known) in steps.iter_mut().zip(std::iter::once(memory).chain(counters)) {
            *place = known;
        }
        steps
    }

    /// After the last; the first one may be of the moment the group was made.
    fn is_next(&self, at: Usec) -> bool {
        at > self.last.at || (self.readings == 0 && at == self.last.at)
    }

    /// How much memory over time has grown, in half bytes x microseconds.
    fn memory_step(&mut self, reading: &Reading, time: Usec) -> Option<i128> {
        let Some(memory) = reading.bytes(Metric::MEMORY_CURRENT) else {
            self.memory_known = false;
            return None;
        };
        let time = u128::from(time.0);
        // 65 bits times 64 bits: it always fits, 127 bits of it and the sign.
        let doubled = u128::from(self.last.memory.0).saturating_add(memory.0.into()).saturating_mul(time);
        self.doubled_byte_usec = self.doubled_byte_usec.saturating_add(doubled);
        let most = reading
            .bytes(Metric::MEMORY_PEAK)
            .map(|peak| u128::from(peak.0).saturating_mul(2).saturating_mul(time));
        self.doubled_bound = self
            .doubled_bound
            .zip(most)
            .map(|(bound, most)| bound.saturating_add(doubled.max(most.saturating_sub(doubled))));
        self.last.memory = memory;
        self.memory_known.then(|| i128::try_from(doubled).unwrap_or(i128::MAX))
    }

    /// Its share of the node's energy; `None` where that was never counted.
    #[must_use]
    pub fn energy_share(&self) -> Option<MicroJoules> {
        self.energy.map(|(_, sum)| sum)
    }

    /// What its GPUs used.
    #[must_use]
    pub fn gpu(&self) -> &GpuTime {
        &self.gpu
    }

    /// Memory over time; `None` where some reading had none.
    #[must_use]
    pub fn memory(&self) -> Option<MemoryTime> {
        let known = self.memory_known && self.readings > 0;
        known.then(|| MemoryTime {
            byte_usec: self.doubled_byte_usec.wrapping_shr(1),
            bound_byte_usec: self.doubled_bound.map(|doubled| doubled.div_ceil(2)),
        })
    }

    /// A counter by the sum of its differences: where it was never begun anew, what it showed last. `None`
    /// where no reading had it.
    #[must_use]
    pub fn counted(&self, quantity: Quantity) -> Option<u64> {
        let mut counters = COUNTERS.into_iter().zip(&self.counters);
        counters.find(|(of, _)| *of == quantity).and_then(|(_, counted)| counted.total())
    }

    /// Time between readings that were more than [`INTERPOLATED_AFTER`] apart.
    #[must_use]
    pub fn interpolated(&self) -> Usec {
        Usec(self.interpolated_usec)
    }

    /// How many readings it is made of.
    #[must_use]
    pub fn readings(&self) -> u64 {
        self.readings
    }

    /// Until when it goes, by the monotonic clock.
    #[must_use]
    pub fn until(&self) -> Usec {
        self.last.at
    }
}

/// JSON's readers have no 128 bits.
mod text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub fn serialize<S: Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

mod optional_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[allow(clippy::ref_option, reason = "serde calls it so")]
    pub fn serialize<S: Serializer>(value: &Option<u128>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(|value| value.to_string()).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u128>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]

    use super::*;
    use proptest::prelude::*;
    use tenantry_model::WallTime;

    fn moment(usec: u64) -> Moment {
        let wall = 1_795_000_000_000_000 + i64::try_from(usec).unwrap();
        Moment { wall: WallTime::from_unix_usec(wall).unwrap(), boottime_usec: Usec(usec) }
    }

    fn reading(at: u64, cpu: u64, memory: u64, peak: u64) -> Reading {
        let counters =
            [(Metric::CPU_USAGE, cpu), (Metric::MEMORY_CURRENT, memory), (Metric::MEMORY_PEAK, peak)];
        Reading { counters: counters.into_iter().collect(), ..Reading::empty(moment(at)) }
    }

    fn all(readings: &[Reading]) -> Integral {
        readings.iter().fold(Integral::new(moment(0)), Integral::with)
    }

    #[test]
    fn memory_is_the_mean_of_both_readings_times_the_time() {
        let integral = all(&[reading(10, 1, 100, 100), reading(20, 2, 300, 300), reading(30, 3, 0, 300)]);
        // 0 to 100, 100 to 300, 300 to 0, ten microseconds each.
        let memory = integral.memory().unwrap();
        assert_eq!(memory.byte_usec, 500 + 2000 + 1500);
        assert_eq!(memory.bound_byte_usec, Some(500 + 2000 + 1500));
    }

    #[test]
    fn without_a_peak_there_is_no_bound_and_without_memory_no_sum() {
        let mut without_peak = reading(10, 1, 100, 100);
        without_peak.counters.set(Metric::MEMORY_PEAK, None);
        assert_eq!(all(&[without_peak.clone()]).memory().unwrap().bound_byte_usec, None);
        without_peak.counters.set(Metric::MEMORY_CURRENT, None);
        assert_eq!(all(&[without_peak]).memory(), None);
        assert_eq!(Integral::new(moment(0)).memory(), None);
    }

    #[test]
    fn a_counter_that_was_begun_anew_adds_what_it_shows() {
        let anew = all(&[reading(1, 50, 0, 0), reading(2, 20, 0, 0), reading(3, 25, 0, 0)]);
        assert_eq!(anew.counted(Quantity::CpuUsage), Some(75));
        assert_eq!(anew.counted(Quantity::IoRead), None);
    }

    #[test]
    fn the_ends_counters_hold_whenever_they_were_read() {
        let run = all(&[reading(10, 50, 0, 0)]);
        assert_eq!(run.clone().ended(&reading(10, 52, 0, 0)).counted(Quantity::CpuUsage), Some(52));
        assert_eq!(run.clone().ended(&reading(9, 49, 0, 0)).counted(Quantity::CpuUsage), Some(49));
        assert_eq!(run.ended(&reading(11, 53, 0, 0)).counted(Quantity::CpuUsage), Some(53));
    }

    #[test]
    fn readings_far_apart_are_marked() {
        let far = INTERPOLATED_AFTER.0 + 1;
        let integral = all(&[reading(10, 0, 0, 0), reading(10 + far, 0, 0, 0), reading(20 + far, 0, 0, 0)]);
        assert_eq!(integral.interpolated(), Usec(far));
    }

    #[test]
    fn it_is_kept_as_json_between_blocks() {
        let integral = all(&[reading(1 << 50, 1, u64::MAX, u64::MAX)]);
        let text = serde_json::to_string(&integral).unwrap();
        assert_eq!(serde_json::from_str::<Integral>(&text).unwrap(), integral);
    }

    fn steps() -> impl Strategy<Value = Vec<Reading>> {
        let step = (1_u64..1 << 40, 0_u64..1 << 40, 0_u64..1 << 45);
        prop::collection::vec(step, 1..20).prop_map(|steps| {
            let (mut at, mut cpu, mut peak) = (0, 0, 0);
            let reading = |(time, more, memory): (u64, u64, u64)| {
                at += time;
                cpu += more;
                peak = peak.max(memory);
                reading(at, cpu, memory, peak)
            };
            steps.into_iter().map(reading).collect()
        })
    }

    proptest! {
        #[test]
        fn the_sum_of_differences_is_the_last_counter(readings in steps()) {
            let last = readings.last().unwrap().cpu_usage();
            prop_assert_eq!(all(&readings).counted(Quantity::CpuUsage).map(Usec), last);
        }

        #[test]
        fn a_reading_counts_once_and_in_its_order(readings in steps(), again in any::<prop::sample::Index>()) {
            let whole = all(&readings);
            prop_assert_eq!(&whole.clone().with(again.get(&readings)), &whole);
        }

        #[test]
        fn what_was_charged_lies_within_the_bound(readings in steps(), seed: u64) {
            // Whatever the memory did between readings: it was never over the peak so far.
            let memory = all(&readings).memory().unwrap();
            let bound = memory.bound_byte_usec.unwrap();
            let (mut least, mut most, mut before) = (0_u128, 0_u128, 0);
            for reading in &readings {
                let time = u128::from(reading.at.boottime_usec.0 - before);
                before = reading.at.boottime_usec.0;
                let peak = u128::from(reading.get(Metric::MEMORY_PEAK).unwrap());
                most += peak * time;
                least += peak * u128::from(seed % 3) / 4 * time;
            }
            for truth in [0, least, most] {
                prop_assert!(truth.abs_diff(memory.byte_usec) <= bound, "{truth} {memory:?}");
            }
        }
    }
}
