//! The ledger in PostgreSQL: a primary, a synchronous standby, and as many servers as one likes.
//!
//! `meter.facts` says what there is of a node, unless it is remembered from its block before; `meter.take` writes
//! what follows from blocks, if their nodes' versions are still the same. No lock is held in between, and a server that
//! dies there leaves nothing behind.

mod batch;
mod columns;
mod facts;
mod migrate;
mod moved;
mod nodes;
mod notice;
mod planned;
mod primary;
mod query;
mod settings;
mod state;
mod write;

use std::sync::Arc;
use std::time::Duration;

use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnection;
use tenantry_model::usage::UsageReport;
use tenantry_model::window::GroupBy;
use tenantry_model::{NodeName, WallTime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use crate::ingest::{Arrival, Taken, Wanted};
use crate::query::Filter;
use crate::windows::{Answer, Windows};
use crate::{AuditEvent, PublicKey, SentBlock, StoreError};

pub use migrate::migrate;
pub use moved::{Moved, move_from};
pub use settings::{ClientCertificate, Host, Login, PostgresSettings, Standby, Tls};

use batch::Waiting;
use nodes::Nodes;
use planned::{Plan, planned};
use primary::{Primary, Purpose};

const READERS: u32 = 4;
/// How often a block is planned before its sender is told to try again.
const TRIES: usize = 8;

#[derive(Debug, Clone)]
pub(crate) struct PostgresLedger {
    writer: Writer,
    queue: mpsc::Sender<Waiting>,
    readers: Primary,
}

/// What blocks are taken with.
#[derive(Debug, Clone)]
struct Writer {
    connections: Primary,
    nodes: Arc<Nodes>,
    standby: Standby,
    patience: Duration,
}

/// Asks something. What was cut off is asked once more: of the primary that is found then.
macro_rules! asked {
    ($ledger:expr, |$db:ident| $question:expr) => {{
        let mut $db = $ledger.readers.acquire().await?;
        match $question {
            Err(StoreError::Sql { source, .. }) if is_lost(&source) => {
                drop($db.detach());
                $ledger.readers.lost().await;
                let mut $db = $ledger.readers.acquire().await?;
                $question
            }
            answer => answer,
        }
    }};
}

impl PostgresLedger {
    pub async fn connect(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let known = migrate::known();
        let write = Purpose::Write(settings.standby);
        let writer = Writer {
            connections: Primary::new(settings, write, settings.writers.max(1), known),
            nodes: Arc::default(),
            standby: settings.standby,
            patience: settings.patience(),
        };
        let readers = Primary::new(settings, Purpose::Read, READERS, known);
        // What is not as it must be is said at the start.
        drop(writer.connections.acquire().await?);
        drop(readers.acquire().await?);
        let queue = batch::start(writer.clone(), settings.writers.max(1));
        Ok(Self { writer, queue, readers })
    }

    pub async fn take(&self, arrival: Arrival<'_>) -> Result<Taken, StoreError> {
        let (answer, answered) = oneshot::channel();
        let Arrival { sent, received, correlation_id, width } = arrival;
        let waiting = Waiting {
            sent: sent.clone(),
            received,
            correlation_id: correlation_id.to_owned(),
            width,
            answer,
        };
        self.queue.send(waiting).await.map_err(|_| StoreError::CutOff)?;
        answered.await.map_err(|_| StoreError::CutOff)?
    }

    pub async fn last_sequence(&self, sent: &SentBlock) -> Result<u64, StoreError> {
        let last = asked!(self, |db| query::last_sequence(&mut db, sent.key()).await)?;
        u64::try_from(last).map_err(|error| crate::error::unreadable("block", error))
    }

    pub async fn usage(&self, filter: &Filter) -> Result<UsageReport, StoreError> {
        asked!(self, |db| query::report(&mut db, filter).await)
    }

    pub async fn audit_events(&self, most: u32) -> Result<Vec<AuditEvent>, StoreError> {
        asked!(self, |db| query::audit_events(&mut db, most).await)
    }

    pub async fn windows(&self, filter: &Filter, after: i64, limit: u32) -> Result<Windows, StoreError> {
        asked!(self, |db| query::windows(&mut db, filter, after, limit).await)
    }

    pub async fn groups(&self, filter: &Filter, by: &[GroupBy]) -> Result<Answer, StoreError> {
        asked!(self, |db| query::groups(&mut db, filter, by).await)
    }

    pub async fn audit(&self, event: &AuditEvent) -> Result<(), StoreError> {
        self.writer.write(async |db, _| write::audit(db, event).await).await
    }

    pub async fn trust_key(
        &self,
        node: &NodeName,
        key: PublicKey,
        event: &AuditEvent,
    ) -> Result<(), StoreError> {
        self.writer.write(async |db, _| write::trust_key(db, node, key, event).await).await
    }

    /// Makes the days' partitions ahead, and says how many were missing.
    pub async fn make_days(&self, now: WallTime) -> Result<i32, StoreError> {
        self.writer.write(async |db, _| migrate::make_days(db, now).await).await
    }

    pub async fn close(&self) {
        self.writer.connections.close().await;
        self.readers.close().await;
    }
}

impl Writer {
    /// A block by itself: what there is of its node is asked for.
    async fn take_alone(&self, arrival: Arrival<'_>) -> Result<Taken, StoreError> {
        for _ in 0..TRIES {
            match self.write(async |db, _| self.try_alone(db, arrival).await).await {
                Ok(Some(taken)) => return Ok(taken),
                Ok(None) => {}
                Err(StoreError::Sql { source, .. }) if is_race(&source) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Contended)
    }

    /// `None` where the facts were no longer those of the node: they are asked for again.
    async fn try_alone(
        &self,
        db: &mut PgConnection,
        arrival: Arrival<'_>,
    ) -> Result<Option<Taken>, StoreError> {
        let wanted = Wanted::by(arrival.sent);
        let (node, facts) = facts::gather(db, arrival.sent, &wanted).await?;
        let (taken, done) = match planned(arrival, wanted, node, facts)? {
            Plan::Take(planned) => {
                let done = write::take(db, std::slice::from_ref(&*planned), self.standby).await?;
                (planned.changes.taken, done == [true])
            }
            Plan::Answer { version, changes } => {
                let done = write::answer(db, arrival, version, self.standby, &changes.audit).await?;
                (changes.taken, done)
            }
        };
        Ok(done.then_some(taken))
    }

    /// Does something on a connection of its own, and holds what came of it against what may have been lost. It is
    /// told which primary that is.
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection, u64) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let (mut db, primary) = self.connections.acquire_of().await?;
        let outcome = timeout(self.patience, notice::listen(work(&mut db, primary))).await;
        self.judge(db, outcome).await
    }

    /// What took too long, or came with a warning, did not happen as far as anybody is told; nor is that connection
    /// used again.
    async fn judge<T>(
        &self,
        db: PoolConnection<Postgres>,
        outcome: Result<(Result<T, StoreError>, Vec<String>), Elapsed>,
    ) -> Result<T, StoreError> {
        let Ok((done, warnings)) = outcome else {
            drop(db.detach());
            self.connections.lost().await;
            return Err(StoreError::Patience { seconds: self.patience.as_secs() });
        };
        match done {
            Ok(_) if !warnings.is_empty() => {
                drop(db.detach());
                Err(StoreError::NotConfirmed { warning: warnings.join("; ") })
            }
            Err(StoreError::Sql { source, .. }) if demands_standby(&source) => {
                Err(StoreError::Refused(format!("{source}: nothing is acknowledged until it has one")))
            }
            Err(error) => {
                if let StoreError::Sql { source, .. } = &error
                    && is_lost(source)
                {
                    drop(db.detach());
                    self.connections.lost().await;
                }
                Err(error)
            }
            done => done,
        }
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(Into::into)
}

/// Another server was quicker: a key that is taken meanwhile, a serialization failure, a deadlock.
fn is_race(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| ["23505", "40001", "40P01"].contains(&&*code))
}

/// `meter.demand_standby` refused.
fn demands_standby(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code == "TN001")
}

/// The connection is gone, or its server is no primary any more.
fn is_lost(error: &sqlx::Error) -> bool {
    match code(error) {
        // A standby, and a server that stops or starts.
        Some(code) => code == "25006" || code.starts_with("57P") || code.starts_with("08"),
        None => !matches!(error, sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. }),
    }
}
