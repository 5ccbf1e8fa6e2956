//! Questions to the file.

use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};
use tenantry_model::TenantPath;
use tenantry_model::usage::{Gap, UsageReport};

use super::SqliteLedger;
use crate::query::{
    AuditRow, Filter, GapColumns, MOST_RECORDS, TenantColumns, audit_event, gap, parse_record, tenant_counter,
};
use crate::{AuditEvent, StoreError, sql};

impl SqliteLedger {
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
            let rows: Vec<TenantColumns> =
                query.build_query_as().fetch_all(&mut *snapshot).await.map_err(sql("read tenants"))?;
            rows.into_iter().map(tenant_counter).collect::<Result<_, _>>()?
        };
        let gaps = if filter == &Filter::default() { gaps(&mut snapshot).await? } else { Vec::new() };
        Ok(UsageReport { usage, tenants, gaps })
    }

    pub async fn audit_events(&self, most: u32) -> Result<Vec<AuditEvent>, StoreError> {
        let mut rows: Vec<AuditRow> = sqlx::query_as(
            "SELECT at_unix_usec, kind, uid, correlation_id, subject, detail FROM audit_event \
             ORDER BY id DESC LIMIT ?",
        )
        .bind(most)
        .fetch_all(&self.readers)
        .await
        .map_err(sql("read audit events"))?;
        rows.reverse();
        rows.into_iter().map(audit_event).collect()
    }
}

/// What is missing. Blocks that came late after all are not.
async fn gaps(snapshot: &mut SqliteConnection) -> Result<Vec<Gap>, StoreError> {
    let rows: Vec<GapColumns> = sqlx::query_as(
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
