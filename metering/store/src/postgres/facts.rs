//! What the database has about a block: one question.

use serde_json::{Map, Value};
use sqlx::postgres::PgConnection;
use tenantry_model::WallTime;
use tenantry_model::block::BlockHash;
use tenantry_model::job::Incarnation;

use super::columns::record_of_row;
use super::nodes::{Node, Written};
use super::state;
use crate::error::unreadable;
use crate::ingest::{Before, Facts, Runs, Wanted};
use crate::query::hash;
use crate::{PublicKey, SentBlock, StoreError, column, sql};

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
    revisions: Option<String>,
    last_sequence: Option<i64>,
    state: Option<Vec<u8>>,
    state_boot_id: Option<String>,
    state_sequence: Option<i64>,
    state_window_minutes: Option<i32>,
    since: Option<Vec<Vec<u8>>>,
}

/// The facts, and what else there is of the node.
pub(super) async fn gather(
    db: &mut PgConnection,
    sent: &SentBlock,
    wanted: &Wanted<'_>,
) -> Result<(Node, Facts), StoreError> {
    let key = sent.key();
    // In the order of their places: answers name them by it.
    let runs: Vec<&Incarnation> = wanted.runs.iter().copied().collect();
    let (before_boot, before_sequence) = wanted
        .boot_before
        .as_ref()
        .map_or((None, None), |(boot, sequence)| (Some(boot.as_str()), Some(*sequence)));
    let mut row: Row = sqlx::query_as(
        "SELECT version, known, trusted, before_sequence, before_sha256, before_closed, boot_before_sha256, \
                foreign_boots::text[], revisions::text, last_sequence, \
                state, state_boot_id::text, state_sequence, state_window_minutes, since \
         FROM meter.facts($1, $2::uuid, $3, $4::uuid, $5, $6::text[]::uuid[], $7, $8, $9::text[]::uuid[], $10, $11)",
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
    let (node, jobs) = node(&mut row, sent)?;
    let facts = facts(row, &runs, &node, jobs)?;
    Ok((node, facts))
}

/// The node without its jobs, and those.
fn node(row: &mut Row, sent: &SentBlock) -> Result<(Node, Runs), StoreError> {
    let written = written(row)?;
    let width = state::width(row.state_window_minutes)?;
    let jobs = state::unpack(row.state.as_deref(), row.since.take().unwrap_or_default(), width)?;
    let mut node = Node { version: row.version, written, ..Node::default() };
    for key in row.trusted.take().unwrap_or_default() {
        let BlockHash(key) = hash(&key)?;
        node.keys.push(PublicKey(key));
    }
    let last = row.last_sequence.map(u64::try_from).transpose();
    node.ahead =
        last.map_err(|error| unreadable("block_name", error))?.filter(|last| *last > sent.key().sequence);
    Ok((node, jobs))
}

fn written(row: &Row) -> Result<Option<Written>, StoreError> {
    let (Some(boot_id), Some(sequence)) = (&row.state_boot_id, row.state_sequence) else { return Ok(None) };
    let table = "node_running";
    Ok(Some(Written {
        boot_id: boot_id.parse().map_err(|error| unreadable(table, error))?,
        sequence: u64::try_from(sequence).map_err(|error| unreadable(table, error))?,
        width: state::width(row.state_window_minutes)?,
    }))
}

fn before(row: &Row) -> Result<Option<Before>, StoreError> {
    let table = "block_name";
    let (Some(sequence), Some(sha256)) = (row.before_sequence, &row.before_sha256) else { return Ok(None) };
    let closed = row.before_closed.map(WallTime::from_unix_usec).transpose();
    Ok(Some(Before {
        sequence: u64::try_from(sequence).map_err(|error| unreadable(table, error))?,
        hash: hash(sha256)?,
        closed: closed.map_err(|error| unreadable(table, error))?,
    }))
}

fn facts(row: Row, runs: &[&Incarnation], node: &Node, jobs: Runs) -> Result<Facts, StoreError> {
    let mut facts = Facts {
        known: row.known.as_deref().map(hash).transpose()?,
        keys: node.keys.clone(),
        before: before(&row)?,
        boot_before: row.boot_before_sha256.as_deref().map(hash).transpose()?,
        runs: jobs,
        ..Facts::default()
    };
    for boot in row.foreign_boots.unwrap_or_default() {
        facts.foreign.insert(boot.parse().map_err(|error| unreadable("boot", error))?);
    }
    if let Some(text) = row.revisions {
        let revisions: Vec<(usize, Map<String, Value>)> =
            serde_json::from_str(&text).map_err(|error| unreadable("usage", error))?;
        for (place, row) in revisions {
            let revision = row.get("revision").and_then(Value::as_i64);
            let revision = revision.ok_or_else(|| unreadable("usage", "a row has no revision"))?;
            // WITH ORDINALITY counts from 1.
            let run = place.checked_sub(1).and_then(|place| runs.get(place));
            let run = run.ok_or_else(|| unreadable("usage", "it has a run that was not asked for"))?;
            facts.runs.entry((*run).clone()).or_default().latest =
                Some(Box::new((revision, record_of_row(row)?)));
        }
    }
    Ok(facts)
}
