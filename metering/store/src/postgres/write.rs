//! Changes on their way into the database: one call, which is one transaction.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::postgres::PgConnection;
use tenantry_model::job::Incarnation;
use tenantry_model::{NodeName, TenantPath};

use super::planned::Planned;
use super::settings::Standby;
use crate::error::unreadable;
use crate::ingest::{Arrival, GapRow, TenantRow};
use crate::{AuditEvent, PublicKey, StoreError, column, sql};

/// A row, and the place of the block that it is of: the function counts from 1.
#[derive(Serialize)]
struct Of<T> {
    block: usize,
    #[serde(flatten)]
    row: T,
}

#[derive(Serialize)]
struct RunKey<'a> {
    block: usize,
    job_id: u32,
    node: &'a str,
    boot_id: &'a str,
    began_unix_usec: i64,
    cluster: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_unix_usec: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a RawValue>,
}

impl<'a> RunKey<'a> {
    fn of(block: usize, run: &'a Incarnation) -> Self {
        Self {
            block,
            job_id: run.job_id.0,
            node: run.node.as_str(),
            boot_id: run.boot_id.as_str(),
            began_unix_usec: run.began.unix_usec(),
            cluster: run.cluster.as_ref().map(tenantry_model::ClusterName::as_str),
            tenant: None,
            uid: None,
            revision: None,
            number: None,
            window_unix_usec: None,
            record: None,
        }
    }
}

/// What the functions take, of all blocks.
#[derive(Default)]
struct Rows<'a> {
    fresh: Vec<RunKey<'a>>,
    kept: Vec<RunKey<'a>>,
    gone: Vec<RunKey<'a>>,
    usage: Vec<RunKey<'a>>,
    windows: Vec<RunKey<'a>>,
    gaps: Vec<Of<&'a GapRow>>,
    tenants: Vec<Of<&'a TenantRow>>,
    audit: Vec<Of<Value>>,
}

impl<'a> Rows<'a> {
    fn of(planned: &'a [Planned<'a>]) -> Result<Self, StoreError> {
        let mut rows = Self::default();
        for (block, planned) in (1..).zip(planned) {
            rows.add(block, planned)?;
        }
        Ok(rows)
    }

    fn add(&mut self, block: usize, planned: &'a Planned<'a>) -> Result<(), StoreError> {
        let changes = &planned.changes;
        self.fresh.extend(planned.fresh.iter().map(|run| RunKey::of(block, run)));
        self.gone.extend(planned.gone.iter().map(|run| RunKey::of(block, run)));
        for run in &planned.kept {
            let told = planned.node.jobs.get(run).and_then(|running| running.registration.as_ref());
            let mut row = RunKey::of(block, run);
            row.tenant = told.and_then(|told| told.placement.tenant()).map(TenantPath::as_str);
            row.uid = told.map(|told| told.uid);
            self.kept.push(row);
        }
        for row in &changes.usage {
            let mut wanted = RunKey::of(block, &row.run);
            wanted.revision = Some(row.revision);
            wanted.record = Some(raw("usage", &row.record)?);
            self.usage.push(wanted);
        }
        for row in &changes.windows {
            let mut wanted = RunKey::of(block, &row.run);
            wanted.revision = Some(row.revision);
            wanted.number = Some(row.number);
            wanted.window_unix_usec = Some(row.window_unix_usec);
            wanted.record = Some(raw("usage_window", &row.record)?);
            self.windows.push(wanted);
        }
        self.gaps.extend(changes.gaps.iter().map(|row| Of { block, row }));
        self.tenants.extend(changes.tenants.iter().map(|row| Of { block, row }));
        self.audit.extend(events(&changes.audit).into_iter().map(|row| Of { block, row }));
        Ok(())
    }
}

fn raw<'a>(table: &'static str, record: &'a str) -> Result<&'a RawValue, StoreError> {
    serde_json::from_str(record).map_err(|error| unreadable(table, error))
}

/// For each block whether it was taken: not where the facts were no longer those that it was planned on.
pub(super) async fn take(
    db: &mut PgConnection,
    planned: &[Planned<'_>],
    standby: Standby,
) -> Result<Vec<bool>, StoreError> {
    let rows = Rows::of(planned)?;
    let sent = || planned.iter().map(|planned| planned.arrival.sent);
    let sequences: Result<Vec<i64>, StoreError> =
        sent().map(|sent| column("sequence", sent.key().sequence)).collect();
    let state_sequences: Result<Vec<Option<i64>>, StoreError> = planned
        .iter()
        .map(|planned| {
            planned.state.as_ref().map(|state| column("sequence", state.written.sequence)).transpose()
        })
        .collect();
    let minutes =
        |planned: &Planned<'_>| planned.state.as_ref().map(|state| i32::from(u16::from(state.written.width)));
    let done: Vec<bool> = sqlx::query_scalar(
        "SELECT meter.take($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
                           $17::jsonb, $18::jsonb, $19::jsonb, $20::jsonb, $21::jsonb, $22::jsonb, $23::jsonb, $24::jsonb)",
    )
    .bind(standby == Standby::Required)
    .bind(sent().map(|sent| sent.key().node.as_str()).collect::<Vec<_>>())
    .bind(planned.iter().map(|planned| planned.version).collect::<Vec<_>>())
    .bind(planned.iter().map(|planned| planned.arrival.received.unix_usec()).collect::<Vec<_>>())
    .bind(sent().map(|sent| sent.key().boot_id.as_str()).collect::<Vec<_>>())
    .bind(sequences?)
    .bind(sent().map(|sent| sent.hash().0.to_vec()).collect::<Vec<_>>())
    .bind(sent().map(|sent| sent.bytes()).collect::<Vec<_>>())
    .bind(sent().map(|sent| sent.previous().0.to_vec()).collect::<Vec<_>>())
    .bind(sent().map(|sent| sent.signer().0.to_vec()).collect::<Vec<_>>())
    .bind(sent().map(|sent| sent.closed().wall.unix_usec()).collect::<Vec<_>>())
    .bind(planned.iter().map(|planned| planned.arrival.correlation_id).collect::<Vec<_>>())
    .bind(planned.iter().map(|planned| planned.changes.trust.is_some()).collect::<Vec<_>>())
    .bind(planned.iter().map(|planned| Some(&*planned.state.as_ref()?.packed)).collect::<Vec<Option<&[u8]>>>())
    .bind(state_sequences?)
    .bind(planned.iter().map(minutes).collect::<Vec<_>>())
    .bind(json(&rows.fresh)?)
    .bind(json(&rows.kept)?)
    .bind(json(&rows.gone)?)
    .bind(json(&rows.usage)?)
    .bind(json(&rows.windows)?)
    .bind(json(&rows.gaps)?)
    .bind(json(&rows.tenants)?)
    .bind(json(&rows.audit)?)
    .fetch_one(db)
    .await
    .map_err(sql("take blocks"))?;
    if done.len() == planned.len() {
        return Ok(done);
    }
    Err(unreadable("node", "take() did not say of each block what became of it"))
}

/// Acknowledges a block that changes nothing but the audit; `false` where the node has another version.
pub(super) async fn answer(
    db: &mut PgConnection,
    arrival: Arrival<'_>,
    version: i64,
    standby: Standby,
    audit: &[AuditEvent],
) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT meter.answer($1, $2, $3, $4, $5::jsonb)")
        .bind(standby == Standby::Required)
        .bind(arrival.sent.key().node.as_str())
        .bind(version)
        .bind(arrival.received.unix_usec())
        .bind(json(&events(audit))?)
        .fetch_one(db)
        .await
        .map_err(sql("acknowledge a block"))
}

pub(super) async fn audit(db: &mut PgConnection, event: &AuditEvent) -> Result<(), StoreError> {
    let done = sqlx::query("SELECT meter.audit($1::jsonb)")
        .bind(json(&events(std::slice::from_ref(event)))?)
        .execute(db)
        .await;
    done.map(|_| ()).map_err(sql("write an audit event"))
}

pub(super) async fn trust_key(
    db: &mut PgConnection,
    node: &NodeName,
    key: PublicKey,
    event: &AuditEvent,
) -> Result<(), StoreError> {
    let done = sqlx::query("SELECT meter.trust_key($1, $2, $3, $4::jsonb)")
        .bind(node.as_str())
        .bind(&key.0[..])
        .bind(event.at.unix_usec())
        .bind(json(&events(std::slice::from_ref(event)))?)
        .execute(db)
        .await;
    done.map(|_| ()).map_err(sql("trust a key"))
}

/// Events as the functions take them.
fn events(events: &[AuditEvent]) -> Vec<Value> {
    let event = |event: &AuditEvent| {
        serde_json::json!({
            "at_unix_usec": event.at.unix_usec(),
            "kind": event.kind.as_str(),
            "uid": event.uid,
            "correlation_id": text(&event.correlation_id),
            "subject": text(&event.subject),
            "detail": text(&event.detail),
        })
    };
    events.iter().map(event).collect()
}

/// PostgreSQL's texts have no NUL: what a stranger put there is shown in its place.
fn text(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}

/// `None` for no rows: the function passes over what it is not given.
fn json<T: Serialize>(rows: &[T]) -> Result<Option<String>, StoreError> {
    if rows.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(rows).map(Some).map_err(|error| unreadable("rows", error))
}
