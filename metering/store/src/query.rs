//! Questions to the ledger.

use serde::de::DeserializeOwned;
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use tenantry_model::usage::{Gap, TenantCounter, UsageRecord, UsageReport};
use tenantry_model::{JobId, TenantPath, Usec, WallTime};

use crate::{AuditEvent, AuditKind, Ledger, StoreError, sql};

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

impl Ledger {
    /// Usage of ended jobs by their latest revision, of running jobs by their latest reading, in
    /// the order of tenant, job, start and node; and the latest counters of the tenants' own
    /// groups, where the question is about neither one job nor one owner; and what is missing of the
    /// nodes' records, where it is about everything.
    ///
    /// # Errors
    /// [`StoreError::TooMany`], [`StoreError::Sql`], [`StoreError::Unreadable`].
    pub async fn usage(&self, filter: &Filter) -> Result<UsageReport, StoreError> {
        // One snapshot: a job that ends meanwhile is in one of the tables, not in both or neither.
        let mut snapshot = self.readers.begin().await.map_err(sql("begin to read"))?;
        let mut query = QueryBuilder::new(
            "SELECT record FROM ( \
               SELECT tenant, uid, job_id, began_unix_usec, node, record FROM usage AS latest \
               WHERE NOT EXISTS ( \
                 SELECT 1 FROM usage AS later \
                 WHERE later.job_id = latest.job_id AND later.node = latest.node \
                   AND later.boot_id = latest.boot_id AND later.began_unix_usec = latest.began_unix_usec \
                   AND coalesce(later.cluster, '') = coalesce(latest.cluster, '') \
                   AND later.revision > latest.revision) \
               UNION ALL \
               SELECT tenant, uid, job_id, began_unix_usec, node, record FROM running_job \
               WHERE record IS NOT NULL) \
             WHERE true",
        );
        within(&mut query, filter.tenant.as_ref());
        if let Some(job) = filter.job {
            query.push(" AND job_id = ").push_bind(job.0);
        }
        if let Some(uid) = filter.uid {
            query.push(" AND uid = ").push_bind(uid);
        }
        query.push(" ORDER BY tenant, job_id, began_unix_usec, node, record LIMIT ");
        query.push_bind(MOST_RECORDS.saturating_add(1));
        let records: Vec<String> =
            query.build_query_scalar().fetch_all(&mut *snapshot).await.map_err(sql("read usage"))?;
        if u32::try_from(records.len()).map_or(true, |len| len > MOST_RECORDS) {
            return Err(StoreError::TooMany);
        }
        let usage = records.iter().map(|text| parse_record("usage", text)).collect::<Result<_, _>>()?;

        let tenants = if filter.job.is_some() || filter.uid.is_some() {
            Vec::new()
        } else {
            // SQLite takes the other columns from the row that has the maximum.
            let mut query = QueryBuilder::new(
                "SELECT node, tenant, max(read_unix_usec), cpu_usage_usec FROM tenant_counter WHERE true",
            );
            within(&mut query, filter.tenant.as_ref());
            query.push(" GROUP BY tenant, node ORDER BY tenant, node");
            let rows: Vec<(String, String, i64, Option<i64>)> =
                query.build_query_as().fetch_all(&mut *snapshot).await.map_err(sql("read tenants"))?;
            rows.into_iter().map(tenant_counter).collect::<Result<_, _>>()?
        };
        let gaps = if filter == &Filter::default() { gaps(&mut snapshot).await? } else { Vec::new() };
        Ok(UsageReport { usage, tenants, gaps })
    }

    /// The latest audit events, oldest first, `most` of them.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Unreadable`].
    pub async fn audit_events(&self, most: u32) -> Result<Vec<AuditEvent>, StoreError> {
        type Row = (i64, String, Option<u32>, String, String, String);
        let mut rows: Vec<Row> = sqlx::query_as(
            "SELECT at_unix_usec, kind, uid, correlation_id, subject, detail FROM audit_event \
             ORDER BY id DESC LIMIT ?",
        )
        .bind(most)
        .fetch_all(&self.readers)
        .await
        .map_err(sql("read audit events"))?;
        rows.reverse();
        let event = |(at, kind, uid, correlation_id, subject, detail): Row| {
            let unknown = || unreadable("audit_event", format!("the kind {kind:?} is unknown"));
            Ok(AuditEvent {
                at: WallTime::from_unix_usec(at).map_err(|error| unreadable("audit_event", error))?,
                kind: AuditKind::parse(&kind).ok_or_else(unknown)?,
                uid,
                correlation_id,
                subject,
                detail,
            })
        };
        rows.into_iter().map(event).collect()
    }
}

/// What is missing. Blocks that came late after all are not.
async fn gaps(snapshot: &mut SqliteConnection) -> Result<Vec<Gap>, StoreError> {
    let rows: Vec<(String, String, Option<i64>, i64)> = sqlx::query_as(
        "SELECT node, reason, from_unix_usec, to_unix_usec FROM gap \
         WHERE first_sequence IS NULL OR (SELECT count(*) FROM block \
           WHERE block.node = gap.node AND block.boot_id = gap.boot_id \
             AND block.sequence BETWEEN gap.first_sequence AND gap.last_sequence) \
           <= gap.last_sequence - gap.first_sequence \
         ORDER BY node, to_unix_usec, id",
    )
    .fetch_all(snapshot)
    .await
    .map_err(sql("read gaps"))?;
    let wall = |usec| WallTime::from_unix_usec(usec).map_err(|error| unreadable("gap", error));
    let gap = |(node, reason, from, to): (String, String, Option<i64>, i64)| {
        let node = node.parse().map_err(|error| unreadable("gap", error))?;
        Ok(Gap { node, reason, from: from.map(wall).transpose()?, to: wall(to)? })
    };
    rows.into_iter().map(gap).collect()
}

/// A nested tenant's path goes on with '/', and '0' is the character after it.
fn within(query: &mut QueryBuilder<'_, Sqlite>, tenant: Option<&TenantPath>) {
    if let Some(tenant) = tenant {
        query.push(" AND (tenant = ").push_bind(tenant.to_string());
        query.push(" OR (tenant >= ").push_bind(format!("{tenant}/"));
        query.push(" AND tenant < ").push_bind(format!("{tenant}0")).push("))");
    }
}

fn tenant_counter(row: (String, String, i64, Option<i64>)) -> Result<TenantCounter, StoreError> {
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

fn unreadable(
    table: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Unreadable { table, source: source.into() }
}
