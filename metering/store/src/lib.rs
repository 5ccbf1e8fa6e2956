//! The ledger: every block a node sent, once, and the usage that follows from it.
//!
//! [`Ledger`] stands on one of two stores: SQLite on one machine (WAL, `synchronous=FULL`: what was
//! acknowledged is on the disk), or PostgreSQL with a synchronous standby (what was acknowledged is on two).
//! What a block changes is the same for both, a pure function (`ingest.rs`) between two thin shells. Blocks,
//! usage rows and audit events are only ever added.
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

mod audit;
mod error;
mod ingest;
pub mod postgres;
mod query;
mod sqlite;
mod windows;

use std::path::Path;
use std::sync::Arc;

use tenantry_block::Sealed;
pub use tenantry_block::{Malformed, PublicKey};
use tenantry_model::block::Block;
use tenantry_model::usage::UsageReport;
use tenantry_model::window::{GroupBy, UsageGroup, WindowWidth};
use tenantry_model::{NodeName, WallTime};

pub use audit::{AuditEvent, AuditKind};
pub use error::StoreError;
pub(crate) use error::{column, sql};
use ingest::Arrival;
pub use ingest::Taken;
use postgres::{PostgresLedger, PostgresSettings};
pub use query::{Filter, MOST_RECORDS, Page};
use sqlite::SqliteLedger;

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

/// The ledger. Clones share it.
#[derive(Debug, Clone)]
pub struct Ledger(Store, WindowWidth);

#[derive(Debug, Clone)]
enum Store {
    Sqlite(SqliteLedger),
    Postgres(PostgresLedger),
}

impl Ledger {
    /// Opens the embedded ledger at `path`, makes it where there is none, and brings it to this program's
    /// schema.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::NewerSchema`], [`StoreError::Migrate`].
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        SqliteLedger::open(path).await.map(|ledger| Self(Store::Sqlite(ledger), WindowWidth::HOUR))
    }

    /// Connects to the ledger in PostgreSQL: to the primary among its servers, with a synchronous standby.
    ///
    /// # Errors
    /// [`StoreError::NoPrimary`]; [`StoreError::Refused`] where the schema, the roles or the standby are not as
    /// they must be.
    pub async fn connect(settings: &PostgresSettings) -> Result<Self, StoreError> {
        PostgresLedger::connect(settings).await.map(|ledger| Self(Store::Postgres(ledger), WindowWidth::HOUR))
    }

    /// With windows of another width than an hour: those of runs that begin from now on.
    #[must_use]
    pub fn with_windows(self, width: WindowWidth) -> Self {
        Self(self.0, width)
    }

    /// Makes days' partitions ahead, where the ledger has partitions, and says how many were missing. To be called
    /// at the start and every hour.
    ///
    /// # Errors
    /// [`StoreError::Sql`]: blocks are taken all the same, into the default partition.
    pub async fn make_days(&self, now: WallTime) -> Result<i32, StoreError> {
        match &self.0 {
            Store::Sqlite(_) => Ok(0),
            Store::Postgres(ledger) => ledger.make_days(now).await,
        }
    }

    /// Takes a block and all that follows from it in one transaction. It may be called again with
    /// the same block any number of times, after any failure.
    ///
    /// `received` is when it came, by the server's clock; `correlation_id` names the request.
    /// When this returns [`Receipt::New`](tenantry_model::block::Receipt) or a duplicate, the block is on the
    /// disk; of a ledger in PostgreSQL on the standby's, too.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::OutOfRange`], [`StoreError::Unreadable`]: not acknowledged; asking
    /// again is safe.
    pub async fn ingest(
        &self,
        sent: &SentBlock,
        received: WallTime,
        correlation_id: &str,
    ) -> Result<Taken, StoreError> {
        let (Self(store, width), sent, correlation_id) =
            (self.clone(), sent.clone(), correlation_id.to_owned());
        // A task of its own: the sender may go away in the middle, and a transaction that is dropped while
        // it begins leaves the connection unusable.
        let taken = tokio::spawn(async move {
            let arrival = Arrival { sent: &sent, received, correlation_id: &correlation_id, width };
            match &store {
                Store::Sqlite(ledger) => ledger.take(arrival).await,
                Store::Postgres(ledger) => ledger.take(arrival).await,
            }
        });
        taken.await.map_err(|source| StoreError::Task { source })?
    }

    /// The last block of a boot that the ledger has; 0: none.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Unreadable`].
    pub async fn last_sequence(&self, sent: &SentBlock) -> Result<u64, StoreError> {
        match &self.0 {
            Store::Sqlite(ledger) => ledger.last_sequence(sent).await,
            Store::Postgres(ledger) => ledger.last_sequence(sent).await,
        }
    }

    /// Writes down something a person should look at.
    ///
    /// # Errors
    /// [`StoreError::Sql`]: it is not written.
    pub async fn audit(&self, event: &AuditEvent) -> Result<(), StoreError> {
        match &self.0 {
            Store::Sqlite(ledger) => ledger.audit(event).await,
            Store::Postgres(ledger) => ledger.audit(event).await,
        }
    }

    /// Trusts a node with a key, beside those it has: one whose disk was replaced has a new one.
    ///
    /// # Errors
    /// [`StoreError::Sql`]: nothing was changed.
    pub async fn trust_key(&self, node: &NodeName, key: PublicKey, now: WallTime) -> Result<(), StoreError> {
        let event = AuditEvent::trusted_by_hand(node, key, now);
        match &self.0 {
            Store::Sqlite(ledger) => ledger.trust_key(node, key, &event).await,
            Store::Postgres(ledger) => ledger.trust_key(node, key, &event).await,
        }
    }

    /// Usage of ended jobs by their latest revision, of running jobs by their latest reading, in
    /// the order of tenant, job, start and node; and the latest counters of the tenants' own
    /// groups, where the question is about neither one job nor one owner; and what is missing of the
    /// nodes' records, where it is about everything.
    ///
    /// # Errors
    /// [`StoreError::TooMany`], [`StoreError::Sql`], [`StoreError::Unreadable`].
    pub async fn usage(&self, filter: &Filter) -> Result<UsageReport, StoreError> {
        match &self.0 {
            Store::Sqlite(ledger) => ledger.usage(filter).await,
            Store::Postgres(ledger) => ledger.usage(filter).await,
        }
    }

    /// Usage by windows, a page of up to `limit` rows after the row `after`: written rows in the order they were
    /// written, so that what comes meanwhile stands on a later page; then, on the last page, what running jobs used
    /// in windows that have no row yet.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Unreadable`].
    pub async fn windows(&self, filter: &Filter, after: i64, limit: u32) -> Result<Page, StoreError> {
        let (mut rows, pending) = match &self.0 {
            Store::Sqlite(ledger) => ledger.windows(filter, after, limit).await?,
            Store::Postgres(ledger) => ledger.windows(filter, after, limit).await?,
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if rows.len() > limit {
            rows.truncate(limit);
            let next = rows.last().map(|(id, _)| *id);
            return Ok(Page { windows: rows.into_iter().map(|(_, window)| window).collect(), next });
        }
        let written = rows.into_iter().map(|(_, window)| window);
        Ok(Page { windows: written.chain(pending).collect(), next: None })
    }

    /// Usage by windows, added up by what rows have in common; running jobs' windows are in it.
    ///
    /// # Errors
    /// [`StoreError::TooMany`], [`StoreError::Sql`], [`StoreError::Unreadable`].
    pub async fn groups(&self, filter: &Filter, by: &[GroupBy]) -> Result<Vec<UsageGroup>, StoreError> {
        let (rows, pending) = match &self.0 {
            Store::Sqlite(ledger) => ledger.groups(filter, by).await?,
            Store::Postgres(ledger) => ledger.groups(filter, by).await?,
        };
        windows::groups(&rows, &pending, by)
    }

    /// The latest audit events, oldest first, `most` of them.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Unreadable`].
    pub async fn audit_events(&self, most: u32) -> Result<Vec<AuditEvent>, StoreError> {
        match &self.0 {
            Store::Sqlite(ledger) => ledger.audit_events(most).await,
            Store::Postgres(ledger) => ledger.audit_events(most).await,
        }
    }

    /// Ends all work; of the embedded ledger the write-ahead log is folded into the database.
    pub async fn close(&self) {
        match &self.0 {
            Store::Sqlite(ledger) => ledger.close().await,
            Store::Postgres(ledger) => ledger.close().await,
        }
    }
}
