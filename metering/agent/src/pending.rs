//! What was read and is not in the spool yet.

use std::collections::BTreeMap;

use tenantry_model::Moment;
use tenantry_model::block::{Contents, Event, GapReason, Registered, Series, Subject};
use tenantry_model::reading::Reading;

/// The most readings that wait for the spool: 20 MiB, a minute and a half of 5,000 groups at ten
/// seconds, and hours of fifty.
const MOST_READINGS: usize = 50_000;

/// Between two blocks.
#[derive(Debug, Default)]
pub struct Pending {
    registered: Vec<Registered>,
    series: BTreeMap<Subject, Vec<Reading>>,
    events: Vec<Event>,
    readings: usize,
    first: Option<Moment>,
    last: Option<Moment>,
    /// The latest reading that is in the spool.
    spooled: Option<Moment>,
}

impl Pending {
    /// A job whose readings follow.
    pub fn register(&mut self, registered: Registered) {
        self.registered.push(registered);
    }

    /// A reading. Where the spool takes none for too long, what waits is given up, and a gap stands for it.
    pub fn add(&mut self, subject: Subject, reading: Reading) {
        if self.readings >= MOST_READINGS {
            self.give_up(GapReason::SpoolFailed, reading.at);
        }
        self.first = self.first.or(Some(reading.at));
        // The machine's own reading is of the round's beginning, and comes last.
        let is_later = |last: Moment| reading.at.boottime_usec > last.boottime_usec;
        self.last = Some(self.last.filter(|last| !is_later(*last)).unwrap_or(reading.at));
        self.readings = self.readings.saturating_add(1);
        self.series.entry(subject).or_default().push(reading);
    }

    /// Something to say. A gap that goes on where the last one ended is one gap.
    pub fn tell(&mut self, event: Event) {
        if let (Some(Event::Gap { to, reason, .. }), Event::Gap { from, to: later, reason: again }) =
            (self.events.last_mut(), &event)
            && reason == again
            && to.boottime_usec >= from.boottime_usec
        {
            *to = *later;
            return;
        }
        self.events.push(event);
    }

    /// Lets the readings go: there is no room for them. They are a gap from the last one that was kept to `until`.
    pub fn give_up(&mut self, reason: GapReason, until: Moment) {
        self.series.clear();
        self.readings = 0;
        self.last = None;
        if let Some(first) = self.first.take() {
            let from = self.spooled.unwrap_or(first);
            self.tell(Event::Gap { from, to: until, reason });
        }
    }

    /// What waits, for a block; and the time of its latest reading.
    pub fn contents(&self) -> (Contents, Option<Moment>) {
        let series = self
            .series
            .iter()
            .map(|(subject, readings)| Series { subject: subject.clone(), readings: readings.clone() });
        let contents = Contents {
            registered: self.registered.clone(),
            series: series.collect(),
            ends: Vec::new(),
            events: self.events.clone(),
        };
        (contents, self.last)
    }

    /// All of it is in the spool.
    pub fn clear(&mut self) {
        *self = Self { spooled: self.last.or(self.spooled), ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantry_model::{Usec, WallTime};

    fn moment(usec: u64) -> Moment {
        let wall = WallTime::from_unix_usec(i64::try_from(usec).unwrap()).unwrap();
        Moment { wall, boottime_usec: Usec(usec) }
    }

    fn tenant() -> Subject {
        Subject::Tenant { node: "n1".parse().unwrap(), tenant: "acme".parse().unwrap() }
    }

    #[test]
    fn what_is_given_up_is_one_gap_with_its_bounds() {
        let mut pending = Pending::default();
        for usec in [1, 2, 3] {
            pending.add(tenant(), Reading::empty(moment(usec)));
        }
        pending.give_up(GapReason::SpoolFull, moment(4));
        pending.add(tenant(), Reading::empty(moment(4)));
        pending.give_up(GapReason::SpoolFull, moment(5));
        let (contents, last) = pending.contents();
        let gap = Event::Gap { from: moment(1), to: moment(5), reason: GapReason::SpoolFull };
        assert_eq!((contents.series, contents.events, last), (Vec::new(), vec![gap], None));
    }

    #[test]
    fn readings_that_no_spool_takes_do_not_fill_the_memory() {
        let mut pending = Pending::default();
        for usec in 0..=u64::try_from(MOST_READINGS).unwrap() {
            pending.add(tenant(), Reading::empty(moment(usec)));
        }
        let contents = pending.contents().0;
        assert_eq!(contents.series.iter().map(|series| series.readings.len()).sum::<usize>(), 1);
        assert!(matches!(contents.events[..], [Event::Gap { reason: GapReason::SpoolFailed, .. }]));
    }
}
