//! Questions to the ledger, and its columns on their way back.

use serde::de::DeserializeOwned;
use tenantry_model::block::BlockHash;
use tenantry_model::usage::{Gap, TenantCounter, UsageRecord};
use tenantry_model::{JobId, TenantPath, Usec, WallTime};

use crate::error::unreadable;
use crate::{AuditEvent, AuditKind, StoreError};

/// The most records one answer holds: more is an error, never a shortened answer.
pub const MOST_RECORDS: u32 = 100_000;

/// Which usage is asked for. What is `None` does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// A tenant, and all that stand in it.
    pub tenant: Option<TenantPath>,
    /// Slurm's job id: all its runs, on all nodes.
    pub job: Option<JobId>,
    /// The jobs' owner.
    pub uid: Option<u32>,
}

/// Rows of `audit_event`: time, kind, uid, correlation id, subject, detail.
pub(crate) type AuditRow = (i64, String, Option<i64>, String, String, String);

pub(crate) fn audit_event(
    (at, kind, uid, correlation_id, subject, detail): AuditRow,
) -> Result<AuditEvent, StoreError> {
    let table = "audit_event";
    let unknown = || unreadable(table, format!("the kind {kind:?} is unknown"));
    Ok(AuditEvent {
        at: WallTime::from_unix_usec(at).map_err(|error| unreadable(table, error))?,
        kind: AuditKind::parse(&kind).ok_or_else(unknown)?,
        uid: uid.map(u32::try_from).transpose().map_err(|error| unreadable(table, error))?,
        correlation_id,
        subject,
        detail,
    })
}

/// Rows of `gap`: node, reason, from, to.
pub(crate) type GapColumns = (String, String, Option<i64>, i64);

pub(crate) fn gap((node, reason, from, to): GapColumns) -> Result<Gap, StoreError> {
    let wall = |usec| WallTime::from_unix_usec(usec).map_err(|error| unreadable("gap", error));
    let node = node.parse().map_err(|error| unreadable("gap", error))?;
    Ok(Gap { node, reason, from: from.map(wall).transpose()?, to: wall(to)? })
}

/// Rows of `tenant_counter`: node, tenant, time, CPU time.
pub(crate) type TenantColumns = (String, String, i64, Option<i64>);

pub(crate) fn tenant_counter(row: TenantColumns) -> Result<TenantCounter, StoreError> {
    let (node, tenant, read, cpu_usage) = row;
    let table = "tenant_counter";
    let cpu_usage = cpu_usage.map(u64::try_from).transpose().map_err(|error| unreadable(table, error))?;
    Ok(TenantCounter {
        node: node.parse().map_err(|error| unreadable(table, error))?,
        tenant: tenant.parse().map_err(|error| unreadable(table, error))?,
        read: WallTime::from_unix_usec(read).map_err(|error| unreadable(table, error))?,
        cpu_usage_usec: cpu_usage.map(Usec),
    })
}

/// 32 bytes of a column.
pub(crate) fn hash(bytes: &[u8]) -> Result<BlockHash, StoreError> {
    bytes.try_into().map(BlockHash).map_err(|error| unreadable("block", error))
}

/// A column of JSON that may be NULL.
pub(crate) fn parse_json<T: DeserializeOwned>(
    table: &'static str,
    text: Option<&str>,
) -> Result<Option<T>, StoreError> {
    text.map(serde_json::from_str).transpose().map_err(|error| unreadable(table, error))
}

pub(crate) fn parse_record(table: &'static str, text: &str) -> Result<UsageRecord, StoreError> {
    serde_json::from_str(text).map_err(|error| unreadable(table, error))
}
