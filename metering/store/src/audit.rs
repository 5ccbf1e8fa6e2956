//! What a person should look at.

use tenantry_model::{NodeName, WallTime};

use crate::PublicKey;

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
    /// A block speaks of a run in a boot of another node. It is kept, and what it says of that run does not count.
    ForeignRun,
    /// A block was closed in the server's future, or before the one it follows. It is kept and counts.
    ImplausibleTime,
    /// A run used more CPU than its allocated CPUs had time for. Its record stands as it is.
    ImplausibleCpu,
    /// Somebody without the right to send blocks tried.
    Refused,
}

impl AuditKind {
    const ALL: [Self; 13] = [
        Self::BlockConflict,
        Self::EndConflict,
        Self::EndCorrected,
        Self::EndEstimated,
        Self::ChainBroken,
        Self::UnknownKey,
        Self::KeyTrusted,
        Self::SpoolLost,
        Self::Renumbered,
        Self::ForeignRun,
        Self::ImplausibleTime,
        Self::ImplausibleCpu,
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
            Self::ForeignRun => "foreign_run",
            Self::ImplausibleTime => "implausible_time",
            Self::ImplausibleCpu => "implausible_cpu",
            Self::Refused => "refused",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl AuditEvent {
    pub(crate) fn trusted_by_hand(node: &NodeName, key: PublicKey, now: WallTime) -> Self {
        Self {
            at: now,
            kind: AuditKind::KeyTrusted,
            uid: None,
            correlation_id: "trust-key".to_owned(),
            subject: format!("node {node}"),
            detail: format!("an administrator trusts it with {key}"),
        }
    }
}
