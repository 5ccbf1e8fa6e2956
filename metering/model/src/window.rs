//! Usage by windows of time: what one run of a job used of one node in one hour, and sums of such rows.
//!
//! A window is half-open and UTC. Its rows are only ever added: what becomes known of a window after its row
//! was written is a row of its own, a correction with a signed difference. The rows of a run add up to its
//! record, to the last unit.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::WallTime;
use crate::ids::{AccountName, ClusterName, JobId, NodeName, TenantPath};
use crate::units::Usec;
use crate::usage::UsageState;

/// A quantity that is added up over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quantity {
    /// Time for which the run had the node, by the monotonic clock.
    Elapsed,
    /// `usage_usec` of the job's group.
    CpuUsage,
    /// Memory in use over time.
    Memory,
    /// `rbytes` of `io.stat`, all devices.
    IoRead,
    /// `wbytes` of `io.stat`, all devices.
    IoWrite,
    /// Bytes from other hosts.
    NetworkReceive,
    /// Bytes to other hosts.
    NetworkTransmit,
    /// CPUs that Slurm allocated x time.
    AllocatedCpu,
    /// Memory that Slurm allocated x time.
    AllocatedMemory,
}

impl Quantity {
    /// How many there are.
    pub const COUNT: usize = 9;

    /// All, in the order of columns.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Elapsed,
        Self::CpuUsage,
        Self::Memory,
        Self::IoRead,
        Self::IoWrite,
        Self::NetworkReceive,
        Self::NetworkTransmit,
        Self::AllocatedCpu,
        Self::AllocatedMemory,
    ];

    /// Its name in JSON, CSV and SQL; it ends with the unit.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Elapsed => "elapsed_usec",
            Self::CpuUsage => "cpu_usage_usec",
            Self::Memory => "memory_byte_seconds",
            Self::IoRead => "io_read_bytes",
            Self::IoWrite => "io_write_bytes",
            Self::NetworkReceive => "network_receive_bytes",
            Self::NetworkTransmit => "network_transmit_bytes",
            Self::AllocatedCpu => "allocated_cpu_usec",
            Self::AllocatedMemory => "allocated_memory_byte_seconds",
        }
    }

    fn place(self) -> usize {
        Self::ALL.iter().position(|other| *other == self).unwrap_or_default()
    }
}

/// A figure of each quantity; `None`: not known. In JSON an object of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantities<T>([Option<T>; Quantity::COUNT]);

impl<T: Copy> Default for Quantities<T> {
    fn default() -> Self {
        Self([None; Quantity::COUNT])
    }
}

impl<T: Copy> Quantities<T> {
    /// One figure.
    #[must_use]
    pub fn get(&self, quantity: Quantity) -> Option<T> {
        self.0.get(quantity.place()).copied().flatten()
    }

    /// Keeps one figure.
    pub fn set(&mut self, quantity: Quantity, figure: Option<T>) {
        if let Some(place) = self.0.get_mut(quantity.place()) {
            *place = figure;
        }
    }

    /// All, in the order of [`Quantity::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Quantity, Option<T>)> + '_ {
        Quantity::ALL.into_iter().zip(self.0)
    }

    /// The same in another integer; `None` also where one does not fit there.
    #[must_use]
    pub fn narrowed<U: Copy + TryFrom<T>>(&self) -> Quantities<U> {
        Quantities(self.0.map(|figure| figure.and_then(|figure| U::try_from(figure).ok())))
    }
}

impl<T: Copy> FromIterator<(Quantity, Option<T>)> for Quantities<T> {
    fn from_iter<I: IntoIterator<Item = (Quantity, Option<T>)>>(figures: I) -> Self {
        let mut all = Self::default();
        figures.into_iter().for_each(|(quantity, figure)| all.set(quantity, figure));
        all
    }
}

impl<T: Copy + Serialize> Serialize for Quantities<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (quantity, figure) in self.iter() {
            map.serialize_entry(quantity.key(), &figure)?;
        }
        map.end()
    }
}

impl<'de, T: Copy + Deserialize<'de>> Deserialize<'de> for Quantities<T> {
    /// A quantity that this release does not know is passed over: the server may be newer.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Figures<T>(std::marker::PhantomData<T>);

        impl<'de, T: Copy + Deserialize<'de>> Visitor<'de> for Figures<T> {
            type Value = Quantities<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of figures")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Quantities::default();
                while let Some(key) = map.next_key::<String>()? {
                    match Quantity::ALL.into_iter().find(|quantity| quantity.key() == key) {
                        Some(quantity) => all.set(quantity, map.next_value()?),
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(all)
            }
        }

        deserializer.deserialize_map(Figures(std::marker::PhantomData))
    }
}

/// How much a row's figures are worth; a later one is worth less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowQuality {
    /// Differences of the kernel's counters between readings that were at most two minutes apart.
    Exact,
    /// Exact in sum; some of it was used between readings further apart, and is spread evenly over that time.
    Interpolated,
    /// The run went on after its last reading.
    Estimated,
    /// The run has no counters.
    Gap,
}

impl WindowQuality {
    /// All, the best first.
    pub const ALL: [Self; 4] = [Self::Exact, Self::Interpolated, Self::Estimated, Self::Gap];

    /// Its name in JSON, CSV and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Interpolated => "interpolated",
            Self::Estimated => "estimated",
            Self::Gap => "gap",
        }
    }
}

/// How wide windows are: so that each UTC day, and with it each month, begins with a window.
///
/// # Invariants
/// Whole minutes, and a day has a whole number of them. Held by [`WindowWidth::from_minutes`], the only
/// constructor, and `tests::a_day_begins_with_a_window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct WindowWidth(u16);

/// A width that does not divide a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} minutes are no window: a day of 1440 minutes has a whole number of them, as with 15, 60 or 1440"
)]
pub struct InvalidWidth(u16);

impl WindowWidth {
    /// One hour.
    pub const HOUR: Self = Self(60);

    /// From minutes.
    ///
    /// # Errors
    /// Where they do not divide a day.
    pub const fn from_minutes(minutes: u16) -> Result<Self, InvalidWidth> {
        match 1440_u16.checked_rem(minutes) {
            Some(0) => Ok(Self(minutes)),
            _ => Err(InvalidWidth(minutes)),
        }
    }

    /// In microseconds.
    #[must_use]
    pub fn usec(self) -> Usec {
        Usec(u64::from(self.0).saturating_mul(60_000_000))
    }
}

impl TryFrom<u16> for WindowWidth {
    type Error = InvalidWidth;

    fn try_from(minutes: u16) -> Result<Self, InvalidWidth> {
        Self::from_minutes(minutes)
    }
}

impl From<WindowWidth> for u16 {
    fn from(WindowWidth(minutes): WindowWidth) -> u16 {
        minutes
    }
}

impl fmt::Display for WindowWidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} min", self.0)
    }
}

/// What one run of a job used of one node in one window, or what has to be added to that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageWindow {
    /// Slurm's cluster.
    pub cluster: Option<ClusterName>,
    /// Slurm's job id.
    pub job_id: JobId,
    /// Slurm's restart count.
    pub restart_count: Option<u32>,
    /// Slurm's node.
    pub node: NodeName,
    /// Who pays; `None` for a refused job.
    pub tenant: Option<TenantPath>,
    /// Slurm's account.
    pub account: Option<AccountName>,
    /// Slurm's partition.
    pub partition: Option<String>,
    /// The job's owner.
    pub uid: u32,
    /// The owner's name.
    pub user: Option<String>,
    /// When the run's prolog began on this node.
    pub began: WallTime,
    /// Where the window begins.
    pub window_from: WallTime,
    /// Where it ends, and the next begins.
    pub window_to: WallTime,
    /// `running`: the window is not over, or its row not written yet; the figures can still grow.
    pub state: UsageState,
    /// Whether the run had a row of this window, or of a later one, before this one: the figures are
    /// differences then, and may be negative.
    pub correction: bool,
    /// How much the figures are worth.
    pub quality: WindowQuality,
    /// The first block of the run's boot that the figures came from; `None`: none of that boot.
    pub first_sequence: Option<u64>,
    /// The last of them.
    pub last_sequence: Option<u64>,
    /// The figures.
    #[serde(flatten)]
    pub figures: Quantities<i64>,
}

/// What rows are added up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupBy {
    /// The tenant that pays.
    Tenant,
    /// The jobs' owner.
    User,
    /// Slurm's account.
    Account,
    /// Slurm's job id.
    Job,
    /// Slurm's node.
    Node,
    /// The UTC day the windows lie in.
    Day,
    /// The hour the windows begin in.
    Hour,
}

impl GroupBy {
    /// All.
    pub const ALL: [Self; 7] =
        [Self::Tenant, Self::User, Self::Account, Self::Job, Self::Node, Self::Day, Self::Hour];

    /// Its name in questions and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::Account => "account",
            Self::Job => "job",
            Self::Node => "node",
            Self::Day => "day",
            Self::Hour => "hour",
        }
    }
}

/// A word that names no group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is nothing to group by: it is tenant, user, account, job, node, day or hour")]
pub struct InvalidGroup(String);

impl FromStr for GroupBy {
    type Err = InvalidGroup;

    fn from_str(text: &str) -> Result<Self, InvalidGroup> {
        let known = Self::ALL.into_iter().find(|by| by.as_str() == text);
        known.ok_or_else(|| InvalidGroup(text.chars().take(32).collect()))
    }
}

/// Rows added up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsageGroup {
    /// What they have in common; `None`: they have no such thing.
    pub key: BTreeMap<GroupBy, Option<String>>,
    /// How many rows.
    pub windows: u64,
    /// The sums; `None` where no row has the figure.
    pub figures: Quantities<i128>,
    /// How many rows lack the figure; where this is not 0, the sum is of the others.
    pub lacking: Quantities<u64>,
}

/// The answer to a question about windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowReport {
    /// In the order they were written; at last those of running jobs that are not written yet.
    pub windows: Vec<UsageWindow>,
    /// What the next page is asked for with; absent: this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// The answer to a question about sums.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReport {
    /// In the order of their keys.
    pub groups: Vec<UsageGroup>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_with_a_window() {
        for minutes in 0..=3000 {
            let whole = minutes != 0 && 1440 % minutes == 0;
            assert_eq!(WindowWidth::from_minutes(minutes).is_ok(), whole, "{minutes}");
        }
        assert_eq!(WindowWidth::HOUR.usec(), Usec(3_600_000_000));
    }

    #[test]
    fn quantities_have_their_places_and_their_units_in_their_names() {
        for (quantity, place) in Quantity::ALL.into_iter().zip(0..) {
            assert_eq!(quantity.place(), place);
            let key = quantity.key();
            assert!(["_usec", "_bytes", "_byte_seconds"].iter().any(|unit| key.ends_with(unit)), "{key}");
        }
    }

    #[test]
    fn what_is_not_known_is_null_and_what_is_new_is_passed_over() {
        let mut figures = Quantities::<i128>::default();
        figures.set(Quantity::CpuUsage, Some(i128::from(u64::MAX) + 1));
        let text = serde_json::to_string(&figures).unwrap();
        assert!(text.contains(r#""elapsed_usec":null,"cpu_usage_usec":18446744073709551616"#), "{text}");
        assert_eq!(serde_json::from_str::<Quantities<i128>>(&text).unwrap(), figures);
        let newer = text.replacen('{', r#"{"gpu_usec":[1],"#, 1);
        assert_eq!(serde_json::from_str::<Quantities<i128>>(&newer).unwrap(), figures);
        assert_eq!(figures.narrowed::<i64>(), Quantities::default(), "what does not fit is not known");
    }
}
