//! What it takes to check a file's blocks, to unpack them, and to make them.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail};
use tenantry_block::{NodeKey, Sealed};
use tenantry_model::block::Block;

use crate::corpus::Corpus;

/// The best of so many passes over the file.
const PASSES: usize = 7;

/// Microseconds a block.
fn timed<T>(count: usize, mut pass: impl FnMut() -> Result<T>) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..PASSES {
        let begun = Instant::now();
        black_box(pass()?);
        best = best.min(begun.elapsed().as_secs_f64() * 1e6 / count as f64);
    }
    Ok(best)
}

/// Each in a pass of its own, over all blocks.
pub fn run(corpus: &Path) -> Result<()> {
    let all: Vec<Vec<u8>> = Corpus::open(corpus)?.map(|block| Ok(block?.bytes)).collect::<Result<_>>()?;
    let open =
        || -> Result<Vec<Sealed>> { all.iter().map(|bytes| Ok(Sealed::open(bytes.clone())?)).collect() };
    let sealed = open()?;
    let read: Vec<Block> = sealed.iter().map(|sealed| Ok(sealed.block()?)).collect::<Result<_>>()?;
    let series = read.iter().flat_map(|block| &block.contents.series);
    let readings: usize = series.map(|series| series.readings.len()).sum();
    if readings == 0 {
        bail!("the file has no readings");
    }
    let (count, bytes) = (all.len(), all.iter().map(Vec::len).sum::<usize>() as f64);
    let checked = timed(count, || Ok(open()?.len()))?;
    // One after the other, as the server has them.
    let unpacked = timed(count, || Ok(sealed.iter().filter(|sealed| sealed.block().is_ok()).count()))?;
    let key = NodeKey::from_seed(&[7; 32]);
    let made = timed(count, || Ok(read.iter().filter(|block| Sealed::new(block, &key).is_ok()).count()))?;
    println!(
        "{}",
        serde_json::json!({
            "blocks": count, "bytes_per_block": bytes / count as f64, "bytes_per_reading": bytes / readings as f64,
            "checked_usec": checked, "unpacked_usec": unpacked, "made_usec": made,
        })
    );
    Ok(())
}
