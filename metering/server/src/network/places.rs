//! How many connections there are in all, and of each name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::stats::Refusal;

/// Counts what is open; what is counted is let go by dropping its [`Place`].
#[derive(Debug, Clone)]
pub struct Places {
    counts: Arc<Mutex<Counts>>,
    most: usize,
    most_of_a_name: usize,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    of: BTreeMap<String, usize>,
}

/// One of the places, until dropped.
#[derive(Debug)]
pub struct Place {
    counts: Arc<Mutex<Counts>>,
    name: String,
}

impl Places {
    /// So many in all, and so many of a name.
    pub fn new(most: usize, most_of_a_name: usize) -> Self {
        Self { counts: Arc::default(), most, most_of_a_name }
    }

    /// A place for `name`, or which bound it meets.
    pub fn take(&self, name: &str) -> Result<Place, Refusal> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= self.most {
            return Err(Refusal::Busy);
        }
        let count = counts.of.entry(name.to_owned()).or_default();
        if *count >= self.most_of_a_name {
            return Err(Refusal::Share);
        }
        *count = count.saturating_add(1);
        counts.all = counts.all.saturating_add(1);
        Ok(Place { counts: Arc::clone(&self.counts), name: name.to_owned() })
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        if let Some(count) = counts.of.get_mut(&self.name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.of.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_takes_the_places_of_all() {
        let places = Places::new(5, 2);
        let held: Vec<_> = ["a", "a", "b", "b"].map(|name| places.take(name).unwrap()).into();
        assert_eq!(places.take("a").unwrap_err(), Refusal::Share);
        let last = places.take("c").unwrap();
        assert_eq!(places.take("d").unwrap_err(), Refusal::Busy);
        drop(last);
        assert!(places.take("d").is_ok(), "a place that is free again");
        drop(held);
        assert_eq!(places.taken(), 0);
        assert!(places.counts.lock().unwrap().of.is_empty());
    }
}
