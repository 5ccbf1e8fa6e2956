//! The ledger in PostgreSQL: a primary, a synchronous standby, and as many servers as one likes.
//!
//! A block is two calls: `meter.facts` says what there is, `meter.take` writes what follows, if the node's version
//! is still the same. No lock is held in between, and a server that dies there leaves nothing behind.

mod facts;
mod migrate;
mod moved;
mod notice;
mod primary;
mod query;
mod settings;
mod state;
mod write;

use std::time::Duration;

use sqlx::postgres::PgConnection;
use tenantry_model::{NodeName, WallTime};
use tokio::time::timeout;

use crate::ingest::{Arrival, Taken};
use crate::{AuditEvent, PublicKey, SentBlock, StoreError, sql};

pub use migrate::migrate;
pub use moved::{Moved, move_from};
pub use settings::{Host, Login, PostgresSettings, Standby, Tls};

use primary::{Primary, Purpose};

const READERS: u32 = 4;
/// How often a block is planned before its sender is told to try again.
const TRIES: usize = 8;

#[derive(Debug, Clone)]
pub(crate) struct PostgresLedger {
    writers: Primary,
    readers: Primary,
    standby: Standby,
    patience: Duration,
}

impl PostgresLedger {
    pub async fn connect(settings: &PostgresSettings) -> Result<Self, StoreError> {
        let known = migrate::known();
        let write = Purpose::Write(settings.standby);
        let ledger = Self {
            writers: Primary::new(settings, write, settings.writers.max(1), known),
            readers: Primary::new(settings, Purpose::Read, READERS, known),
            standby: settings.standby,
            patience: settings.patience(),
        };
        // What is not as it must be is said at the start.
        drop(ledger.writers.acquire().await?);
        drop(ledger.readers.acquire().await?);
        Ok(ledger)
    }

    pub async fn take(&self, arrival: Arrival<'_>) -> Result<Taken, StoreError> {
        for _ in 0..TRIES {
            match self.write(async |db| self.try_take(db, arrival).await).await {
                Ok(Some(taken)) => return Ok(taken),
                Ok(None) => {}
                Err(StoreError::Sql { source, .. }) if is_race(&source) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Contended)
    }

    async fn try_take(
        &self,
        db: &mut PgConnection,
        arrival: Arrival<'_>,
    ) -> Result<Option<Taken>, StoreError> {
        let known = facts::gather(db, arrival.sent).await?;
        write::take(db, arrival, known, self.standby).await
    }

    /// Does something on a connection of its own. What took too long, or came with a warning, did not happen as far as
    /// anybody is told; nor is that connection used again.
    async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut db = self.writers.acquire().await?;
        let Ok((done, warnings)) = timeout(self.patience, notice::listen(work(&mut db))).await else {
            drop(db.detach());
            self.writers.lost().await;
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
                    self.writers.lost().await;
                }
                Err(error)
            }
            done => done,
        }
    }

    /// Asks something. What was cut off is asked once more: of the primary that is found then.
    async fn read<T>(
        &self,
        question: impl AsyncFn(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut db = self.readers.acquire().await?;
        match question(&mut db).await {
            Err(StoreError::Sql { source, .. }) if is_lost(&source) => {}
            answer => return answer,
        }
        drop(db.detach());
        self.readers.lost().await;
        question(&mut *self.readers.acquire().await?).await
    }

    pub async fn last_sequence(&self, sent: &SentBlock) -> Result<u64, StoreError> {
        let key = sent.key();
        let last = self.read(async |db| {
            let query =
                "SELECT coalesce(max(sequence), 0) FROM billing.block WHERE node = $1 AND boot_id = $2";
            let last: i64 = sqlx::query_scalar(query)
                .bind(key.node.as_str())
                .bind(key.boot_id.as_str())
                .fetch_one(db)
                .await
                .map_err(sql("look for a boot's last block"))?;
            Ok(last)
        });
        u64::try_from(last.await?).map_err(|error| crate::error::unreadable("block", error))
    }

    pub async fn audit(&self, event: &AuditEvent) -> Result<(), StoreError> {
        let rows = write::json(&write::events(std::slice::from_ref(event)))?;
        self.write(async |db| {
            let done = sqlx::query("SELECT meter.audit($1::jsonb)").bind(rows).execute(db).await;
            done.map(|_| ()).map_err(sql("write an audit event"))
        })
        .await
    }

    pub async fn trust_key(
        &self,
        node: &NodeName,
        key: PublicKey,
        event: &AuditEvent,
    ) -> Result<(), StoreError> {
        let rows = write::json(&write::events(std::slice::from_ref(event)))?;
        self.write(async |db| {
            let done = sqlx::query("SELECT meter.trust_key($1, $2, $3, $4::jsonb)")
                .bind(node.as_str())
                .bind(&key.0[..])
                .bind(event.at.unix_usec())
                .bind(rows)
                .execute(db)
                .await;
            done.map(|_| ()).map_err(sql("trust a key"))
        })
        .await
    }

    /// Makes the days' partitions ahead, and says how many were missing.
    pub async fn make_days(&self, now: WallTime) -> Result<i32, StoreError> {
        self.write(async |db| migrate::make_days(db, now).await).await
    }

    pub async fn close(&self) {
        self.writers.close().await;
        self.readers.close().await;
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
