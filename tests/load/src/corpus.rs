//! Blocks in a file, in the order in which they are sent: a name, a hash, and the bytes, each behind its length (u32,
//! little-endian). Who sends them need not open them.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use tenantry_block::Sealed;
use tenantry_model::block::BlockHash;

use crate::fleet::{Node, Shape};

/// Makes the file: minute by minute, node after node.
pub fn prepare(path: &Path, shape: &Shape) -> Result<()> {
    let mut fleet = shape.fleet()?;
    let workers = thread::available_parallelism()?.get();
    let mut out =
        BufWriter::new(File::create(path).with_context(|| format!("cannot make {}", path.display()))?);
    let (mut blocks, mut bytes) = (0_u64, 0_u64);
    for _ in 0..shape.minutes {
        for sealed in minute(&mut fleet, workers)? {
            for part in [sealed.key().to_string().as_bytes(), &sealed.hash().0, sealed.bytes()] {
                out.write_all(&u32::try_from(part.len())?.to_le_bytes())?;
                out.write_all(part)?;
            }
            blocks += 1;
            bytes += sealed.bytes().len() as u64;
        }
    }
    out.flush()?;
    println!("{}", serde_json::json!({"blocks": blocks, "bytes": bytes}));
    Ok(())
}

/// The next block of each node.
fn minute(fleet: &mut [Node], workers: usize) -> Result<Vec<Sealed>> {
    let share = fleet.len().div_ceil(workers).max(1);
    thread::scope(|scope| {
        let parts: Vec<_> = fleet
            .chunks_mut(share)
            .map(|nodes| scope.spawn(|| nodes.iter_mut().map(Node::next_block).collect::<Result<Vec<_>>>()))
            .collect();
        let mut all = Vec::new();
        for part in parts {
            all.extend(part.join().map_err(|_| anyhow!("a block could not be made"))??);
        }
        Ok(all)
    })
}

/// A block that is ready to be sent.
pub struct Ready {
    /// Its name: `node/boot/sequence`.
    pub name: String,
    /// Its hash.
    pub hash: BlockHash,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Ready {
    /// Which of so many lanes its node's blocks go: all the same one.
    pub fn lane(&self, lanes: usize) -> usize {
        let node = self.name.split('/').next().unwrap_or_default();
        let digits = node.bytes().filter(u8::is_ascii_digit);
        digits.fold(0_usize, |number, digit| number.wrapping_mul(10).wrapping_add(usize::from(digit - b'0')))
            % lanes
    }
}

/// The file's blocks, one after the other.
pub struct Corpus(BufReader<File>);

impl Corpus {
    /// Opens the file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self(BufReader::with_capacity(1 << 20, file)))
    }

    /// `None`: the file's end.
    fn part(&mut self) -> Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let mut part = vec![0; u32::from_le_bytes(length) as usize];
        self.0.read_exact(&mut part)?;
        Ok(Some(part))
    }

    fn block(&mut self) -> Result<Option<Ready>> {
        let Some(name) = self.part()? else { return Ok(None) };
        let (Some(hash), Some(bytes)) = (self.part()?, self.part()?) else { bail!("the file is cut off") };
        let hash = hash.try_into().map_err(|_| anyhow!("the file has a hash that is none"))?;
        Ok(Some(Ready { name: String::from_utf8(name)?, hash: BlockHash(hash), bytes }))
    }
}

impl Iterator for Corpus {
    type Item = Result<Ready>;

    fn next(&mut self) -> Option<Self::Item> {
        self.block().transpose()
    }
}
