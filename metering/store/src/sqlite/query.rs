//! Questions to the file.

use sqlx::sqlite::SqliteConnection;
use sqlx::{QueryBuilder, Sqlite};
use tenantry_model::TenantPath;
use tenantry_model::usage::{Gap, UsageReport};
use tenantry_model::window::GroupBy;

use super::SqliteLedger;
use crate::error::unreadable;
use crate::ingest::Running;
use crate::query::{
    AuditRow, Filter, GapColumns, MOST_RECORDS, TenantColumns, audit_event, gap, parse_record, tenant_counter,
};
use crate::windows::{Answer, Bound, Dialect, Statement, Windows, page, sums};
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
        if let Some(to) = filter.to {
            query.push(" AND began_unix_usec < ").push_bind(to.unix_usec());
        }
        if let Some(from) = filter.from {
            // Times in a record are texts of one length.
            query.push(" AND (record ->> 'state' = 'running' OR record ->> 'ended' > ");
            query.push_bind(from.to_string()).push(")");
        }
        if let Some(user) = &filter.user {
            match user.parse::<u32>() {
                Ok(uid) => query.push(" AND uid = ").push_bind(uid),
                Err(_) => query.push(" AND record ->> 'user' = ").push_bind(user.clone()),
            };
        }
        query.push(" ORDER BY tenant, job_id, began_unix_usec, node, record LIMIT ");
        query.push_bind(MOST_RECORDS.saturating_add(1));
        let records: Vec<String> =
            query.build_query_scalar().fetch_all(&mut *snapshot).await.map_err(sql("read usage"))?;
        if u32::try_from(records.len()).map_or(true, |len| len > MOST_RECORDS) {
            return Err(StoreError::TooMany);
        }
        let usage = records.iter().map(|text| parse_record("usage", text)).collect::<Result<_, _>>()?;

        let tenants = if filter.job.is_some() || filter.uid.is_some() || filter.user.is_some() {
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

    /// Rows, and the windows of running jobs that have none, in one snapshot.
    pub async fn windows(&self, filter: &Filter, after: i64, limit: u32) -> Result<Windows, StoreError> {
        let (rows, pending) = self.answer(&page(Dialect::Sqlite, filter, after, limit), filter).await?;
        let row = |row: &String| serde_json::from_str(row).map_err(|error| unreadable("usage_window", error));
        Ok((rows.iter().map(row).collect::<Result<_, _>>()?, pending))
    }

    pub async fn groups(&self, filter: &Filter, by: &[GroupBy]) -> Result<Answer, StoreError> {
        self.answer(&sums(Dialect::Sqlite, filter, by), filter).await
    }

    async fn answer(&self, statement: &Statement, filter: &Filter) -> Result<Answer, StoreError> {
        let mut snapshot = self.readers.begin().await.map_err(sql("begin to read"))?;
        let rows = fetch(&mut snapshot, statement).await?;
        let mut running = Statement::new(
            Dialect::Sqlite,
            "SELECT json_array(json(registration), json(integral)) FROM running_job WHERE record IS NOT NULL",
        );
        running.restrict(filter);
        let mut pending = Vec::new();
        for row in fetch(&mut snapshot, &running).await? {
            let (registration, so_far) =
                serde_json::from_str(&row).map_err(|error| unreadable("running_job", error))?;
            let running = Running { registration, so_far, ..Running::default() };
            pending.extend(running.windows(filter));
        }
        Ok((rows, pending))
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

async fn fetch(db: &mut SqliteConnection, statement: &Statement) -> Result<Vec<String>, StoreError> {
    let mut query = sqlx::query_scalar(&statement.text);
    for value in &statement.values {
        query = match value {
            Bound::Text(text) => query.bind(text),
            Bound::Int(number) => query.bind(number),
        };
    }
    query.fetch_all(db).await.map_err(sql("read usage by windows"))
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
