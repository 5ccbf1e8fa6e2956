#![allow(clippy::arithmetic_side_effects)]

use proptest::prelude::*;
use tenantry_model::WallTime;
use tenantry_model::job::{Incarnation, Placement};
use tenantry_model::reading::{DeviceId, DeviceIo, GpuReading, GpuStat, IoStat};

use super::*;

fn moment(usec: u64) -> Moment {
    let wall = 1_795_000_000_000_000_i64.checked_add(i64::try_from(usec).unwrap()).unwrap();
    Moment { wall: WallTime::from_unix_usec(wall).unwrap(), boottime_usec: Usec(usec) }
}

fn registration() -> Registration {
    Registration {
        incarnation: Incarnation {
            cluster: Some("c1".parse().unwrap()),
            node: "n1".parse().unwrap(),
            boot_id: "0b0b0b0b-0000-4000-8000-000000000001".parse().unwrap(),
            job_id: "42".parse().unwrap(),
            began: moment(1_000).wall,
        },
        restart_count: None,
        sluid: None,
        uid: 1000,
        gid: 1000,
        user: Some("ada".into()),
        account: Some("acme".parse().unwrap()),
        partition: None,
        allocated_cpus: Some(2),
        allocated_gpus: Vec::new(),
        scope: "system.slice/slurmstepd.scope".into(),
        began: moment(1_000),
        placement: Placement::Grafted {
            tenant: "acme".parse().unwrap(),
            leaf: "x".into(),
            mounts: Vec::new(),
        },
    }
}

fn bare_reading(at: u64) -> Reading {
    Reading::empty(moment(at))
}

fn reading(at: u64, counters: &[(Metric, u64)]) -> Reading {
    Reading { counters: counters.iter().copied().collect(), ..bare_reading(at) }
}

fn end(reading: Option<Reading>, allocation: Option<Allocation>, ended: u64) -> JobEnd {
    JobEnd {
        registration: registration(),
        allocation,
        reading,
        steps: None,
        ended: moment(ended),
        quality: Quality::Exact,
        unmeasured_usec: None,
    }
}

fn running(allocation: Option<&Allocation>, reading: &Reading) -> UsageRecord {
    let integral = Integral::new(registration().began).with(reading);
    record_of_running(&registration(), allocation, reading, &integral)
}

fn io(minor: u32, rbytes: u64, wbytes: u64) -> DeviceIo {
    let device = DeviceId { major: 8, minor };
    DeviceIo { device, stat: IoStat::from_columns([rbytes, wbytes, 1, 1]) }
}

#[test]
fn the_end_of_a_job_becomes_its_record() {
    let counters = [
        (Metric::CPU_USAGE, 90),
        (Metric::CPU_USER, 60),
        (Metric::CPU_SYSTEM, 30),
        (Metric::MEMORY_PEAK, 7),
        (Metric::MEMORY_OOM_KILLS, 0),
        (Metric::PIDS_PEAK, 5),
    ];
    let reading = Reading { io: Some(vec![io(0, 10, 1), io(16, 20, 2)]), ..reading(2_000_900, &counters) };
    let allocation = Allocation { cpus: Some(4), memory: Some(Bytes(3 * Bytes::MIB)) };
    let record = record_of_end(&end(Some(reading), Some(allocation), 2_001_000), None);
    assert_eq!(record.state, UsageState::Final);
    assert_eq!(record.elapsed_usec, Some(Usec(2_000_000)));
    assert_eq!((record.cpu_usage_usec, record.cpu_system_usec), (Some(Usec(90)), Some(Usec(30))));
    assert_eq!((record.io_read_bytes, record.io_write_bytes), (Some(Bytes(30)), Some(Bytes(3))));
    assert_eq!((record.memory_peak_bytes, record.memory_oom_kills), (Some(Bytes(7)), Some(0)));
    assert_eq!(record.pids_peak, Some(5));
    assert_eq!((record.allocated_cpus, record.allocated_cpu_usec), (Some(4), Some(Usec(8_000_000))));
    assert_eq!(record.allocated_memory_mib_seconds, Some(6));
}

/// The epilog reads no GPU and no energy.
#[test]
fn gpus_and_energy_are_those_of_the_rounds_before_the_end() {
    let gpu = |energy: u64, busy: u64| GpuReading {
        gpu: "GPU-1".parse().unwrap(),
        stat: GpuStat::from_columns([Some(energy), Some(busy), Some(2 * busy), Some(1 << 30)]),
    };
    let round = |at: u64, share: u64, energy: u64, busy: u64| Reading {
        gpus: vec![gpu(energy, busy)],
        ..reading(at, &[(Metric::CPU_USAGE, 1), (Metric::ENERGY_SHARE, share)])
    };
    let rounds = [round(101_000, 5_000, 700, 10), round(201_000, 9_999, 760, 40)];
    let integral = rounds.iter().fold(Integral::new(registration().began), Integral::with);
    let mut end = end(Some(reading(301_000, &[(Metric::CPU_USAGE, 2)])), None, 301_000);
    end.registration.allocated_gpus = vec![3];
    let record = record_of_end(&end, Some(integral));
    assert_eq!((record.cpu_energy_mj, record.gpu_energy_mj), (Some(MilliJoules(9)), Some(MilliJoules(60))));
    assert_eq!(record.gpu_energy_known_usec, Some(Usec(100_000)));
    assert_eq!((record.gpu_busy_usec, record.gpu_busy_known_usec), (Some(Usec(30)), Some(Usec(60))));
    assert_eq!(record.gpu_memory_peak_bytes, Some(Bytes(1 << 30)));
    assert_eq!((record.allocated_gpus, record.allocated_gpu_usec), (Some(1), Some(Usec(300_000))));

    let unread = record_of_end(&end, None);
    assert_eq!((unread.cpu_energy_mj, unread.gpu_energy_mj, unread.gpu_busy_usec), (None, None, None));
    assert_eq!(unread.allocated_gpu_usec, Some(Usec(300_000)), "it needs no reading");
}

#[test]
fn absent_is_not_zero() {
    let record = record_of_end(&end(None, None, 2_000), None);
    assert_eq!(record.cpu_usage_usec, None);
    assert_eq!(record.io_read_bytes, None);
    assert_eq!(record.memory_peak_bytes, None);
    assert_eq!(record.allocated_memory_mib_seconds, None);
    // The registration's CPUs stand in for the step's.
    assert_eq!(record.allocated_cpu_usec, Some(Usec(2_000)));
}

#[test]
fn a_file_that_named_no_device_is_zero_bytes() {
    let reading = Reading { io: Some(Vec::new()), ..bare_reading(5_000) };
    assert_eq!(running(None, &reading).io_read_bytes, Some(Bytes(0)));
}

#[test]
fn what_does_not_fit_is_absent() {
    let devices = vec![io(0, u64::MAX, 1), io(16, 1, 1)];
    let allocation = Allocation { cpus: Some(u32::MAX), memory: Some(Bytes(u64::MAX)) };
    let long = u64::from(u32::MAX) * 1_000_000;
    let end = end(Some(Reading { io: Some(devices), ..bare_reading(5_000) }), Some(allocation), long * 2);
    let record = record_of_end(&end, None);
    assert_eq!((record.io_read_bytes, record.io_write_bytes), (None, Some(Bytes(2))));
    assert_eq!(record.allocated_cpu_usec, None);
    assert_eq!(record.allocated_memory_mib_seconds, None);
}

#[test]
fn a_time_before_the_start_gives_no_duration() {
    let record = running(None, &bare_reading(1));
    assert_eq!((record.elapsed_usec, record.allocated_cpu_usec), (None, None));
}

#[test]
fn mib_seconds_are_rounded_down_once() {
    assert_eq!(mib_seconds(Bytes(Bytes::MIB / 2), Usec(2_000_000)), Some(1));
    assert_eq!(mib_seconds(Bytes(Bytes::MIB), Usec(1_999_999)), Some(1));
    assert_eq!(mib_seconds(Bytes(u64::MAX), Usec(1 << 39)), Some(9_671_406_556_917_033_397));
}

fn record_with(cpu: Option<u64>, tenant: bool) -> UsageRecord {
    let mut record = record_of_end(&end(None, None, 2_000), None);
    record.cpu_usage_usec = cpu.map(Usec);
    if !tenant {
        record.tenant = None;
    }
    record
}

fn totals(records: &[UsageRecord]) -> Totals {
    records.iter().fold(Totals::default(), |totals, record| totals.with(record).unwrap())
}

proptest! {
    #[test]
    fn a_later_reading_is_never_less(
        at in 1_000_u64..1 << 50, later in 0_u64..1 << 40,
        cpu in 0_u64..1 << 60, more_cpu in 0_u64..1 << 40,
        memory in 0_u64..1 << 50, cpus in 0_u32..10_000,
        reads in prop::collection::vec((0_u64..1 << 50, 0_u64..1 << 40), 0..5),
    ) {
        let reading = |at: u64, add_cpu: u64, add_io: bool| Reading {
            io: Some(reads.iter().zip(0..).map(|((bytes, more), minor)| {
                let bytes = if add_io { bytes + more } else { *bytes };
                io(minor, bytes, bytes)
            }).collect()),
            ..self::reading(at, &[(Metric::CPU_USAGE, cpu + add_cpu)])
        };
        let allocation = Allocation { cpus: Some(cpus), memory: Some(Bytes(memory)) };
        let first = running(Some(&allocation), &reading(at, 0, false));
        let second = running(Some(&allocation), &reading(at + later, more_cpu, true));
        prop_assert!(first.cpu_usage_usec <= second.cpu_usage_usec);
        prop_assert!(first.io_read_bytes <= second.io_read_bytes);
        prop_assert!(first.elapsed_usec <= second.elapsed_usec);
        // What no longer fits becomes absent, not small.
        for (before, after) in [
            (first.allocated_cpu_usec.map(|time| time.0), second.allocated_cpu_usec.map(|time| time.0)),
            (first.allocated_memory_mib_seconds, second.allocated_memory_mib_seconds),
        ] {
            prop_assert!(after.is_none() || before <= after);
        }
    }

    #[test]
    fn mib_seconds_agree_with_their_definition(memory: u64, time: u64) {
        if let Some(product) = mib_seconds(Bytes(memory), Usec(time)) {
            let exact = u128::from(memory) * u128::from(time);
            let unit = 1_000_000_u128 << 20;
            prop_assert!(u128::from(product) * unit <= exact && exact - u128::from(product) * unit < unit);
        }
    }

    #[test]
    fn totals_split_and_merge(figures in prop::collection::vec(any::<Option<u64>>(), 0..20), cut in 0_usize..20) {
        let records: Vec<_> = figures.iter().map(|cpu| record_with(*cpu, true)).collect();
        let (left, right) = records.split_at(cut.min(records.len()));
        let whole = totals(&records);
        prop_assert_eq!(totals(left).merged(totals(right)), Some(whole));
        prop_assert_eq!(whole.cpu_usage_usec.known, figures.iter().flatten().map(|n| u128::from(*n)).sum::<u128>());
        let lacking = figures.iter().filter(|n| n.is_none()).count();
        prop_assert_eq!(whole.cpu_usage_usec.lacking, u64::try_from(lacking).unwrap());
    }
}

#[test]
fn a_tenants_total_says_how_many_records_lack_the_figure() {
    let records = [record_with(Some(5), true), record_with(None, true), record_with(Some(7), false)];
    let totals = totals_by_tenant(&records).unwrap();
    let acme = "acme".parse().unwrap();
    assert_eq!(totals[&Some(&acme)].cpu_usage_usec, Sum { known: 5, lacking: 1 });
    assert_eq!(totals[&None].cpu_usage_usec, Sum { known: 7, lacking: 0 });
}

#[test]
fn a_sum_that_does_not_fit_is_none() {
    let full = Sum { known: u128::MAX, lacking: 0 };
    assert_eq!(full.with(Some(1)), None);
    assert_eq!(full.merged(Sum { known: 1, lacking: 0 }), None);
}
