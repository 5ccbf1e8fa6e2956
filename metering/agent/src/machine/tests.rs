use super::*;
use crate::gpu::places::GpuKind;
use tenantry_model::job::Placement;
use tenantry_model::reading::GpuStat;
use tenantry_model::{JobId, WallTime};

fn moment(usec: u64) -> Moment {
    let wall = WallTime::from_unix_usec(i64::try_from(usec).unwrap()).unwrap();
    Moment { wall, boottime_usec: Usec(usec) }
}

fn job(id: u32, began: u64, gpus: &[u32]) -> Registration {
    Registration {
        incarnation: Incarnation {
            cluster: None,
            node: "n1".parse().unwrap(),
            boot_id: "0b0b0b0b-0000-4000-8000-000000000001".parse().unwrap(),
            job_id: JobId(id),
            began: moment(began).wall,
        },
        restart_count: None,
        sluid: None,
        uid: 1000,
        gid: 1000,
        user: None,
        account: None,
        partition: None,
        allocated_cpus: None,
        allocated_gpus: gpus.to_vec(),
        scope: "s".into(),
        began: moment(began),
        placement: Placement::Grafted {
            tenant: "acme".parse().unwrap(),
            leaf: "x".into(),
            mounts: Vec::new(),
        },
    }
}

fn cpu(at: u64, usec: u64) -> Reading {
    let counters = [(Metric::CPU_USAGE, usec)].into_iter().collect();
    Reading { counters, ..Reading::empty(moment(at)) }
}

fn two_gpus() -> (Vec<Gpu>, Vec<GpuReading>) {
    let gpu = |n: u32| Gpu {
        name: format!("GPU-{n}").parse().unwrap(),
        order: n,
        minor: Some(n),
        kind: GpuKind::Whole,
    };
    let reading = |gpu: &Gpu| GpuReading {
        gpu: gpu.name.clone(),
        stat: GpuStat::from_columns([Some(1), None, None, None]),
    };
    let gpus = vec![gpu(0), gpu(1)];
    let readings = gpus.iter().map(reading).collect();
    (gpus, readings)
}

fn package(uj: u64) -> NodeEnergy {
    NodeEnergy { package: Some(MicroJoules(uj)), dram: None }
}

fn gpus_of(rounds: &mut Rounds, job: &Registration) -> Vec<String> {
    let mut reading = cpu(10, 1);
    rounds.complete(job, None, &mut None, &mut reading);
    reading.gpus.iter().map(|gpu| gpu.gpu.to_string()).collect()
}

#[test]
fn a_job_has_the_gpus_it_was_allocated_and_the_machine_has_all() {
    let (known, readings) = two_gpus();
    let jobs = [job(1, 1, &[1]), job(2, 1, &[])];
    let mut rounds = Rounds::new(2, None);
    rounds.begin(moment(10), NodeEnergy::default(), &known, readings, jobs.iter());
    assert_eq!(gpus_of(&mut rounds, &jobs[0]), ["GPU-1"]);
    assert_eq!(gpus_of(&mut rounds, &jobs[1]), [""; 0]);
    let machine = rounds.end().unwrap();
    assert_eq!((machine.gpus.len(), machine.counters.is_empty(), machine.at), (2, true, moment(10)));
    assert_eq!(rounds.end(), None, "once a round");
}

#[test]
fn a_gpu_of_two_jobs_is_neithers_for_as_long_as_it_is() {
    let (known, readings) = two_gpus();
    let jobs = [job(1, 1, &[0, 1]), job(2, 1, &[0]), job(3, 1, &[0])];
    let mut rounds = Rounds::new(2, None);
    rounds.begin(moment(10), NodeEnergy::default(), &known, readings.clone(), jobs.iter());
    assert_eq!(gpus_of(&mut rounds, &jobs[0]), ["GPU-1"]);
    assert_eq!(gpus_of(&mut rounds, &jobs[2]), [""; 0]);
    rounds.begin(moment(20), NodeEnergy::default(), &known, readings, jobs[..1].iter());
    assert_eq!(gpus_of(&mut rounds, &jobs[0]), ["GPU-0", "GPU-1"]);
}

#[test]
fn a_place_that_is_not_certain_is_nobodys() {
    let (mut known, readings) = two_gpus();
    known[1].minor = Some(7);
    let jobs = [job(1, 1, &[0, 1])];
    let mut rounds = Rounds::new(2, None);
    rounds.begin(moment(10), NodeEnergy::default(), &known, readings.clone(), jobs.iter());
    assert_eq!(gpus_of(&mut rounds, &jobs[0]), ["GPU-0"]);
    let mut rounds = Rounds::new(2, Some(vec![Listed::Minor(0), Listed::Minor(7)]));
    rounds.begin(moment(10), NodeEnergy::default(), &known, readings, jobs.iter());
    assert_eq!(gpus_of(&mut rounds, &jobs[0]), ["GPU-0", "GPU-1"]);
}

/// Three rounds of ten microseconds on two CPUs: 20 µs of CPU time each.
#[test]
fn shares_and_what_is_nobodys_are_the_machines_energy() {
    let jobs = [job(1, 1, &[]), job(2, 12, &[])];
    let mut rounds = Rounds::new(2, None);
    let (mut first, mut second) = (None, None);
    let mut round = |at: u64, energy: u64, used: [Option<(&Reading, &mut Reading)>; 2]| {
        rounds.begin(moment(at), package(energy), &[], Vec::new(), jobs.iter());
        for ((used, job), energy) in used.into_iter().zip(&jobs).zip([&mut first, &mut second]) {
            if let Some((last, now)) = used {
                let last = (!last.counters.is_empty()).then_some(last);
                rounds.complete(job, last, energy, now);
            }
        }
        let machine = rounds.end().unwrap();
        let shares = [first, second].map(|share| share.map(|share| share.0));
        (shares, machine.get(Metric::ENERGY_UNATTRIBUTED))
    };
    let none = Reading::empty(moment(0));
    let mut a = cpu(11, 1_000);
    // Nothing is known before the first round, however much CPU time there was.
    assert_eq!(round(10, 0, [Some((&none, &mut a)), None]), ([None, None], Some(0)));
    let (mut b, mut c) = (cpu(21, 1_010), cpu(22, 5));
    // A half and, of a job that began since, a quarter.
    let expected = ([Some(50), Some(25)], Some(25));
    assert_eq!(round(20, 100, [Some((&a, &mut b)), Some((&none, &mut c))]), expected);
    assert_eq!((b.get(Metric::ENERGY_SHARE), c.get(Metric::ENERGY_SHARE)), (Some(50), Some(25)));
    // The first has ended, and what it still used is nobody's.
    let mut d = cpu(32, 15);
    assert_eq!(round(30, 140, [None, Some((&c, &mut d))]), ([Some(50), Some(45)], Some(45)));
}

#[test]
fn a_job_that_was_not_read_in_the_round_before_has_no_part_in_this_one() {
    let jobs = [job(1, 1, &[])];
    let mut rounds = Rounds::new(2, None);
    for (at, energy) in [(10, 0), (20, 100), (30, 200)] {
        rounds.begin(moment(at), package(energy), &[], Vec::new(), jobs.iter());
    }
    let (mut share, mut reading) = (Some(MicroJoules(7)), cpu(31, 15));
    rounds.complete(&jobs[0], Some(&cpu(11, 1)), &mut share, &mut reading);
    assert_eq!((share, reading.get(Metric::ENERGY_SHARE)), (Some(MicroJoules(7)), Some(7)));
}

#[test]
fn a_machine_that_tells_nothing_has_no_reading() {
    let jobs = [job(1, 1, &[0])];
    let mut rounds = Rounds::new(2, None);
    rounds.begin(moment(10), NodeEnergy::default(), &[], Vec::new(), jobs.iter());
    let mut reading = cpu(11, 1);
    rounds.complete(&jobs[0], None, &mut None, &mut reading);
    assert_eq!((rounds.end(), reading), (None, cpu(11, 1)));
}
