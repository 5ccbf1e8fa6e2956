//! Questions to the database, in one snapshot.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Postgres, QueryBuilder};
use tenantry_model::TenantPath;
use tenantry_model::usage::{UsageRecord, UsageReport};

use super::{PostgresLedger, state};
use crate::query::{
    AuditRow, Filter, GapColumns, MOST_RECORDS, TenantColumns, audit_event, gap, parse_record, tenant_counter,
};
use crate::{AuditEvent, StoreError, sql};

impl PostgresLedger {
    pub async fn usage(&self, filter: &Filter) -> Result<UsageReport, StoreError> {
        self.read(async |db| report(db, filter).await).await
    }

    pub async fn audit_events(&self, most: u32) -> Result<Vec<AuditEvent>, StoreError> {
        self.read(async |db| audited(db, most).await).await
    }
}

async fn report(db: &mut PgConnection, filter: &Filter) -> Result<UsageReport, StoreError> {
    let mut snapshot = db.begin().await.map_err(sql("begin to read"))?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *snapshot)
        .await
        .map_err(sql("begin to read"))?;
    let mut usage = ended(&mut snapshot, filter).await?;
    usage.extend(running(&mut snapshot, filter).await?);
    if u32::try_from(usage.len()).map_or(true, |len| len > MOST_RECORDS) {
        return Err(StoreError::TooMany);
    }
    usage.sort_by(|one, other| place(one).cmp(&place(other)));
    let tenants = if filter.job.is_some() || filter.uid.is_some() {
        Vec::new()
    } else {
        let mut query = QueryBuilder::new(
            "SELECT DISTINCT ON (tenant COLLATE \"C\", node COLLATE \"C\") node, tenant, read_unix_usec, cpu_usage_usec \
                 FROM billing.tenant_counter WHERE true",
        );
        within(&mut query, filter.tenant.as_ref());
        query.push(" ORDER BY tenant COLLATE \"C\", node COLLATE \"C\", read_unix_usec DESC");
        let rows: Vec<TenantColumns> =
            query.build_query_as().fetch_all(&mut *snapshot).await.map_err(sql("read tenants"))?;
        rows.into_iter().map(tenant_counter).collect::<Result<_, _>>()?
    };
    let gaps = if filter == &Filter::default() {
        let rows: Vec<GapColumns> = sqlx::query_as(
            "SELECT node, reason, from_unix_usec, to_unix_usec FROM billing.gap \
                 ORDER BY node COLLATE \"C\", to_unix_usec, gap",
        )
        .fetch_all(&mut *snapshot)
        .await
        .map_err(sql("read gaps"))?;
        rows.into_iter().map(gap).collect::<Result<_, _>>()?
    } else {
        Vec::new()
    };
    Ok(UsageReport { usage, tenants, gaps })
}

async fn audited(db: &mut PgConnection, most: u32) -> Result<Vec<AuditEvent>, StoreError> {
    let mut rows: Vec<AuditRow> = sqlx::query_as(
        "SELECT at_unix_usec, kind, uid, correlation_id, subject, detail FROM billing.audit_event \
             ORDER BY event DESC LIMIT $1",
    )
    .bind(i64::from(most))
    .fetch_all(db)
    .await
    .map_err(sql("read audit events"))?;
    rows.reverse();
    rows.into_iter().map(audit_event).collect()
}

/// What records are ordered by.
fn place(record: &UsageRecord) -> impl Ord + '_ {
    (record.tenant.as_ref().map(TenantPath::as_str), record.job_id, record.began, record.node.as_str())
}

async fn ended(snapshot: &mut PgConnection, filter: &Filter) -> Result<Vec<UsageRecord>, StoreError> {
    let mut query = QueryBuilder::new("SELECT record::text FROM billing.usage WHERE true");
    restrict(&mut query, filter);
    query.push(" LIMIT ").push_bind(i64::from(MOST_RECORDS).saturating_add(1));
    let records: Vec<String> =
        query.build_query_scalar().fetch_all(snapshot).await.map_err(sql("read usage"))?;
    records.iter().map(|text| parse_record("usage", text)).collect()
}

/// The states of those nodes that have a job in question, and of them the jobs in question.
async fn running(snapshot: &mut PgConnection, filter: &Filter) -> Result<Vec<UsageRecord>, StoreError> {
    let mut query = QueryBuilder::new(
        "SELECT state FROM billing.node_running WHERE node IN (SELECT daemon_node FROM billing.running_job WHERE true",
    );
    restrict(&mut query, filter);
    query.push(")");
    let states: Vec<Vec<u8>> =
        query.build_query_scalar().fetch_all(snapshot).await.map_err(sql("read running jobs"))?;
    let mut records = Vec::new();
    for state in &states {
        for running in state::unpack(Some(state))?.values() {
            records.extend(running.record().filter(|record| asked_for(record, filter)));
        }
    }
    Ok(records)
}

fn asked_for(record: &UsageRecord, filter: &Filter) -> bool {
    let within = |tenant: &TenantPath| {
        record.tenant.as_ref().is_some_and(|own| {
            own == tenant
                || own.as_str().strip_prefix(tenant.as_str()).is_some_and(|rest| rest.starts_with('/'))
        })
    };
    filter.tenant.as_ref().is_none_or(within)
        && filter.job.is_none_or(|job| job == record.job_id)
        && filter.uid.is_none_or(|uid| uid == record.uid)
}

fn restrict(query: &mut QueryBuilder<'_, Postgres>, filter: &Filter) {
    within(query, filter.tenant.as_ref());
    if let Some(job) = filter.job {
        query.push(" AND job_id = ").push_bind(i64::from(job.0));
    }
    if let Some(uid) = filter.uid {
        query.push(" AND uid = ").push_bind(i64::from(uid));
    }
}

fn within(query: &mut QueryBuilder<'_, Postgres>, tenant: Option<&TenantPath>) {
    if let Some(tenant) = tenant {
        query.push(" AND (tenant = ").push_bind(tenant.to_string());
        query.push(" OR starts_with(tenant, ").push_bind(format!("{tenant}/")).push("))");
    }
}
