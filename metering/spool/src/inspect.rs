//! A spool from outside: what waits, whether it is whole, its blocks, and sending some again. The
//! daemon may run meanwhile.

use std::path::Path;

use serde::Serialize;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use tenantry_block::Sealed;
use tenantry_model::block::{BlockHash, BlockKey};
use tenantry_model::{BootId, WallTime};

use crate::{SpoolError, Tip, failed, number, tip, used_bytes};

/// A spool that is looked at.
#[derive(Debug)]
pub struct Inspection {
    pool: SqlitePool,
}

/// What a spool has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Blocks that the ledger does not have yet.
    pub waiting: u64,
    /// When the oldest of them was closed.
    pub waiting_since: Option<WallTime>,
    /// Blocks that the ledger has, kept for a replay.
    pub acknowledged: u64,
    /// When the oldest of those was closed.
    pub acknowledged_since: Option<WallTime>,
    /// Blocks put aside, for a person to look at.
    pub rejected: u64,
    /// Ends of jobs whose files wait beside the outbox.
    pub ends_waiting: u64,
    /// Bytes of the file in use.
    pub used_bytes: u64,
    /// The last block that was made.
    pub last: Option<BlockKeyInBoot>,
}

/// A block's name on this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BlockKeyInBoot {
    /// The boot it was made in.
    pub boot_id: BootId,
    /// Its number there.
    pub sequence: u64,
}

/// What is wrong with a block or with what follows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The boot.
    pub boot_id: String,
    /// Its number there.
    pub sequence: u64,
    /// What.
    pub problem: String,
}

/// Which blocks, of one boot or of all.
#[derive(Debug, Clone, Default)]
pub struct Range {
    /// The boot; `None`: any.
    pub boot_id: Option<BootId>,
    /// The first.
    pub first: Option<u64>,
    /// The last.
    pub last: Option<u64>,
}

impl Range {
    fn bounds(&self) -> Result<(Option<&str>, i64, i64), SpoolError> {
        let first = self.first.map_or(Ok(0), number)?;
        let last = self.last.map_or(Ok(i64::MAX), number)?;
        Ok((self.boot_id.as_ref().map(BootId::as_str), first, last))
    }
}

const IN_RANGE: &str = "(?1 IS NULL OR boot_id = ?1) AND sequence BETWEEN ?2 AND ?3";

impl Inspection {
    /// Opens a spool that is there.
    ///
    /// # Errors
    /// Where it is not, or is not this version's.
    pub async fn open(file: &Path) -> Result<Self, SpoolError> {
        let options = SqliteConnectOptions::new().filename(file).busy_timeout(crate::BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await;
        Ok(Self { pool: pool.map_err(failed("be opened"))? })
    }

    /// What it has.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn status(&self) -> Result<Status, SpoolError> {
        type Row = (i64, Option<i64>, i64, Option<i64>, i64, i64);
        let mut db = self.pool.acquire().await.map_err(failed("be read"))?;
        let (waiting, waiting_since, acknowledged, acknowledged_since, rejected, ends): Row = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE acknowledged_unix_usec IS NULL), \
                    min(closed_unix_usec) FILTER (WHERE acknowledged_unix_usec IS NULL), \
                    count(acknowledged_unix_usec), \
                    min(closed_unix_usec) FILTER (WHERE acknowledged_unix_usec IS NOT NULL), \
                    (SELECT count(*) FROM rejected), (SELECT count(*) FROM taken) FROM block",
        )
        .fetch_one(&mut *db)
        .await
        .map_err(failed("be read"))?;
        let count = |count: i64| u64::try_from(count).map_err(|_| SpoolError::Damaged("block"));
        let wall = |usec: Option<i64>| {
            usec.map(WallTime::from_unix_usec).transpose().map_err(|_| SpoolError::Damaged("block"))
        };
        let last =
            tip(&mut db).await?.map(|Tip { boot_id, sequence, .. }| BlockKeyInBoot { boot_id, sequence });
        Ok(Status {
            waiting: count(waiting)?,
            waiting_since: wall(waiting_since)?,
            acknowledged: count(acknowledged)?,
            acknowledged_since: wall(acknowledged_since)?,
            rejected: count(rejected)?,
            ends_waiting: count(ends)?,
            used_bytes: used_bytes(&mut db).await?,
            last,
        })
    }

    /// Reads every block: checksum, signature, payload, number and the hash of the one before. How
    /// many there are, and what is wrong.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn verify(&self) -> Result<(u64, Vec<Finding>), SpoolError> {
        let ids: Vec<i64> = sqlx::query_scalar("SELECT spooled FROM block ORDER BY spooled")
            .fetch_all(&self.pool)
            .await
            .map_err(failed("be read"))?;
        let (mut blocks, mut findings) = (0_u64, Vec::new());
        let mut before: Option<(BlockKey, BlockHash)> = None;
        for id in ids {
            let (boot_id, sequence, bytes) = self.row(id).await?;
            blocks = blocks.saturating_add(1);
            let mut find =
                |problem: String| findings.push(Finding { boot_id: boot_id.clone(), sequence, problem });
            let sealed = match Sealed::open(bytes).and_then(|sealed| sealed.block().map(|_| sealed)) {
                Ok(sealed) => sealed,
                Err(error) => {
                    find(error.to_string());
                    before = None;
                    continue;
                }
            };
            let key = sealed.key();
            if key.boot_id.as_str() != boot_id || key.sequence != sequence {
                find(format!("the block says that it is {key}"));
            }
            if let Some((last, hash)) = &before {
                let follows =
                    last.boot_id != key.boot_id || last.sequence.checked_add(1) == Some(key.sequence);
                if follows && sealed.previous() != *hash {
                    find(format!("it names {} as the one before it, which is {hash}", sealed.previous()));
                } else if !follows {
                    find(format!("it follows block {}", last.sequence));
                }
            }
            before = Some((key.clone(), sealed.hash()));
        }
        Ok((blocks, findings))
    }

    /// Gives each block of a range, the oldest first.
    ///
    /// # Errors
    /// Where one cannot be read, or is damaged, or `each` fails.
    pub async fn export<E: From<SpoolError>>(
        &self,
        range: &Range,
        mut each: impl FnMut(&Sealed) -> Result<(), E>,
    ) -> Result<u64, E> {
        let (boot_id, first, last) = range.bounds()?;
        let ids: Vec<i64> =
            sqlx::query_scalar(&format!("SELECT spooled FROM block WHERE {IN_RANGE} ORDER BY spooled"))
                .bind(boot_id)
                .bind(first)
                .bind(last)
                .fetch_all(&self.pool)
                .await
                .map_err(failed("be read"))?;
        let mut blocks = 0_u64;
        for id in ids {
            let (_, _, bytes) = self.row(id).await?;
            each(&Sealed::open(bytes).map_err(|_| SpoolError::Damaged("block"))?)?;
            blocks = blocks.saturating_add(1);
        }
        Ok(blocks)
    }

    /// Has the daemon send a range again. What the ledger has it knows, and takes once. How many.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub async fn replay(&self, range: &Range) -> Result<u64, SpoolError> {
        let (boot_id, first, last) = range.bounds()?;
        let statement = format!("UPDATE block SET acknowledged_unix_usec = NULL WHERE {IN_RANGE}");
        let done = sqlx::query(&statement).bind(boot_id).bind(first).bind(last).execute(&self.pool).await;
        Ok(done.map_err(failed("have blocks sent again"))?.rows_affected())
    }

    async fn row(&self, id: i64) -> Result<(String, u64, Vec<u8>), SpoolError> {
        let (boot_id, sequence, bytes): (String, i64, Vec<u8>) =
            sqlx::query_as("SELECT boot_id, sequence, bytes FROM block WHERE spooled = ?")
                .bind(id)
                .fetch_one(&self.pool)
                .await
                .map_err(failed("be read"))?;
        Ok((boot_id, u64::try_from(sequence).map_err(|_| SpoolError::Damaged("block"))?, bytes))
    }
}
