//! Whether a block is the node's and follows the one before, and what it says is missing.

use tenantry_model::block::{BlockHash, Event, GapReason};
use tenantry_model::{BootId, Moment, Usec, WallTime};

use super::Ingest;
use crate::{AuditKind, StoreError, column, hex, sql};

/// A time without readings, or blocks that never came.
struct Gap<'a> {
    reason: &'a str,
    boot_id: &'a BootId,
    from: Option<Moment>,
    to: Moment,
    sequences: Option<(u64, u64)>,
}

impl Ingest<'_> {
    /// Whether the signer is the node's. The first key a node comes with is taken.
    pub(super) async fn trusts_signer(&mut self) -> Result<bool, StoreError> {
        let node = self.sent.key().node.as_str();
        let signer = self.sent.signer();
        let trusted: Vec<Vec<u8>> = sqlx::query_scalar("SELECT public_key FROM node_key WHERE node = ?")
            .bind(node)
            .fetch_all(&mut *self.db)
            .await
            .map_err(sql("look for a node's key"))?;
        if trusted.iter().any(|key| key.as_slice() == signer.0) {
            return Ok(true);
        }
        if !trusted.is_empty() {
            let detail = format!("block {} is signed with {signer}", self.sent.key());
            self.audit(AuditKind::UnknownKey, format!("node {node}"), detail).await?;
            return Ok(false);
        }
        crate::trust(&mut *self.db, &self.sent.key().node, signer, self.received).await?;
        let detail = format!("its first key, {signer}, came with block {}", self.sent.key());
        self.audit(AuditKind::KeyTrusted, format!("node {node}"), detail).await?;
        Ok(true)
    }

    /// Holds the block against the one before it: a missing one is a gap, another one an audit event.
    pub(super) async fn chain(&mut self, row: i64) -> Result<(), StoreError> {
        let key = self.sent.key();
        let sequence = column("sequence", key.sequence)?;
        let before: Option<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT sequence, payload_sha256 FROM block \
             WHERE node = ? AND boot_id = ? AND sequence < ? ORDER BY sequence DESC LIMIT 1",
        )
        .bind(key.node.as_str())
        .bind(key.boot_id.as_str())
        .bind(sequence)
        .fetch_optional(&mut *self.db)
        .await
        .map_err(sql("look for the block before"))?;
        let (last, hash) = match before {
            Some((last, hash)) => (last, Some(hash)),
            None => (0, self.last_hash_of_the_boot_before().await?),
        };
        let missing = sequence.saturating_sub(last).saturating_sub(1);
        if missing > 0 {
            let first = u64::try_from(last.saturating_add(1)).unwrap_or_default();
            let sequences = Some((first, key.sequence.saturating_sub(1)));
            let to = self.sent.closed();
            let gap = Gap { reason: "blocks_missing", boot_id: &key.boot_id, from: None, to, sequences };
            return self.gap(row, &gap).await;
        }
        match hash {
            Some(hash) if hash != self.sent.previous().0 => {
                let detail = format!(
                    "it names {} as the one before it, the ledger has {}",
                    self.sent.previous(),
                    hex(&hash)
                );
                self.audit(AuditKind::ChainBroken, format!("block {key}"), detail).await
            }
            _ => Ok(()),
        }
    }

    /// Of a boot's first block: what it must name, if the ledger has that.
    async fn last_hash_of_the_boot_before(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let ended = self.sent.block().contents.events.iter().find_map(|event| match event {
            Event::BootEnded { boot_id, last_sequence, .. } => Some((boot_id, *last_sequence)),
            _ => None,
        });
        // A node's very first block has none before it.
        let Some((boot_id, last)) = ended else { return Ok(Some(BlockHash::default().0.to_vec())) };
        sqlx::query_scalar("SELECT payload_sha256 FROM block WHERE node = ? AND boot_id = ? AND sequence = ?")
            .bind(self.sent.key().node.as_str())
            .bind(boot_id.as_str())
            .bind(column("sequence", last)?)
            .fetch_optional(&mut *self.db)
            .await
            .map_err(sql("look for the boot before"))
    }

    /// What the daemon says of its record.
    pub(super) async fn event(
        &mut self,
        row: i64,
        boot_id: &BootId,
        event: &Event,
    ) -> Result<(), StoreError> {
        let gap = |reason, from, to| Gap { reason, boot_id, from, to, sequences: None };
        match event {
            Event::Started { at, last: None, .. } => match self.last_close_in_boot().await? {
                // Its spool was lost: since the last block that came, all is missing that was not sent again.
                Some(from) => self.gap(row, &gap("down", Some(from), *at)).await,
                // At a node's first start in a boot nothing was missed: it had no readings before.
                None => Ok(()),
            },
            Event::Stopped { .. } | Event::ClockStepped { .. } => Ok(()),
            Event::Started { at, last, .. } => self.gap(row, &gap("down", *last, *at)).await,
            Event::Gap { from, to, reason } => {
                let reason = match reason {
                    GapReason::SpoolFull => "spool_full",
                    GapReason::SpoolFailed => "spool_failed",
                    GapReason::Late => "late",
                };
                self.gap(row, &gap(reason, Some(*from), *to)).await
            }
            Event::SpoolLost { at, problem } => {
                self.audit(AuditKind::SpoolLost, format!("node {}", self.sent.key().node), problem.clone())
                    .await?;
                self.gap(row, &gap("spool_lost", None, *at)).await
            }
            Event::Renumbered { from } => {
                let detail = format!("it was {from} in a spool that was lost or replaced");
                self.audit(AuditKind::Renumbered, format!("block {}", self.sent.key()), detail).await
            }
            Event::BootEnded { boot_id, last, .. } => self.close_boot(row, boot_id, *last).await,
        }
    }

    /// When the node's block before this one was closed, if it has one of this boot.
    async fn last_close_in_boot(&mut self) -> Result<Option<Moment>, StoreError> {
        let key = self.sent.key();
        let closed: Option<i64> = sqlx::query_scalar(
            "SELECT closed_unix_usec FROM block WHERE node = ? AND boot_id = ? AND sequence < ? \
             ORDER BY sequence DESC LIMIT 1",
        )
        .bind(key.node.as_str())
        .bind(key.boot_id.as_str())
        .bind(column("sequence", key.sequence)?)
        .fetch_optional(&mut *self.db)
        .await
        .map_err(sql("look for the block before"))?;
        let now = self.sent.closed();
        closed
            .map(|usec| {
                let wall = WallTime::from_unix_usec(usec)
                    .map_err(|source| StoreError::Unreadable { table: "block", source: source.into() })?;
                let since = now.wall.unix_usec().saturating_sub(usec);
                let boottime_usec = Usec(now.boottime_usec.0.saturating_add_signed(since.saturating_neg()));
                Ok(Moment { wall, boottime_usec })
            })
            .transpose()
    }

    async fn gap(&mut self, row: i64, gap: &Gap<'_>) -> Result<(), StoreError> {
        let boottime = |moment: Moment| column("boottime_usec", moment.boottime_usec.0);
        let sequence = |sequence: Option<u64>| sequence.map(|n| column("sequence", n)).transpose();
        sqlx::query(
            "INSERT INTO gap (node, boot_id, reason, from_unix_usec, to_unix_usec, from_boottime_usec, \
             to_boottime_usec, first_sequence, last_sequence, block) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(self.sent.key().node.as_str())
        .bind(gap.boot_id.as_str())
        .bind(gap.reason)
        .bind(gap.from.map(|from| from.wall.unix_usec()))
        .bind(gap.to.wall.unix_usec())
        .bind(gap.from.map(boottime).transpose()?)
        .bind(boottime(gap.to)?)
        .bind(sequence(gap.sequences.map(|(first, _)| first))?)
        .bind(sequence(gap.sequences.map(|(_, last)| last))?)
        .bind(row)
        .execute(&mut *self.db)
        .await
        .map_err(sql("write down a gap"))?;
        Ok(())
    }
}
