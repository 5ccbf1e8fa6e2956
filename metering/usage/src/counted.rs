//! Counters by their differences. One that is less than before was begun anew, and what it shows was added since.

use serde::{Deserialize, Serialize};
use tenantry_model::catalogue::Metric;
use tenantry_model::reading::{IoStat, Reading};
use tenantry_model::window::Quantity;
use tenantry_model::{Bytes, Usec};

/// The quantities that the kernel counts.
pub const COUNTERS: [Quantity; 5] = [
    Quantity::CpuUsage,
    Quantity::IoRead,
    Quantity::IoWrite,
    Quantity::NetworkReceive,
    Quantity::NetworkTransmit,
];

/// What a reading shows of one.
pub fn counter(reading: &Reading, quantity: Quantity) -> Option<u64> {
    match quantity {
        Quantity::CpuUsage => reading.get(Metric::CPU_USAGE),
        Quantity::IoRead => io_sum(reading, |io| io.rbytes),
        Quantity::IoWrite => io_sum(reading, |io| io.wbytes),
        Quantity::NetworkReceive => reading.get(Metric::NETWORK_RX_BYTES),
        Quantity::NetworkTransmit => reading.get(Metric::NETWORK_TX_BYTES),
        Quantity::Elapsed | Quantity::Memory | Quantity::AllocatedCpu | Quantity::AllocatedMemory => None,
    }
}

/// Over all devices; zero where `io.stat` was there and named none, since the kernel leaves out
/// devices without IO.
fn io_sum(reading: &Reading, figure: impl Fn(&IoStat) -> Bytes) -> Option<u64> {
    reading.io.as_ref()?.iter().try_fold(0_u64, |sum, io| sum.checked_add(figure(&io.stat).0))
}

/// One counter so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// When it was last read; before the first time, when its group was made.
    at: Usec,
    /// What it showed then.
    last: u64,
    /// What it had counted each time it was begun anew.
    #[serde(default, skip_serializing_if = "is_zero")]
    before: u64,
    seen: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Counted {
    /// A counter of a group that is made then.
    pub fn new(began: Usec) -> Self {
        Self { at: began, last: 0, before: 0, seen: false }
    }

    /// Reads it later: since when it has grown, and by how much.
    pub fn advance(&mut self, at: Usec, value: u64) -> (Usec, u64) {
        let more = value.checked_sub(self.last);
        if more.is_none() {
            self.before = self.before.saturating_add(self.last);
        }
        let since = std::mem::replace(&mut self.at, at);
        self.last = value;
        self.seen = true;
        (since, more.unwrap_or(value))
    }

    /// Takes what it showed at the end, read earlier than the last time: the difference.
    pub fn settle(&mut self, value: u64) -> i128 {
        let more = i128::from(value).saturating_sub(self.last.into());
        self.last = value;
        self.seen = true;
        more
    }

    /// All it has counted; `None` where it was never read, or more than fits.
    pub fn total(&self) -> Option<u64> {
        self.before.checked_add(self.last).filter(|_| self.seen)
    }
}
