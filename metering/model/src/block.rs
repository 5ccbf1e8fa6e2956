//! What a node sends: blocks of entries, numbered within a boot.
//!
//! A block is named by (node, boot, sequence). The ledger takes each name once: the same block
//! again is a duplicate, another block under the same name a conflict.

use serde::{Deserialize, Serialize};

use crate::ids::{BootId, NodeName, TenantPath};
use crate::job::{JobEnd, Registration};
use crate::reading::Reading;

/// A block's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockKey {
    /// The daemon's node.
    pub node: NodeName,
    /// The boot the entries were read in.
    pub boot_id: BootId,
    /// 1, 2, 3, … within the boot, without a hole.
    pub sequence: u64,
}

/// What a daemon spools and sends in one piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its name.
    pub key: BlockKey,
    /// Its entries, in the order they were made.
    pub entries: Vec<Entry>,
}

/// One thing a daemon saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Entry {
    /// A running job's counters.
    Job {
        /// Whose.
        registration: Box<Registration>,
        /// What they were.
        reading: Reading,
    },
    /// A tenant's group's counters.
    Tenant {
        /// Slurm's node: slurmd's scope tells which.
        node: NodeName,
        /// Whose.
        tenant: TenantPath,
        /// What they were.
        reading: Reading,
    },
    /// A job's last entry.
    End(Box<JobEnd>),
}

/// What the ledger says of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receipt {
    /// Committed now.
    New,
    /// Committed before, the same to the byte.
    Duplicate,
    /// Another block was committed under this name: nothing was changed, an audit event was written.
    Conflict,
}
