//! Changes on their way into the file.

use serde::Serialize;
use sqlx::sqlite::{SqliteConnection, SqliteExecutor};
use tenantry_model::block::Receipt;
use tenantry_model::job::Incarnation;
use tenantry_model::{ClusterName, NodeName, WallTime};

use super::facts::{RUN, bind_run};
use crate::error::unreadable;
use crate::ingest::{Arrival, Changes, GapRow, Running, Taken, TenantRow, UsageRow, WindowRow};
use crate::{AuditEvent, PublicKey, StoreError, column, sql};

pub(super) async fn changes(
    db: &mut SqliteConnection,
    arrival: Arrival<'_>,
    changes: Changes,
) -> Result<Taken, StoreError> {
    let key = arrival.sent.key();
    if changes.taken == Taken::Receipt(Receipt::New) {
        if let Some(key) = changes.trust {
            trust(db, &arrival.sent.key().node, key, arrival.received).await?;
        }
        let row = block(db, arrival).await?;
        for change in &changes.gaps {
            gap(db, &key.node, row, change).await?;
        }
        for change in &changes.usage {
            usage(db, row, change).await?;
        }
        for change in &changes.windows {
            window(db, row, change).await?;
        }
        for (run, state) in changes.running() {
            match state {
                Some(running) => keep(db, run, running).await?,
                None => forget(db, run).await?,
            }
        }
        for change in &changes.tenants {
            tenant(db, key.boot_id.as_str(), change).await?;
        }
    }
    for event in &changes.audit {
        audit(&mut *db, event).await?;
    }
    Ok(changes.taken)
}

async fn block(db: &mut SqliteConnection, arrival: Arrival<'_>) -> Result<i64, StoreError> {
    let sent = arrival.sent;
    let key = sent.key();
    let done = sqlx::query(
        "INSERT INTO block (node, boot_id, sequence, payload_sha256, payload, received_unix_usec, \
         correlation_id, previous_sha256, signer, closed_unix_usec) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(key.node.as_str())
    .bind(key.boot_id.as_str())
    .bind(column("sequence", key.sequence)?)
    .bind(&sent.hash().0[..])
    .bind(sent.bytes())
    .bind(arrival.received.unix_usec())
    .bind(arrival.correlation_id)
    .bind(&sent.previous().0[..])
    .bind(&sent.signer().0[..])
    .bind(sent.closed().wall.unix_usec())
    .execute(db)
    .await
    .map_err(sql("insert a block"))?;
    Ok(done.last_insert_rowid())
}

async fn gap(db: &mut SqliteConnection, node: &NodeName, block: i64, gap: &GapRow) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO gap (node, boot_id, reason, from_unix_usec, to_unix_usec, from_boottime_usec, \
         to_boottime_usec, first_sequence, last_sequence, block) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(node.as_str())
    .bind(gap.boot_id.as_str())
    .bind(gap.reason)
    .bind(gap.from_unix_usec)
    .bind(gap.to_unix_usec)
    .bind(gap.from_boottime_usec)
    .bind(gap.to_boottime_usec)
    .bind(gap.first_sequence)
    .bind(gap.last_sequence)
    .bind(block)
    .execute(db)
    .await
    .map_err(sql("write down a gap"))?;
    Ok(())
}

async fn usage(db: &mut SqliteConnection, block: i64, row: &UsageRow) -> Result<(), StoreError> {
    let run = &row.run;
    sqlx::query(
        "INSERT INTO usage (cluster, node, boot_id, job_id, began_unix_usec, revision, block, record) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(run.cluster.as_ref().map(ClusterName::as_str))
    .bind(run.node.as_str())
    .bind(run.boot_id.as_str())
    .bind(run.job_id.0)
    .bind(run.began.unix_usec())
    .bind(row.revision)
    .bind(block)
    .bind(record_text("usage", &row.record)?)
    .execute(db)
    .await
    .map_err(sql("insert a usage row"))?;
    Ok(())
}

async fn window(db: &mut SqliteConnection, block: i64, row: &WindowRow) -> Result<(), StoreError> {
    let run = &row.run;
    sqlx::query(
        "INSERT INTO usage_window (cluster, node, boot_id, job_id, began_unix_usec, revision, number, \
         window_unix_usec, block, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(run.cluster.as_ref().map(ClusterName::as_str))
    .bind(run.node.as_str())
    .bind(run.boot_id.as_str())
    .bind(run.job_id.0)
    .bind(run.began.unix_usec())
    .bind(row.revision)
    .bind(row.number)
    .bind(row.window.window_from.unix_usec())
    .bind(block)
    .bind(record_text("usage_window", &row.window)?)
    .execute(db)
    .await
    .map_err(sql("insert a window's row"))?;
    Ok(())
}

async fn keep(db: &mut SqliteConnection, run: &Incarnation, running: &Running) -> Result<(), StoreError> {
    let record = running.record().as_ref().map(|record| record_text("running_job", record)).transpose()?;
    sqlx::query(
        "INSERT INTO running_job (cluster, node, boot_id, job_id, began_unix_usec, \
         registration, allocation, reading, integral, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (job_id, node, boot_id, began_unix_usec, coalesce(cluster, '')) DO UPDATE \
         SET registration = excluded.registration, allocation = excluded.allocation, \
             reading = excluded.reading, integral = excluded.integral, record = excluded.record",
    )
    .bind(run.cluster.as_ref().map(ClusterName::as_str))
    .bind(run.node.as_str())
    .bind(run.boot_id.as_str())
    .bind(run.job_id.0)
    .bind(run.began.unix_usec())
    .bind(json(running.registration.as_ref())?)
    .bind(json(running.allocation.as_ref())?)
    .bind(json(running.reading.as_ref())?)
    .bind(json(running.so_far.as_ref())?)
    .bind(record)
    .execute(db)
    .await
    .map_err(sql("keep a running job's reading"))?;
    Ok(())
}

async fn forget(db: &mut SqliteConnection, run: &Incarnation) -> Result<(), StoreError> {
    let statement = format!("DELETE FROM running_job WHERE {RUN}");
    bind_run!(sqlx::query(&statement), run)
        .execute(db)
        .await
        .map_err(sql("forget an ended job's reading"))?;
    Ok(())
}

async fn tenant(db: &mut SqliteConnection, boot_id: &str, row: &TenantRow) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tenant_counter \
         (node, boot_id, tenant, boottime_usec, read_unix_usec, cpu_usage_usec) \
         VALUES (?, ?, ?, ?, ?, ?) \
         ON CONFLICT (node, boot_id, tenant) DO UPDATE \
         SET boottime_usec = excluded.boottime_usec, read_unix_usec = excluded.read_unix_usec, \
             cpu_usage_usec = excluded.cpu_usage_usec \
         WHERE excluded.boottime_usec > tenant_counter.boottime_usec",
    )
    .bind(row.node.as_str())
    .bind(boot_id)
    .bind(row.tenant.as_str())
    .bind(row.boottime_usec)
    .bind(row.read_unix_usec)
    .bind(row.cpu_usage_usec)
    .execute(db)
    .await
    .map_err(sql("keep a tenant's reading"))?;
    Ok(())
}

pub(super) async fn trust(
    db: &mut SqliteConnection,
    node: &NodeName,
    key: PublicKey,
    now: WallTime,
) -> Result<(), StoreError> {
    sqlx::query("INSERT OR IGNORE INTO node_key (node, public_key, trusted_unix_usec) VALUES (?, ?, ?)")
        .bind(node.as_str())
        .bind(&key.0[..])
        .bind(now.unix_usec())
        .execute(db)
        .await
        .map_err(sql("trust a key"))?;
    Ok(())
}

pub(super) async fn audit(executor: impl SqliteExecutor<'_>, event: &AuditEvent) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit_event (at_unix_usec, kind, uid, correlation_id, subject, detail) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(event.at.unix_usec())
    .bind(event.kind.as_str())
    .bind(event.uid)
    .bind(&event.correlation_id)
    .bind(&event.subject)
    .bind(&event.detail)
    .execute(executor)
    .await
    .map_err(sql("write an audit event"))?;
    Ok(())
}

/// A record on its way into its column: every number in it must fit SQL's integers, and what was not measured takes no place.
fn record_text(table: &'static str, record: &impl Serialize) -> Result<String, StoreError> {
    let mut value = serde_json::to_value(record).map_err(|error| unreadable(table, error))?;
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, figure| !figure.is_null());
        for (name, figure) in fields.iter() {
            if let Some(figure) = figure.as_u64() {
                column(name, figure)?;
            }
        }
    }
    Ok(value.to_string())
}

fn json<T: Serialize>(value: Option<&T>) -> Result<Option<String>, StoreError> {
    value.map(serde_json::to_string).transpose().map_err(|error| unreadable("running_job", error))
}
