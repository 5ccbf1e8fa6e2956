//! below 0.9 as a contender of the sampler's bench: `bench-below record|files EMPTY TREE`. So many
//! rounds as each line of input says; the answer is the nanoseconds of CPU and wall time they took.
//!
//! `record` is what `below record` collects at each interval, `below_model::Collector`, less what
//! it takes on a tree without groups: processes, disks, network. `files` reads with below's own
//! `cgroupfs` those of the twelve files that it knows, and none else. Both walk the tree and open,
//! read and close each file, as below does.

use std::error::Error;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::time::Instant;

use below_model::{Collector, CollectorOptions};
use cgroupfs::CgroupReader;
use nix::time::{ClockId, clock_gettime};

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [how, empty, tree] = words.as_slice() else { return Err("record|files EMPTY TREE".into()) };
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let collector = |root: &str| {
        let options = CollectorOptions { cgroup_root: root.into(), ..CollectorOptions::default() };
        Collector::new(logger.clone(), options)
    };
    let (mut nothing, mut everything) = (collector(empty), collector(tree));
    for line in io::stdin().lines() {
        let rounds: u32 = line?.parse()?;
        let [cpu, wall] = if how == "record" {
            let base = timed(rounds, || record(&mut nothing))?;
            let all = timed(rounds, || record(&mut everything))?;
            [0, 1].map(|n| all[n].saturating_sub(base[n]))
        } else {
            timed(rounds, || walk(&CgroupReader::new(Path::new(tree).to_owned())?))?
        };
        println!("{cpu} {wall}");
    }
    Ok(())
}

/// It fails where a process ends just while below reads it: then it is done again.
fn record(collector: &mut Collector) -> Outcome {
    const TRIES: usize = 5;
    for _ in 1..TRIES {
        if let Ok(sample) = collector.collect_sample() {
            black_box(sample);
            return Ok(());
        }
    }
    black_box(collector.collect_sample()?);
    Ok(())
}

/// A file that is not there is no error, as in below.
fn walk(group: &CgroupReader) -> Outcome {
    black_box(group.read_cpu_stat().ok());
    black_box(group.read_io_stat().ok());
    black_box(group.read_pids_current().ok());
    black_box(group.read_memory_current().ok());
    black_box(group.read_memory_swap_current().ok());
    black_box(group.read_memory_stat().ok());
    black_box(group.read_memory_events().ok());
    black_box(group.read_pressure().ok());
    group.child_cgroup_iter()?.try_for_each(|child| walk(&child))
}

fn timed(rounds: u32, mut round: impl FnMut() -> Outcome) -> Result<[u64; 2], Box<dyn Error>> {
    // Of several rounds the first is not counted: others have had the caches meanwhile.
    (1..rounds.min(2)).try_for_each(|_| round())?;
    let (cpu, wall) = (cpu_ns()?, Instant::now());
    (0..rounds).try_for_each(|_| round())?;
    Ok([cpu_ns()?.saturating_sub(cpu), u64::try_from(wall.elapsed().as_nanos())?])
}

fn cpu_ns() -> Result<u64, Box<dyn Error>> {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?;
    Ok(u64::try_from(time.tv_sec())? * 1_000_000_000 + u64::try_from(time.tv_nsec())?)
}
