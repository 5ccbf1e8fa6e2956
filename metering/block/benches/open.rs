//! What it takes to open blocks and to read them, of a file that `tenantry-load prepare` made:
//! `cargo bench -p tenantry-block --bench open -- FILE`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench stops where something is not as it should be, reads the clock, and prints ratios"
)]

use std::hint::black_box;
use std::time::Instant;
use std::{env, fs};

use tenantry_block::{NodeKey, Sealed};

/// The best of so many passes over the file.
const PASSES: usize = 7;

/// The file's parts, each behind its length; of three the last is a block.
fn blocks(file: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = file;
    let mut parts = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk() {
        let (part, after) = after.split_at(u32::from_le_bytes(*length) as usize);
        parts.push(part.to_vec());
        rest = after;
    }
    parts.into_iter().skip(2).step_by(3).collect()
}

/// Microseconds a block.
fn timed<T>(count: usize, mut pass: impl FnMut() -> T) -> f64 {
    let once = |_| {
        let begun = Instant::now();
        black_box(pass());
        begun.elapsed().as_secs_f64() * 1e6 / count as f64
    };
    (0..PASSES).map(once).fold(f64::INFINITY, f64::min)
}

fn main() {
    let words: Vec<String> = env::args().skip(1).filter(|word| word != "--bench").collect();
    let Some(file) = words.first() else {
        return println!("this wants a file of `tenantry-load prepare`");
    };
    let all = blocks(&fs::read(file).unwrap());
    let sealed: Vec<Sealed> = all.iter().map(|bytes| Sealed::open(bytes.clone()).unwrap()).collect();
    let read: Vec<_> = sealed.iter().map(|sealed| sealed.block().unwrap()).collect();
    let readings: usize =
        read.iter().flat_map(|block| &block.contents.series).map(|series| series.readings.len()).sum();
    let bytes: usize = all.iter().map(Vec::len).sum();
    let (count, a_block) = (all.len(), readings as f64 / all.len() as f64);
    println!(
        "{count} blocks of {:.0} bytes: {:.2} bytes a reading",
        bytes as f64 / count as f64,
        bytes as f64 / readings as f64
    );
    let opened = timed(count, || {
        all.iter().map(|bytes| Sealed::open(bytes.clone()).unwrap()).collect::<Vec<_>>().len()
    });
    // One after the other, as the server has them.
    let unpacked = timed(count, || sealed.iter().filter(|sealed| sealed.block().is_ok()).count());
    let key = NodeKey::from_seed(&[7; 32]);
    let made = timed(count, || read.iter().filter(|block| Sealed::new(block, &key).is_ok()).count());
    println!("  checked  {opened:7.1} µs a block");
    println!("  unpacked {unpacked:7.1} µs a block, {:.0} ns a reading", unpacked * 1000.0 / a_block);
    println!("  made     {made:7.1} µs a block");
}
