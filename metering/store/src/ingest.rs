//! The one way into the ledger.

use std::fmt::Write as _;

use sqlx::SqliteConnection;
use tenantry_model::block::{Entry, Receipt};
use tenantry_model::job::{Incarnation, JobEnd, Quality};
use tenantry_model::reading::Reading;
use tenantry_model::usage::UsageRecord;
use tenantry_model::{ClusterName, NodeName, TenantPath, WallTime};
use tenantry_usage::{record_of_end, record_of_running};

use crate::{AuditEvent, AuditKind, Ledger, SentBlock, StoreError, column, insert_audit, sql};

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
    ) -> Result<Receipt, StoreError> {
        // IMMEDIATE: a transaction that reads first and is then refused the lock cannot wait for it.
        let mut transaction =
            self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(sql("begin a transaction"))?;
        let receipt = Ingest { db: &mut transaction, sent, received, correlation_id }.block().await?;
        transaction.commit().await.map_err(sql("commit a block"))?;
        Ok(receipt)
    }
}

impl Ingest<'_> {
    async fn block(mut self) -> Result<Receipt, StoreError> {
        let key = &self.sent.block.key;
        let sequence = column("sequence", key.sequence)?;
        let hash = self.sent.sha256();
        let known: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT payload_sha256 FROM block WHERE node = ? AND boot_id = ? AND sequence = ?",
        )
        .bind(key.node.as_str())
        .bind(key.boot_id.as_str())
        .bind(sequence)
        .fetch_optional(&mut *self.db)
        .await
        .map_err(sql("look for a block"))?;
        match known {
            Some(known) if known == hash => return Ok(Receipt::Duplicate),
            Some(known) => {
                let subject = format!("block {}/{}/{}", key.node, key.boot_id, key.sequence);
                let detail = format!("SHA-256 {} is kept, {} came", hex(&known), hex(&hash));
                self.audit(AuditKind::BlockConflict, subject, detail).await?;
                return Ok(Receipt::Conflict);
            }
            None => {}
        }
        let block = sqlx::query(
            "INSERT INTO block \
             (node, boot_id, sequence, payload_sha256, payload, received_unix_usec, correlation_id) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(key.node.as_str())
        .bind(key.boot_id.as_str())
        .bind(sequence)
        .bind(&hash)
        .bind(self.sent.has_end().then_some(&self.sent.payload))
        .bind(self.received.unix_usec())
        .bind(self.correlation_id)
        .execute(&mut *self.db)
        .await
        .map_err(sql("insert a block"))?
        .last_insert_rowid();
        for entry in &self.sent.block.entries {
            match entry {
                Entry::Job { registration, reading } => {
                    let record = record_of_running(registration, None, reading);
                    self.running(&registration.incarnation, reading, &record).await?;
                }
                Entry::Tenant { node, tenant, reading } => self.tenant(node, tenant, reading).await?,
                Entry::End(end) => self.end(block, end).await?,
            }
        }
        Ok(Receipt::New)
    }

    /// Only a later reading replaces one, and none comes back after the job's end.
    async fn running(
        &mut self,
        run: &Incarnation,
        reading: &Reading,
        record: &UsageRecord,
    ) -> Result<(), StoreError> {
        if self.latest_revision(run).await?.is_some() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO running_job \
             (cluster, node, boot_id, job_id, began_unix_usec, boottime_usec, record) \
             VALUES (?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (job_id, node, boot_id, began_unix_usec, coalesce(cluster, '')) DO UPDATE \
             SET boottime_usec = excluded.boottime_usec, record = excluded.record \
             WHERE excluded.boottime_usec > running_job.boottime_usec",
        )
        .bind(run.cluster.as_ref().map(ClusterName::as_str))
        .bind(run.node.as_str())
        .bind(run.boot_id.as_str())
        .bind(run.job_id.0)
        .bind(run.began.unix_usec())
        .bind(column("boottime_usec", reading.at.boottime_usec.0)?)
        .bind(record_text(record)?)
        .execute(&mut *self.db)
        .await
        .map_err(sql("keep a running job's reading"))?;
        Ok(())
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
        .bind(self.sent.block.key.boot_id.as_str())
        .bind(tenant.as_str())
        .bind(column("boottime_usec", reading.at.boottime_usec.0)?)
        .bind(reading.at.wall.unix_usec())
        .bind(cpu_usage)
        .execute(&mut *self.db)
        .await
        .map_err(sql("keep a tenant's reading"))?;
        Ok(())
    }

    /// A run's first end is its record. The same again changes nothing (a daemon killed between
    /// its spool and its outbox sends an end twice); one of a better quality is a new revision;
    /// any other is kept as evidence in its block, and audited.
    async fn end(&mut self, block: i64, end: &JobEnd) -> Result<(), StoreError> {
        let run = &end.registration.incarnation;
        let record = record_of_end(end);
        let Some((revision, kept)) = self.latest_revision(run).await? else {
            self.insert_usage(run, 1, block, &record).await?;
            return self.forget_running(run).await;
        };
        if kept == record {
            return Ok(());
        }
        let subject = run_name(run);
        let detail = format!("{:?} is kept, {:?} came in block row {block}", kept.quality, record.quality);
        if worth(record.quality) <= worth(kept.quality) {
            return self.audit(AuditKind::EndConflict, subject, detail).await;
        }
        self.insert_usage(run, revision.saturating_add(1), block, &record).await?;
        self.audit(AuditKind::EndCorrected, subject, detail).await
    }

    async fn latest_revision(&mut self, run: &Incarnation) -> Result<Option<(i64, UsageRecord)>, StoreError> {
        let latest: Option<(i64, String)> = sqlx::query_as(
            "SELECT revision, record FROM usage \
             WHERE job_id = ? AND node = ? AND boot_id = ? AND began_unix_usec = ? AND coalesce(cluster, '') = ? \
             ORDER BY revision DESC LIMIT 1",
        )
        .bind(run.job_id.0)
        .bind(run.node.as_str())
        .bind(run.boot_id.as_str())
        .bind(run.began.unix_usec())
        .bind(run.cluster.as_ref().map_or("", ClusterName::as_str))
        .fetch_optional(&mut *self.db)
        .await
        .map_err(sql("look for a run's record"))?;
        latest
            .map(|(revision, record)| Ok((revision, crate::query::parse_record("usage", &record)?)))
            .transpose()
    }

    async fn insert_usage(
        &mut self,
        run: &Incarnation,
        revision: i64,
        block: i64,
        record: &UsageRecord,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO usage (cluster, node, boot_id, job_id, began_unix_usec, revision, block, record) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(run.cluster.as_ref().map(ClusterName::as_str))
        .bind(run.node.as_str())
        .bind(run.boot_id.as_str())
        .bind(run.job_id.0)
        .bind(run.began.unix_usec())
        .bind(revision)
        .bind(block)
        .bind(record_text(record)?)
        .execute(&mut *self.db)
        .await
        .map_err(sql("insert a usage row"))?;
        Ok(())
    }

    async fn forget_running(&mut self, run: &Incarnation) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM running_job \
             WHERE job_id = ? AND node = ? AND boot_id = ? AND began_unix_usec = ? AND coalesce(cluster, '') = ?",
        )
        .bind(run.job_id.0)
        .bind(run.node.as_str())
        .bind(run.boot_id.as_str())
        .bind(run.began.unix_usec())
        .bind(run.cluster.as_ref().map_or("", ClusterName::as_str))
        .execute(&mut *self.db)
        .await
        .map_err(sql("forget an ended job's reading"))?;
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

/// A record on its way into its column: every number in it must fit SQL's integers.
fn record_text(record: &UsageRecord) -> Result<String, StoreError> {
    let unreadable =
        |source: serde_json::Error| StoreError::Unreadable { table: "usage", source: source.into() };
    let value = serde_json::to_value(record).map_err(unreadable)?;
    for (name, figure) in value.as_object().into_iter().flatten() {
        if let Some(figure) = figure.as_u64() {
            column(name, figure)?;
        }
    }
    serde_json::to_string(record).map_err(unreadable)
}

fn worth(quality: Quality) -> u8 {
    match quality {
        Quality::Gap => 0,
        Quality::Estimated => 1,
        Quality::Exact => 2,
    }
}

fn run_name(run: &Incarnation) -> String {
    let cluster = run.cluster.as_ref().map_or("-", ClusterName::as_str);
    format!("job {cluster}/{}/{}/{}/{}", run.node, run.boot_id, run.job_id, run.began)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // A String takes whatever is written.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
