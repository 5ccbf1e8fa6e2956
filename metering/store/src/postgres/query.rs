//! Questions to the database, in one snapshot.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Postgres, QueryBuilder};
use tenantry_model::TenantPath;
use tenantry_model::block::BlockKey;
use tenantry_model::usage::{UsageRecord, UsageReport};
use tenantry_model::window::GroupBy;

use super::columns::record_of_row;
use super::state;
use crate::error::unreadable;
use crate::ingest::Running;
use crate::query::{
    AuditRow, Filter, GapColumns, MOST_RECORDS, TenantColumns, audit_event, gap, tenant_counter,
};
use crate::windows::{Answer, Bound, Dialect, Statement, Windows, asks_for_record, page, sums};
use crate::{AuditEvent, StoreError, sql};

/// Rows, and the windows of running jobs that have none, in one snapshot.
pub(super) async fn windows(
    db: &mut PgConnection,
    filter: &Filter,
    after: i64,
    limit: u32,
) -> Result<Windows, StoreError> {
    let (rows, pending) = answer(db, &page(Dialect::Postgres, filter, after, limit), filter).await?;
    let row = |row: &String| {
        let (id, row) = serde_json::from_str(row).map_err(|error| unreadable("usage_window", error))?;
        Ok((id, record_of_row(row)?))
    };
    Ok((rows.iter().map(row).collect::<Result<_, StoreError>>()?, pending))
}

pub(super) async fn groups(
    db: &mut PgConnection,
    filter: &Filter,
    by: &[GroupBy],
) -> Result<Answer, StoreError> {
    answer(db, &sums(Dialect::Postgres, filter, by), filter).await
}

async fn answer(db: &mut PgConnection, statement: &Statement, filter: &Filter) -> Result<Answer, StoreError> {
    let mut snapshot = db.begin().await.map_err(sql("begin to read"))?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *snapshot)
        .await
        .map_err(sql("begin to read"))?;
    let mut query = sqlx::query_scalar(&statement.text);
    for value in &statement.values {
        query = match value {
            Bound::Text(text) => query.bind(text),
            Bound::Int(number) => query.bind(number),
        };
    }
    let rows = query.fetch_all(&mut *snapshot).await.map_err(sql("read usage by windows"))?;
    let running = jobs(&mut snapshot, filter).await?;
    Ok((rows, running.iter().flat_map(|running| running.windows(filter)).collect()))
}

pub(super) async fn last_sequence(db: &mut PgConnection, key: &BlockKey) -> Result<i64, StoreError> {
    sqlx::query_scalar(
        "SELECT coalesce(max(sequence), 0) FROM billing.block WHERE node = $1 AND boot_id = $2::uuid",
    )
    .bind(key.node.as_str())
    .bind(key.boot_id.as_str())
    .fetch_one(db)
    .await
    .map_err(sql("look for a boot's last block"))
}

pub(super) async fn report(db: &mut PgConnection, filter: &Filter) -> Result<UsageReport, StoreError> {
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
    let tenants = if filter.job.is_some() || filter.uid.is_some() || filter.user.is_some() {
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

pub(super) async fn audit_events(db: &mut PgConnection, most: u32) -> Result<Vec<AuditEvent>, StoreError> {
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
    let mut query = QueryBuilder::new("SELECT to_json(usage)::text FROM billing.usage WHERE true");
    restrict(&mut query, filter);
    if let Some(to) = filter.to {
        query.push(" AND began_unix_usec < ").push_bind(to.unix_usec());
    }
    if let Some(from) = filter.from {
        query.push(" AND ended_unix_usec > ").push_bind(from.unix_usec());
    }
    if let Some(user) = &filter.user {
        match user.parse::<u32>() {
            Ok(uid) => query.push(" AND uid = ").push_bind(i64::from(uid)),
            Err(_) => query.push(" AND user_name = ").push_bind(user.clone()),
        };
    }
    query.push(" LIMIT ").push_bind(i64::from(MOST_RECORDS).saturating_add(1));
    let rows: Vec<String> =
        query.build_query_scalar().fetch_all(snapshot).await.map_err(sql("read usage"))?;
    let row = |row: &String| serde_json::from_str(row).map_err(|error| unreadable("usage", error));
    rows.iter().map(|text| record_of_row(row(text)?)).collect()
}

/// The states of those nodes that have a job in question, and of them the jobs in question.
async fn running(snapshot: &mut PgConnection, filter: &Filter) -> Result<Vec<UsageRecord>, StoreError> {
    let running = jobs(snapshot, filter).await?;
    let records = running.iter().filter_map(|running| running.record());
    Ok(records.filter(|record| asks_for_record(filter, record)).collect())
}

/// What is written down, how wide the windows are of runs that begin later, and the blocks since.
type State = (Vec<u8>, Option<i32>, Option<Vec<Vec<u8>>>);

async fn jobs(snapshot: &mut PgConnection, filter: &Filter) -> Result<Vec<Box<Running>>, StoreError> {
    let mut query = QueryBuilder::new(
        "SELECT state, window_minutes, since FROM billing.node_running WHERE node IN (SELECT daemon_node FROM billing.running_job WHERE true",
    );
    restrict(&mut query, filter);
    query.push(")");
    let states: Vec<State> =
        query.build_query_as().fetch_all(snapshot).await.map_err(sql("read running jobs"))?;
    let mut jobs = Vec::new();
    for (state, minutes, since) in states {
        let width = state::width(minutes)?;
        let runs = state::unpack(Some(&state), since.unwrap_or_default(), width)?;
        jobs.extend(runs.into_values().filter_map(|run| run.running));
    }
    Ok(jobs)
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
