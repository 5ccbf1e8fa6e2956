//! What the database has about a block: one question.

use sqlx::postgres::PgConnection;
use tenantry_model::WallTime;
use tenantry_model::block::BlockHash;
use tenantry_model::job::Incarnation;
use tenantry_model::usage::UsageRecord;

use super::state::{self, Jobs};
use crate::error::unreadable;
use crate::ingest::{Before, Facts, Run, Wanted};
use crate::query::hash;
use crate::{PublicKey, SentBlock, StoreError, column, sql};

/// Facts, the node's version that they are of, and all its running jobs.
pub(super) struct Known {
    pub version: i64,
    pub facts: Facts,
    pub jobs: Jobs,
}

#[derive(sqlx::FromRow)]
struct Row {
    version: i64,
    known: Option<Vec<u8>>,
    trusted: Option<Vec<Vec<u8>>>,
    before_sequence: Option<i64>,
    before_sha256: Option<Vec<u8>>,
    before_closed: Option<i64>,
    boot_before_sha256: Option<Vec<u8>>,
    foreign_boots: Option<Vec<String>>,
    running: Option<Vec<u8>>,
    revisions: Option<String>,
}

pub(super) async fn gather(db: &mut PgConnection, sent: &SentBlock) -> Result<Known, StoreError> {
    let (key, wanted) = (sent.key(), Wanted::by(sent));
    // In the order of their places: answers name them by it.
    let runs: Vec<&Incarnation> = wanted.runs.iter().collect();
    let (before_boot, before_sequence) = wanted
        .boot_before
        .as_ref()
        .map_or((None, None), |(boot, sequence)| (Some(boot.as_str()), Some(*sequence)));
    let row: Row = sqlx::query_as(
        "SELECT version, known, trusted, before_sequence, before_sha256, before_closed, boot_before_sha256, \
                foreign_boots, running, revisions::text \
         FROM meter.facts($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(key.node.as_str())
    .bind(key.boot_id.as_str())
    .bind(column("sequence", key.sequence)?)
    .bind(before_boot)
    .bind(before_sequence.map(|sequence| column("sequence", sequence)).transpose()?)
    .bind(wanted.boots.iter().map(tenantry_model::BootId::as_str).collect::<Vec<_>>())
    .bind(runs.iter().map(|run| i64::from(run.job_id.0)).collect::<Vec<_>>())
    .bind(runs.iter().map(|run| run.node.as_str()).collect::<Vec<_>>())
    .bind(runs.iter().map(|run| run.boot_id.as_str()).collect::<Vec<_>>())
    .bind(runs.iter().map(|run| run.began.unix_usec()).collect::<Vec<_>>())
    .bind(
        runs.iter()
            .map(|run| run.cluster.as_ref().map(tenantry_model::ClusterName::as_str))
            .collect::<Vec<_>>(),
    )
    .fetch_one(db)
    .await
    .map_err(sql("look for what it has about a block"))?;
    let version = row.version;
    let jobs = state::unpack(row.running.as_deref())?;
    Ok(Known { version, facts: facts(row, &runs, &wanted, &jobs)?, jobs })
}

fn facts(row: Row, runs: &[&Incarnation], wanted: &Wanted, jobs: &Jobs) -> Result<Facts, StoreError> {
    let table = "block_name";
    let mut facts = Facts {
        known: row.known.as_deref().map(hash).transpose()?,
        boot_before: row.boot_before_sha256.as_deref().map(hash).transpose()?,
        ..Facts::default()
    };
    for key in row.trusted.unwrap_or_default() {
        let BlockHash(key) = hash(&key)?;
        facts.keys.push(PublicKey(key));
    }
    if let (Some(sequence), Some(sha256)) = (row.before_sequence, row.before_sha256) {
        let closed = row.before_closed.map(WallTime::from_unix_usec).transpose();
        facts.before = Some(Before {
            sequence: u64::try_from(sequence).map_err(|error| unreadable(table, error))?,
            hash: hash(&sha256)?,
            closed: closed.map_err(|error| unreadable(table, error))?,
        });
    }
    for boot in row.foreign_boots.unwrap_or_default() {
        facts.foreign.insert(boot.parse().map_err(|error| unreadable("boot", error))?);
    }
    for (run, running) in jobs {
        let ended = wanted.ended.contains(&run.boot_id) && running.registration.is_some();
        if ended || wanted.runs.contains(run) {
            facts.runs.insert(run.clone(), Run { latest: None, running: Some(running.clone()) });
        }
    }
    if let Some(text) = row.revisions {
        let revisions: Vec<(usize, i64, UsageRecord)> =
            serde_json::from_str(&text).map_err(|error| unreadable("usage", error))?;
        for (place, revision, record) in revisions {
            // WITH ORDINALITY counts from 1.
            let run = place.checked_sub(1).and_then(|place| runs.get(place));
            let run = run.ok_or_else(|| unreadable("usage", "it has a run that was not asked for"))?;
            facts.runs.entry((*run).clone()).or_default().latest = Some((revision, record));
        }
    }
    Ok(facts)
}
