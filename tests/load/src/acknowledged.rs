//! What the senders hold acknowledged, in a file; and how long each acknowledgement took.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use tenantry_model::block::BlockHash;

/// How often the file is made durable.
const SYNC_EACH: Duration = Duration::from_millis(50);

/// One acknowledged block.
pub struct Acknowledged {
    /// Its name.
    pub name: String,
    /// Its hash, by the sender's own reckoning.
    pub hash: BlockHash,
    /// From when it was to be sent, or was first sent, to the acknowledgement.
    pub latency: Duration,
}

/// The file's writer, a thread of its own: `<when, µs since 1970> <latency, µs> <node>/<boot>/<sequence> <hash>` a line.
pub struct Keeper {
    lines: SyncSender<(SystemTime, Acknowledged)>,
    thread: JoinHandle<Result<Figures>>,
}

/// What the file came to.
pub struct Figures {
    /// Each acknowledgement's latency, in µs, sorted.
    pub latencies_usec: Vec<u64>,
    /// The longest time from one acknowledgement to the next, in µs.
    pub longest_gap_usec: u64,
}

impl Keeper {
    /// Makes the file.
    pub fn start(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        let (lines, received) = sync_channel(65_536);
        Ok(Self { lines, thread: thread::spawn(move || keep(file, &received)) })
    }

    /// A way to hand in acknowledgements.
    pub fn writer(&self) -> impl Fn(Acknowledged) -> Result<()> + Clone + Send + use<> {
        let lines = self.lines.clone();
        move |acknowledged| {
            lines
                .send((SystemTime::now(), acknowledged))
                .map_err(|_| anyhow!("what was acknowledged cannot be kept"))
        }
    }

    /// After the last writer is gone: everything is on the disk.
    pub fn finish(self) -> Result<Figures> {
        drop(self.lines);
        self.thread.join().map_err(|_| anyhow!("what was acknowledged cannot be kept"))?
    }
}

fn keep(file: File, received: &Receiver<(SystemTime, Acknowledged)>) -> Result<Figures> {
    let mut out = BufWriter::new(file);
    let mut figures = Figures { latencies_usec: Vec::new(), longest_gap_usec: 0 };
    let (mut last, mut synced, mut dirty) = (None, SystemTime::now(), false);
    loop {
        match received.recv_timeout(SYNC_EACH) {
            Ok((at, Acknowledged { name, hash, latency })) => {
                let at = at.duration_since(UNIX_EPOCH)?.as_micros() as u64;
                let latency = latency.as_micros() as u64;
                writeln!(out, "{at} {latency} {name} {hash}")?;
                figures.latencies_usec.push(latency);
                let gap = last.map_or(0, |last| at.saturating_sub(last));
                figures.longest_gap_usec = figures.longest_gap_usec.max(gap);
                last = Some(last.map_or(at, |last: u64| last.max(at)));
                dirty = true;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if dirty && synced.elapsed().unwrap_or(SYNC_EACH) >= SYNC_EACH {
            out.flush()?;
            out.get_ref().sync_data()?;
            (synced, dirty) = (SystemTime::now(), false);
        }
    }
    out.flush()?;
    out.get_ref().sync_data()?;
    figures.latencies_usec.sort_unstable();
    Ok(figures)
}
