//! What cannot be is written down for a person to look at, and kept; on a real file, and by tests/postgres/run on a
//! real PostgreSQL with a standby.
// A test's helpers are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::print_stdout, clippy::print_stderr)]

mod common;

use common::*;
use tenantry_block::{NodeKey, Sealed};
use tenantry_model::block::{Block, BlockHash, BlockKey, Contents, Event, Receipt};
use tenantry_model::job::Quality;
use tenantry_model::{Moment, Usec};
use tenantry_store::{AuditKind, SentBlock, Taken};

const NEW: Taken = Taken::Receipt(Receipt::New);
const MINUTES: u64 = 300_000_000;
const OTHERS_BOOT: &str = "0b0b0b0b-0000-4000-8000-00000000000b";

fn block(node: &str, boot: &str, sequence: u64, closed: Moment, contents: Contents) -> SentBlock {
    let key = BlockKey { node: node.parse().unwrap(), boot_id: boot.parse().unwrap(), sequence };
    let block = Block { key, previous: BlockHash::default(), closed, contents };
    parsed(&Sealed::new(&block, &NodeKey::from_seed(&[1; 32])).unwrap())
}

#[tokio::test]
async fn a_run_in_another_nodes_boot_is_not_counted_and_is_audited() {
    let it = Fixture::new().await;
    let now = moment(60_000_000);
    let ingest = async |block: SentBlock| it.ledger.ingest(&block, now.wall, "test").await.unwrap();
    let others = block("n2", OTHERS_BOOT, 1, now, Contents::default());
    assert_eq!(ingest(others).await, NEW);
    let mut foreign = registration(7, "acme", 1000);
    foreign.incarnation.boot_id = OTHERS_BOOT.parse().unwrap();
    let foreign = end_of(foreign, 5_000, 42, Quality::Exact);
    assert_eq!(it.take(1, vec![foreign, end(8, 5_000, 1)]).await, Receipt::New);
    let counted: Vec<u32> = it.report().await.usage.iter().map(|record| record.job_id.0).collect();
    assert_eq!(counted, [8], "the node's own run counts all the same");
    assert_eq!(it.audited().await, [AuditKind::ForeignRun]);
    // Nor does it end the other's boot.
    let ended = Event::BootEnded { boot_id: OTHERS_BOOT.parse().unwrap(), last_sequence: 1, last: moment(1) };
    assert_eq!(it.take(2, vec![Entry::Event(ended)]).await, Receipt::New);
    assert_eq!(it.audited().await, [AuditKind::ForeignRun, AuditKind::ForeignRun]);
}

#[tokio::test]
async fn a_block_of_the_future_or_of_before_the_one_it_follows_is_kept_and_audited() {
    let it = Fixture::new().await;
    let take = async |sequence: u64, closed: u64, received: u64, events: Vec<Event>| {
        let contents = Contents { events, ..Contents::default() };
        let block = block("n1", BOOT, sequence, moment(closed), contents);
        it.ledger.ingest(&block, moment(received).wall, "test").await.unwrap()
    };
    // Five minutes are taken for clocks that differ.
    assert_eq!(take(1, 1 + MINUTES, 1, vec![]).await, NEW);
    assert_eq!(it.audited().await, []);
    assert_eq!(take(2, 3 + MINUTES, 2, vec![]).await, NEW);
    assert_eq!(it.audited().await, [AuditKind::ImplausibleTime]);
    assert_eq!(take(3, 2 + MINUTES, 2 + MINUTES, vec![]).await, NEW);
    assert_eq!(it.audited().await, [AuditKind::ImplausibleTime, AuditKind::ImplausibleTime]);
    // Whose clock was set back says so.
    let stepped = Event::ClockStepped { at: moment(1), by_usec: -1 };
    assert_eq!(take(4, 1 + MINUTES, 2 + MINUTES, vec![stepped]).await, NEW);
    assert_eq!(it.audited().await.len(), 2);
}

#[tokio::test]
async fn more_cpu_than_the_allocated_cpus_had_time_for_is_counted_and_audited() {
    let it = Fixture::new().await;
    // Two CPUs for five seconds, and a second and a hundredth more that are no reason to look.
    let most = 10_000_000 + 1_000_000 + 100_000;
    it.take(1, vec![end(7, 5_001_000, most)]).await;
    assert_eq!(it.audited().await, []);
    it.take(2, vec![end(8, 5_001_000, most + 1)]).await;
    assert_eq!(it.audited().await, [AuditKind::ImplausibleCpu]);
    let counted: Vec<_> = it.report().await.usage.iter().map(|record| record.cpu_usage_usec).collect();
    assert_eq!(counted, [Some(Usec(most)), Some(Usec(most + 1))]);
}
