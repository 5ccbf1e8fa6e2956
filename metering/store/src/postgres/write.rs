//! Changes on their way into the database: one call, which is one transaction.

use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use tenantry_model::NodeName;
use tenantry_model::block::Receipt;
use tenantry_model::job::Incarnation;

use super::facts::Known;
use super::settings::Standby;
use super::state;
use crate::error::unreadable;
use crate::ingest::{Arrival, Changes, Running, Taken, plan};
use crate::{AuditEvent, PublicKey, StoreError, column, sql};

/// `None` where the facts were no longer those of the node: they are asked for again.
pub(super) async fn take(
    db: &mut PgConnection,
    arrival: Arrival<'_>,
    known: Known,
    standby: Standby,
) -> Result<Option<Taken>, StoreError> {
    let Known { version, facts, mut jobs } = known;
    let changes = plan(arrival, facts)?;
    let taken = changes.taken;
    let done = if taken == Taken::Receipt(Receipt::New) {
        let (kept, gone) = running_jobs(&changes, &jobs);
        let state = if changes.running.is_empty() {
            None
        } else {
            for (run, running) in &changes.running {
                match running {
                    Some(running) => jobs.insert(run.clone(), running.clone()),
                    None => jobs.remove(run),
                };
            }
            Some(state::pack(&jobs)?)
        };
        block(db, arrival, version, standby, &changes, state, [kept, gone]).await?
    } else {
        answer(db, arrival, version, standby, &changes.audit).await?
    };
    Ok(done.then_some(taken))
}

#[derive(Serialize)]
struct RunKey<'a> {
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
    record: Option<&'a serde_json::value::RawValue>,
}

impl<'a> RunKey<'a> {
    fn of(run: &'a Incarnation) -> Self {
        Self {
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

/// Rows of `running_job` that come or change, and those that go: none in a block that only has readings.
fn running_jobs<'a>(changes: &'a Changes, before: &state::Jobs) -> (Vec<RunKey<'a>>, Vec<RunKey<'a>>) {
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for (run, running) in &changes.running {
        let known = before.get(run);
        match running {
            Some(Running { registration, .. }) => {
                let told = |running: &Running| {
                    let registration = running.registration.as_ref()?;
                    Some((registration.placement.tenant().cloned(), registration.uid))
                };
                let (now, then) = (running.as_ref().and_then(told), known.map(told));
                if then.as_ref() != Some(&now) {
                    let mut row = RunKey::of(run);
                    row.tenant = registration
                        .as_ref()
                        .and_then(|registration| registration.placement.tenant())
                        .map(tenantry_model::TenantPath::as_str);
                    row.uid = registration.as_ref().map(|registration| registration.uid);
                    kept.push(row);
                }
            }
            None if known.is_some() => gone.push(RunKey::of(run)),
            None => {}
        }
    }
    (kept, gone)
}

async fn block(
    db: &mut PgConnection,
    arrival: Arrival<'_>,
    version: i64,
    standby: Standby,
    changes: &Changes,
    state: Option<Vec<u8>>,
    [kept, gone]: [Vec<RunKey<'_>>; 2],
) -> Result<bool, StoreError> {
    let sent = arrival.sent;
    let key = sent.key();
    let mut usage = Vec::new();
    for row in &changes.usage {
        let mut wanted = RunKey::of(&row.run);
        wanted.revision = Some(row.revision);
        wanted.record = Some(serde_json::from_str(&row.record).map_err(|error| unreadable("usage", error))?);
        usage.push(wanted);
    }
    let mut windows = Vec::new();
    for row in &changes.windows {
        let mut wanted = RunKey::of(&row.run);
        wanted.revision = Some(row.revision);
        wanted.number = Some(row.number);
        wanted.window_unix_usec = Some(row.window_unix_usec);
        wanted.record =
            Some(serde_json::from_str(&row.record).map_err(|error| unreadable("usage_window", error))?);
        windows.push(wanted);
    }
    sqlx::query_scalar(
        "SELECT meter.take($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, \
                           $15::jsonb, $16::jsonb, $17::jsonb, $18::jsonb, $19::jsonb, $20::jsonb, $21::jsonb)",
    )
    .bind(standby == Standby::Required)
    .bind(key.node.as_str())
    .bind(version)
    .bind(arrival.received.unix_usec())
    .bind(key.boot_id.as_str())
    .bind(column("sequence", key.sequence)?)
    .bind(&sent.hash().0[..])
    .bind(sent.bytes())
    .bind(&sent.previous().0[..])
    .bind(&sent.signer().0[..])
    .bind(sent.closed().wall.unix_usec())
    .bind(arrival.correlation_id)
    .bind(changes.trust.is_some())
    .bind(state)
    .bind(json(&kept)?)
    .bind(json(&gone)?)
    .bind(json(&usage)?)
    .bind(json(&windows)?)
    .bind(json(&changes.gaps)?)
    .bind(json(&changes.tenants)?)
    .bind(json(&events(&changes.audit))?)
    .fetch_one(db)
    .await
    .map_err(sql("take a block"))
}

async fn answer(
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
