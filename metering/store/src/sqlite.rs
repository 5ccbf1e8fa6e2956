//! The embedded ledger: one file, one writer.

mod facts;
mod query;
mod write;

use std::path::Path;
use std::time::Duration;

use sqlx::Sqlite;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use tenantry_model::NodeName;
use tenantry_sqlite::finish;

use crate::error::unreadable;
use crate::ingest::{Arrival, Taken, Wanted, plan};
use crate::{AuditEvent, PublicKey, SentBlock, StoreError, sql};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// How long a statement waits for another process that holds the database (an administrator's
/// `sqlite3`, a backup).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

#[derive(Debug, Clone)]
pub(crate) struct SqliteLedger {
    /// One connection: the database has one writer.
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteLedger {
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = tenantry_sqlite::durable(path, BUSY_TIMEOUT).foreign_keys(true);
        let open = |source| StoreError::Open { path: path.to_owned(), source };
        let writer =
            SqlitePoolOptions::new().max_connections(1).connect_with(options.clone()).await.map_err(open)?;
        MIGRATIONS.run(&writer).await.map_err(|source| migration_error(path, source))?;
        let options = options.create_if_missing(false).read_only(true);
        let readers =
            SqlitePoolOptions::new().max_connections(READERS).connect_with(options).await.map_err(open)?;
        Ok(Self { writer, readers })
    }

    pub async fn take(&self, arrival: Arrival<'_>) -> Result<Taken, StoreError> {
        let mut db = self.begin().await?;
        let taken = async {
            let facts = facts::gather(&mut db, arrival.sent, Wanted::by(arrival.sent)).await?;
            let changes = plan(arrival, facts)?;
            write::changes(&mut db, arrival, changes).await
        };
        let taken = taken.await;
        finish(&mut db, taken).await
    }

    pub async fn last_sequence(&self, sent: &SentBlock) -> Result<u64, StoreError> {
        let key = sent.key();
        let last: i64 =
            sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM block WHERE node = ? AND boot_id = ?")
                .bind(key.node.as_str())
                .bind(key.boot_id.as_str())
                .fetch_one(&self.readers)
                .await
                .map_err(sql("look for a boot's last block"))?;
        u64::try_from(last).map_err(|error| unreadable("block", error))
    }

    pub async fn audit(&self, event: &AuditEvent) -> Result<(), StoreError> {
        write::audit(&self.writer, event).await
    }

    pub async fn trust_key(
        &self,
        node: &NodeName,
        key: PublicKey,
        event: &AuditEvent,
    ) -> Result<(), StoreError> {
        let mut db = self.begin().await?;
        let done = async {
            write::trust(&mut db, node, key, event.at).await?;
            write::audit(&mut *db, event).await
        };
        let done = done.await;
        finish(&mut db, done).await
    }

    async fn begin(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        tenantry_sqlite::begin(&self.writer).await.map_err(sql("begin a transaction"))
    }

    pub async fn close(&self) {
        self.readers.close().await;
        // SQLite does so when the last connection closes; those that close together leave it to each other.
        let _ = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&self.writer).await;
        self.writer.close().await;
    }
}

fn migration_error(path: &Path, source: MigrateError) -> StoreError {
    let path = path.to_owned();
    let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    match source {
        MigrateError::VersionMissing(found) if found > known => {
            StoreError::NewerSchema { path, found, known }
        }
        source => StoreError::Migrate { path, source },
    }
}
