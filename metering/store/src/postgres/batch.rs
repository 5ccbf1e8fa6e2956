//! Blocks that come at the same time share a transaction: one call, one commit, one wait for the standby.
//!
//! Each is acknowledged after that commit, and by what became of itself: what cannot be planned with the others, or
//! was planned on what is no longer so, is taken alone; and so is each of them where the whole transaction fails.

use std::collections::{BTreeSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use tenantry_model::WallTime;
use tenantry_model::window::WindowWidth;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::nodes::Node;
use super::planned::{Plan, Planned, planned};
use super::{Writer, facts, is_race, write};
use crate::ingest::{Arrival, Taken, Wanted};
use crate::{SentBlock, StoreError};
use tenantry_model::block::Receipt;

/// Blocks of one transaction.
const MOST: usize = 64;
/// Blocks that wait for their turn; those who send more wait with them.
const QUEUE: usize = 256;
/// Transactions under way at once: while one waits for the standby the next are planned and written.
const AT_ONCE: u32 = 3;
/// So many blocks wait for no more of them.
const ENOUGH: usize = 20;
/// And no longer than this: what is under way may be held up.
const LONGEST_WAIT: Duration = Duration::from_millis(20);

/// A block that waits to be taken.
pub(super) struct Waiting {
    pub sent: SentBlock,
    pub received: WallTime,
    pub correlation_id: String,
    pub width: WindowWidth,
    pub answer: oneshot::Sender<Result<Taken, StoreError>>,
}

impl Waiting {
    fn arrival(&self) -> Arrival<'_> {
        Arrival {
            sent: &self.sent,
            received: self.received,
            correlation_id: &self.correlation_id,
            width: self.width,
        }
    }

    /// Whoever asked may have gone.
    fn answer(self, taken: Result<Taken, StoreError>) {
        let _ = self.answer.send(taken);
    }
}

/// What became of a block of a batch.
enum Outcome {
    Taken(Node),
    Failed(StoreError),
    /// Nothing yet.
    Alone,
}

/// Where blocks are handed in. It ends when nobody can hand in any more.
pub(super) fn start(writer: Writer, connections: u32) -> mpsc::Sender<Waiting> {
    let (queue, waiting) = mpsc::channel(QUEUE);
    let at_once = connections.min(AT_ONCE);
    let turns = usize::try_from(at_once).unwrap_or(1);
    tokio::spawn(dispatch(writer, waiting, Arc::new(Semaphore::new(turns)), at_once));
    queue
}

async fn dispatch(writer: Writer, mut waiting: mpsc::Receiver<Waiting>, turns: Arc<Semaphore>, at_once: u32) {
    let mut held = VecDeque::new();
    loop {
        if held.is_empty() {
            match waiting.recv().await {
                Some(first) => held.push_back(first),
                None => return,
            }
        }
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        // What came while all were under way, comes along.
        while let Ok(next) = waiting.try_recv() {
            held.push_back(next);
        }
        wait_for_more(&mut held, &mut waiting, turns.acquire_many(at_once.saturating_sub(1))).await;
        let batch = next_batch(&mut held);
        let writer = writer.clone();
        tokio::spawn(async move {
            take(&writer, batch).await;
            drop(turn);
        });
    }
}

/// A few wait for more while others are under way: a transaction of few takes nearly as long as one of many.
async fn wait_for_more(
    held: &mut VecDeque<Waiting>,
    waiting: &mut mpsc::Receiver<Waiting>,
    none_under_way: impl Future,
) {
    let mut over = pin!(timeout(LONGEST_WAIT, none_under_way));
    while held.len() < ENOUGH {
        tokio::select! {
            next = waiting.recv() => match next {
                Some(next) => held.push_back(next),
                None => return,
            },
            _ = &mut over => return,
        }
    }
}

/// The first of those that wait, of each node one.
fn next_batch(held: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let (mut batch, mut rest) = (Vec::new(), VecDeque::new());
    let mut nodes = BTreeSet::new();
    for next in held.drain(..) {
        if batch.len() < MOST && nodes.insert(next.sent.key().node.clone()) {
            batch.push(next);
        } else {
            rest.push_back(next);
        }
    }
    *held = rest;
    // Two transactions that have several nodes in common lock them in the same order.
    batch.sort_by(|one, other| one.sent.key().node.cmp(&other.sent.key().node));
    batch
}

async fn take(writer: &Writer, batch: Vec<Waiting>) {
    let outcomes = match together(writer, &batch).await {
        Ok(outcomes) => outcomes,
        Err(error) => match batch.len() {
            // There is nobody that it could be taken apart from, but it may have been a race.
            1 if !matches!(&error, StoreError::Sql { source, .. } if is_race(source)) => {
                vec![Outcome::Failed(error)]
            }
            _ => batch.iter().map(|_| same(&error).map_or(Outcome::Alone, Outcome::Failed)).collect(),
        },
    };
    for (waiting, outcome) in batch.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Taken(_) => waiting.answer(Ok(Taken::Receipt(Receipt::New))),
            Outcome::Failed(error) => waiting.answer(Err(error)),
            Outcome::Alone => {
                let writer = writer.clone();
                tokio::spawn(async move {
                    let taken = writer.take_alone(waiting.arrival()).await;
                    waiting.answer(taken);
                });
            }
        }
    }
}

/// What holds for each block of a batch as for the whole; another failure may be one block's.
fn same(error: &StoreError) -> Option<StoreError> {
    match error {
        StoreError::NoPrimary { tried } => Some(StoreError::NoPrimary { tried: tried.clone() }),
        StoreError::Patience { seconds } => Some(StoreError::Patience { seconds: *seconds }),
        StoreError::NotConfirmed { warning } => Some(StoreError::NotConfirmed { warning: warning.clone() }),
        StoreError::Refused(text) => Some(StoreError::Refused(text.clone())),
        _ => None,
    }
}

async fn together(writer: &Writer, batch: &[Waiting]) -> Result<Vec<Outcome>, StoreError> {
    let (primary, mut outcomes) = writer
        .write(async |db, primary| Ok((primary, try_together(writer, db, primary, batch).await?)))
        .await?;
    // It is confirmed now.
    for (waiting, outcome) in batch.iter().zip(&mut outcomes) {
        if let Outcome::Taken(node) = outcome {
            writer.nodes.keep(primary, waiting.sent.key().node.clone(), std::mem::take(node));
        }
    }
    Ok(outcomes)
}

async fn try_together(
    writer: &Writer,
    db: &mut PgConnection,
    primary: u64,
    batch: &[Waiting],
) -> Result<Vec<Outcome>, StoreError> {
    let mut plans: Vec<Planned<'_>> = Vec::new();
    let mut outcomes = Vec::new();
    for waiting in batch {
        let (arrival, wanted) = (waiting.arrival(), Wanted::by(&waiting.sent));
        let remembered = writer.nodes.take(primary, &waiting.sent.key().node);
        let (node, facts) = match remembered.and_then(|node| node.facts(&waiting.sent, &wanted)) {
            Some(known) => known,
            None => facts::gather(db, &waiting.sent, &wanted).await?,
        };
        outcomes.push(match planned(arrival, wanted, node, facts) {
            Ok(Plan::Take(planned)) => {
                plans.push(*planned);
                None
            }
            Ok(Plan::Answer { .. }) => Some(Outcome::Alone),
            Err(error) => Some(Outcome::Failed(error)),
        });
    }
    let taken = if plans.is_empty() { Vec::new() } else { write::take(db, &plans, writer.standby).await? };
    let mut taken = plans
        .into_iter()
        .zip(taken)
        .map(|(planned, taken)| if taken { Outcome::Taken(planned.node) } else { Outcome::Alone });
    // In the place of each that was planned what became of it.
    Ok(outcomes.into_iter().filter_map(|known| known.or_else(|| taken.next())).collect())
}
