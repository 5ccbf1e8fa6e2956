//! An embedded ledger on its way into PostgreSQL: whole, in pieces that each commit, and held against the file at
//! the end.
//!
//! Where it stands is a row of `meter.moved` in the transaction of each piece: what was interrupted goes on there.

mod parts;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use sha2::{Digest, Sha256};
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tenantry_model::JobId;
use tenantry_model::job::Incarnation;

use super::migrate::connect_as_owner;
use super::settings::{Login, PostgresSettings};
use super::state;
use crate::error::unreadable;
use crate::ingest::{Run, Running, Runs};
use crate::query::parse_json;
use crate::{StoreError, sql};
use parts::{PARTS, Part};

/// Rows of one piece.
const PIECE: u32 = 200;

/// What was moved: rows of each table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Moved(pub BTreeMap<&'static str, i64>);

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self.0.iter().map(|(table, rows)| format!("{rows} of {table}")).collect();
        write!(f, "{}", rows.join(", "))
    }
}

/// Rows of a table: how many, and the sum of what SHA-256 makes of each, whatever their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    rows: i64,
    hashes: i128,
}

impl Sum {
    fn with(self, row: &str) -> Self {
        // The first 60 bits, as the database counts them.
        let hash =
            Sha256::digest(row).iter().take(8).fold(0_i128, |sum, byte| sum << 8 | i128::from(*byte)) >> 4;
        Self { rows: self.rows.saturating_add(1), hashes: self.hashes.saturating_add(hash) }
    }
}

/// Moves the ledger in `file` into a database that has this program's schema, and no blocks but those of an earlier
/// try. Nobody may write to either meanwhile. `progress` is told the table, rows done, and rows in all.
///
/// # Errors
/// Where a piece fails: it can be called again, and goes on. Where file and database differ in the end.
pub async fn move_from(
    file: &Path,
    settings: &PostgresSettings,
    owner: &Login,
    mut progress: impl FnMut(&'static str, i64, i64),
) -> Result<Moved, StoreError> {
    // Brings the file to this program's schema first.
    crate::Ledger::open(file).await?.close().await;
    let open = |source| StoreError::Open { path: file.to_owned(), source };
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(false).read_only(true);
    let mut from = SqliteConnection::connect_with(&options).await.map_err(open)?;
    let mut into = connect_as_owner(settings, owner).await?;
    refuse_strange_blocks(&mut into).await?;
    let mut moved = Moved::default();
    for part in &PARTS {
        let all: i64 = sqlx::query_scalar(&format!("SELECT count(*) FROM {}", part.table))
            .fetch_one(&mut from)
            .await
            .map_err(sql("count rows to move"))?;
        let mut done = 0_i64;
        while let Some(rows) = piece(&mut from, &mut into, part).await? {
            done = done.saturating_add(rows);
            progress(part.table, done, all);
        }
        moved.0.insert(part.table, all);
    }
    running(&mut from, &mut into).await?;
    for part in &PARTS {
        let (here, there) = (sum_of_file(&mut from, part).await?, sum_of_database(&mut into, part).await?);
        if here != there {
            return Err(StoreError::Refused(format!(
                "the ledger's table {} has {} rows in the file and {} in the database, or they differ ({} and {}): \
                 do not use the database; make it anew, and move again",
                part.table, here.rows, there.rows, here.hashes, there.hashes
            )));
        }
    }
    let _ = into.close().await;
    Ok(moved)
}

/// Blocks that came from elsewhere would be mixed up with the file's.
async fn refuse_strange_blocks(into: &mut PgConnection) -> Result<(), StoreError> {
    let strange: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM meter.block_name) AND NOT EXISTS (SELECT FROM meter.moved)",
    )
    .fetch_one(into)
    .await
    .map_err(sql("look whether the database has blocks"))?;
    if strange {
        return Err(StoreError::Refused(
            "the database has blocks of its own: an embedded ledger is moved into an empty one".to_owned(),
        ));
    }
    Ok(())
}

/// The next rows of a table, and how far it has come with them; `None` where there are no more.
async fn piece(
    from: &mut SqliteConnection,
    into: &mut PgConnection,
    part: &Part,
) -> Result<Option<i64>, StoreError> {
    let mut work = into.begin().await.map_err(sql("begin a piece"))?;
    let last: Option<i64> = sqlx::query_scalar("SELECT last_id FROM meter.moved WHERE part = $1")
        .bind(part.table)
        .fetch_optional(&mut *work)
        .await
        .map_err(sql("look how far it has come"))?;
    let rows: Vec<(i64, String)> = sqlx::query_as(part.from)
        .bind(last.unwrap_or(i64::MIN))
        .bind(PIECE)
        .fetch_all(from)
        .await
        .map_err(sql("read rows to move"))?;
    let Some((reached, _)) = rows.last() else { return Ok(None) };
    let texts: Vec<&str> = rows.iter().map(|(_, row)| row.as_str()).collect();
    for statement in part.into {
        sqlx::query(statement)
            .bind(format!("[{}]", texts.join(",")))
            .execute(&mut *work)
            .await
            .map_err(sql("write moved rows"))?;
    }
    sqlx::query(
        "INSERT INTO meter.moved (part, last_id) VALUES ($1, $2) \
         ON CONFLICT (part) DO UPDATE SET last_id = excluded.last_id",
    )
    .bind(part.table)
    .bind(*reached)
    .execute(&mut *work)
    .await
    .map_err(sql("note how far it has come"))?;
    work.commit().await.map_err(sql("commit a piece"))?;
    i64::try_from(rows.len()).map(Some).map_err(|error| unreadable("moved", error))
}

/// Running jobs become their nodes' states; done again it is the same.
async fn running(from: &mut SqliteConnection, into: &mut PgConnection) -> Result<(), StoreError> {
    type Row = (
        Option<String>,
        String,
        String,
        i64,
        i64,
        String,
        Option<String>,
        Option<String>,
        Option<String>,
        Option<String>,
    );
    let rows: Vec<Row> =
        sqlx::query_as(
            "SELECT cluster, node, boot_id, job_id, began_unix_usec, \
                    coalesce((SELECT block.node FROM block WHERE block.boot_id = running_job.boot_id LIMIT 1), node), \
                    registration, allocation, reading, integral FROM running_job",
        )
        .fetch_all(from)
        .await
        .map_err(sql("read running jobs"))?;
    let table = "running_job";
    let mut nodes: BTreeMap<String, Runs> = BTreeMap::new();
    for (cluster, node, boot_id, job_id, began, daemon, registration, allocation, reading, so_far) in rows {
        let run = Incarnation {
            cluster: cluster
                .map(|name| name.parse())
                .transpose()
                .map_err(|error| unreadable(table, error))?,
            node: node.parse().map_err(|error| unreadable(table, error))?,
            boot_id: boot_id.parse().map_err(|error| unreadable(table, error))?,
            job_id: JobId(u32::try_from(job_id).map_err(|error| unreadable(table, error))?),
            began: tenantry_model::WallTime::from_unix_usec(began)
                .map_err(|error| unreadable(table, error))?,
        };
        let running = Running {
            registration: parse_json(table, registration.as_deref())?,
            allocation: parse_json(table, allocation.as_deref())?,
            reading: parse_json(table, reading.as_deref())?,
            so_far: parse_json(table, so_far.as_deref())?,
        };
        nodes.entry(daemon).or_default().insert(run, Run::running(Box::new(running)));
    }
    for (node, jobs) in nodes {
        sqlx::query(
            "INSERT INTO meter.node_running (node, state) VALUES ($1, $2) \
             ON CONFLICT (node) DO UPDATE \
                 SET state = excluded.state, boot = NULL, sequence = NULL, window_minutes = NULL",
        )
        .bind(&node)
        .bind(state::pack(&jobs)?)
        .execute(&mut *into)
        .await
        .map_err(sql("write running jobs"))?;
        for (run, state) in jobs {
            let registration = state.running.as_ref().and_then(|running| running.registration.as_ref());
            sqlx::query(
                "INSERT INTO meter.running_job (job_id, node, boot_id, began_unix_usec, cluster, daemon_node, tenant, uid) \
                 VALUES ($1, $2, $3::uuid, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            )
            .bind(i64::from(run.job_id.0))
            .bind(run.node.as_str())
            .bind(run.boot_id.as_str())
            .bind(run.began.unix_usec())
            .bind(run.cluster.as_ref().map(tenantry_model::ClusterName::as_str))
            .bind(&node)
            .bind(registration.and_then(|told| told.placement.tenant()).map(tenantry_model::TenantPath::as_str))
            .bind(registration.map(|told| i64::from(told.uid)))
            .execute(&mut *into)
            .await
            .map_err(sql("write running jobs"))?;
        }
    }
    Ok(())
}

async fn sum_of_file(from: &mut SqliteConnection, part: &Part) -> Result<Sum, StoreError> {
    let (mut sum, mut last) = (Sum::default(), i64::MIN);
    loop {
        let rows: Vec<(i64, String)> = sqlx::query_as(part.row_of_file)
            .bind(last)
            .bind(PIECE)
            .fetch_all(&mut *from)
            .await
            .map_err(sql("read the file's rows again"))?;
        let Some((reached, _)) = rows.last() else { return Ok(sum) };
        last = *reached;
        sum = rows.iter().fold(sum, |sum, (_, row)| sum.with(row));
    }
}

async fn sum_of_database(into: &mut PgConnection, part: &Part) -> Result<Sum, StoreError> {
    let statement = format!(
        "SELECT count(*), coalesce(sum(('x' || substr(encode(sha256(convert_to(line, 'UTF8')), 'hex'), 1, 15))::bit(60)::bigint), 0)::text \
         FROM ({}) AS lines (line)",
        part.row_of_database
    );
    let (rows, hashes): (i64, String) =
        sqlx::query_as(&statement).fetch_one(into).await.map_err(sql("read the database's rows again"))?;
    Ok(Sum { rows, hashes: hashes.parse().map_err(|error| unreadable("moved", error))? })
}
