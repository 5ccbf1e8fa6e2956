#![allow(clippy::arithmetic_side_effects)]

use proptest::prelude::*;
use tenantry_model::catalogue::Metric;
use tenantry_model::job::{Incarnation, Placement};
use tenantry_model::reading::{DeviceId, DeviceIo, IoStat};
use tenantry_model::{Bytes, Usec};

use super::*;
use crate::counted::COUNTERS;

const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3600 * SECOND;

/// Half past nine in the evening, UTC.
const BEGAN: &str = "2026-12-31T21:30:00Z";
/// The monotonic clock then.
const BOOTED_FOR: u64 = 1000 * HOUR;

/// `passed` after the job began, by a wall clock that was set by `stepped` microseconds.
fn moment(passed: u64, stepped: i64) -> Moment {
    let began = BEGAN.parse::<WallTime>().unwrap().unix_usec();
    let wall = began + i64::try_from(passed).unwrap() + stepped;
    Moment { wall: WallTime::from_unix_usec(wall).unwrap(), boottime_usec: Usec(BOOTED_FOR + passed) }
}

fn registration() -> Registration {
    Registration {
        incarnation: Incarnation {
            cluster: None,
            node: "n1".parse().unwrap(),
            boot_id: "0b0b0b0b-0000-4000-8000-000000000001".parse().unwrap(),
            job_id: "42".parse().unwrap(),
            began: moment(0, 0).wall,
        },
        restart_count: Some(1),
        sluid: None,
        uid: 1000,
        gid: 1000,
        user: Some("ada".into()),
        account: Some("acme".parse().unwrap()),
        partition: None,
        allocated_cpus: None,
        allocated_gpus: Vec::new(),
        scope: "system.slice/slurmstepd.scope".into(),
        began: moment(0, 0),
        placement: Placement::Grafted {
            tenant: "acme".parse().unwrap(),
            leaf: "x".into(),
            mounts: Vec::new(),
        },
    }
}

const ALLOCATION: Allocation = Allocation { cpus: Some(3), memory: Some(Bytes((1 << 30) + 7)) };

fn reading(at: Moment, cpu: u64, memory: u64) -> Reading {
    let counters =
        [(Metric::CPU_USAGE, cpu), (Metric::MEMORY_CURRENT, memory), (Metric::NETWORK_RX_BYTES, cpu / 3)];
    let io = DeviceIo {
        device: DeviceId { major: 8, minor: 0 },
        stat: IoStat::from_columns([cpu / 2, cpu / 5, 1, 1]),
    };
    Reading { counters: counters.into_iter().collect(), io: Some(vec![io]), ..Reading::empty(at) }
}

fn end(reading: Option<Reading>, ended: Moment, quality: Quality) -> JobEnd {
    JobEnd {
        registration: registration(),
        allocation: Some(ALLOCATION),
        reading,
        steps: None,
        ended,
        quality,
        unmeasured_usec: None,
    }
}

fn run() -> Run {
    Run::new(registration().began, WindowWidth::HOUR)
}

/// (window, CPU seconds, correction, quality)
fn short(rows: &[Row]) -> Vec<(String, Option<i64>, bool, WindowQuality)> {
    let cpu = |row: &Row| row.window.figures.get(Quantity::CpuUsage).map(|cpu| cpu / 1_000_000);
    let text = |row: &Row| row.window.window_from.to_string()[5..16].to_owned();
    rows.iter().map(|row| (text(row), cpu(row), row.window.correction, row.window.quality)).collect()
}

fn sum(rows: &[Row], quantity: Quantity) -> Option<i64> {
    let figures: Vec<_> = rows.iter().filter_map(|row| row.window.figures.get(quantity)).collect();
    (!figures.is_empty()).then(|| figures.iter().sum())
}

/// Where the record has a figure, the rows add up to it.
fn add_up(rows: &[Row], record: &UsageRecord) -> Result<(), TestCaseError> {
    let usec = |time: Option<Usec>| time.map(|time| i64::try_from(time.0).unwrap());
    let bytes = |bytes: Option<Bytes>| bytes.map(|bytes| i64::try_from(bytes.0).unwrap());
    let mib_seconds = |quantity| sum(rows, quantity).map(|sum| u64::try_from(sum).unwrap() >> 20);
    for (quantity, figure) in [
        (Quantity::Elapsed, usec(record.elapsed_usec)),
        (Quantity::CpuUsage, usec(record.cpu_usage_usec)),
        (Quantity::IoRead, bytes(record.io_read_bytes)),
        (Quantity::IoWrite, bytes(record.io_write_bytes)),
        (Quantity::NetworkReceive, bytes(record.network_receive_bytes)),
        (Quantity::NetworkTransmit, bytes(record.network_transmit_bytes)),
        (Quantity::AllocatedCpu, usec(record.allocated_cpu_usec)),
    ] {
        if figure.is_some() {
            prop_assert_eq!(sum(rows, quantity), figure, "{:?}", quantity);
        }
    }
    if record.memory_mib_seconds.is_some() {
        prop_assert_eq!(mib_seconds(Quantity::Memory), record.memory_mib_seconds);
    }
    prop_assert_eq!(mib_seconds(Quantity::AllocatedMemory), record.allocated_memory_mib_seconds);
    Ok(())
}

#[test]
fn a_run_across_midnight_has_a_row_for_each_hour_and_they_are_due_when_it_is_over() {
    let mut run = run();
    for minutes in (1..=200).map(|half| half * 30) {
        // One CPU all the time, a reading each half minute.
        let at = moment(minutes * SECOND, 0);
        run.read(&reading(at, minutes * SECOND, 0), 1 + minutes / 60);
        run.pass(&registration(), Some(&ALLOCATION), at, 1 + minutes / 60);
    }
    let now = moment(100 * 60 * SECOND, 0);
    let mut rows = run.due(&registration(), now.wall);
    let exact = |from: &str, cpu| (from.to_owned(), Some(cpu), false, WindowQuality::Exact);
    assert_eq!(short(&rows), [exact("12-31T21:00", 1800), exact("12-31T22:00", 3600)]);
    assert_eq!((rows[1].window.first_sequence, rows[1].window.last_sequence), (Some(31), Some(91)));
    assert_eq!(run.due(&registration(), now.wall), [], "they are given out once");
    assert_eq!(run.pending(&registration())[0].state, UsageState::Running);

    let ended = moment(155 * 60 * SECOND, 0);
    let (record, more) =
        run.end(&end(Some(reading(ended, 9000 * SECOND, 0)), ended, Quality::Exact), Some(200));
    rows.extend(more);
    let far = |from: &str, cpu| (from.to_owned(), Some(cpu), false, WindowQuality::Interpolated);
    assert_eq!(short(&rows)[2..], [far("12-31T23:00", 3327), far("01-01T00:00", 272)]);
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    add_up(&rows, &record).unwrap();
}

#[test]
fn a_job_of_no_reading_at_all_has_its_time_and_no_figures() {
    let ended = moment(SECOND, 0);
    let (record, rows) = run().end(&end(None, ended, Quality::Gap), None);
    assert_eq!(short(&rows), [("12-31T21:00".to_owned(), None, false, WindowQuality::Gap)]);
    assert_eq!(sum(&rows, Quantity::AllocatedCpu), Some(3_000_000));
    add_up(&rows, &record).unwrap();
}

#[test]
fn a_job_shorter_than_a_round_is_one_exact_row() {
    let ended = moment(SECOND / 10, 0);
    let (record, rows) = run().end(&end(Some(reading(ended, 70_000, 5)), ended, Quality::Exact), Some(9));
    assert_eq!(short(&rows), [("12-31T21:00".to_owned(), Some(0), false, WindowQuality::Exact)]);
    assert_eq!(sum(&rows, Quantity::CpuUsage), Some(70_000));
    add_up(&rows, &record).unwrap();
}

#[test]
fn a_clock_that_is_set_back_opens_a_window_again_for_a_correction() {
    let mut run = run();
    run.read(&reading(moment(60 * SECOND, 0), 60 * SECOND, 0), 1);
    run.read(&reading(moment(31 * 60 * SECOND, 0), 1860 * SECOND, 0), 2);
    run.pass(&registration(), Some(&ALLOCATION), moment(31 * 60 * SECOND, 0), 2);
    let mut rows = run.due(&registration(), moment(31 * 60 * SECOND, 0).wall);
    let back = -i64::try_from(HOUR).unwrap();
    let ended = moment(32 * 60 * SECOND, back);
    let (record, more) =
        run.end(&end(Some(reading(ended, 1920 * SECOND, 0)), ended, Quality::Exact), Some(3));
    rows.extend(more);
    let row = |from: &str, cpu, correction, quality| (from.to_owned(), Some(cpu), correction, quality);
    let expected = [
        row("12-31T21:00", 1800, false, WindowQuality::Interpolated),
        row("12-31T21:00", 60, true, WindowQuality::Exact),
        row("12-31T22:00", 60, false, WindowQuality::Interpolated),
    ];
    assert_eq!(short(&rows), expected);
    add_up(&rows, &record).unwrap();
}

#[test]
fn a_leap_second_is_a_step_of_the_wall_clock_and_is_billed_as_time() {
    let mut run = run();
    let stepped = -i64::try_from(SECOND).unwrap();
    let before = moment(9000 * SECOND, 0);
    run.read(&reading(before, 9000 * SECOND, 0), 1);
    let ended = moment(9002 * SECOND, stepped);
    let (record, rows) =
        run.end(&end(Some(reading(ended, 9002 * SECOND, 0)), ended, Quality::Exact), Some(2));
    assert_eq!(sum(&rows, Quantity::Elapsed), Some(9_002_000_000));
    add_up(&rows, &record).unwrap();
}

#[test]
fn an_allocation_that_is_told_late_is_counted_from_the_start() {
    let mut run = run();
    let bare = registration();
    let told = moment(2 * HOUR, 0);
    run.read(&reading(told, 5, 5), 1);
    run.pass(&bare, None, told, 1);
    let mut rows = run.due(&bare, told.wall);
    assert_eq!(sum(&rows, Quantity::AllocatedCpu), None);
    run.pass(&bare, Some(&ALLOCATION), told, 2);
    rows.extend(run.due(&bare, told.wall));
    assert_eq!(short(&rows)[2..].iter().filter(|row| row.2).count(), 2, "{rows:?}");
    assert_eq!(sum(&rows, Quantity::AllocatedCpu), Some(3 * 3600 * 3 / 2 * 1_000_000));
    let (record, more) = run.end(&end(Some(reading(told, 5, 5)), told, Quality::Exact), Some(3));
    rows.extend(more);
    add_up(&rows, &record).unwrap();
}

#[test]
fn a_better_end_is_corrected_by_the_difference() {
    let (estimated, ended) = (moment(60 * SECOND, 0), moment(HOUR, 0));
    let first = end(Some(reading(estimated, 50 * SECOND, 1)), estimated, Quality::Estimated);
    let (kept, mut rows) = run().end(&first, Some(1));
    assert_eq!(short(&rows), [("12-31T21:00".to_owned(), Some(50), false, WindowQuality::Estimated)]);
    let exact = end(Some(reading(ended, 3600 * SECOND, 1)), ended, Quality::Exact);
    let more = corrections(&kept, &exact, WindowWidth::HOUR, Some(7));
    assert!(more.iter().all(|row| row.window.correction && row.window.last_sequence == Some(7)), "{more:?}");
    rows.extend(more);
    let record = UsageRecord { memory_mib_seconds: None, ..record_of_end(&exact, None) };
    add_up(&rows, &record).unwrap();
    assert_eq!(
        corrections(&record, &exact, WindowWidth::HOUR, Some(8)),
        [],
        "nothing is corrected by nothing"
    );
}

#[test]
fn a_clock_gone_mad_makes_no_million_rows() {
    let ended = Moment { boottime_usec: Usec(u64::MAX >> 2), ..moment(0, 0) };
    let (_, rows) = run().end(&end(Some(reading(ended, 5, 5)), ended, Quality::Exact), None);
    assert_eq!(sum(&rows, Quantity::CpuUsage), Some(5));
    assert_eq!(rows.len(), 1);
}

/// What happens between two readings.
#[derive(Debug, Clone)]
struct Turn {
    passed: u64,
    used: u64,
    memory: u64,
    stepped: i64,
    anew: bool,
    lacks: Option<Metric>,
    /// An earlier reading that comes again after this one.
    again: Option<prop::sample::Index>,
    block_ends: bool,
}

fn turn() -> impl Strategy<Value = Turn> {
    let passed = prop_oneof![8 => 1..30 * SECOND, 2 => 1..5 * HOUR, 1 => Just(1), 1 => 1..30 * 24 * HOUR];
    let stepped =
        prop_oneof![12 => Just(0), 1 => -86_400_000_000_i64..86_400_000_000, 1 => Just(-1_000_000_i64)];
    let lacks =
        prop::option::weighted(0.1, prop::sample::select(vec![Metric::CPU_USAGE, Metric::MEMORY_CURRENT]));
    let anew = prop::bool::weighted(0.05);
    let again = prop::option::weighted(0.2, any::<prop::sample::Index>());
    (passed, 0..64 * HOUR, 0_u64..1 << 40, stepped, anew, lacks, again, any::<bool>()).prop_map(
        |(passed, used, memory, stepped, anew, lacks, again, block_ends)| Turn {
            passed,
            used,
            memory,
            stepped,
            anew,
            lacks,
            again,
            block_ends,
        },
    )
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Exact {
        later: u64,
        used: u64,
    },
    /// Read a little before the last reading.
    Earlier(u64),
    Estimated,
    Gap {
        later: u64,
    },
}

fn ending() -> impl Strategy<Value = Ending> {
    prop_oneof![
        4 => (0..3 * HOUR, 0..HOUR).prop_map(|(later, used)| Ending::Exact { later, used }),
        1 => (0_u64..1000).prop_map(Ending::Earlier),
        1 => Just(Ending::Estimated),
        1 => (0..HOUR).prop_map(|later| Ending::Gap { later }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_rows_are_the_record(
        turns in prop::collection::vec(turn(), 0..40),
        told_in in 0_usize..6,
        allocated_in in 0_usize..6,
        other_width in any::<bool>(),
        ending in ending(),
    ) {
        let width = if other_width { WindowWidth::from_minutes(15).unwrap() } else { WindowWidth::HOUR };
        let (mut passed, mut stepped, mut cpu, mut before) = (0, 0, 0, 0_u64);
        let (mut sequence, mut rows, mut all) = (1, Vec::new(), Vec::<Reading>::new());
        let mut run = Run::new(registration().began, width);
        let mut last = moment(0, 0);
        for turn in &turns {
            passed += turn.passed;
            stepped += turn.stepped;
            if turn.anew {
                // Begun anew so that it shows: with less than before.
                before += cpu;
                cpu = 0;
            } else {
                cpu += turn.used;
            }
            let mut one = reading(moment(passed, stepped), cpu, turn.memory);
            if let Some(metric) = turn.lacks {
                one.counters.set(metric, None);
            }
            last = one.at;
            run.read(&one, sequence);
            all.push(one);
            if let Some(again) = turn.again {
                run.read(again.get(&all), sequence);
            }
            if turn.block_ends {
                if told_in < all.len() {
                    let allocation = (allocated_in < all.len()).then_some(&ALLOCATION);
                    run.pass(&registration(), allocation, last, sequence);
                    rows.extend(run.due(&registration(), last.wall));
                }
                run = serde_json::from_str(&serde_json::to_string(&run).unwrap()).unwrap();
                sequence += 1;
            }
        }
        let run_so_far = run.clone();
        let end = match ending {
            Ending::Exact { later, used } => {
                let ended = moment(passed + later, stepped);
                end(Some(reading(ended, cpu + used, 1)), ended, Quality::Exact)
            }
            Ending::Earlier(by) => {
                let ended = moment(passed.saturating_sub(by), stepped);
                end(Some(reading(ended, cpu, 1)), ended, Quality::Exact)
            }
            Ending::Estimated => end(all.last().cloned(), last, Quality::Estimated),
            Ending::Gap { later } => end(None, moment(passed + later, stepped), Quality::Gap),
        };
        let (record, more) = run.end(&end, Some(sequence));
        rows.extend(more);

        add_up(&rows, &record)?;
        // The record's own figures are the counters' sums, through those that were begun anew.
        if let (Some(billed), false) = (record.cpu_usage_usec, turns.iter().any(|turn| turn.lacks.is_some())) {
            let last = end.reading.as_ref().and_then(Reading::cpu_usage).unwrap();
            prop_assert_eq!(billed.0, before + last.0);
        }
        prop_assert!(!rows.is_empty());
        let width = i64::try_from(width.usec().0).unwrap();
        let mut until = None;
        for (row, number) in rows.iter().zip(1..) {
            let (from, to) = (row.window.window_from.unix_usec(), row.window.window_to.unix_usec());
            prop_assert_eq!((row.number, from % width, to - from), (number, 0, width));
            prop_assert_eq!(row.window.correction, until.is_some_and(|until| from < until), "{:?}", row.window);
            until = until.max(Some(to));
            if row.window.quality == WindowQuality::Gap {
                let reset = COUNTERS.into_iter().filter_map(|counter| row.window.figures.get(counter)).count();
                prop_assert!(reset == 0 || run_so_far.integral().readings() > 0);
            }
        }
    }

    #[test]
    fn a_run_that_is_read_before_it_is_registered_loses_nothing(at in 1..48 * HOUR, cpu in 0..HOUR, later in 0..HOUR) {
        let first = reading(moment(at, 0), cpu, 0);
        let mut run = Run::first_read(registration().incarnation.began, first.at, WindowWidth::HOUR);
        run.read(&first, 1);
        let ended = moment(at + later, 0);
        let (record, rows) = run.end(&end(Some(reading(ended, cpu + later, 0)), ended, Quality::Exact), Some(2));
        add_up(&rows, &record)?;
        prop_assert_eq!(record.cpu_usage_usec, Some(Usec(cpu + later)));
    }
}
