//! The ledger: every block a node sent, once, and the usage that follows from it.
//!
//! [`Ledger`] is the embedded ledger in SQLite (WAL, `synchronous=FULL`: what was acknowledged is on
//! the disk). Blocks, usage rows and audit events are only ever added.
//!
//! ```
//! use tenantry_block::{NodeKey, Sealed};
//! use tenantry_model::block::{Block, BlockHash, BlockKey, Contents, Receipt};
//! use tenantry_model::{Moment, Usec};
//! use tenantry_store::{Filter, Ledger, SentBlock, Taken};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let ledger = Ledger::open(&dir.path().join("ledger.sqlite")).await?;
//! let now = Moment { wall: "2026-11-22T10:00:00Z".parse()?, boottime_usec: Usec(60_000_000) };
//! let heartbeat = Block {
//!     key: BlockKey { node: "n1".parse()?, boot_id: "0b0b0b0b-0000-4000-8000-000000000001".parse()?, sequence: 1 },
//!     previous: BlockHash::default(),
//!     closed: now,
//!     contents: Contents::default(),
//! };
//! let sealed = Sealed::new(&heartbeat, &NodeKey::from_seed(&[7; 32]))?;
//! let block = SentBlock::parse(sealed.bytes().to_vec())?;
//! assert_eq!(ledger.ingest(&block, now.wall, "request-1").await?, Taken::Receipt(Receipt::New));
//! assert_eq!(ledger.ingest(&block, now.wall, "request-2").await?, Taken::Receipt(Receipt::Duplicate));
//! assert!(ledger.usage(&Filter::default()).await?.usage.is_empty());
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod ingest;
mod query;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::Sqlite;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnection, SqliteExecutor, SqlitePool, SqlitePoolOptions};
use tenantry_block::Sealed;
pub use tenantry_block::{Malformed, PublicKey};
use tenantry_model::block::Block;
use tenantry_model::{NodeName, WallTime};
use tenantry_sqlite::{CommitError, finish};

pub use ingest::Taken;
pub use query::{Filter, MOST_RECORDS};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// How long a statement waits for another process that holds the database (an administrator's
/// `sqlite3`, a backup).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const READERS: u32 = 4;

/// Why the ledger did not do what it was asked. The text says what failed; the cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or made.
    #[error("cannot open the ledger {}: its directory must be there, writable to this user", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The database's word.
        source: sqlx::Error,
    },
    /// The file is of a later release.
    #[error(
        "the ledger {} has schema {found}, and this program knows schemas up to {known}: \
         start the release that wrote it, or a later one", path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The latest this program knows.
        known: i64,
    },
    /// The file is no ledger, or an unfinished one.
    #[error("cannot bring the ledger {} to this program's schema", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: MigrateError,
    },
    /// A statement failed: busy, full, broken. Nothing was changed; asking again is safe.
    #[error("the ledger failed to {what}")]
    Sql {
        /// What it was to do.
        what: &'static str,
        /// The database's word.
        source: sqlx::Error,
    },
    /// A number larger than the ledger's 64-bit signed integers. Nothing was changed.
    #[error("{what} = {value} does not fit the ledger: it takes up to 9223372036854775807")]
    OutOfRange {
        /// Which figure.
        what: String,
        /// The number.
        value: String,
    },
    /// What stands in the ledger cannot be read back.
    #[error("a row of the ledger's table {table} cannot be read: check the file with PRAGMA integrity_check")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A defect of this program, or its end. Whether the block was taken is not known; asking again is safe.
    #[error("the ledger's work was cut off")]
    Task {
        /// What ended it.
        source: tokio::task::JoinError,
    },
    /// More records match than one answer holds.
    #[error("more than {MOST_RECORDS} records match: ask for one tenant or one job")]
    TooMany,
}

pub(crate) fn sql(what: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Sql { what, source }
}

/// A number on its way into a column.
pub(crate) fn column(what: &str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value)
        .map_err(|_| StoreError::OutOfRange { what: what.to_owned(), value: value.to_string() })
}

/// A block and the bytes it came in.
///
/// # Invariants
/// The block is what the bytes say: [`SentBlock::parse`] is the only constructor.
#[derive(Debug, Clone)]
pub struct SentBlock {
    sealed: Arc<Sealed>,
    block: Arc<Block>,
}

impl SentBlock {
    /// Reads a block's bytes: checksum, signature and all that is in it.
    ///
    /// # Errors
    /// Where the bytes are no block.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, Malformed> {
        let sealed = Sealed::open(bytes)?;
        let block = sealed.block()?;
        Ok(Self { sealed: Arc::new(sealed), block: Arc::new(block) })
    }

    /// What was sent.
    #[must_use]
    pub fn block(&self) -> &Block {
        &self.block
    }
}

impl std::ops::Deref for SentBlock {
    type Target = Sealed;

    fn deref(&self) -> &Sealed {
        &self.sealed
    }
}

/// Something a person should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEvent {
    /// When, by the server's clock.
    pub at: WallTime,
    /// What happened.
    pub kind: AuditKind,
    /// The caller, where the kernel told.
    pub uid: Option<u32>,
    /// The request in which it happened.
    pub correlation_id: String,
    /// The block, the run or the path it is about.
    pub subject: String,
    /// What exactly.
    pub detail: String,
}

/// What an [`AuditEvent`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditKind {
    /// Another block came under a name the ledger has.
    BlockConflict,
    /// Another end came for a run that has one of the same or a better quality.
    EndConflict,
    /// A run's record was followed by one of a better quality.
    EndCorrected,
    /// A job's node went down, and its last reading closed it.
    EndEstimated,
    /// A block does not name the one before it.
    ChainBroken,
    /// A block is signed with a key that its node is not trusted with.
    UnknownKey,
    /// A node is trusted with a key from now on.
    KeyTrusted,
    /// A node's spool was damaged, and a new one was begun.
    SpoolLost,
    /// A block has another name than it was made with.
    Renumbered,
    /// Somebody without the right to send blocks tried.
    Refused,
}

impl AuditKind {
    const ALL: [Self; 10] = [
        Self::BlockConflict,
        Self::EndConflict,
        Self::EndCorrected,
        Self::EndEstimated,
        Self::ChainBroken,
        Self::UnknownKey,
        Self::KeyTrusted,
        Self::SpoolLost,
        Self::Renumbered,
        Self::Refused,
    ];

    /// Its name in the ledger.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BlockConflict => "block_conflict",
            Self::EndConflict => "end_conflict",
            Self::EndCorrected => "end_corrected",
            Self::EndEstimated => "end_estimated",
            Self::ChainBroken => "chain_broken",
            Self::UnknownKey => "unknown_key",
            Self::KeyTrusted => "key_trusted",
            Self::SpoolLost => "spool_lost",
            Self::Renumbered => "renumbered",
            Self::Refused => "refused",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The embedded ledger. Clones share it.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// One connection: the database has one writer.
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Ledger {
    /// Opens the ledger at `path`, makes it where there is none, and brings it to this program's
    /// schema.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::NewerSchema`], [`StoreError::Migrate`].
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

    /// Writes down something a person should look at.
    ///
    /// # Errors
    /// [`StoreError::Sql`]: it is not written.
    pub async fn audit(&self, event: &AuditEvent) -> Result<(), StoreError> {
        insert_audit(&self.writer, event).await
    }

    /// Trusts a node with a key, beside those it has: one whose disk was replaced has a new one.
    ///
    /// # Errors
    /// [`StoreError::Sql`]: nothing was changed.
    pub async fn trust_key(&self, node: &NodeName, key: PublicKey, now: WallTime) -> Result<(), StoreError> {
        let mut db = self.begin().await?;
        let done = trust_by_hand(&mut db, node, key, now).await;
        finish(&mut db, done).await
    }

    pub(crate) async fn begin(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        tenantry_sqlite::begin(&self.writer).await.map_err(sql("begin a transaction"))
    }

    /// Ends all work and folds the write-ahead log into the database.
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

impl From<CommitError> for StoreError {
    fn from(CommitError(source): CommitError) -> Self {
        sql("commit a transaction")(source)
    }
}

async fn trust_by_hand(
    db: &mut SqliteConnection,
    node: &NodeName,
    key: PublicKey,
    now: WallTime,
) -> Result<(), StoreError> {
    trust(db, node, key, now).await?;
    let event = AuditEvent {
        at: now,
        kind: AuditKind::KeyTrusted,
        uid: None,
        correlation_id: "trust-key".to_owned(),
        subject: format!("node {node}"),
        detail: format!("an administrator trusts it with {key}"),
    };
    insert_audit(db, &event).await
}

async fn trust(
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

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A String takes whatever is written.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

async fn insert_audit(executor: impl SqliteExecutor<'_>, event: &AuditEvent) -> Result<(), StoreError> {
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
