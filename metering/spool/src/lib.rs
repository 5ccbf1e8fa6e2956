//! The spool: an SQLite file that has every block until the ledger has it, and for some time after.
//! `tenantryd` fills and empties it ([`Spool`]), `tenantry spool` looks at it ([`Inspection`]).
//!
//! WAL with `synchronous=FULL`: when [`Spool::append`] returns, the block survives a power cut.
#![forbid(unsafe_code)]

mod inspect;
mod salvage;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqlitePoolOptions};
use tenantry_block::{EncodeError, NodeKey, Sealed};
use tenantry_model::block::{Block, BlockHash, BlockKey, Contents, Event};
use tenantry_model::{BootId, Moment, NodeName, WallTime, describe, fault};
use tenantry_sqlite::{CommitError, finish};

pub use inspect::{BlockKeyInBoot, Finding, Inspection, Range, Status};

/// What the spool cannot do.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// SQLite refused.
    #[error("the spool cannot {operation}")]
    Sqlite {
        /// What was tried.
        operation: &'static str,
        /// Why not.
        source: sqlx::Error,
    },
    /// The file is of a newer tenantryd.
    #[error("the spool's tables are not this version's; run the tenantryd that wrote it until it is empty")]
    Schema(#[from] sqlx::migrate::MigrateError),
    /// A file that is no spool cannot be put aside.
    #[error("cannot put the damaged spool {} aside", file.display())]
    Aside {
        /// The spool.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A block that cannot be written.
    #[error("a block cannot be encoded")]
    Encode(#[from] EncodeError),
    /// A row that is not as this daemon wrote it.
    #[error("the spool's {0} cannot be read: the file was changed or its disk is broken")]
    Damaged(&'static str),
    /// More blocks in one boot than the file counts.
    #[error("no sequence is left in this boot")]
    Exhausted,
}

impl SpoolError {
    /// Whether the file itself is broken: no later attempt will do better with it.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        // SQLITE_CORRUPT, SQLITE_NOTADB; extended codes keep them in the low byte.
        const DAMAGE: [i32; 2] = [11, 26];
        match self {
            Self::Sqlite { source: sqlx::Error::Database(error), .. } => error
                .code()
                .and_then(|code| code.parse::<i32>().ok())
                .is_some_and(|code| DAMAGE.contains(&(code & 0xff))),
            Self::Damaged(_) => true,
            _ => false,
        }
    }
}

/// Whose blocks these are.
#[derive(Debug)]
pub struct Identity {
    /// The node.
    pub node: NodeName,
    /// The boot this runs in.
    pub boot_id: BootId,
    /// What it signs with.
    pub key: NodeKey,
}

/// What the spool keeps, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most bytes the file may have.
    pub max_bytes: u64,
    /// How long an acknowledged block stays.
    pub keep: Duration,
}

/// A block that waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spooled {
    id: i64,
    /// Its name.
    pub sequence: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The last block that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// The boot it was made in.
    pub boot_id: BootId,
    /// Its number there.
    pub sequence: u64,
    /// What the next block names.
    pub hash: BlockHash,
    /// When it was closed.
    pub closed: Moment,
    /// The latest reading in a block of that boot.
    pub last_reading: Option<Moment>,
}

/// The spool of one boot of one node. Clones are the same spool.
#[derive(Debug, Clone)]
pub struct Spool {
    pool: SqlitePool,
    identity: Arc<Identity>,
    bounds: Bounds,
}

async fn begin(pool: &SqlitePool) -> Result<PoolConnection<Sqlite>, SpoolError> {
    tenantry_sqlite::begin(pool).await.map_err(failed("begin a transaction"))
}

impl From<CommitError> for SpoolError {
    fn from(CommitError(source): CommitError) -> Self {
        failed("commit a transaction")(source)
    }
}

const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

fn failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> SpoolError {
    move |source| SpoolError::Sqlite { operation, source }
}

fn number(value: u64) -> Result<i64, SpoolError> {
    i64::try_from(value).map_err(|_| SpoolError::Exhausted)
}

impl Spool {
    /// Opens the spool, making it where there is none. A file that is damaged is put aside, and
    /// what can be read of it goes into a new one; the event says so.
    ///
    /// # Errors
    /// Where the file cannot be opened, or is of a later version.
    pub async fn open(
        file: &Path,
        identity: Identity,
        bounds: Bounds,
        now: Moment,
    ) -> Result<(Self, Option<Event>), SpoolError> {
        let identity = Arc::new(identity);
        let with = |pool| Self { pool, identity: identity.clone(), bounds };
        let problem = match connect(file).await {
            Ok(pool) => return Ok((with(pool), None)),
            Err(error) if error.is_damage() => describe(&error),
            Err(error) => return Err(error),
        };
        let aside = salvage::put_aside(file, now)
            .map_err(|source| SpoolError::Aside { file: file.to_owned(), source })?;
        let spool = with(connect(file).await?);
        let saved = salvage::blocks(&aside, &spool.pool).await?;
        tracing::error!(
            aside = %aside.display(), saved,
            "the spool was damaged ({problem}); it is kept aside, and what could be read of it is in a new one"
        );
        Ok((spool, Some(Event::SpoolLost { at: now, problem })))
    }

    /// The last block that was made, of whatever boot.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn tip(&self) -> Result<Option<Tip>, SpoolError> {
        let mut db = self.pool.acquire().await.map_err(failed("be read"))?;
        tip(&mut db).await
    }

    /// Makes a block and puts it into the spool, with the names of the outbox files its ends came
    /// from, in one transaction.
    ///
    /// # Errors
    /// Where nothing was spooled, and the sources must be kept.
    pub async fn append(
        &self,
        contents: &Contents,
        last_reading: Option<Moment>,
        taken: &[String],
        now: Moment,
    ) -> Result<BlockKey, SpoolError> {
        let mut db = begin(&self.pool).await?;
        let done = self.insert_with(&mut db, contents, last_reading, taken, now).await;
        let key = finish(&mut db, done).await?;
        fault::step("spool: committed");
        Ok(key)
    }

    async fn insert_with(
        &self,
        db: &mut SqliteConnection,
        contents: &Contents,
        last_reading: Option<Moment>,
        taken: &[String],
        now: Moment,
    ) -> Result<BlockKey, SpoolError> {
        let (key, id) = self.insert(db, contents.clone(), last_reading, 0, now).await?;
        for file in taken {
            sqlx::query("INSERT INTO taken (file, spooled) VALUES (?, ?)")
                .bind(file)
                .bind(id)
                .execute(&mut *db)
                .await
                .map_err(failed("note an outbox file"))?;
        }
        fault::step("spool: taken noted");
        Ok(key)
    }

    /// Seals the next block, numbered after `at_least`, and writes it and the new tip.
    async fn insert(
        &self,
        db: &mut SqliteConnection,
        mut contents: Contents,
        last_reading: Option<Moment>,
        at_least: u64,
        now: Moment,
    ) -> Result<(BlockKey, i64), SpoolError> {
        let Identity { node, boot_id, key: signer } = &*self.identity;
        let before = tip(db).await?;
        let previous = before.as_ref().map_or_else(BlockHash::default, |tip| tip.hash);
        let same_boot = before.as_ref().filter(|tip| tip.boot_id == *boot_id);
        if same_boot.is_none()
            && let Some(Tip { boot_id, sequence, closed, .. }) = &before
        {
            let (boot_id, last_sequence, last) = (boot_id.clone(), *sequence, *closed);
            contents.events.insert(0, Event::BootEnded { boot_id, last_sequence, last });
        }
        let last_sequence = same_boot.map_or(0, |tip| tip.sequence).max(at_least);
        let sequence = last_sequence.checked_add(1).ok_or(SpoolError::Exhausted)?;
        let last_reading = last_reading.or(same_boot.and_then(|tip| tip.last_reading));
        let key = BlockKey { node: node.clone(), boot_id: boot_id.clone(), sequence };
        let sealed = Sealed::new(&Block { key: key.clone(), previous, closed: now, contents }, signer)?;
        let id = insert_sealed(db, &sealed).await?;
        fault::step("spool: block written");
        let tip = Tip { boot_id: boot_id.clone(), sequence, hash: sealed.hash(), closed: now, last_reading };
        write_tip(db, &tip).await?;
        fault::step("spool: tip written");
        Ok((key, id))
    }

    /// The oldest block that is not acknowledged.
    ///
    /// # Errors
    /// Where the file cannot be read, or the block is not as it was written.
    pub async fn next(&self) -> Result<Option<Spooled>, SpoolError> {
        let row: Option<(i64, i64, Vec<u8>)> = sqlx::query_as(
            "SELECT spooled, sequence, bytes FROM block WHERE acknowledged_unix_usec IS NULL ORDER BY spooled LIMIT 1",
        )
        .fetch_optional(&self.pool)
        .await
        .map_err(failed("be read"))?;
        row.map(|(id, sequence, bytes)| {
            let sequence = u64::try_from(sequence).map_err(|_| SpoolError::Damaged("block"))?;
            whole(&bytes)?;
            Ok(Spooled { id, sequence, bytes })
        })
        .transpose()
    }

    /// The ledger has a block.
    ///
    /// # Errors
    /// Where that could not be noted; the block is sent again, which does no harm.
    pub async fn acknowledge(&self, block: &Spooled, now: WallTime) -> Result<(), SpoolError> {
        sqlx::query("UPDATE block SET acknowledged_unix_usec = ? WHERE spooled = ?")
            .bind(now.unix_usec())
            .bind(block.id)
            .execute(&self.pool)
            .await
            .map_err(failed("let a block go"))?;
        fault::step("spool: acknowledged");
        Ok(())
    }

    /// Outbox files whose block the ledger has: no longer needed.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn done_files(&self) -> Result<Vec<String>, SpoolError> {
        sqlx::query_scalar(
            "SELECT file FROM taken WHERE spooled NOT IN (SELECT spooled FROM block WHERE acknowledged_unix_usec IS NULL)",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(failed("be read"))
    }

    /// Gives a block another name: under its own the ledger has another block, from a spool that
    /// was lost or replaced. Its bytes are kept aside as evidence.
    ///
    /// # Errors
    /// Where that could not be done; it stays the next to be sent.
    pub async fn renumber(
        &self,
        block: &Spooled,
        ledger_has: u64,
        now: Moment,
    ) -> Result<BlockKey, SpoolError> {
        let sealed = Sealed::open(block.bytes.clone()).map_err(|_| SpoolError::Damaged("block"))?;
        let mut contents = sealed.block().map_err(|_| SpoolError::Damaged("block"))?.contents;
        contents.events.push(Event::Renumbered { from: block.sequence });
        let mut db = begin(&self.pool).await?;
        let done = self.replace(&mut db, block, contents, ledger_has, now).await;
        finish(&mut db, done).await
    }

    async fn replace(
        &self,
        db: &mut SqliteConnection,
        block: &Spooled,
        contents: Contents,
        ledger_has: u64,
        now: Moment,
    ) -> Result<BlockKey, SpoolError> {
        let (key, id) = self.insert(db, contents, None, ledger_has, now).await?;
        sqlx::query("UPDATE taken SET spooled = ? WHERE spooled = ?")
            .bind(id)
            .bind(block.id)
            .execute(&mut *db)
            .await
            .map_err(failed("note an outbox file"))?;
        aside(db, block, "another block stands under its name in the ledger").await?;
        Ok(key)
    }

    /// Puts a block aside that the server will never take, so that the others go on.
    ///
    /// # Errors
    /// Where it could not be put aside; it stays the next to be sent.
    pub async fn reject(&self, block: &Spooled, reason: &str) -> Result<(), SpoolError> {
        let mut db = begin(&self.pool).await?;
        let done = aside(&mut db, block, reason).await;
        finish(&mut db, done).await
    }

    /// Which of these outbox files are in a block already.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn has_taken(&self, file: &str) -> Result<bool, SpoolError> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM taken WHERE file = ?")
            .bind(file)
            .fetch_optional(&self.pool)
            .await
            .map_err(failed("be read"))?;
        Ok(row.is_some())
    }

    /// Forgets outbox files that are gone.
    ///
    /// # Errors
    /// Where they could not be forgotten; they do no harm.
    pub async fn forget(&self, files: &[String]) -> Result<(), SpoolError> {
        for file in files {
            sqlx::query("DELETE FROM taken WHERE file = ?")
                .bind(file)
                .execute(&self.pool)
                .await
                .map_err(failed("forget an outbox file"))?;
        }
        Ok(())
    }

    /// Lets acknowledged blocks go that are old enough or that there is no room for. Whether there
    /// is room for readings now: the last tenth of it is kept for final counters.
    ///
    /// # Errors
    /// Where the file cannot be read or written.
    pub async fn prune(&self, now: WallTime) -> Result<bool, SpoolError> {
        let keep = i64::try_from(self.bounds.keep.as_micros()).unwrap_or(i64::MAX);
        let old = now.unix_usec().saturating_sub(keep);
        self.delete("DELETE FROM block WHERE acknowledged_unix_usec < ?", old).await?;
        let roomy = self.bounds.max_bytes.saturating_sub(self.bounds.max_bytes.div_ceil(10));
        while self.used_bytes().await? > roomy {
            let some = "DELETE FROM block WHERE spooled IN (SELECT spooled FROM block \
                        WHERE acknowledged_unix_usec IS NOT NULL ORDER BY spooled LIMIT ?)";
            if self.delete(some, 100).await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn delete(&self, statement: &str, bound: i64) -> Result<u64, SpoolError> {
        let done = sqlx::query(statement).bind(bound).execute(&self.pool).await;
        Ok(done.map_err(failed("let old blocks go"))?.rows_affected())
    }

    /// Bytes of the file that are in use.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn used_bytes(&self) -> Result<u64, SpoolError> {
        let mut db = self.pool.acquire().await.map_err(failed("be measured"))?;
        used_bytes(&mut db).await
    }

    /// How many blocks the ledger does not have yet.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn waiting(&self) -> Result<u64, SpoolError> {
        let waiting: i64 =
            sqlx::query_scalar("SELECT count(*) FROM block WHERE acknowledged_unix_usec IS NULL")
                .fetch_one(&self.pool)
                .await
                .map_err(failed("be read"))?;
        u64::try_from(waiting).map_err(|_| SpoolError::Damaged("block"))
    }
}

async fn connect(file: &Path) -> Result<SqlitePool, SpoolError> {
    let options = tenantry_sqlite::durable(file, BUSY_TIMEOUT);
    let pool = SqlitePoolOptions::new()
        .max_connections(2)
        .connect_with(options)
        .await
        .map_err(failed("be opened"))?;
    let found: String =
        sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&pool).await.map_err(failed("be checked"))?;
    if found != "ok" {
        return Err(SpoolError::Damaged("file"));
    }
    sqlx::migrate!().run(&pool).await?;
    let mut db = pool.acquire().await.map_err(failed("be read"))?;
    // What reads back wrong here would do so at each block.
    tip(&mut db).await?;
    // SQLite does not look into what it keeps.
    let waiting: Vec<i64> =
        sqlx::query_scalar("SELECT spooled FROM block WHERE acknowledged_unix_usec IS NULL")
            .fetch_all(&mut *db)
            .await
            .map_err(failed("be read"))?;
    for id in waiting {
        let bytes: Vec<u8> = sqlx::query_scalar("SELECT bytes FROM block WHERE spooled = ?")
            .bind(id)
            .fetch_one(&mut *db)
            .await
            .map_err(failed("be read"))?;
        whole(&bytes)?;
    }
    drop(db);
    Ok(pool)
}

/// Whether a block is as it was written: its checksum and signature tell.
fn whole(bytes: &[u8]) -> Result<(), SpoolError> {
    Sealed::open(bytes.to_vec()).map(drop).map_err(|_| SpoolError::Damaged("block"))
}

async fn tip(db: &mut SqliteConnection) -> Result<Option<Tip>, SpoolError> {
    type Row = (String, i64, Vec<u8>, String, Option<String>);
    let row: Option<Row> = sqlx::query_as("SELECT boot_id, sequence, hash, closed, last_reading FROM tip")
        .fetch_optional(db)
        .await
        .map_err(failed("be read"))?;
    let read = |(boot_id, sequence, hash, closed, last_reading): Row| {
        Some(Tip {
            boot_id: boot_id.parse().ok()?,
            sequence: u64::try_from(sequence).ok()?,
            hash: BlockHash(hash.try_into().ok()?),
            closed: serde_json::from_str(&closed).ok()?,
            last_reading: last_reading.map(|text| serde_json::from_str(&text)).transpose().ok()?,
        })
    };
    row.map(|row| read(row).ok_or(SpoolError::Damaged("tip"))).transpose()
}

async fn used_bytes(db: &mut SqliteConnection) -> Result<u64, SpoolError> {
    let used: i64 = sqlx::query_scalar(
        "SELECT (page_count - freelist_count) * page_size
         FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size()",
    )
    .fetch_one(db)
    .await
    .map_err(failed("be measured"))?;
    u64::try_from(used).map_err(|_| SpoolError::Damaged("size"))
}

async fn write_tip(db: &mut SqliteConnection, tip: &Tip) -> Result<(), SpoolError> {
    let moment = |moment: &Moment| serde_json::to_string(moment).map_err(|_| SpoolError::Damaged("tip"));
    sqlx::query(
        "INSERT INTO tip (only, boot_id, sequence, hash, closed, last_reading) VALUES (1, ?, ?, ?, ?, ?)
         ON CONFLICT (only) DO UPDATE SET boot_id = excluded.boot_id, sequence = excluded.sequence,
             hash = excluded.hash, closed = excluded.closed, last_reading = excluded.last_reading",
    )
    .bind(tip.boot_id.as_str())
    .bind(number(tip.sequence)?)
    .bind(&tip.hash.0[..])
    .bind(moment(&tip.closed)?)
    .bind(tip.last_reading.as_ref().map(moment).transpose()?)
    .execute(db)
    .await
    .map_err(failed("note the last block"))?;
    Ok(())
}

async fn insert_sealed(db: &mut SqliteConnection, sealed: &Sealed) -> Result<i64, SpoolError> {
    let key = sealed.key();
    let done = sqlx::query(
        "INSERT INTO block (boot_id, sequence, closed_unix_usec, hash, bytes) VALUES (?, ?, ?, ?, ?)",
    )
    .bind(key.boot_id.as_str())
    .bind(number(key.sequence)?)
    .bind(sealed.closed().wall.unix_usec())
    .bind(&sealed.hash().0[..])
    .bind(sealed.bytes())
    .execute(db)
    .await
    .map_err(failed("write a block"))?;
    Ok(done.last_insert_rowid())
}

/// Out of the way, and kept. The files of its ends are not known to be in any block from now on, so that
/// they are kept, too, and taken again at the next start.
async fn aside(db: &mut SqliteConnection, block: &Spooled, reason: &str) -> Result<(), SpoolError> {
    sqlx::query("DELETE FROM taken WHERE spooled = ?")
        .bind(block.id)
        .execute(&mut *db)
        .await
        .map_err(failed("put a block aside"))?;
    sqlx::query("INSERT INTO rejected (spooled, reason, payload) VALUES (?, ?, ?)")
        .bind(block.id)
        .bind(reason)
        .bind(&block.bytes)
        .execute(&mut *db)
        .await
        .map_err(failed("put a block aside"))?;
    sqlx::query("DELETE FROM block WHERE spooled = ?")
        .bind(block.id)
        .execute(&mut *db)
        .await
        .map_err(failed("put a block aside"))?;
    Ok(())
}

#[cfg(test)]
mod tests;
