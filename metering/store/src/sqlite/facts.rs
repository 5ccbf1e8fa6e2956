//! What the file has about a block.

use std::collections::BTreeSet;

use sqlx::sqlite::SqliteConnection;
use tenantry_model::block::{BlockHash, BlockKey};
use tenantry_model::job::Incarnation;
use tenantry_model::usage::UsageRecord;
use tenantry_model::{BootId, ClusterName, JobId, WallTime};

use crate::error::unreadable;
use crate::ingest::{Before, Facts, Running, Wanted};
use crate::query::{hash, parse_json, parse_record};
use crate::{PublicKey, SentBlock, StoreError, column, sql};

/// A running job's columns.
type Row = (Option<String>, Option<String>, Option<String>, Option<String>);

pub(super) const RUN: &str =
    "job_id = ? AND node = ? AND boot_id = ? AND began_unix_usec = ? AND coalesce(cluster, '') = ?";

/// Binds what [`RUN`] asks for: to a query of whatever kind.
macro_rules! bind_run {
    ($query:expr, $run:expr) => {
        $query
            .bind($run.job_id.0)
            .bind($run.node.as_str())
            .bind($run.boot_id.as_str())
            .bind($run.began.unix_usec())
            .bind($run.cluster.as_ref().map_or("", tenantry_model::ClusterName::as_str))
    };
}
pub(super) use bind_run;

pub(super) async fn gather(
    db: &mut SqliteConnection,
    sent: &SentBlock,
    wanted: Wanted<'_>,
) -> Result<Facts, StoreError> {
    let key = sent.key();
    let mut facts = Facts { known: hash_of(db, key).await?, ..Facts::default() };
    if facts.known.is_some() {
        return Ok(facts);
    }
    facts.keys = keys(db, key).await?;
    facts.before = before(db, key).await?;
    if let Some((boot_id, sequence)) = wanted.boot_before {
        let last = BlockKey { node: key.node.clone(), boot_id, sequence };
        facts.boot_before = hash_of(db, &last).await?;
    }
    for boot_id in wanted.boots {
        if is_foreign(db, key, &boot_id).await? {
            facts.foreign.insert(boot_id);
        }
    }
    let mut runs: BTreeSet<Incarnation> = wanted.runs.into_iter().cloned().collect();
    for boot_id in &wanted.ended {
        runs.extend(running_in(db, boot_id).await?);
    }
    for run in runs {
        let latest = latest_revision(db, &run).await?.map(Box::new);
        let running = running(db, &run).await?.map(Box::new);
        facts.runs.insert(run, crate::ingest::Run { latest, running, changed: false });
    }
    Ok(facts)
}

async fn hash_of(db: &mut SqliteConnection, key: &BlockKey) -> Result<Option<BlockHash>, StoreError> {
    let found: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT payload_sha256 FROM block WHERE node = ? AND boot_id = ? AND sequence = ?",
    )
    .bind(key.node.as_str())
    .bind(key.boot_id.as_str())
    .bind(column("sequence", key.sequence)?)
    .fetch_optional(db)
    .await
    .map_err(sql("look for a block"))?;
    found.as_deref().map(hash).transpose()
}

async fn keys(db: &mut SqliteConnection, key: &BlockKey) -> Result<Vec<PublicKey>, StoreError> {
    let trusted: Vec<Vec<u8>> = sqlx::query_scalar("SELECT public_key FROM node_key WHERE node = ?")
        .bind(key.node.as_str())
        .fetch_all(db)
        .await
        .map_err(sql("look for a node's key"))?;
    trusted.iter().map(|key| hash(key).map(|BlockHash(key)| PublicKey(key))).collect()
}

async fn before(db: &mut SqliteConnection, key: &BlockKey) -> Result<Option<Before>, StoreError> {
    let found: Option<(i64, Vec<u8>, Option<i64>)> = sqlx::query_as(
        "SELECT sequence, payload_sha256, closed_unix_usec FROM block \
         WHERE node = ? AND boot_id = ? AND sequence < ? ORDER BY sequence DESC LIMIT 1",
    )
    .bind(key.node.as_str())
    .bind(key.boot_id.as_str())
    .bind(column("sequence", key.sequence)?)
    .fetch_optional(db)
    .await
    .map_err(sql("look for the block before"))?;
    let before = |(sequence, sha256, closed): (i64, Vec<u8>, Option<i64>)| {
        Ok(Before {
            sequence: u64::try_from(sequence).map_err(|error| unreadable("block", error))?,
            hash: hash(&sha256)?,
            closed: closed
                .map(WallTime::from_unix_usec)
                .transpose()
                .map_err(|error| unreadable("block", error))?,
        })
    };
    found.map(before).transpose()
}

/// Whether others sent blocks of a boot, and this node none.
async fn is_foreign(db: &mut SqliteConnection, key: &BlockKey, boot_id: &BootId) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM block WHERE boot_id = ?2) \
         AND NOT EXISTS (SELECT 1 FROM block WHERE node = ?1 AND boot_id = ?2)",
    )
    .bind(key.node.as_str())
    .bind(boot_id.as_str())
    .fetch_one(db)
    .await
    .map_err(sql("look for a boot's node"))
}

async fn running_in(db: &mut SqliteConnection, boot_id: &BootId) -> Result<Vec<Incarnation>, StoreError> {
    let rows: Vec<(Option<String>, String, i64, i64)> = sqlx::query_as(
        "SELECT cluster, node, job_id, began_unix_usec FROM running_job \
         WHERE boot_id = ? AND registration IS NOT NULL",
    )
    .bind(boot_id.as_str())
    .fetch_all(db)
    .await
    .map_err(sql("look for jobs of a boot that ended"))?;
    let table = "running_job";
    let run = |(cluster, node, job_id, began): (Option<String>, String, i64, i64)| {
        Ok(Incarnation {
            cluster: cluster
                .map(|name| name.parse::<ClusterName>())
                .transpose()
                .map_err(|error| unreadable(table, error))?,
            node: node.parse().map_err(|error| unreadable(table, error))?,
            boot_id: boot_id.clone(),
            job_id: JobId(u32::try_from(job_id).map_err(|error| unreadable(table, error))?),
            began: WallTime::from_unix_usec(began).map_err(|error| unreadable(table, error))?,
        })
    };
    rows.into_iter().map(run).collect()
}

async fn latest_revision(
    db: &mut SqliteConnection,
    run: &Incarnation,
) -> Result<Option<(i64, UsageRecord)>, StoreError> {
    let statement = format!("SELECT revision, record FROM usage WHERE {RUN} ORDER BY revision DESC LIMIT 1");
    let latest: Option<(i64, String)> = bind_run!(sqlx::query_as(&statement), run)
        .fetch_optional(db)
        .await
        .map_err(sql("look for a run's record"))?;
    latest.map(|(revision, record)| Ok((revision, parse_record("usage", &record)?))).transpose()
}

async fn running(db: &mut SqliteConnection, run: &Incarnation) -> Result<Option<Running>, StoreError> {
    let statement =
        format!("SELECT registration, allocation, reading, integral FROM running_job WHERE {RUN}");
    let row: Option<Row> = bind_run!(sqlx::query_as(&statement), run)
        .fetch_optional(db)
        .await
        .map_err(sql("look for a running job"))?;
    let table = "running_job";
    let running = |(registration, allocation, reading, so_far): Row| {
        Ok(Running {
            registration: parse_json(table, registration.as_deref())?,
            allocation: parse_json(table, allocation.as_deref())?,
            reading: parse_json(table, reading.as_deref())?,
            so_far: parse_json(table, so_far.as_deref())?,
        })
    };
    row.map(running).transpose()
}
