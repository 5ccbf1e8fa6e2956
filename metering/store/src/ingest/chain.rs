//! Whether a block is the node's and follows the one before, and what it says is missing.

use tenantry_model::block::{BlockHash, Event, GapReason};
use tenantry_model::{BootId, Moment, Usec};

use super::{GapRow, Plan};
use crate::{AuditKind, StoreError, column};

impl Plan<'_> {
    /// Whether the signer is the node's. The first key a node comes with is taken.
    pub(super) fn trusts_signer(&mut self) -> bool {
        let (key, signer) = (self.arrival.sent.key(), self.arrival.sent.signer());
        if self.facts.keys.contains(&signer) {
            return true;
        }
        let subject = format!("node {}", key.node);
        if !self.facts.keys.is_empty() {
            self.audit(AuditKind::UnknownKey, subject, format!("block {key} is signed with {signer}"));
            return false;
        }
        self.changes.trust = Some(signer);
        self.audit(AuditKind::KeyTrusted, subject, format!("its first key, {signer}, came with block {key}"));
        true
    }

    /// Holds the block against the one before it: a missing one is a gap, another one an audit event.
    pub(super) fn chain(&mut self) -> Result<(), StoreError> {
        let sent = self.arrival.sent;
        let key = sent.key();
        let (last, hash) = match self.facts.before {
            Some(before) => (before.sequence, Some(before.hash)),
            None => (0, self.last_hash_of_the_boot_before()),
        };
        let missing = key.sequence.saturating_sub(last).saturating_sub(1);
        if missing > 0 {
            let sequences = (last.saturating_add(1), key.sequence.saturating_sub(1));
            return self.gap("blocks_missing", &key.boot_id, None, sent.closed(), Some(sequences));
        }
        if let Some(hash) = hash.filter(|hash| *hash != sent.previous()) {
            let detail = format!("it names {} as the one before it, the ledger has {hash}", sent.previous());
            self.audit(AuditKind::ChainBroken, format!("block {key}"), detail);
        }
        Ok(())
    }

    /// Of a boot's first block: what it must name, if the ledger has that.
    fn last_hash_of_the_boot_before(&self) -> Option<BlockHash> {
        let events = &self.arrival.sent.block().contents.events;
        if events.iter().any(|event| matches!(event, Event::BootEnded { .. })) {
            return self.facts.boot_before;
        }
        // A node's very first block has none before it.
        Some(BlockHash::default())
    }

    /// What the daemon says of its record.
    pub(super) fn event(&mut self, event: &Event) -> Result<(), StoreError> {
        let sent = self.arrival.sent;
        let key = sent.key();
        match event {
            Event::Started { at, last: None, .. } => match self.last_close_in_boot() {
                // Its spool was lost: since the last block that came, all is missing that was not sent again.
                Some(from) => self.gap("down", &key.boot_id, Some(from), *at, None),
                // At a node's first start in a boot nothing was missed: it had no readings before.
                None => Ok(()),
            },
            Event::Stopped { .. } | Event::ClockStepped { .. } => Ok(()),
            Event::Started { at, last, .. } => self.gap("down", &key.boot_id, *last, *at, None),
            Event::Gap { from, to, reason } => {
                let reason = match reason {
                    GapReason::SpoolFull => "spool_full",
                    GapReason::SpoolFailed => "spool_failed",
                    GapReason::Late => "late",
                };
                self.gap(reason, &key.boot_id, Some(*from), *to, None)
            }
            Event::SpoolLost { at, problem } => {
                self.audit(AuditKind::SpoolLost, format!("node {}", key.node), problem.clone());
                self.gap("spool_lost", &key.boot_id, None, *at, None)
            }
            Event::Renumbered { from } => {
                let detail = format!("it was {from} in a spool that was lost or replaced");
                self.audit(AuditKind::Renumbered, format!("block {key}"), detail);
                Ok(())
            }
            Event::BootEnded { boot_id, last, .. } => {
                self.close_boot(boot_id, *last);
                Ok(())
            }
        }
    }

    /// When the node's block before this one was closed, if it has one of this boot.
    fn last_close_in_boot(&self) -> Option<Moment> {
        let wall = self.facts.before?.closed?;
        let now = self.arrival.sent.closed();
        let since = now.wall.unix_usec().saturating_sub(wall.unix_usec());
        let boottime_usec = Usec(now.boottime_usec.0.saturating_add_signed(since.saturating_neg()));
        Some(Moment { wall, boottime_usec })
    }

    fn gap(
        &mut self,
        reason: &'static str,
        boot_id: &BootId,
        from: Option<Moment>,
        to: Moment,
        sequences: Option<(u64, u64)>,
    ) -> Result<(), StoreError> {
        let boottime = |moment: Moment| column("boottime_usec", moment.boottime_usec.0);
        let sequence = |sequence: Option<u64>| sequence.map(|n| column("sequence", n)).transpose();
        self.changes.gaps.push(GapRow {
            boot_id: boot_id.clone(),
            reason,
            from_unix_usec: from.map(|from| from.wall.unix_usec()),
            to_unix_usec: to.wall.unix_usec(),
            from_boottime_usec: from.map(boottime).transpose()?,
            to_boottime_usec: boottime(to)?,
            first_sequence: sequence(sequences.map(|(first, _)| first))?,
            last_sequence: sequence(sequences.map(|(_, last)| last))?,
        });
        Ok(())
    }
}
