//! Sums of usage records that say how much they do not know.

use std::collections::BTreeMap;

use tenantry_model::TenantPath;
use tenantry_model::usage::UsageRecord;

/// A sum over records of which some may lack the quantity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// The sum over the records that have it, in the quantity's own unit.
    pub known: u128,
    /// How many records lack it: where this is not 0, the true sum is at least `known`.
    pub lacking: u64,
}

impl Sum {
    /// With one more record's figure; `None` where the sum does not fit.
    #[must_use]
    pub fn with(self, figure: Option<u64>) -> Option<Self> {
        match figure {
            Some(figure) => {
                Some(Self { known: self.known.checked_add(u128::from(figure))?, lacking: self.lacking })
            }
            None => Some(Self { known: self.known, lacking: self.lacking.checked_add(1)? }),
        }
    }

    /// The sum over the records of both; `None` where it does not fit.
    #[must_use]
    pub fn merged(self, other: Self) -> Option<Self> {
        Some(Self {
            known: self.known.checked_add(other.known)?,
            lacking: self.lacking.checked_add(other.lacking)?,
        })
    }
}

/// What several records add up to. Peaks do not add up and are not here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many records.
    pub records: u64,
    /// CPU time used, in microseconds.
    pub cpu_usage_usec: Sum,
    /// Bytes read.
    pub io_read_bytes: Sum,
    /// Bytes written.
    pub io_write_bytes: Sum,
    /// Allocated CPUs x time, in microseconds.
    pub allocated_cpu_usec: Sum,
    /// Allocated memory x time, in MiB-seconds.
    pub allocated_memory_mib_seconds: Sum,
}

impl Totals {
    /// With one more record; `None` where a sum does not fit.
    #[must_use]
    pub fn with(self, record: &UsageRecord) -> Option<Self> {
        Some(Self {
            records: self.records.checked_add(1)?,
            cpu_usage_usec: self.cpu_usage_usec.with(record.cpu_usage_usec.map(|time| time.0))?,
            io_read_bytes: self.io_read_bytes.with(record.io_read_bytes.map(|bytes| bytes.0))?,
            io_write_bytes: self.io_write_bytes.with(record.io_write_bytes.map(|bytes| bytes.0))?,
            allocated_cpu_usec: self.allocated_cpu_usec.with(record.allocated_cpu_usec.map(|time| time.0))?,
            allocated_memory_mib_seconds: self
                .allocated_memory_mib_seconds
                .with(record.allocated_memory_mib_seconds)?,
        })
    }

    /// The totals of the records of both; `None` where a sum does not fit.
    #[must_use]
    pub fn merged(self, other: Self) -> Option<Self> {
        Some(Self {
            records: self.records.checked_add(other.records)?,
            cpu_usage_usec: self.cpu_usage_usec.merged(other.cpu_usage_usec)?,
            io_read_bytes: self.io_read_bytes.merged(other.io_read_bytes)?,
            io_write_bytes: self.io_write_bytes.merged(other.io_write_bytes)?,
            allocated_cpu_usec: self.allocated_cpu_usec.merged(other.allocated_cpu_usec)?,
            allocated_memory_mib_seconds: self
                .allocated_memory_mib_seconds
                .merged(other.allocated_memory_mib_seconds)?,
        })
    }
}

/// The totals of each tenant's own records (a nested tenant's are its own); `None` as the key
/// for records nobody pays, and as the answer where a sum does not fit.
#[must_use]
pub fn totals_by_tenant(records: &[UsageRecord]) -> Option<BTreeMap<Option<&TenantPath>, Totals>> {
    let mut totals = BTreeMap::new();
    for record in records {
        let total: &mut Totals = totals.entry(record.tenant.as_ref()).or_default();
        *total = total.with(record)?;
    }
    Some(totals)
}
