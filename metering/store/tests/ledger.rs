//! The ledger on a real file; run by tests/postgres/run, on a real PostgreSQL with a standby.
// A test's helpers are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::print_stdout, clippy::print_stderr)]

mod common;

use common::*;
use proptest::prelude::*;
use tenantry_block::{NodeKey, Sealed};
use tenantry_model::block::{BlockHash, Event, GapReason, Receipt};
use tenantry_model::catalogue::Metric;
use tenantry_model::job::Quality;
use tenantry_model::reading::Reading;
use tenantry_model::usage::{UsageRecord, UsageReport, UsageState};
use tenantry_model::{Bytes, JobId, Moment, Usec};
use tenantry_store::{AuditEvent, AuditKind, Filter, StoreError, Taken};

#[tokio::test]
async fn a_block_counts_once_however_often_it_is_sent() {
    let it = Fixture::new().await;
    assert_eq!(it.take(1, vec![end(7, 5_000, 42)]).await, Receipt::New);
    let before = it.report().await;
    assert_eq!(it.take(1, vec![end(7, 5_000, 42)]).await, Receipt::Duplicate);
    assert_eq!(it.report().await, before);
    assert_eq!(before.usage.len(), 1);
    assert_eq!(before.usage[0].cpu_usage_usec, Some(Usec(42)));
    assert_eq!(it.audited().await, []);
}

#[tokio::test]
async fn another_block_under_the_same_name_changes_nothing_and_is_audited() {
    let it = Fixture::new().await;
    it.take(1, vec![end(7, 5_000, 42)]).await;
    let before = it.report().await;
    assert_eq!(it.take(1, vec![end(7, 5_000, 43), end(8, 5_000, 1)]).await, Receipt::Conflict);
    assert_eq!(it.report().await, before);
    assert_eq!(it.audited().await, [AuditKind::BlockConflict]);
}

#[tokio::test]
async fn an_end_sent_again_in_another_block_is_ignored() {
    let it = Fixture::new().await;
    it.take(1, vec![end(7, 5_000, 42)]).await;
    assert_eq!(it.take(2, vec![end(7, 5_000, 42), end(8, 5_000, 1)]).await, Receipt::New);
    assert_eq!(it.report().await.usage.len(), 2);
    assert_eq!(it.audited().await, []);
}

#[tokio::test]
async fn a_different_exact_end_is_audited_and_the_first_stays() {
    let it = Fixture::new().await;
    it.take(1, vec![end(7, 5_000, 42)]).await;
    it.take(2, vec![end(7, 5_000, 99)]).await;
    let report = it.report().await;
    assert_eq!(report.usage.len(), 1);
    assert_eq!(report.usage[0].cpu_usage_usec, Some(Usec(42)));
    assert_eq!(it.audited().await, [AuditKind::EndConflict]);
}

#[tokio::test]
async fn an_exact_end_follows_an_estimated_one_as_a_revision_and_not_the_other_way() {
    let it = Fixture::new().await;
    let (gap, estimated) = (
        end_of(registration(7, "acme", 1000), 3_000, 0, Quality::Gap),
        end_of(registration(7, "acme", 1000), 4_000, 30, Quality::Estimated),
    );
    for (sequence, entry) in [gap, estimated.clone(), end(7, 5_000, 42), estimated].into_iter().enumerate() {
        it.take(u64::try_from(sequence).unwrap() + 1, vec![entry]).await;
    }
    let report = it.report().await;
    assert_eq!(report.usage.len(), 1);
    assert_eq!((report.usage[0].quality, report.usage[0].cpu_usage_usec), (Quality::Exact, Some(Usec(42))));
    assert_eq!(
        it.audited().await,
        [AuditKind::EndCorrected, AuditKind::EndCorrected, AuditKind::EndConflict]
    );
    // Every revision is kept.
    let expected = [(1, "gap", None), (2, "estimated", Some(30)), (3, "exact", Some(42))];
    assert_eq!(
        it.revisions().await,
        expected.map(|(revision, quality, cpu)| (revision, quality.to_owned(), cpu))
    );
}

#[tokio::test]
async fn a_running_job_shows_its_latest_reading_until_it_ends() {
    let it = Fixture::new().await;
    it.take(1, vec![running(7, 3_000, 20)]).await;
    it.take(2, vec![running(7, 2_000, 10)]).await;
    let report = it.report().await;
    assert_eq!(report.usage.len(), 1);
    assert_eq!(
        (report.usage[0].state, report.usage[0].cpu_usage_usec),
        (UsageState::Running, Some(Usec(20)))
    );
    it.take(3, vec![end(7, 5_000, 42)]).await;
    it.take(4, vec![running(7, 4_000, 30)]).await;
    let report = it.report().await;
    assert_eq!(report.usage.len(), 1);
    assert_eq!((report.usage[0].state, report.usage[0].cpu_usage_usec), (UsageState::Final, Some(Usec(42))));
}

#[tokio::test]
async fn two_runs_under_one_job_id_are_two_records() {
    let it = Fixture::new().await;
    let mut second = registration(7, "acme", 1000);
    second.incarnation.began = moment(9_000).wall;
    second.began = moment(9_000);
    it.take(1, vec![end(7, 5_000, 42), end_of(second, 10_000, 1, Quality::Exact)]).await;
    assert_eq!(it.report().await.usage.len(), 2);
    let filter = Filter { job: Some(JobId(7)), ..Filter::default() };
    assert_eq!(it.ledger.usage(&filter).await.unwrap().usage.len(), 2);
}

#[tokio::test]
async fn a_tenant_includes_those_that_stand_in_it_and_not_its_namesakes() {
    let it = Fixture::new().await;
    let tenants = ["acme", "acme/physics", "acme/physics/x", "acme-2", "acme2", "other"];
    let entries = tenants
        .iter()
        .zip(1..)
        .map(|(tenant, job)| end_of(registration(job, tenant, 1000 + job), 5_000, 1, Quality::Exact));
    it.take(1, entries.chain([tenant(2_000, 5), tenant(1_000, 4)]).collect()).await;
    let names = async |filter: Filter| {
        let report = it.ledger.usage(&filter).await.unwrap();
        let names: Vec<_> =
            report.usage.iter().map(|record| record.tenant.as_ref().unwrap().to_string()).collect();
        (names.join(" "), report.tenants.len())
    };
    let tenant = |name: &str| Filter { tenant: Some(name.parse().unwrap()), ..Filter::default() };
    assert_eq!(names(tenant("acme")).await, ("acme acme/physics acme/physics/x".into(), 1));
    assert_eq!(names(tenant("acme/physics")).await, ("acme/physics acme/physics/x".into(), 0));
    assert_eq!(names(tenant("nobody")).await, (String::new(), 0));
    // An owner sees his own jobs, and no tenant's counters.
    assert_eq!(names(Filter { uid: Some(1006), ..Filter::default() }).await, ("other".into(), 0));
    assert_eq!(names(Filter { uid: Some(1006), ..tenant("acme") }).await, (String::new(), 0));
    assert_eq!(it.report().await.tenants[0].cpu_usage_usec, Some(Usec(5)));
}

#[tokio::test]
async fn nobody_changes_what_was_written() {
    let it = Fixture::new().await;
    it.take(1, vec![end(7, 5_000, 42)]).await;
    it.take(1, vec![]).await;
    let before = (it.report().await, it.ledger.audit_events(9).await.unwrap());
    for (in_sqlite, in_postgres) in [
        ("UPDATE usage SET record = '{}'", "UPDATE meter.usage SET cpu_usage_usec = 0"),
        ("DELETE FROM usage", "DELETE FROM meter.usage"),
        (
            "INSERT OR REPLACE INTO usage (id, node, boot_id, job_id, began_unix_usec, revision, block, record) \
             VALUES (1, 'n', 'b', 1, 1, 1, 1, '{}')",
            "TRUNCATE meter.usage",
        ),
        (
            "REPLACE INTO usage (node, boot_id, job_id, began_unix_usec, revision, block, record) \
             SELECT node, boot_id, job_id, began_unix_usec, revision, block, '{}' FROM usage",
            "UPDATE meter.usage_name SET revision = 2",
        ),
        ("UPDATE block SET payload = x'00'", "UPDATE meter.block SET payload = '\\x00'"),
        ("DELETE FROM block", "DELETE FROM meter.block_name"),
        (
            "REPLACE INTO block \
             (node, boot_id, sequence, payload_sha256, payload, received_unix_usec, correlation_id) \
             SELECT node, boot_id, sequence, payload_sha256, x'00', 0, '' FROM block",
            "TRUNCATE meter.block, meter.block_name",
        ),
        ("UPDATE audit_event SET detail = ''", "UPDATE meter.audit_event SET detail = ''"),
        ("DELETE FROM audit_event", "DELETE FROM meter.audit_event"),
        (
            "REPLACE INTO audit_event SELECT id, 0, kind, uid, correlation_id, subject, '' FROM audit_event",
            "DELETE FROM meter.node_key",
        ),
    ] {
        let refused = it.sql(in_sqlite, in_postgres).await.expect_err(in_postgres).to_string();
        assert!(refused.contains("is never"), "{in_sqlite}, {in_postgres}: {refused}");
    }
    assert_eq!((it.report().await, it.ledger.audit_events(9).await.unwrap()), before);
}

#[tokio::test]
async fn what_was_taken_is_there_after_reopening() {
    let mut it = Fixture::new().await;
    it.take(1, vec![running(7, 3_000, 20), tenant(3_000, 20), end(8, 5_000, 1)]).await;
    let before = it.report().await;
    it.reopen().await;
    assert_eq!(it.report().await, before);
    assert_eq!(
        it.take(1, vec![running(7, 3_000, 20), tenant(3_000, 20), end(8, 5_000, 1)]).await,
        Receipt::Duplicate
    );
}

#[tokio::test]
async fn a_figure_the_ledger_cannot_hold_is_refused_whole() {
    let it = Fixture::new().await;
    let too_large = u64::try_from(i64::MAX).unwrap() + 1;
    for (sequence, entries) in [
        (1, vec![end(6, 5_000, 1), end(7, 5_000, too_large)]),
        (2, vec![running(7, 5_000, too_large)]),
        (3, vec![tenant(5_000, too_large)]),
        (too_large, vec![]),
    ] {
        let refused = it.try_take(sequence, entries).await.unwrap_err();
        assert!(matches!(refused, StoreError::OutOfRange { .. }), "{refused}");
    }
    assert_eq!(it.report().await, UsageReport { usage: vec![], tenants: vec![], gaps: vec![] });
    assert_eq!(it.take(1, vec![end(6, 5_000, 1)]).await, Receipt::New);
}

#[tokio::test]
async fn a_record_comes_back_as_it_went_in() {
    let it = Fixture::new().await;
    let mut registration = registration(7, "acme", 1000);
    registration.user = Some("a\"'\\\u{1f600}\n".into());
    registration.incarnation.cluster = Some("c1".parse().unwrap());
    let Entry::End(mut end) = end_of(registration, 5_000, 9_007_199_254_740_993, Quality::Exact) else {
        unreachable!()
    };
    end.allocation =
        Some(tenantry_model::job::Allocation { cpus: Some(3), memory: Some(Bytes(5 * Bytes::MIB)) });
    it.take(1, vec![Entry::End(end.clone())]).await;
    assert_eq!(it.report().await.usage, [tenantry_usage::record_of_end(&end, None)]);
}

#[tokio::test]
async fn a_ledger_of_a_later_release_is_refused_with_what_to_do() {
    let it = Fixture::new().await;
    let later = |table| {
        format!(
            "INSERT INTO {table} (version, description, success, checksum, execution_time) \
             VALUES (999, 'later', true, '', 0)"
        )
    };
    it.sql(&later("_sqlx_migrations"), &later("meter._sqlx_migrations")).await.unwrap();
    let refused = it.place.open().await.unwrap_err();
    assert!(refused.to_string().contains("schema 999"));
    assert!(refused.to_string().contains("start the release that"), "{refused}");
}

#[tokio::test]
async fn an_audit_event_comes_back_as_it_went_in() {
    let it = Fixture::new().await;
    let event = AuditEvent {
        at: moment(1).wall,
        kind: AuditKind::Refused,
        uid: Some(65534),
        correlation_id: "c-1".into(),
        subject: "POST /v1/blocks".into(),
        detail: "uid 65534 may not send blocks".into(),
    };
    it.ledger.audit(&event).await.unwrap();
    assert_eq!(it.ledger.audit_events(9).await.unwrap(), [event]);
}

/// What a daemon may send: job readings, an end, that end again.
fn a_days_blocks() -> Vec<Vec<Entry>> {
    vec![
        vec![running(1, 2_000, 10), running(2, 2_000, 10), tenant(2_000, 20)],
        vec![running(1, 3_000, 20), end(2, 3_500, 30)],
        vec![running(1, 4_000, 30), running(3, 4_000, 5), tenant(4_000, 65)],
        vec![end_of(registration(1, "acme", 1000), 4_500, 30, Quality::Estimated), end(2, 3_500, 30)],
        vec![end(1, 5_000, 40), running(3, 5_000, 6), tenant(5_000, 76)],
    ]
}

/// What does not depend on which reading came first.
fn without_memory(report: UsageReport) -> Vec<UsageRecord> {
    let forget = |record: UsageRecord| UsageRecord {
        memory_mib_seconds: None,
        memory_mib_seconds_bound: None,
        interpolated_usec: None,
        ..record
    };
    report.usage.into_iter().map(forget).collect()
}

proptest! {
    // Each case makes ledgers of its own, which takes PostgreSQL longer.
    #![proptest_config(ProptestConfig {
        cases: if Cluster::of_this_run().is_some() { 8 } else { 24 },
        ..ProptestConfig::default()
    })]
    #[test]
    fn resends_give_the_same_report_and_any_order_the_same_cpu_time(
        resends in prop::collection::vec(0_usize..5, 0..10),
        order in Just((0_usize..5).collect::<Vec<_>>()).prop_shuffle(),
        reopen_after in 0_usize..15,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let blocks = a_days_blocks();
            let straight = Fixture::new().await;
            let again = Fixture::new().await;
            for (at, entries) in blocks.iter().enumerate() {
                let sequence = u64::try_from(at).unwrap() + 1;
                straight.take(sequence, entries.clone()).await;
                again.take(sequence, entries.clone()).await;
                for at in resends.iter().filter(|resend| **resend <= at) {
                    let receipt = again.take(u64::try_from(*at).unwrap() + 1, blocks[*at].clone()).await;
                    assert_eq!(receipt, Receipt::Duplicate);
                }
            }
            assert_eq!(again.report().await, straight.report().await);
            let mut shuffled = Fixture::new().await;
            for (step, at) in resends.iter().chain(&order).enumerate() {
                shuffled.take(u64::try_from(*at).unwrap() + 1, blocks[*at].clone()).await;
                if step == reopen_after {
                    shuffled.reopen().await;
                }
            }
            assert_eq!(without_memory(shuffled.report().await), without_memory(straight.report().await));
            // What was missing for a while has come.
            assert_eq!(shuffled.report().await.gaps, []);
            let audited = shuffled.audited().await;
            assert!(!audited.contains(&AuditKind::BlockConflict));
        });
    }
}

#[tokio::test]
async fn memory_over_time_goes_on_from_block_to_block() {
    let it = Fixture::new().await;
    let reading = |at: u64, memory: u64| {
        let counters =
            [(Metric::CPU_USAGE, at), (Metric::MEMORY_CURRENT, memory), (Metric::MEMORY_PEAK, memory)];
        Reading { counters: counters.into_iter().collect(), ..Reading::empty(moment(at)) }
    };
    let job = |at: u64, mib: u64| {
        Entry::Job(Box::new(registration(7, "acme", 1000)), reading(at, mib * Bytes::MIB))
    };
    let second = 1_000_000;
    // The job began at 1,000 µs.
    it.take(1, vec![job(1_000 + 10 * second, 10), job(1_000 + 20 * second, 30)]).await;
    it.take(2, vec![job(1_000 + 30 * second, 30)]).await;
    let Entry::End(mut end) = end(7, 1_000 + 40 * second, 1) else { unreachable!() };
    end.reading = Some(reading(1_000 + 40 * second, 0));
    it.take(3, vec![Entry::End(end)]).await;
    let record = it.report().await.usage.remove(0);
    // 0 to 10, 10 to 30, 30 to 30, 30 to 0, ten seconds each.
    assert_eq!(record.memory_mib_seconds, Some(50 + 200 + 300 + 150));
    assert_eq!(record.unmeasured_usec, Some(Usec(0)));
}

#[tokio::test]
async fn a_block_that_never_came_is_a_gap_until_it_comes() {
    let it = Fixture::new().await;
    it.take(1, vec![]).await;
    it.take(4, vec![]).await;
    let reasons = async || {
        let gaps = it.report().await.gaps;
        gaps.iter().map(|gap| gap.reason.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(reasons().await, "blocks_missing");
    it.take(2, vec![]).await;
    assert_eq!(reasons().await, "blocks_missing");
    it.take(3, vec![]).await;
    assert_eq!(reasons().await, "");
}

#[tokio::test]
async fn what_a_daemon_missed_is_a_gap_with_its_bounds() {
    let it = Fixture::new().await;
    let started = |last| Entry::Event(Event::Started { at: moment(9_000), version: "1".into(), last });
    let full = Event::Gap { from: moment(11_000), to: moment(12_000), reason: GapReason::SpoolFull };
    it.take(1, vec![started(None), started(Some(moment(5_000))), Entry::Event(full)]).await;
    let gaps: Vec<_> = it.report().await.gaps.into_iter().map(|gap| (gap.reason, gap.from, gap.to)).collect();
    let bounds = |from, to| (Some(moment(from).wall), moment(to).wall);
    let expected = [("down", bounds(5_000, 9_000)), ("spool_full", bounds(11_000, 12_000))];
    assert_eq!(gaps, expected.map(|(reason, (from, to))| (reason.to_owned(), from, to)));
}

#[tokio::test]
async fn a_block_that_names_another_one_before_it_is_audited() {
    let it = Fixture::new().await;
    let ledger = &it.ledger;
    let take = async |block: &Sealed| ledger.ingest(&parsed(block), moment(1).wall, "test").await.unwrap();
    let broken = async || {
        let events = ledger.audit_events(100).await.unwrap();
        events.iter().filter(|event| event.kind == AuditKind::ChainBroken).count()
    };
    let first = sealed(BOOT, 1, BlockHash::default(), vec![]);
    let second = sealed(BOOT, 2, first.hash(), vec![]);
    take(&first).await;
    take(&second).await;
    assert_eq!(broken().await, 0);
    take(&sealed(BOOT, 3, first.hash(), vec![])).await;
    assert_eq!(broken().await, 1);
    // A boot's first block names the last of the boot before.
    let next_boot = "0b0b0b0b-0000-4000-8000-000000000002";
    let ended = |last_sequence| {
        let boot_id = BOOT.parse().unwrap();
        vec![Entry::Event(Event::BootEnded { boot_id, last_sequence, last: moment(1) })]
    };
    take(&sealed(next_boot, 1, second.hash(), ended(2))).await;
    assert_eq!(broken().await, 1);
    let third_boot = "0b0b0b0b-0000-4000-8000-000000000003";
    take(&sealed(third_boot, 1, BlockHash([7; 32]), ended(2))).await;
    assert_eq!(broken().await, 2);
}

#[tokio::test]
async fn jobs_of_a_node_that_went_down_are_closed_with_their_last_reading_and_its_bound() {
    let it = Fixture::new().await;
    it.take(1, vec![running(7, 20_000_000, 42)]).await;
    let next_boot = "0b0b0b0b-0000-4000-8000-000000000002";
    let ended =
        Event::BootEnded { boot_id: BOOT.parse().unwrap(), last_sequence: 1, last: moment(60_000_000) };
    let block = sealed(next_boot, 1, BlockHash::default(), vec![Entry::Event(ended.clone())]);
    // Closed 100 s after the last reading by the wall clock, 30 s after the boot.
    let mut block = parsed(&block).block().clone();
    block.closed = Moment { wall: moment(120_000_000).wall, boottime_usec: Usec(30_000_000) };
    let block = Sealed::new(&block, &NodeKey::from_seed(&[1; 32])).unwrap();
    it.ledger.ingest(&parsed(&block), moment(1).wall, "test").await.unwrap();
    let record = it.report().await.usage.remove(0);
    assert_eq!((record.state, record.quality), (UsageState::Final, Quality::Estimated));
    assert_eq!((record.cpu_usage_usec, record.unmeasured_usec), (Some(Usec(42)), Some(Usec(70_000_000))));
    // Its end was kept on the node's disk, and comes after all.
    it.take(2, vec![end(7, 21_000_000, 43)]).await;
    let record = it.report().await.usage.remove(0);
    assert_eq!((record.quality, record.cpu_usage_usec), (Quality::Exact, Some(Usec(43))));
    assert_eq!(it.audited().await, [AuditKind::EndEstimated, AuditKind::EndCorrected]);
}

#[tokio::test]
async fn a_key_that_is_not_the_nodes_is_refused_until_an_administrator_trusts_it() {
    let it = Fixture::new().await;
    it.take(1, vec![]).await;
    let other = NodeKey::from_seed(&[2; 32]);
    let block = Sealed::new(sent(2, vec![end(7, 5_000, 42)]).block(), &other).unwrap();
    let take = async || it.ledger.ingest(&parsed(&block), moment(1).wall, "test").await.unwrap();
    assert_eq!(take().await, Taken::UnknownKey);
    assert_eq!(it.audited().await, [AuditKind::UnknownKey]);
    assert_eq!(it.report().await.usage, []);
    it.ledger.trust_key(&"n1".parse().unwrap(), other.public(), moment(1).wall).await.unwrap();
    assert_eq!(take().await, Taken::Receipt(Receipt::New));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_that_go_away_in_the_middle_leave_the_ledger_at_work() {
    let it = Fixture::new().await;
    for sequence in 1..=60 {
        let block = sent(sequence, vec![end(u32::try_from(sequence).unwrap(), 5_000, 42)]);
        let patience = std::time::Duration::from_micros(sequence * 40);
        let _ = tokio::time::timeout(patience, it.ledger.ingest(&block, moment(1).wall, "test")).await;
    }
    for sequence in 1..=60 {
        let receipt = it.take(sequence, vec![end(u32::try_from(sequence).unwrap(), 5_000, 42)]).await;
        assert!([Receipt::New, Receipt::Duplicate].contains(&receipt));
    }
    assert_eq!(it.report().await.usage.len(), 60);
}
