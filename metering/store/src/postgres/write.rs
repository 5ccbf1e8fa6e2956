//! Changes on their way into the database: one call, which is one transaction.

use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use tenantry_model::job::{Incarnation, Registration};
use tenantry_model::usage::UsageRecord;
use tenantry_model::window::UsageWindow;
use tenantry_model::{ClusterName, NodeName, TenantPath};

use super::columns::Columns;
use super::planned::Planned;
use super::settings::Standby;
use crate::error::unreadable;
use crate::ingest::{Arrival, GapRow, TenantRow, UsageRow, WindowRow};
use crate::{AuditEvent, PublicKey, StoreError, column, sql};

/// A row, and the place of the block that it is of: the function counts from 1.
#[derive(Serialize)]
struct Of<T> {
    block: i32,
    #[serde(flatten)]
    row: T,
}

/// A run that a block says something of.
struct RunRow<'a> {
    block: i32,
    run: &'a Incarnation,
    fresh: bool,
    kept: bool,
    gone: bool,
    /// Of one that is kept.
    told: Option<&'a Registration>,
}

/// A row, its run's place, and its record.
struct OfRun<'a, T, R> {
    run: i32,
    row: &'a T,
    record: &'a Columns<R>,
}

/// What the function takes, of all blocks.
#[derive(Default)]
struct Rows<'a> {
    runs: Vec<RunRow<'a>>,
    usage: Vec<OfRun<'a, UsageRow, UsageRecord>>,
    windows: Vec<OfRun<'a, WindowRow, UsageWindow>>,
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

    fn add(&mut self, block: i32, planned: &'a Planned<'a>) -> Result<(), StoreError> {
        let changes = &planned.changes;
        for run in &planned.fresh {
            self.change_run(block, run, |row| row.fresh = true)?;
        }
        for run in &planned.gone {
            self.change_run(block, run, |row| row.gone = true)?;
        }
        for run in &planned.kept {
            let running = planned.node.jobs.get(run).and_then(|run| run.running.as_ref());
            let told = running.and_then(|running| running.registration.as_ref());
            self.change_run(block, run, |row| (row.kept, row.told) = (true, told))?;
        }
        for (row, record) in changes.usage.iter().zip(&planned.usage) {
            let run = self.change_run(block, &row.run, |_| {})?;
            self.usage.push(OfRun { run, row, record });
        }
        for (row, record) in changes.windows.iter().zip(&planned.windows) {
            let run = self.change_run(block, &row.run, |_| {})?;
            self.windows.push(OfRun { run, row, record });
        }
        self.gaps.extend(changes.gaps.iter().map(|row| Of { block, row }));
        self.tenants.extend(changes.tenants.iter().map(|row| Of { block, row }));
        self.audit.extend(events(&changes.audit).into_iter().map(|row| Of { block, row }));
        Ok(())
    }

    /// Changes the run's row, which is made where there is none of this block; its place.
    fn change_run(
        &mut self,
        block: i32,
        run: &'a Incarnation,
        change: impl FnOnce(&mut RunRow<'a>),
    ) -> Result<i32, StoreError> {
        // The block's own are the last.
        let known = self.runs.iter().rposition(|row| row.block < block || row.run == run);
        let known = known.filter(|place| self.runs.get(*place).is_some_and(|row| row.block == block));
        let place = known.unwrap_or(self.runs.len());
        if known.is_none() {
            self.runs.push(RunRow { block, run, fresh: false, kept: false, gone: false, told: None });
        }
        self.runs.get_mut(place).map(change);
        i32::try_from(place.saturating_add(1)).map_err(|error| unreadable("rows", error))
    }
}

/// For each block whether it was taken: not where the facts were no longer those that it was planned on.
pub(super) async fn take(
    db: &mut PgConnection,
    planned: &[Planned<'_>],
    standby: Standby,
) -> Result<Vec<bool>, StoreError> {
    let Rows { runs, usage, windows, gaps, tenants, audit } = Rows::of(planned)?;
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
    let of_runs = || runs.iter().map(|row| row.run);
    let told = || runs.iter().map(|row| row.told);
    let of_windows = || windows.iter().map(|of| of.row);
    let done: Vec<bool> = sqlx::query_scalar(
        "SELECT meter.take($1, $2, $3, $4, $5::text[]::uuid[], $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, \
                           $17, $18, $19, $20::text[]::uuid[], $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, \
                           $36::jsonb, $37::jsonb, $38::jsonb)",
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
    .bind(runs.iter().map(|row| row.block).collect::<Vec<_>>())
    .bind(of_runs().map(|run| i64::from(run.job_id.0)).collect::<Vec<_>>())
    .bind(of_runs().map(|run| run.node.as_str()).collect::<Vec<_>>())
    .bind(of_runs().map(|run| run.boot_id.as_str()).collect::<Vec<_>>())
    .bind(of_runs().map(|run| run.began.unix_usec()).collect::<Vec<_>>())
    .bind(of_runs().map(|run| run.cluster.as_ref().map(ClusterName::as_str)).collect::<Vec<_>>())
    .bind(runs.iter().map(|row| row.fresh).collect::<Vec<_>>())
    .bind(runs.iter().map(|row| row.kept).collect::<Vec<_>>())
    .bind(runs.iter().map(|row| row.gone).collect::<Vec<_>>())
    .bind(told().map(|told| told?.placement.tenant().map(TenantPath::as_str)).collect::<Vec<_>>())
    .bind(told().map(|told| told.map(|told| i64::from(told.uid))).collect::<Vec<_>>())
    .bind(usage.iter().map(|of| of.run).collect::<Vec<_>>())
    .bind(usage.iter().map(|of| of.row.revision).collect::<Vec<_>>())
    .bind(usage.iter().map(|of| of.record).collect::<Vec<_>>())
    .bind(windows.iter().map(|of| of.run).collect::<Vec<_>>())
    .bind(of_windows().map(|row| row.revision).collect::<Vec<_>>())
    .bind(of_windows().map(|row| i64::from(row.number)).collect::<Vec<_>>())
    .bind(of_windows().map(|row| row.window.window_from.unix_usec()).collect::<Vec<_>>())
    .bind(windows.iter().map(|of| of.record).collect::<Vec<_>>())
    .bind(json(&gaps)?)
    .bind(json(&tenants)?)
    .bind(json(&audit)?)
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
