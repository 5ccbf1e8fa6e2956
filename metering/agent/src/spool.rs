//! The spool: an SQLite file that has every entry until the ledger has it.
//!
//! WAL with `synchronous=FULL`: when [`Spool::append`] returns, the block survives a power cut.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tenantry_model::block::{Block, BlockKey, Entry};
use tenantry_model::{BootId, NodeName};

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
    /// The file is of a newer tenantryd, or was tampered with.
    #[error("the spool's tables are not this version's; run the tenantryd that wrote it until it is empty")]
    Schema(#[from] sqlx::migrate::MigrateError),
    /// A block that cannot be written as JSON.
    #[error("a block cannot be encoded")]
    Encode(#[from] serde_json::Error),
    /// More blocks in one boot than the file counts.
    #[error("no sequence is left in this boot")]
    Exhausted,
}

/// A block that waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spooled {
    id: i64,
    /// Its text, to the byte.
    pub payload: Vec<u8>,
}

/// The spool of one boot of one node. Clones are the same spool.
#[derive(Debug, Clone)]
pub struct Spool {
    pool: SqlitePool,
    node: NodeName,
    boot_id: BootId,
}

fn failed(operation: &'static str) -> impl FnOnce(sqlx::Error) -> SpoolError {
    move |source| SpoolError::Sqlite { operation, source }
}

impl Spool {
    /// Opens the spool, making it where there is none.
    ///
    /// # Errors
    /// Where the file cannot be opened, or is of another version.
    pub async fn open(file: &Path, node: NodeName, boot_id: BootId) -> Result<Self, SpoolError> {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new()
            .max_connections(2)
            .connect_with(options)
            .await
            .map_err(failed("be opened"))?;
        sqlx::migrate!().run(&pool).await?;
        Ok(Self { pool, node, boot_id })
    }

    /// Makes a block of the entries and puts it into the spool, with the names of the outbox files
    /// they came from, in one transaction.
    ///
    /// # Errors
    /// Where nothing was spooled, and the sources must be kept.
    pub async fn append(&self, entries: Vec<Entry>, taken: &[String]) -> Result<BlockKey, SpoolError> {
        let mut tx = self.pool.begin().await.map_err(failed("begin a block"))?;
        let (last,): (i64,) = sqlx::query_as(
            "INSERT INTO sequence (boot_id, last) VALUES (?, 1)
             ON CONFLICT (boot_id) DO UPDATE SET last = last + 1 RETURNING last",
        )
        .bind(self.boot_id.as_str())
        .fetch_one(&mut *tx)
        .await
        .map_err(failed("number a block"))?;
        let sequence = u64::try_from(last).map_err(|_| SpoolError::Exhausted)?;
        let key = BlockKey { node: self.node.clone(), boot_id: self.boot_id.clone(), sequence };
        let payload = serde_json::to_vec(&Block { key: key.clone(), entries })?;
        sqlx::query("INSERT INTO block (boot_id, sequence, payload) VALUES (?, ?, ?)")
            .bind(self.boot_id.as_str())
            .bind(last)
            .bind(payload)
            .execute(&mut *tx)
            .await
            .map_err(failed("write a block"))?;
        for file in taken {
            sqlx::query("INSERT INTO taken (file) VALUES (?)")
                .bind(file)
                .execute(&mut *tx)
                .await
                .map_err(failed("note an outbox file"))?;
        }
        tx.commit().await.map_err(failed("commit a block"))?;
        Ok(key)
    }

    /// The oldest block that is not acknowledged.
    ///
    /// # Errors
    /// Where the file cannot be read.
    pub async fn next(&self) -> Result<Option<Spooled>, SpoolError> {
        let row: Option<(i64, Vec<u8>)> =
            sqlx::query_as("SELECT spooled, payload FROM block ORDER BY spooled LIMIT 1")
                .fetch_optional(&self.pool)
                .await
                .map_err(failed("be read"))?;
        Ok(row.map(|(id, payload)| Spooled { id, payload }))
    }

    /// Lets a block go: the ledger has it.
    ///
    /// # Errors
    /// Where the block could not be let go; it is sent again, which does no harm.
    pub async fn acknowledge(&self, block: &Spooled) -> Result<(), SpoolError> {
        sqlx::query("DELETE FROM block WHERE spooled = ?")
            .bind(block.id)
            .execute(&self.pool)
            .await
            .map_err(failed("let a block go"))?;
        Ok(())
    }

    /// Puts a block aside that the server will never take, so that the others go on.
    ///
    /// # Errors
    /// Where it could not be put aside; it stays the next to be sent.
    pub async fn reject(&self, block: &Spooled, reason: &str) -> Result<(), SpoolError> {
        let mut tx = self.pool.begin().await.map_err(failed("put a block aside"))?;
        sqlx::query("INSERT INTO rejected (spooled, reason, payload) VALUES (?, ?, ?)")
            .bind(block.id)
            .bind(reason)
            .bind(&block.payload)
            .execute(&mut *tx)
            .await
            .map_err(failed("put a block aside"))?;
        sqlx::query("DELETE FROM block WHERE spooled = ?")
            .bind(block.id)
            .execute(&mut *tx)
            .await
            .map_err(failed("put a block aside"))?;
        tx.commit().await.map_err(failed("put a block aside"))
    }

    /// Whether an outbox file's entry is in a block already.
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
}

#[cfg(test)]
mod tests;
