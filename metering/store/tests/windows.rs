//! Usage by windows in the ledger, on a real file; run by tests/postgres/run, on a real PostgreSQL with a standby.
// A test's helpers are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::print_stdout, clippy::print_stderr)]

mod common;

use common::*;
use tenantry_model::job::Quality;
use tenantry_model::usage::UsageState;
use tenantry_model::window::{GroupBy, Quantity, UsageWindow, WindowQuality, WindowWidth};
use tenantry_model::{TenantPath, WallTime};
use tenantry_store::{Filter, Ledger};

const MINUTE: u64 = 60_000_000;
const HOUR: u64 = 60 * MINUTE;

/// Everything that is asked for, in pages of two.
async fn all(ledger: &Ledger, filter: &Filter) -> Vec<UsageWindow> {
    let (mut windows, mut after) = (Vec::new(), 0);
    loop {
        let page = ledger.windows(filter, after, 2).await.unwrap();
        windows.extend(page.windows);
        match page.next {
            Some(next) => after = next,
            None => return windows,
        }
    }
}

fn cpu(windows: &[UsageWindow]) -> Vec<(UsageState, bool, Option<i64>)> {
    let of = |window: &UsageWindow| (window.state, window.correction, window.figures.get(Quantity::CpuUsage));
    windows.iter().map(of).collect()
}

const WRITTEN: (UsageState, bool) = (UsageState::Final, false);

#[tokio::test]
async fn a_run_has_a_row_for_each_hour_that_is_over_and_they_add_up_to_its_record() {
    let it = Fixture::new().await;
    // The test's clock begins at 11:06:40.
    it.take(1, vec![running(7, 30 * MINUTE, 1_000)]).await;
    it.take(2, vec![running(7, 60 * MINUTE, 2_000)]).await;
    let windows = all(&it.ledger, &Filter::default()).await;
    // 23 min 20 s of half an hour lie before noon.
    let (before, after) = (1_777, 223);
    assert_eq!(
        cpu(&windows),
        [(WRITTEN.0, WRITTEN.1, Some(before)), (UsageState::Running, false, Some(after))]
    );
    assert_eq!((windows[0].first_sequence, windows[0].last_sequence), (Some(1), Some(2)));
    assert_eq!(windows[0].window_from, "2026-11-18T11:00:00Z".parse().unwrap());
    assert_eq!(windows[0].quality, WindowQuality::Interpolated);

    it.take(3, vec![end(7, 61 * MINUTE, 2_500)]).await;
    let windows = all(&it.ledger, &Filter::default()).await;
    assert_eq!(windows[0].figures, all(&it.ledger, &Filter::default()).await[0].figures);
    assert_eq!(cpu(&windows)[1], (UsageState::Final, false, Some(2_500 - before)));
    let record = it.report().await.usage.swap_remove(0);
    let sum = |of| windows.iter().filter_map(|window| window.figures.get(of)).sum::<i64>();
    assert_eq!(sum(Quantity::CpuUsage), 2_500);
    let elapsed = i64::try_from(record.elapsed_usec.unwrap().0).unwrap();
    assert_eq!((sum(Quantity::Elapsed), sum(Quantity::AllocatedCpu)), (elapsed, 2 * elapsed));
}

#[tokio::test]
async fn what_comes_twice_or_late_adds_no_row_but_a_correction() {
    let it = Fixture::new().await;
    let estimated = end_of(registration(7, "acme", 1000), 30 * MINUTE, 1_000, Quality::Estimated);
    it.take(1, vec![estimated.clone()]).await;
    it.take(1, vec![estimated.clone()]).await;
    it.take(2, vec![estimated]).await;
    assert_eq!(cpu(&all(&it.ledger, &Filter::default()).await), [(WRITTEN.0, false, Some(1_000))]);
    it.take(3, vec![end(7, 40 * MINUTE, 1_500)]).await;
    it.take(4, vec![end(7, 40 * MINUTE, 1_500)]).await;
    let windows = all(&it.ledger, &Filter::default()).await;
    assert_eq!(cpu(&windows), [(WRITTEN.0, false, Some(1_000)), (WRITTEN.0, true, Some(500))]);
    assert_eq!(windows[1].last_sequence, Some(3));
}

#[tokio::test]
async fn nobody_changes_a_row() {
    let it = Fixture::new().await;
    it.take(1, vec![end(7, MINUTE, 1_000)]).await;
    for (sqlite, postgres) in [
        ("UPDATE usage_window SET record = '{}'", "UPDATE meter.usage_window SET cpu_usage_usec = 0"),
        ("DELETE FROM usage_window", "DELETE FROM meter.usage_window"),
        ("INSERT OR REPLACE INTO usage_window SELECT * FROM usage_window", "TRUNCATE meter.usage_window"),
    ] {
        assert!(it.sql(sqlite, postgres).await.is_err(), "{sqlite}");
    }
    assert_eq!(all(&it.ledger, &Filter::default()).await.len(), 1);
}

#[tokio::test]
async fn rows_are_asked_for_by_tenant_job_owner_and_time() {
    let it = Fixture::new().await;
    let ended = |job, tenant, uid, at| end_of(registration(job, tenant, uid), at, 60, Quality::Exact);
    it.take(1, vec![ended(1, "acme", 1000, MINUTE), ended(2, "acme/physics", 1001, MINUTE)]).await;
    it.take(2, vec![ended(3, "acme2", 1002, MINUTE), ended(4, "acme", 1000, 3 * HOUR)]).await;
    let tenant = |text: &str| Some(text.parse::<TenantPath>().unwrap());
    let time = |text: &str| Some(text.parse::<WallTime>().unwrap());
    let none = Filter::default();
    for (filter, jobs) in [
        (Filter { tenant: tenant("acme"), ..none.clone() }, vec![1, 2, 4, 4, 4, 4]),
        (Filter { tenant: tenant("acme/physics"), ..none.clone() }, vec![2]),
        (Filter { uid: Some(1002), ..none.clone() }, vec![3]),
        (Filter { user: Some("1001".into()), ..none.clone() }, vec![2]),
        (Filter { user: Some("ada".into()), ..none.clone() }, vec![]),
        (Filter { from: time("2026-11-18T13:00:00Z"), ..none.clone() }, vec![4, 4]),
        (
            Filter { from: time("2026-11-18T12:00:00Z"), to: time("2026-11-18T13:00:00Z"), ..none.clone() },
            vec![4],
        ),
    ] {
        let windows = all(&it.ledger, &filter).await;
        assert_eq!(windows.iter().map(|window| window.job_id.0).collect::<Vec<_>>(), jobs, "{filter:?}");
    }
    let late = Filter { from: time("2026-11-18T12:00:00Z"), ..none.clone() };
    let usage = it.ledger.usage(&late).await.unwrap().usage;
    assert_eq!(usage.iter().map(|record| record.job_id.0).collect::<Vec<_>>(), [4]);
    let to = Filter { to: time("2026-11-18T11:00:00Z"), ..none };
    assert_eq!(it.ledger.usage(&to).await.unwrap().usage, []);
}

#[tokio::test]
async fn sums_have_running_jobs_in_them_and_say_what_is_lacking() {
    let it = Fixture::new().await;
    it.take(1, vec![end(7, MINUTE, 1_000), running(8, MINUTE, 500)]).await;
    let gap = end_of(registration(9, "acme/physics", 1001), MINUTE, 0, Quality::Gap);
    it.take(2, vec![gap, end_of(registration(10, "acme", 1000), 13 * HOUR, 70, Quality::Exact)]).await;
    let groups = it.ledger.groups(&Filter::default(), &[GroupBy::Tenant, GroupBy::Day]).await.unwrap();
    let shown: Vec<_> = groups
        .iter()
        .map(|group| {
            let key: Vec<_> = group.key.values().map(|key| key.clone().unwrap()).collect();
            let cpu = group.figures.get(Quantity::CpuUsage);
            (key.join(" "), group.windows, cpu, group.lacking.get(Quantity::CpuUsage).unwrap())
        })
        .collect();
    // 13 hours from 11:06:40 on, 1 ms less: the last 6 min 40 s of them lie in the next day.
    let next_day = 70 - 70 * (12 * 3600 + 53 * 60 + 20) / (13 * 3600);
    assert_eq!(
        shown,
        [
            ("acme 2026-11-18".to_owned(), 15, Some(1_570 - next_day), 0),
            ("acme 2026-11-19".to_owned(), 1, Some(next_day), 0),
            ("acme/physics 2026-11-18".to_owned(), 1, None, 1),
        ]
    );
    let by = [GroupBy::Job, GroupBy::User, GroupBy::Node, GroupBy::Account];
    let groups = it.ledger.groups(&Filter::default(), &by).await.unwrap();
    let jobs: Vec<_> = groups.iter().map(|group| group.key[&GroupBy::Job].clone().unwrap()).collect();
    assert_eq!(jobs, ["7", "8", "9", "10"], "in the order of their numbers");
    assert_eq!(groups[0].key[&GroupBy::User].as_deref(), Some("1000"));
}

#[tokio::test]
async fn a_sum_beyond_64_bits_is_exact() {
    let it = Fixture::new().await;
    let most = u64::try_from(i64::MAX).unwrap();
    it.take(1, (1..=3).map(|job| end(job, MINUTE, most)).collect()).await;
    let groups = it.ledger.groups(&Filter::default(), &[GroupBy::Tenant]).await.unwrap();
    assert_eq!(groups[0].figures.get(Quantity::CpuUsage), Some(3 * i128::from(i64::MAX)));
}

#[tokio::test]
async fn windows_are_as_wide_as_the_site_chose() {
    let it = Fixture::new().await;
    let quarter = WindowWidth::from_minutes(15).unwrap();
    let ledger = it.ledger.clone().with_windows(quarter);
    ledger.ingest(&sent(1, vec![end(7, 30 * MINUTE, 60)]), moment(HOUR).wall, "test").await.unwrap();
    let windows = all(&ledger, &Filter::default()).await;
    assert_eq!(windows.len(), 3);
    assert_eq!(windows[1].window_from, "2026-11-18T11:15:00Z".parse().unwrap());
}
