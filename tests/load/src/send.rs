//! Sends blocks over the servers' sockets as daemons do: a node's blocks one after the other, each until it is
//! acknowledged, at another server where one fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::acknowledged::{Acknowledged, Figures, Keeper};
use crate::corpus::{Corpus, Ready};

/// The waits after a failure: they double from the first to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// Blocks that wait before a sender; they are still sent when it was told to stop.
const QUEUE: usize = 8;
/// For how long failed attempts are still made again after that.
const GRACE: Duration = Duration::from_secs(10);

/// Where to, and how fast.
#[derive(clap::Args)]
pub struct Options {
    /// A server's ingest socket; several may be named
    #[arg(long = "socket", required = true)]
    sockets: Vec<PathBuf>,
    /// Keep here what is acknowledged
    #[arg(long)]
    acknowledged: PathBuf,
    /// Blocks that are under way at once
    #[arg(long, default_value_t = 48)]
    senders: usize,
    /// Blocks a second, at even intervals whatever the server does, latency from the intended moment; without it each sender
    /// sends its next block when the one before is acknowledged
    #[arg(long)]
    rate: Option<f64>,
    /// Stop after so long; SIGTERM stops it, too
    #[arg(long)]
    seconds: Option<f64>,
    /// How long one attempt may take
    #[arg(long, default_value_t = 5_000)]
    patience_ms: u64,
    /// Leave out so many blocks at the beginning: they were sent before
    #[arg(long, default_value_t = 0)]
    skip: usize,
    /// Stop after so many blocks
    #[arg(long)]
    blocks: Option<usize>,
}

/// What is counted of all senders together.
#[derive(Default)]
struct Counts {
    attempts_failed: AtomicU64,
    unfinished: AtomicU64,
}

/// A block, and when it is to be sent.
struct Due {
    block: Ready,
    at: Option<Instant>,
}

/// Until the file's end, the time's or SIGTERM.
pub fn run(corpus: &Path, options: Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (seconds, figures, counts, sent) = runtime.block_on(send(corpus, options))?;
    let Figures { latencies_usec, longest_gap_usec } = figures;
    let quantile = |q: f64| {
        let place = (latencies_usec.len() as f64 * q) as usize;
        latencies_usec
            .get(place.min(latencies_usec.len().saturating_sub(1)))
            .map(|usec| *usec as f64 / 1000.0)
    };
    println!(
        "{}",
        serde_json::json!({
            "acknowledged": latencies_usec.len(),
            "sent": sent,
            "unfinished": counts.unfinished.load(Ordering::Relaxed),
            "attempts_failed": counts.attempts_failed.load(Ordering::Relaxed),
            "seconds": seconds,
            "blocks_per_s": latencies_usec.len() as f64 / seconds,
            "p50_ack_ms": quantile(0.5),
            "p99_ack_ms": quantile(0.99),
            "max_ack_ms": quantile(1.0),
            "longest_gap_ms": longest_gap_usec as f64 / 1000.0,
        })
    );
    Ok(())
}

async fn send(corpus: &Path, options: Options) -> Result<(f64, Figures, Arc<Counts>, u64)> {
    let keeper = Keeper::start(&options.acknowledged)?;
    let counts = Arc::new(Counts::default());
    let stopping = Arc::new(AtomicBool::new(false));
    let mut terminate = signal(SignalKind::terminate())?;
    let sockets: Arc<[PathBuf]> = options.sockets.into();
    let patience = Duration::from_millis(options.patience_ms);
    let start = Instant::now();
    let mut senders = JoinSet::new();
    let mut queues = Vec::new();
    for number in 0..options.senders.max(1) {
        let (queue, due) = channel(QUEUE);
        queues.push(queue);
        let link = Link { sockets: Arc::clone(&sockets), next: number, open: None, patience };
        senders.spawn(serve(due, link, keeper.writer(), Arc::clone(&counts), Arc::clone(&stopping)));
    }
    let blocks = Corpus::open(corpus)?.skip(options.skip).take(options.blocks.unwrap_or(usize::MAX));
    let mut feeder = tokio::spawn(feed(blocks, queues, options.rate, start, Arc::clone(&stopping)));
    let limit = options.seconds.map_or(Duration::MAX, Duration::from_secs_f64);
    let fed = tokio::select! {
        fed = &mut feeder => Some(fed),
        _ = terminate.recv() => None,
        () = sleep(limit) => None,
    };
    stopping.store(fed.is_none(), Ordering::Relaxed);
    let sent = match fed {
        Some(fed) => fed,
        None => feeder.await,
    }??;
    while let Some(ended) = senders.join_next().await {
        ended??;
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok((seconds, keeper.finish()?, counts, sent))
}

/// Gives each sender its nodes' blocks; returns how many were given.
async fn feed(
    blocks: impl Iterator<Item = Result<Ready>> + Send,
    queues: Vec<Sender<Due>>,
    rate: Option<f64>,
    start: Instant,
    stopping: Arc<AtomicBool>,
) -> Result<u64> {
    let mut sent = 0_u64;
    for block in blocks {
        let block = block.context("the corpus cannot be read")?;
        let at = rate.map(|rate| start + Duration::from_secs_f64(sent as f64 / rate));
        if let Some(at) = at {
            // Up to a second ahead; the sender waits for the moment itself.
            sleep_until(at - Duration::from_secs(1).min(at - start)).await;
        }
        if stopping.load(Ordering::Relaxed) {
            break;
        }
        let sender = block.lane(queues.len());
        if queues[sender].send(Due { block, at }).await.is_err() {
            bail!("a sender ended before its time");
        }
        sent += 1;
    }
    Ok(sent)
}

async fn serve(
    mut due: Receiver<Due>,
    mut link: Link,
    keep: impl Fn(Acknowledged) -> Result<()>,
    counts: Arc<Counts>,
    stopping: Arc<AtomicBool>,
) -> Result<()> {
    let mut give_up: Option<Instant> = None;
    while let Some(Due { block, at }) = due.recv().await {
        if let Some(at) = at {
            sleep_until(at).await;
        }
        let began = at.unwrap_or_else(Instant::now);
        let mut wait = FIRST_WAIT;
        loop {
            if link.try_send(&block).await? {
                keep(Acknowledged { name: block.name, hash: block.hash, latency: began.elapsed() })?;
                break;
            }
            counts.attempts_failed.fetch_add(1, Ordering::Relaxed);
            if stopping.load(Ordering::Relaxed)
                && Instant::now() > *give_up.get_or_insert_with(|| Instant::now() + GRACE)
            {
                counts.unfinished.fetch_add(1, Ordering::Relaxed);
                break;
            }
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
    Ok(())
}

/// A connection that is kept, to one of the servers.
struct Link {
    sockets: Arc<[PathBuf]>,
    next: usize,
    open: Option<SendRequest<Full<Bytes>>>,
    patience: Duration,
}

impl Link {
    /// Whether the block was acknowledged; `false`: again, and at another server.
    ///
    /// # Errors
    /// Where a server will never take it: blocks of a drill are all good, and none has another's name.
    async fn try_send(&mut self, block: &Ready) -> Result<bool> {
        let mut reply = timeout(self.patience, self.exchange(&block.bytes)).await;
        // The server lets a connection go after a while: that it was gone says nothing of the server.
        if matches!(reply, Ok(Err(_))) && self.open.take().is_some_and(|open| open.is_closed()) {
            reply = timeout(self.patience, self.exchange(&block.bytes)).await;
        }
        let Ok(Ok((status, text))) = reply else {
            self.move_on();
            return Ok(false);
        };
        match status {
            StatusCode::OK => Ok(true),
            StatusCode::CONFLICT
            | StatusCode::BAD_REQUEST
            | StatusCode::FORBIDDEN
            | StatusCode::PAYLOAD_TOO_LARGE => {
                bail!(
                    "block {}: the server answered {status}: {}",
                    block.name,
                    String::from_utf8_lossy(&text)
                )
            }
            _ => {
                self.move_on();
                Ok(false)
            }
        }
    }

    /// The next attempt is made at the next server.
    fn move_on(&mut self) {
        self.open = None;
        self.next += 1;
    }

    async fn exchange(&mut self, body: &[u8]) -> Result<(StatusCode, Bytes)> {
        if self.open.as_ref().is_none_or(SendRequest::is_closed) {
            let socket = &self.sockets[self.next % self.sockets.len()];
            let (sender, connection) = handshake(TokioIo::new(UnixStream::connect(socket).await?)).await?;
            // It ends with the sender, or when the server closes it: then the next exchange says so.
            tokio::spawn(connection);
            self.open = Some(sender);
        }
        let Some(sender) = &mut self.open else { bail!("there is no connection") };
        sender.ready().await?;
        let request = Request::post("/v1/blocks")
            .header("host", "localhost")
            .header("content-type", "application/vnd.tenantry.block")
            .body(Full::new(Bytes::copy_from_slice(body)))?;
        let reply = sender.send_request(request).await?;
        let status = reply.status();
        Ok((status, reply.into_body().collect().await?.to_bytes()))
    }
}
