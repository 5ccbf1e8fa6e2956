//! The node's energy by `/sys/class/powercap`: RAPL's packages, and memory where it is counted apart. The
//! kernel's counters begin again at `max_energy_range_uj`; what stands here only grows.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tenantry_model::{MicroJoules, Usec};

/// No domain takes more than this for long. Between two readings so far apart that it could have gone around
/// more than once, nothing is known.
const MOST_WATTS: u64 = 2_000;

/// What the node used since it was first read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeEnergy {
    /// All CPU packages.
    pub package: Option<MicroJoules>,
    /// All memory that is counted apart.
    pub dram: Option<MicroJoules>,
}

impl NodeEnergy {
    /// Both together.
    #[must_use]
    pub fn sum(&self) -> Option<MicroJoules> {
        match (self.package, self.dram) {
            (Some(package), Some(dram)) => package.checked_add(dram),
            (one, other) => one.or(other),
        }
    }
}

/// The domains of a machine.
#[derive(Debug, Default)]
pub struct Powercap {
    domains: Vec<Domain>,
    /// A domain could not be read, which was logged.
    complained: bool,
}

#[derive(Debug)]
struct Domain {
    kind: Kind,
    file: PathBuf,
    counter: Unrolled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Package,
    Dram,
}

impl Kind {
    /// By a domain's name. `core` and `uncore` are parts of a package; `psys` has them all in it.
    fn of(name: &str) -> Option<Self> {
        match name {
            "dram" => Some(Self::Dram),
            name if name.starts_with("package-") => Some(Self::Package),
            _ => None,
        }
    }
}

/// A counter that begins again at its range, as one that does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrolled {
    range: u64,
    last: Option<(u64, Usec)>,
    total: u64,
}

impl Unrolled {
    /// One that has counted nothing, whose largest value is `range`.
    #[must_use]
    pub fn new(range: u64) -> Self {
        Self { range, last: None, total: 0 }
    }

    /// What it has counted since its first value. `None` where it may have gone around more than once: it
    /// counts from this value on.
    pub fn add(&mut self, value: u64, at: Usec) -> Option<MicroJoules> {
        let before = self.last.replace((value, at));
        let Some((last, then)) = before else { return Some(MicroJoules(self.total)) };
        let most = at.since(then)?.0.saturating_mul(MOST_WATTS);
        if most > self.range || value > self.range {
            return None;
        }
        let more = match value.checked_sub(last) {
            Some(more) => more,
            // Its largest value is one it takes.
            None => self.range.saturating_sub(last).saturating_add(value).saturating_add(1),
        };
        self.total = self.total.saturating_add(more);
        Some(MicroJoules(self.total))
    }

    /// What is between this value and the last is not known.
    pub fn lose(&mut self) {
        self.last = None;
    }
}

impl Powercap {
    /// The domains below `/sys/class/powercap`. A machine may have none.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        let mut domains: Vec<Domain> = fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            // intel-rapl is AMD's, too; intel-rapl-mmio shows the same packages again.
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("intel-rapl:"))
            .filter_map(|entry| Domain::open(&entry.path()))
            .collect();
        domains.sort_by(|a, b| a.file.cmp(&b.file));
        Self { domains, complained: false }
    }

    /// How many domains there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.domains.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.domains.is_empty()
    }

    /// What the node used since the first reading. One domain that cannot be read leaves all of it absent,
    /// since a part of the node's energy would be told as the whole.
    pub fn read(&mut self, now: Usec) -> NodeEnergy {
        match self.try_read(now) {
            Ok(energy) => {
                self.complained = false;
                energy
            }
            Err((file, error)) => {
                if !self.complained {
                    tracing::warn!(file = %file.display(), %error, "cannot read the node's energy, which is absent until that is mended");
                }
                self.complained = true;
                self.domains.iter_mut().for_each(|domain| domain.counter.lose());
                NodeEnergy::default()
            }
        }
    }

    fn try_read(&mut self, now: Usec) -> Result<NodeEnergy, (PathBuf, io::Error)> {
        let mut energy = NodeEnergy::default();
        let mut lost = false;
        for domain in &mut self.domains {
            let value = number(&domain.file).map_err(|error| (domain.file.clone(), error))?;
            let Some(counted) = domain.counter.add(value, now) else {
                lost = true;
                continue;
            };
            let sum = match domain.kind {
                Kind::Package => &mut energy.package,
                Kind::Dram => &mut energy.dram,
            };
            *sum = sum.unwrap_or_default().checked_add(counted);
        }
        Ok(if lost { NodeEnergy::default() } else { energy })
    }
}

impl Domain {
    fn open(dir: &Path) -> Option<Self> {
        let kind = Kind::of(fs::read_to_string(dir.join("name")).ok()?.trim_ascii())?;
        let range = number(&dir.join("max_energy_range_uj")).ok()?;
        Some(Self { kind, file: dir.join("energy_uj"), counter: Unrolled::new(range) })
    }
}

fn number(file: &Path) -> io::Result<u64> {
    fs::read_to_string(file)?.trim_ascii().parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects)]

    use super::*;
    use proptest::prelude::*;

    const RANGE: u64 = 262_143_328_850;
    const SECOND: u64 = 1_000_000;

    /// Two packages, each with memory and cores, and a psys that has them all in it.
    fn plant(dir: &Path) {
        let zones = [
            ("intel-rapl:0", "package-0", 1000),
            ("intel-rapl:0:0", "core", 600),
            ("intel-rapl:0:1", "dram", 200),
            ("intel-rapl:1", "package-1", 5000),
            ("intel-rapl:1:0", "dram", 300),
            ("intel-rapl:2", "psys", 9999),
            ("intel-rapl-mmio:0", "package-0", 1000),
        ];
        for (zone, name, energy) in zones {
            let zone = dir.join(zone);
            fs::create_dir_all(&zone).unwrap();
            fs::write(zone.join("name"), format!("{name}\n")).unwrap();
            fs::write(zone.join("max_energy_range_uj"), format!("{RANGE}\n")).unwrap();
            fs::write(zone.join("energy_uj"), format!("{energy}\n")).unwrap();
        }
        fs::create_dir_all(dir.join("intel-rapl")).unwrap();
    }

    fn set(dir: &Path, zone: &str, energy: u64) {
        fs::write(dir.join(zone).join("energy_uj"), energy.to_string()).unwrap();
    }

    #[test]
    fn packages_and_memory_are_summed_and_nothing_is_counted_twice() {
        let dir = tempfile::tempdir().unwrap();
        plant(dir.path());
        let mut powercap = Powercap::open(dir.path());
        assert_eq!(powercap.len(), 4);
        let none = Some(MicroJoules(0));
        assert_eq!(powercap.read(Usec(0)), NodeEnergy { package: none, dram: none });
        set(dir.path(), "intel-rapl:0", 1100);
        set(dir.path(), "intel-rapl:0:0", 690);
        set(dir.path(), "intel-rapl:1", 5007);
        set(dir.path(), "intel-rapl:1:0", 305);
        set(dir.path(), "intel-rapl:2", 99_999);
        let energy = powercap.read(Usec(SECOND));
        assert_eq!((energy.package, energy.dram), (Some(MicroJoules(107)), Some(MicroJoules(5))));
        assert_eq!(energy.sum(), Some(MicroJoules(112)));
    }

    #[test]
    fn a_domain_that_cannot_be_read_leaves_all_absent_and_the_time_until_then_unknown() {
        let dir = tempfile::tempdir().unwrap();
        plant(dir.path());
        let mut powercap = Powercap::open(dir.path());
        powercap.read(Usec(0));
        fs::write(dir.path().join("intel-rapl:0/energy_uj"), "no number").unwrap();
        assert_eq!(powercap.read(Usec(SECOND)), NodeEnergy::default());
        set(dir.path(), "intel-rapl:0", 4000);
        assert_eq!(powercap.read(Usec(2 * SECOND)).package, Some(MicroJoules(0)));
        set(dir.path(), "intel-rapl:0", 4001);
        assert_eq!(powercap.read(Usec(3 * SECOND)).package, Some(MicroJoules(1)));
    }

    #[test]
    fn a_machine_without_powercap_has_no_energy() {
        let mut powercap = Powercap::open("/nonexistent".as_ref());
        assert!(powercap.is_empty());
        assert_eq!(powercap.read(Usec(0)).sum(), None);
    }

    #[test]
    fn a_counter_that_has_gone_around_goes_on() {
        let mut counter = Unrolled::new(999);
        assert_eq!(counter.add(990, Usec(0)), Some(MicroJoules(0)));
        // 991 to 999, 0, and 1 to 5.
        assert_eq!(counter.add(5, Usec(0)), Some(MicroJoules(15)));
    }

    #[test]
    fn one_that_may_have_gone_around_twice_is_not_known() {
        let mut counter = Unrolled::new(RANGE);
        counter.add(0, Usec(0));
        let too_long = Usec(RANGE / MOST_WATTS + 1);
        assert_eq!(counter.add(5, too_long), None);
        assert_eq!(counter.add(7, Usec(too_long.0 + 1)), Some(MicroJoules(2)));
    }

    proptest! {
        #[test]
        fn the_total_is_what_was_counted_however_often_it_goes_around(
            first in 0..=RANGE,
            steps in prop::collection::vec(0_u64..2_000 * 10 * SECOND, 1..50),
        ) {
            let mut counter = Unrolled::new(RANGE);
            let (mut at, mut value, mut sum) = (0, first, 0);
            counter.add(value, Usec(at));
            for step in steps {
                at += 10 * SECOND;
                value = (value + step) % (RANGE + 1);
                sum += step;
                prop_assert_eq!(counter.add(value, Usec(at)), Some(MicroJoules(sum)));
            }
        }
    }
}
