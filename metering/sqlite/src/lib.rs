//! How the spool and the embedded ledger use SQLite: WAL with `synchronous=FULL`, so that what was
//! committed survives a power cut, and transactions of our own.
//!
//! Not sqlx's transactions: after SQLite has rolled one back by itself, as where the disk is full, sqlx
//! (0.8.6) still counts it, and its connection begins no other. Nor may [`begin`] to [`finish`] be dropped in
//! the middle: what a stranger can cut off runs in a task of its own.
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqliteSynchronous,
};
use sqlx::{Result, Sqlite};

/// A file that is written durably, made where there is none. `patience` is how long a statement waits for
/// another process.
#[must_use]
pub fn durable(file: &Path, patience: Duration) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(patience)
}

/// Begins a transaction that has the lock from its beginning: one that reads first and writes then could
/// not wait for another writer.
///
/// # Errors
/// Where there is no connection, or the lock is not to be had.
pub async fn begin(pool: &SqlitePool) -> Result<PoolConnection<Sqlite>> {
    let mut db = pool.acquire().await?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *db).await?;
    Ok(db)
}

/// Commits what was done, or rolls back what was not.
///
/// # Errors
/// That of `done`, or of the commit.
pub async fn finish<T, E: From<CommitError>>(
    db: &mut SqliteConnection,
    done: std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    let done = match done {
        Ok(value) => {
            let committed = sqlx::query("COMMIT").execute(&mut *db).await;
            committed.map(|_| value).map_err(|source| CommitError(source).into())
        }
        Err(error) => Err(error),
    };
    if done.is_err() {
        // Where SQLite has done so there is nothing to roll back.
        let _ = sqlx::query("ROLLBACK").execute(&mut *db).await;
    }
    done
}

/// A commit that failed: nothing was changed.
#[derive(Debug)]
pub struct CommitError(pub sqlx::Error);
