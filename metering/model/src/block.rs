//! What a node sends: blocks, numbered within a boot, each naming the one before it by its hash.
//! `docs/block-format.md` has them byte by byte, `metering/block` makes and reads those bytes.
//!
//! A block is named by (node, boot, sequence). The ledger takes each name once: the same block
//! again is a duplicate, another block under the same name a conflict.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::ids::{BootId, NodeName, TenantPath};
use crate::job::{Allocation, Incarnation, JobEnd, Registration};
use crate::reading::Reading;

/// A block's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockKey {
    /// The daemon's node.
    pub node: NodeName,
    /// The boot the block was made in.
    pub boot_id: BootId,
    /// 1, 2, 3, … within the boot. A hole is a gap, and is recorded as one.
    pub sequence: u64,
}

impl fmt::Display for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node, self.boot_id, self.sequence)
    }
}

/// A block's SHA-256. In text: 64 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlockHash(pub [u8; 32]);

impl fmt::Display for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no block's hash: it is 64 hexadecimal digits")]
pub struct InvalidHash;

impl FromStr for BlockHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let mut hash = [0; 32];
        if text.len() != 64 {
            return Err(InvalidHash);
        }
        for (place, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = str::from_utf8(digits).map_err(|_| InvalidHash)?;
            *place = u8::from_str_radix(digits, 16).map_err(|_| InvalidHash)?;
        }
        Ok(Self(hash))
    }
}

impl TryFrom<String> for BlockHash {
    type Error = InvalidHash;

    fn try_from(text: String) -> Result<Self, InvalidHash> {
        text.parse()
    }
}

impl From<BlockHash> for String {
    fn from(hash: BlockHash) -> String {
        hash.to_string()
    }
}

/// What a daemon spools and sends in one piece.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Its name.
    pub key: BlockKey,
    /// The hash of the node's block before this one; zeros: there was none.
    pub previous: BlockHash,
    /// When it was closed.
    pub closed: Moment,
    /// What it holds.
    pub contents: Contents,
}

/// What a block holds. One with nothing in it is a heartbeat: the node was there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Jobs that readings are named after, told when first seen and again from time to time.
    pub registered: Vec<Registered>,
    /// Readings, by whose they are.
    pub series: Vec<Series>,
    /// Jobs that have ended.
    pub ends: Vec<JobEnd>,
    /// What the daemon has to say of itself.
    pub events: Vec<Event>,
}

impl Contents {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.registered.is_empty() && self.series.is_empty() && self.ends.is_empty() && self.events.is_empty()
    }
}

/// A job as the plugin registered it, and what it was allocated, as far as that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// What the prolog decided.
    pub registration: Registration,
    /// What its first step was told.
    pub allocation: Option<Allocation>,
}

/// One group's readings, the oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Whose.
    pub subject: Subject,
    /// What they were.
    pub readings: Vec<Reading>,
}

/// Whose group was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A job's, in the boot of its block.
    Job(Incarnation),
    /// A tenant's.
    Tenant {
        /// Slurm's node: slurmd's scope tells which.
        node: NodeName,
        /// Whose.
        tenant: TenantPath,
    },
    /// No group's: the machine's own energy and GPUs.
    Node {
        /// The daemon's node.
        node: NodeName,
    },
}

/// What happened to the record itself. What is not in the record has an event with its bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Event {
    /// The daemon began. Between `last` and `at` there are no readings.
    Started {
        /// When.
        at: Moment,
        /// Its version.
        version: String,
        /// The latest reading in the spool, if it has one of this boot.
        last: Option<Moment>,
    },
    /// The daemon was told to stop, and everything it had read is in the record.
    Stopped {
        /// When.
        at: Moment,
    },
    /// Readings of this time are not in the record.
    Gap {
        /// The last moment before it.
        from: Moment,
        /// The first moment after it.
        to: Moment,
        /// Why.
        reason: GapReason,
    },
    /// The wall clock was set; the monotonic one goes on.
    ClockStepped {
        /// By the new wall clock.
        at: Moment,
        /// How far, in microseconds: positive is forwards.
        by_usec: i64,
    },
    /// The first block of a boot names the last of the boot before.
    BootEnded {
        /// The boot before.
        boot_id: BootId,
        /// Its last block.
        last_sequence: u64,
        /// When that was closed.
        last: Moment,
    },
    /// The spool was not what this daemon wrote: it was kept aside, and a new one was begun.
    SpoolLost {
        /// When that was found.
        at: Moment,
        /// What was wrong with it.
        problem: String,
    },
    /// Another block stood under this block's first name, from a spool that was lost or replaced.
    Renumbered {
        /// The sequence it had.
        from: u64,
    },
}

/// Why readings are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The spool was full, or its disk: final counters go before readings.
    SpoolFull,
    /// The spool failed.
    SpoolFailed,
    /// The machine was too busy, asleep or stopped to read in time.
    Late,
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
