//! A sampling round beside others that read the same files of the same groups, in one run.
//! `tests/bench/sampler` starts it; docs/sampler.md says what is compared.
//!
//! Each contender is a process of its own, or several where the descriptors of one are not enough,
//! and they take turns: of few groups several rounds at a time, so that a turn is some thousand groups.
//! Times are medians of `CLOCK_PROCESS_CPUTIME_ID`, user and system; ratios are medians of two turns' ratios.
#![forbid(unsafe_code)]
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
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench stops where something is not as it should be, takes times and prints ratios"
)]

mod contender;
mod tree;

use std::env;
use std::fs;
use std::path::Path;

use contender::{Contender, Time};
use tree::{Place, Tree};

/// Jobs, how many rounds are a turn, and how many turns each contender has.
const SIZES: [(u32, u64, usize); 4] = [(10, 100, 20), (100, 10, 20), (1000, 1, 20), (5000, 1, 10)];
const WARM_UP: usize = 2;
/// Turns of one round each, where a turn is several.
const SINGLE: usize = 50;
/// Where the aim for memory is set.
const MEMORY_AT: u32 = 1000;
const MEMORY_AIM: u64 = 32 << 20;

/// Whose CPU for a group over whose, under which name, and at most how much.
const RATIOS: [(&str, &str, &str, Option<f64>); 5] = [
    ("sampler", "floor_pread", "ratio_to_floor", Some(1.2)),
    ("sampler", "floor_open_read_close", "ratio_to_open_read_close", None),
    ("sampler", "below_record", "ratio_to_below", Some(1.0 / 3.0)),
    ("sampler", "below_files", "ratio_to_below_same_files", None),
    ("iterator", "floor_cpu_stat", "iterator_ratio_to_floor", Some(0.2)),
];

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["contend", how, from, to, dir] => {
            contender::contend(how, from.parse().unwrap()..to.parse().unwrap(), Path::new(dir));
        }
        // A shell starts it with many descriptors and a mount namespace of its own.
        ["measure", ..] => measure(),
        _ => println!("this is measured by tests/bench/sampler"),
    }
}

fn measure() {
    let mut report = Report::default();
    let real = Place::cgroup2();
    if real.is_none() {
        println!(
            "TENANTRY-SKIP bench-sampler: no cgroup2 could be mounted: no real groups, no below, no iterator"
        );
    }
    let complete = real.as_ref().is_some_and(|place| place.files().len() == tree::FILES.len());
    let headline = if complete { "cgroup2" } else { "fake" };
    report.verdict.insert("tree".to_owned(), headline.into());
    for place in [Place::fake(real.as_ref())].into_iter().chain(real) {
        place.describe();
        // The keys without a prefix are of the tree that has all the files.
        let prefix = if place.name() == headline { "" } else { "cgroup2_" };
        println!("medians, in µs of a group");
        println!("{:>6} {:>7}  {:38} {:>8} {:>8}", "jobs", "groups", "", "CPU", "wall");
        for (jobs, rounds, turns) in SIZES {
            report.size(&place, prefix, jobs, rounds, turns);
        }
    }
    report.write();
}

#[derive(Default)]
struct Report {
    verdict: serde_json::Map<String, serde_json::Value>,
}

impl Report {
    fn size(&mut self, place: &Place, prefix: &str, jobs: u32, rounds: u64, turns: usize) {
        let tree = Tree::plant(place, jobs);
        let slab_before = slab();
        let mut contenders = vec![Contender::ours(&tree)];
        let slab_of_ours = slab().saturating_sub(slab_before);
        contenders.push(Contender::floor(&tree, "pread", "(a) pread, files kept open"));
        contenders.push(Contender::floor(&tree, "open", "(b) open, read, close"));
        contenders.extend(Contender::below(&tree, "record", "(c) below 0.9, one recording"));
        contenders.extend(Contender::below(&tree, "files", "    below 0.9, its share of the files"));
        contenders.extend(Contender::iterator(&tree));
        contenders.extend(Contender::iterators_floor(&tree));
        contenders.push(Contender::set_jobs(&tree));
        let times = take_turns(&mut contenders, rounds, turns);
        let processes = contenders.first().map_or(0, Contender::processes);
        if processes > 1 {
            println!(
                "{jobs:6}          the sampler and the kept-open files in {processes} processes, for the limit on descriptors"
            );
        }
        for (contender, times) in contenders.iter().zip(&times) {
            let a_group = |of: fn(&Time) -> u64| {
                median(times.iter().map(|time| of(time) as f64)) / f64::from(contender.groups) / 1000.0
            };
            let [cpu, wall] = [a_group(|time| time.cpu), a_group(|time| time.wall)];
            println!("{jobs:6} {:7}  {:38} {cpu:8.2} {wall:8.2}", contender.groups, contender.title);
            self.put(format!("{prefix}{}_cpu_usec_per_group_{jobs}", contender.key), cpu);
            self.put(format!("{prefix}{}_wall_usec_per_group_{jobs}", contender.key), wall);
        }
        for (ours, other, key, aim) in RATIOS {
            let Some(ratio) = ratio(&contenders, &times, ours, other) else { continue };
            // The iterator is known by its own name: it stands beside one tree only.
            let prefix = if key.starts_with("iterator") { "" } else { prefix };
            let missed = aim
                .filter(|aim| ratio > *aim)
                .map_or(String::new(), |aim| format!("  MISSES its aim of {aim:.2}"));
            println!("{jobs:6}          {key:38} {ratio:8.2}{missed}");
            self.put(format!("{prefix}{key}_{jobs}"), ratio);
        }
        if rounds > 1 {
            let times = take_turns(&mut contenders[..2], 1, SINGLE);
            if let Some(ratio) = ratio(&contenders, &times, "sampler", "floor_pread") {
                println!("{jobs:6}          {:38} {ratio:8.2}", "ratio_to_floor, a round at a time");
                self.put(format!("{prefix}single_round_ratio_to_floor_{jobs}"), ratio);
            }
        }
        if jobs == MEMORY_AT {
            let resident = contenders[0].resident;
            let missed = if resident > MEMORY_AIM { "  MISSES its aim of 32 MiB" } else { "" };
            println!("{jobs:6}          resident memory of the sampler's process {resident} bytes{missed}");
            println!(
                "{jobs:6}          the kernel's unreclaimable slab grew by {slab_of_ours} bytes while it opened its files"
            );
            self.verdict.insert(format!("{prefix}rss_bytes_{jobs}_jobs"), resident.into());
            self.verdict.insert(format!("{prefix}kernel_slab_bytes_{jobs}_jobs"), slab_of_ours.into());
        }
    }

    fn put(&mut self, key: String, value: f64) {
        self.verdict.insert(key, ((value * 1000.0).round() / 1000.0).into());
    }

    fn write(mut self) {
        for (jobs, rounds, turns) in SIZES {
            self.verdict.insert(format!("rounds_{jobs}"), (rounds * turns as u64).into());
        }
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/verdicts");
        fs::create_dir_all(&target).unwrap();
        let text = serde_json::to_string_pretty(&self.verdict).unwrap() + "\n";
        fs::write(target.join("bench_sampler.json"), text).unwrap();
    }
}

fn take_turns(contenders: &mut [Contender], rounds: u64, turns: usize) -> Vec<Vec<Time>> {
    let mut times = vec![Vec::new(); contenders.len()];
    for turn in 0..WARM_UP + turns {
        let mut order: Vec<_> = contenders.iter_mut().zip(&mut times).collect();
        // Who comes first finds what all of them read in no cache.
        if turn % 2 == 1 {
            order.reverse();
        }
        for (contender, times) in order {
            let time = contender.rounds(rounds);
            if turn >= WARM_UP {
                times.push(time);
            }
        }
    }
    times
}

/// CPU of the one for a group over CPU of the other, two turns by two, one in either order: what else
/// the machine does meanwhile meets both.
fn ratio(contenders: &[Contender], times: &[Vec<Time>], one: &str, other: &str) -> Option<f64> {
    let [one, other] = [one, other].map(|key| contenders.iter().position(|contender| contender.key == key));
    let of = |n: usize| {
        let pairs =
            times.get(n)?.chunks(2).map(|turns| turns.iter().map(|time| time.cpu as f64).sum::<f64>());
        let groups = f64::from(contenders[n].groups);
        Some(pairs.map(move |cpu| cpu / groups))
    };
    Some(median(of(one?)?.zip(of(other?)?).map(|(one, other)| one / other.max(1.0))))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What the kernel holds for itself and cannot give back, of the whole machine.
fn slab() -> u64 {
    contender::kib("/proc/meminfo", "SUnreclaim:")
}
