//! The block format: one node's readings of about a minute, coded as differences, chained and
//! signed. `docs/block-format.md` specifies it to the byte; this crate is pure: bytes in, bytes out.
//!
//! ```
//! use tenantry_block::{NodeKey, Sealed};
//! use tenantry_model::block::{Block, BlockHash, BlockKey, Contents};
//! use tenantry_model::{Moment, Usec};
//!
//! let key = NodeKey::from_seed(&[7; 32]);
//! let block = Block {
//!     key: BlockKey { node: "n1".parse()?, boot_id: "0b0b0b0b-0000-4000-8000-000000000001".parse()?, sequence: 1 },
//!     previous: BlockHash::default(),
//!     closed: Moment { wall: "2026-11-22T10:00:00Z".parse()?, boottime_usec: Usec(60_000_000) },
//!     contents: Contents::default(),
//! };
//! let sealed = Sealed::new(&block, &key)?;
//! let opened = Sealed::open(sealed.bytes().to_vec())?;
//! assert_eq!((opened.block()?, opened.signer()), (block, key.public()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod bits;
mod code;
mod column;
mod devices;
mod foretold;
mod frame;
mod huffman;
mod payload;
mod presence;
mod readings;
mod sealed;
mod subjects;
mod times;
mod wire;

pub use sealed::{NodeKey, PublicKey, Sealed, claimed_weight};

use tenantry_model::JobId;

/// Why a block cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A job's readings are of one boot.
    #[error("job {0} is of another boot than the block")]
    OtherBoot(JobId),
    /// Two series of one group would be two orders of its readings.
    #[error("a group has two series in one block")]
    Twins,
    /// A record that JSON does not take.
    #[error("a record cannot be written")]
    Json(#[from] serde_json::Error),
    /// More than a block holds.
    #[error("the block would weigh more than {MOST_WEIGHT} bytes before it is packed")]
    TooLong,
}

/// The most that a block weighs: the bytes of its records before they are packed, and an eighth of what its readings
/// take in memory.
pub const MOST_WEIGHT: u32 = 64 << 20;

/// Why bytes are no block. Nothing of them was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It ends before its end.
    #[error("the block is cut off")]
    Short,
    /// More than one block, or something behind it.
    #[error("there is something behind the block's end")]
    Long,
    /// Not this format.
    #[error("this is no block")]
    Magic,
    /// Of a later release.
    #[error("the block is of format {0}, and this release reads format {version}", version = sealed::VERSION)]
    Version(u8),
    /// Changed on the way.
    #[error("the block's checksum is not its bytes'")]
    Checksum,
    /// Not signed by whom it names.
    #[error("the block's signature is not by the key it names")]
    Signature,
    /// The node, the boot or the time in its head is none.
    #[error("the block's head is not one")]
    Head,
    /// What is packed cannot be unpacked, or does not weigh what it says.
    #[error("the block's payload cannot be unpacked")]
    Payload,
    /// A record of a kind this format does not have, or in the wrong order.
    #[error("the block has a record of an unknown kind")]
    Record,
    /// A record that is no JSON of its kind.
    #[error("a record of the block cannot be read")]
    Json,
    /// The columns of readings are not as they were written.
    #[error("the block's readings cannot be read")]
    Readings,
}
