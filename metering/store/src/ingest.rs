//! The one way into the ledger.

mod chain;
mod jobs;

use sqlx::SqliteConnection;
use tenantry_model::WallTime;
use tenantry_model::block::{Block, Receipt, Subject};
use tenantry_model::job::Incarnation;
use tenantry_model::reading::Reading;
use tenantry_model::{ClusterName, NodeName, TenantPath};

use crate::{AuditEvent, AuditKind, Ledger, SentBlock, StoreError, column, insert_audit, sql};
use tenantry_sqlite::finish;

/// What became of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It stands in the ledger, or another one does.
    Receipt(Receipt),
    /// It is signed with a key that the node is not trusted with. Nothing was changed but the audit.
    UnknownKey,
}

/// One block's way into the ledger.
struct Ingest<'a> {
    db: &'a mut SqliteConnection,
    sent: &'a SentBlock,
    received: WallTime,
    correlation_id: &'a str,
}

impl Ledger {
    /// Takes a block and all that follows from it in one transaction. It may be called again with
    /// the same block any number of times, after any failure.
    ///
    /// `received` is when it came, by the server's clock; `correlation_id` names the request.
    /// When this returns [`Receipt::New`] or [`Receipt::Duplicate`], the block is on the disk.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::OutOfRange`], [`StoreError::Unreadable`]; nothing was
    /// changed.
    pub async fn ingest(
        &self,
        sent: &SentBlock,
        received: WallTime,
        correlation_id: &str,
    ) -> Result<Taken, StoreError> {
        let (ledger, sent, correlation_id) = (self.clone(), sent.clone(), correlation_id.to_owned());
        // A task of its own: the sender may go away in the middle, and a transaction that is dropped while
        // it begins leaves the connection unusable.
        let taken = tokio::spawn(async move { ledger.take(&sent, received, &correlation_id).await });
        taken.await.map_err(|source| StoreError::Task { source })?
    }

    async fn take(
        &self,
        sent: &SentBlock,
        received: WallTime,
        correlation_id: &str,
    ) -> Result<Taken, StoreError> {
        let mut db = self.begin().await?;
        let taken = Ingest { db: &mut db, sent, received, correlation_id }.block().await;
        finish(&mut db, taken).await
    }

    /// The last block of a boot that the ledger has; 0: none.
    ///
    /// # Errors
    /// [`StoreError::Sql`], [`StoreError::Unreadable`].
    pub async fn last_sequence(&self, sent: &SentBlock) -> Result<u64, StoreError> {
        let key = sent.key();
        let last: i64 =
            sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM block WHERE node = ? AND boot_id = ?")
                .bind(key.node.as_str())
                .bind(key.boot_id.as_str())
                .fetch_one(&self.readers)
                .await
                .map_err(sql("look for a boot's last block"))?;
        u64::try_from(last).map_err(|source| StoreError::Unreadable { table: "block", source: source.into() })
    }
}

impl Ingest<'_> {
    async fn block(mut self) -> Result<Taken, StoreError> {
        let key = self.sent.key();
        let hash = self.sent.hash();
        let known: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT payload_sha256 FROM block WHERE node = ? AND boot_id = ? AND sequence = ?",
        )
        .bind(key.node.as_str())
        .bind(key.boot_id.as_str())
        .bind(column("sequence", key.sequence)?)
        .fetch_optional(&mut *self.db)
        .await
        .map_err(sql("look for a block"))?;
        match known {
            Some(known) if known == hash.0 => return Ok(Taken::Receipt(Receipt::Duplicate)),
            Some(known) => {
                let known = crate::hex(&known);
                let detail = format!("SHA-256 {known} is kept, {hash} came");
                self.audit(AuditKind::BlockConflict, format!("block {key}"), detail).await?;
                return Ok(Taken::Receipt(Receipt::Conflict));
            }
            None => {}
        }
        if !self.trusts_signer().await? {
            return Ok(Taken::UnknownKey);
        }
        let row = self.insert_block().await?;
        self.chain(row).await?;
        let Block { key, contents, .. } = self.sent.block();
        for told in &contents.registered {
            self.registered(told).await?;
        }
        for series in &contents.series {
            match &series.subject {
                Subject::Job(run) => self.running(run, &series.readings).await?,
                Subject::Tenant { node, tenant } => {
                    if let Some(latest) =
                        series.readings.iter().max_by_key(|reading| reading.at.boottime_usec)
                    {
                        self.tenant(node, tenant, latest).await?;
                    }
                }
            }
        }
        for end in &contents.ends {
            self.end(row, end).await?;
        }
        for event in &contents.events {
            self.event(row, &key.boot_id, event).await?;
        }
        Ok(Taken::Receipt(Receipt::New))
    }

    async fn insert_block(&mut self) -> Result<i64, StoreError> {
        let key = self.sent.key();
        let done = sqlx::query(
            "INSERT INTO block (node, boot_id, sequence, payload_sha256, payload, received_unix_usec, \
             correlation_id, previous_sha256, signer, closed_unix_usec) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(key.node.as_str())
        .bind(key.boot_id.as_str())
        .bind(column("sequence", key.sequence)?)
        .bind(&self.sent.hash().0[..])
        .bind(self.sent.bytes())
        .bind(self.received.unix_usec())
        .bind(self.correlation_id)
        .bind(&self.sent.previous().0[..])
        .bind(&self.sent.signer().0[..])
        .bind(self.sent.closed().wall.unix_usec())
        .execute(&mut *self.db)
        .await
        .map_err(sql("insert a block"))?;
        Ok(done.last_insert_rowid())
    }

    async fn tenant(
        &mut self,
        node: &NodeName,
        tenant: &TenantPath,
        reading: &Reading,
    ) -> Result<(), StoreError> {
        let cpu_usage = reading.cpu_usage().map(|time| column("cpu_usage_usec", time.0)).transpose()?;
        sqlx::query(
            "INSERT INTO tenant_counter \
             (node, boot_id, tenant, boottime_usec, read_unix_usec, cpu_usage_usec) \
             VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (node, boot_id, tenant) DO UPDATE \
             SET boottime_usec = excluded.boottime_usec, read_unix_usec = excluded.read_unix_usec, \
                 cpu_usage_usec = excluded.cpu_usage_usec \
             WHERE excluded.boottime_usec > tenant_counter.boottime_usec",
        )
        .bind(node.as_str())
        .bind(self.sent.key().boot_id.as_str())
        .bind(tenant.as_str())
        .bind(column("boottime_usec", reading.at.boottime_usec.0)?)
        .bind(reading.at.wall.unix_usec())
        .bind(cpu_usage)
        .execute(&mut *self.db)
        .await
        .map_err(sql("keep a tenant's reading"))?;
        Ok(())
    }

    async fn audit(&mut self, kind: AuditKind, subject: String, detail: String) -> Result<(), StoreError> {
        let event = AuditEvent {
            at: self.received,
            kind,
            uid: None,
            correlation_id: self.correlation_id.to_owned(),
            subject,
            detail,
        };
        insert_audit(&mut *self.db, &event).await
    }
}

fn run_name(run: &Incarnation) -> String {
    let cluster = run.cluster.as_ref().map_or("-", ClusterName::as_str);
    format!("job {cluster}/{}/{}/{}/{}", run.node, run.boot_id, run.job_id, run.began)
}
