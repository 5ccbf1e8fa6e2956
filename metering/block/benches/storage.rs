//! What a sample of ten counters takes in a block: of a seeded generator's groups, and of blocks that a
//! lab's `tenantry spool export` wrote. `tests/bench/storage` runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench stops where something is not as it should be, and prints ratios"
)]

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;

use tenantry_block::{NodeKey, Sealed};
use tenantry_model::block::{Block, BlockHash, BlockKey, Contents, Series, Subject};
use tenantry_model::catalogue::Metric;
use tenantry_model::job::Incarnation;
use tenantry_model::reading::Reading;
use tenantry_model::{JobId, Moment, Usec, WallTime};

/// The counters that a group's sample has here.
const COUNTERS: [Metric; 10] = [
    Metric::CPU_USAGE,
    Metric::CPU_USER,
    Metric::CPU_SYSTEM,
    Metric::MEMORY_CURRENT,
    Metric::MEMORY_PEAK,
    Metric::MEMORY_ANON,
    Metric::MEMORY_FILE,
    Metric::PIDS_CURRENT,
    Metric::CPU_PRESSURE_SOME,
    Metric::NETWORK_TX_BYTES,
];
const GROUPS: usize = 50;
const INTERVAL_USEC: u64 = 10_000_000;
const BOOT: &str = "0b0b0b0b-0000-4000-8000-000000000001";
const START_USEC: i64 = 1_795_000_000_000_000;

/// xorshift: the same numbers on every machine.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below.max(1)
    }
}

/// A job as clusters have them: some compute steadily, some come and go, some sleep.
struct Job {
    kind: u64,
    values: [u64; COUNTERS.len()],
}

impl Job {
    fn new(seeded: &mut Seeded) -> Self {
        let kind = seeded.next(10);
        let memory = 4096 * (1000 + seeded.next(4_000_000));
        let values = [
            seeded.next(1 << 40),
            0,
            0,
            memory,
            memory,
            memory / 2,
            memory / 3,
            1 + seeded.next(64),
            seeded.next(1 << 30),
            seeded.next(1 << 34),
        ];
        Self { kind, values }
    }

    fn step(&mut self, seeded: &mut Seeded) {
        let [usage, user, system, current, peak, anon, file, pids, pressure, sent] = &mut self.values;
        // Six of ten compute on all their cores, with the jitter of timers; two read and write; two sleep.
        let (busy, noise) = match self.kind {
            0..6 => (INTERVAL_USEC * 4, 20_000),
            6..8 => (INTERVAL_USEC / 3, 2_000_000),
            _ => (0, 300),
        };
        let burnt = busy + seeded.next(noise);
        *usage += burnt;
        *system += burnt / 50 + seeded.next(noise / 50);
        *user = *usage - (*system).min(*usage);
        *pressure += seeded.next(noise);
        if self.kind < 8 {
            let moved = 4096 * seeded.next(2000);
            *anon = if seeded.next(2) == 0 { *anon + moved } else { anon.saturating_sub(moved) };
            *file += if self.kind >= 6 { 4096 * seeded.next(20_000) } else { 0 };
            *current = *anon + *file + 4096 * seeded.next(100);
            *peak = (*peak).max(*current);
            *sent += if self.kind >= 6 { seeded.next(1 << 26) } else { seeded.next(20_000) };
            *pids = pids.saturating_add_signed(i64::try_from(seeded.next(3)).unwrap() - 1);
        }
    }
}

/// A node's hour, in blocks of so many rounds: bytes a sample, registrations aside.
fn generated(rounds: u64) -> f64 {
    let mut seeded = Seeded(20_261_122);
    let mut jobs: Vec<Job> = (0..GROUPS).map(|_| Job::new(&mut seeded)).collect();
    let (mut bytes, mut samples) = (0, 0);
    let mut previous = BlockHash::default();
    for sequence in 1..=360 / rounds {
        let mut readings: Vec<Vec<Reading>> = vec![Vec::new(); GROUPS];
        let mut closed = moment(0);
        for round in 0..rounds {
            let begun = ((sequence - 1) * rounds + round) * INTERVAL_USEC + seeded.next(3_000);
            for (place, job) in jobs.iter_mut().enumerate() {
                job.step(&mut seeded);
                closed = moment(begun + place as u64 * 40 + seeded.next(30));
                let counters = COUNTERS.into_iter().zip(job.values).collect();
                readings[place].push(Reading { counters, ..Reading::empty(closed) });
            }
        }
        let series = readings.into_iter().enumerate().map(|(place, readings)| Series {
            subject: Subject::Job(Incarnation {
                cluster: Some("cluster".parse().unwrap()),
                node: "node-0001".parse().unwrap(),
                boot_id: BOOT.parse().unwrap(),
                job_id: JobId(1_234_567 + u32::try_from(place).unwrap()),
                began: moment(place as u64 * 7919).wall,
            }),
            readings,
        });
        let block = Block {
            key: BlockKey { node: "node-0001".parse().unwrap(), boot_id: BOOT.parse().unwrap(), sequence },
            previous,
            closed,
            contents: Contents { series: series.collect(), ..Contents::default() },
        };
        let sealed = Sealed::new(&block, &NodeKey::from_seed(&[7; 32])).unwrap();
        assert_eq!(sealed.block().unwrap(), block);
        previous = sealed.hash();
        bytes += sealed.bytes().len();
        samples += GROUPS * usize::try_from(rounds).unwrap();
    }
    bytes as f64 / samples as f64
}

fn moment(usec: u64) -> Moment {
    let wall = WallTime::from_unix_usec(START_USEC + i64::try_from(usec).unwrap()).unwrap();
    Moment { wall, boottime_usec: Usec(60_000_000 + usec) }
}

/// Ten counters' worth of exported blocks: their bytes by how many values they hold.
fn exported(dir: &Path) -> Option<f64> {
    let (mut bytes, mut values) = (0, 0);
    for entry in fs::read_dir(dir).ok()? {
        let sealed = Sealed::open(fs::read(entry.unwrap().path()).unwrap()).unwrap();
        let series = sealed.block().unwrap().contents.series;
        let readings = series.iter().flat_map(|series| &series.readings);
        let counted: usize = readings
            .map(|reading| reading.counters.iter().count() + 4 * reading.io.as_ref().map_or(0, Vec::len))
            .sum();
        if counted > 0 {
            bytes += sealed.bytes().len();
            values += counted;
        }
    }
    (values > 0).then(|| bytes as f64 / values as f64 * COUNTERS.len() as f64)
}

/// The generator's samples as lines of Prometheus's text format, for a peer.
fn lines(path: &str) {
    let mut out = std::io::BufWriter::new(fs::File::create(path).unwrap());
    let mut seeded = Seeded(20_261_122);
    let mut jobs: Vec<Job> = (0..GROUPS).map(|_| Job::new(&mut seeded)).collect();
    for round in 0..360 {
        let begun = round * INTERVAL_USEC + seeded.next(3_000);
        for (place, job) in jobs.iter_mut().enumerate() {
            job.step(&mut seeded);
            let at = (START_USEC as u64 + begun + place as u64 * 40 + seeded.next(30)) / 1000;
            for (metric, value) in COUNTERS.into_iter().zip(job.values) {
                writeln!(out, "{}{{job=\"{}\"}} {value} {at}", metric.info().key, 1_234_567 + place).unwrap();
            }
        }
    }
}

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("lines") => return lines(&words[1]),
        _ if words.iter().all(|word| word != "--bench") => {
            return println!("this is measured by tests/bench/storage");
        }
        _ => {}
    }
    let (minute, five) = (generated(6), generated(30));
    println!("bytes a sample of ten counters, {GROUPS} groups read each 10 s for an hour, seeded:");
    println!("  blocks of 1 minute   {minute:6.2}");
    println!("  blocks of 5 minutes  {five:6.2}");
    let real = env::var("TENANTRY_EXPORTED").ok().and_then(|dir| exported(Path::new(&dir)));
    if let Some(real) = real {
        println!("  a lab's blocks       {real:6.2}");
    }
    let number = |value: f64| ((value * 100.0).round() / 100.0).to_string();
    let real = real.map_or_else(|| "null".to_owned(), number);
    println!(
        "verdict {{\"bytes_per_sample_1min\": {}, \"bytes_per_sample_5min\": {}, \"bytes_per_sample_lab\": {real}}}",
        number(minute),
        number(five)
    );
}
