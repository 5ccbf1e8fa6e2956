//! A block's outside: head, payload, signature, checksum.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use tenantry_model::block::{Block, BlockHash, BlockKey};
use tenantry_model::{BootId, Moment, Usec, WallTime};

use crate::frame::Frame;
use crate::wire::{Reader, Writer};
use crate::{EncodeError, MOST_WEIGHT, Malformed, payload};

const MAGIC: [u8; 4] = *b"TnBk";
/// The only format that is read: the one before was never released.
pub const VERSION: u8 = 2;
/// Stands before the hash in what is signed, so that the signature is good for nothing else.
const SIGNED_AS: &[u8] = b"tenantry block 2\0";
const KEY_BYTES: usize = 32;
const SIGNATURE_BYTES: usize = 64;
const CHECKSUM_BYTES: usize = 4;

/// A node's signing key. It never leaves the node, and no `Debug` shows it.
pub struct NodeKey(SigningKey);

impl NodeKey {
    /// The key of 32 secret bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; KEY_BYTES]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// What others know it by.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.public())
    }
}

/// The public half of a [`NodeKey`]. In text: 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey(pub [u8; KEY_BYTES]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&BlockHash(self.0), f)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A block's bytes, with its head read.
///
/// # Invariants
/// The checksum is the bytes', and the signature is by the key they name. Held by its only
/// constructors [`Sealed::new`] and [`Sealed::open`], and the test
/// `every_bit_that_flips_and_every_cut_is_found`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    bytes: Vec<u8>,
    head: Head,
    hash: BlockHash,
    signer: PublicKey,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Head {
    key: BlockKey,
    previous: BlockHash,
    closed: Moment,
    /// Of the payload.
    weight: u32,
    /// Where the payload stands.
    payload: std::ops::Range<usize>,
}

/// What a block says that it weighs ([`MOST_WEIGHT`]), before anything of it is believed; `None`: it is no block.
#[must_use]
pub fn claimed_weight(bytes: &[u8]) -> Option<u32> {
    let mut input = Reader(bytes);
    let (_magic, _version) = (input.array::<4>()?, input.byte()?);
    let _node = input.text()?;
    // Boot id, sequence, the hash before it, two times.
    let _head = input.array::<{ 36 + 8 + 32 + 8 + 8 }>()?;
    Some(u32::from_le_bytes(input.array()?))
}

impl Sealed {
    /// Packs and signs a block.
    ///
    /// # Errors
    /// [`EncodeError`].
    pub fn new(block: &Block, signer: &NodeKey) -> Result<Self, EncodeError> {
        let frame = Frame { boot_id: &block.key.boot_id, closed: block.closed };
        let (payload, weight) = payload::write(&block.contents, frame)?;
        let weight = u32::try_from(weight).ok().filter(|weight| *weight <= MOST_WEIGHT);
        let weight = weight.ok_or(EncodeError::TooLong)?;
        let mut out = Writer::default();
        out.bytes(&MAGIC);
        out.byte(VERSION);
        out.text(block.key.node.as_str().as_bytes());
        out.bytes(block.key.boot_id.as_str().as_bytes());
        out.bytes(&block.key.sequence.to_le_bytes());
        out.bytes(&block.previous.0);
        out.bytes(&block.closed.wall.unix_usec().to_le_bytes());
        out.bytes(&block.closed.boottime_usec.0.to_le_bytes());
        out.bytes(&weight.to_le_bytes());
        out.text(&payload);
        let end = out.0.len();
        let start = end.saturating_sub(payload.len());
        let hash = BlockHash(Sha256::digest(&out.0).into());
        let signature = signer.0.sign(&signed(hash));
        out.bytes(&signer.public().0);
        out.bytes(&signature.to_bytes());
        out.bytes(&crc32fast::hash(&out.0).to_le_bytes());
        let Block { key, previous, closed, .. } = block;
        let head =
            Head { key: key.clone(), previous: *previous, closed: *closed, weight, payload: start..end };
        Ok(Self { bytes: out.0, head, hash, signer: signer.public() })
    }

    /// Checks a block's bytes, and reads its head.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn open(bytes: Vec<u8>) -> Result<Self, Malformed> {
        let mut input = Reader(&bytes);
        if input.array() != Some(MAGIC) {
            return Err(if bytes.len() < MAGIC.len() { Malformed::Short } else { Malformed::Magic });
        }
        let version = input.byte().ok_or(Malformed::Short)?;
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        let (checked, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(Malformed::Short)?;
        let (hashed, _) = checked
            .split_at_checked(checked.len().saturating_sub(KEY_BYTES.saturating_add(SIGNATURE_BYTES)))
            .ok_or(Malformed::Short)?;
        let node = input.text().ok_or(Malformed::Short)?;
        let boot_id = input.array::<36>().ok_or(Malformed::Short)?;
        let sequence = u64::from_le_bytes(input.array().ok_or(Malformed::Short)?);
        let previous = BlockHash(input.array().ok_or(Malformed::Short)?);
        let wall = i64::from_le_bytes(input.array().ok_or(Malformed::Short)?);
        let boottime = u64::from_le_bytes(input.array().ok_or(Malformed::Short)?);
        let weight = u32::from_le_bytes(input.array().ok_or(Malformed::Short)?);
        let payload = input.text().ok_or(Malformed::Short)?.len();
        let signer = PublicKey(input.array().ok_or(Malformed::Short)?);
        let signature: [u8; SIGNATURE_BYTES] = input.array().ok_or(Malformed::Short)?;
        match input.0.len().checked_sub(CHECKSUM_BYTES) {
            Some(0) => {}
            Some(_) => return Err(Malformed::Long),
            None => return Err(Malformed::Short),
        }
        if crc32fast::hash(checked) != u32::from_le_bytes(*checksum) {
            return Err(Malformed::Checksum);
        }
        let hash = BlockHash(Sha256::digest(hashed).into());
        VerifyingKey::from_bytes(&signer.0)
            .and_then(|key| key.verify_strict(&signed(hash), &Signature::from_bytes(&signature)))
            .map_err(|_| Malformed::Signature)?;
        let text = |bytes| str::from_utf8(bytes).map_err(|_| Malformed::Head);
        let wall = WallTime::from_unix_usec(wall).map_err(|_| Malformed::Head)?;
        let key = BlockKey {
            node: text(node)?.parse().map_err(|_| Malformed::Head)?,
            boot_id: text(&boot_id)?.parse::<BootId>().map_err(|_| Malformed::Head)?,
            sequence,
        };
        let closed = Moment { wall, boottime_usec: Usec(boottime) };
        let payload = hashed.len().saturating_sub(payload)..hashed.len();
        let head = Head { key, previous, closed, weight, payload };
        Ok(Self { bytes, head, hash, signer })
    }

    /// The block, unpacked.
    ///
    /// # Errors
    /// [`Malformed`], where whoever signed it wrote something else than a block.
    pub fn block(&self) -> Result<Block, Malformed> {
        let Head { key, previous, closed, weight, payload } = &self.head;
        let packed = self.bytes.get(payload.clone()).ok_or(Malformed::Payload)?;
        let weight = Some(*weight).filter(|weight| *weight <= MOST_WEIGHT).ok_or(Malformed::Payload)?;
        let weight = usize::try_from(weight).map_err(|_| Malformed::Payload)?;
        let contents = payload::read(packed, Frame { boot_id: &key.boot_id, closed: *closed }, weight)?;
        Ok(Block { key: key.clone(), previous: *previous, closed: *closed, contents })
    }

    /// Its bytes, as they are sent and kept.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its name.
    #[must_use]
    pub fn key(&self) -> &BlockKey {
        &self.head.key
    }

    /// What the next block names it by: SHA-256 of all before the signature.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        self.hash
    }

    /// The block before it.
    #[must_use]
    pub fn previous(&self) -> BlockHash {
        self.head.previous
    }

    /// When it was closed.
    #[must_use]
    pub fn closed(&self) -> Moment {
        self.head.closed
    }

    /// Whose signature it has. That this is the node's key is for the reader to know.
    #[must_use]
    pub fn signer(&self) -> PublicKey {
        self.signer
    }
}

fn signed(hash: BlockHash) -> Vec<u8> {
    [SIGNED_AS, &hash.0].concat()
}
