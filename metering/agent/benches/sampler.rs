//! A sampling round against a bare loop over the same files. `tests/bench/sampler` runs it.
//!
//! Ours is [`Sampler::round`] over N registered jobs, their tenants' groups included. The floor reads the
//! same twelve files of the same groups and looks at none: (a) `pread` on descriptors kept open, (b) open,
//! read, close. It runs in a process of its own, so that each has as many descriptors as it needs; rounds
//! alternate one by one. Medians; CPU time is `CLOCK_PROCESS_CPUTIME_ID`, user and system.
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
    reason = "a bench stops where something is not as it should be, takes times and prints ratios"
)]

use std::env;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::time::{ClockId, clock_gettime};
use tenantry_cgroup::{GroupPath, GroupReader, Root, tenant};
use tenantry_model::job::{Incarnation, Placement, Registration};
use tenantry_model::{BootId, Clock, JobId, SystemClock, TenantPath};
use tenantryd::sampler::Sampler;

const SIZES: [u32; 2] = [100, 1000];
const ROUNDS: usize = 41;
const WARM_UP: usize = 3;
const SCOPE: &str = "system.slice/slurmstepd.scope";
/// Five tenants with four in each.
const TENANTS: [u32; 2] = [5, 4];
const BUFFER_BYTES: usize = 16 << 10;
const MANIFEST: &str = env!("CARGO_MANIFEST_DIR");

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("floor") => floor(Path::new(&words[1])),
        _ if words.iter().any(|word| word == "--bench") => bench(),
        // `cargo test --all-targets` builds and starts it, too.
        _ => println!("this is measured by tests/bench/sampler"),
    }
}

fn bench() {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
    println!(
        "bench-sampler: a fake tree of ordinary files in {}, no cgroup v2: there the kernel",
        place.display()
    );
    println!("writes each file's text while it is read, which adds the same to ours and to the floor");
    println!("medians of {ROUNDS} alternated rounds, in µs a group");
    println!("{:>6} {:>7}  {:34} {:>8} {:>8}", "jobs", "groups", "", "CPU", "wall");
    let mut verdict = serde_json::Map::new();
    for jobs in SIZES {
        let tree = tempfile::Builder::new().prefix("tenantry-bench-").tempdir_in(&place).unwrap();
        let (registrations, groups) = plant(tree.path(), jobs);
        measure(tree.path(), jobs, &registrations, groups, &mut verdict);
    }
    verdict.insert("rounds".to_owned(), ROUNDS.into());
    let target = Path::new(MANIFEST).join("../../target/verdicts");
    fs::create_dir_all(&target).unwrap();
    let text = serde_json::to_string_pretty(&verdict).unwrap() + "\n";
    fs::write(target.join("bench_sampler.json"), text).unwrap();
}

fn measure(
    tree: &Path,
    jobs: u32,
    registrations: &[Registration],
    groups: usize,
    verdict: &mut serde_json::Map<String, serde_json::Value>,
) {
    let mut floor = Floor::start(tree);
    let mut sampler = Sampler::new(Root::open_fake(tree).unwrap(), Box::new(SystemClock));
    sampler.set_jobs(registrations);
    let mut times = [const { Vec::new() }; 3];
    for round in 0..WARM_UP + ROUNDS {
        let taken = [
            timed(|| {
                let mut read = 0;
                sampler
                    .round(&mut |_, reading| {
                        black_box(reading);
                        read += 1;
                    })
                    .unwrap();
                assert_eq!(
                    read, groups,
                    "not every group was read: has each process 12 descriptors a group?"
                );
            }),
            floor.round("pread"),
            floor.round("open"),
        ];
        if round >= WARM_UP {
            for (all, one) in times.iter_mut().zip(taken) {
                all.push(one);
            }
        }
    }
    drop(floor);

    let a_group = |ns: u64| ns as f64 / groups as f64 / 1000.0;
    let medians = times.map(|times| {
        let [cpu, wall] = [0, 1].map(|which| median(times.iter().map(|time| [time.cpu, time.wall][which])));
        (cpu, wall)
    });
    let titles = ["Sampler::round", "floor (a): pread, kept open", "floor (b): open, read, close"];
    for (title, (cpu, wall)) in titles.iter().zip(medians) {
        println!("{jobs:6} {groups:7}  {title:34} {:8.2} {:8.2}", a_group(cpu), a_group(wall));
    }
    let [ours, pread, open] = medians;
    let over = |floor: (u64, u64)| (ours.0 as f64 / floor.0 as f64, ours.1 as f64 / floor.1 as f64);
    for (title, floor, key) in
        [("ours / (a)", pread, "ratio_to_floor"), ("ours / (b)", open, "ratio_to_open_read_close")]
    {
        let (cpu, wall) = over(floor);
        println!("{jobs:6} {groups:7}  {title:34} {cpu:8.2} {wall:8.2}");
        verdict.insert(format!("{key}_{jobs}"), rounded(cpu));
    }
    for (key, (cpu, wall)) in ["sampler", "floor_pread", "floor_open_read_close"].iter().zip(medians) {
        verdict.insert(format!("{key}_cpu_usec_per_group_{jobs}"), rounded(a_group(cpu)));
        verdict.insert(format!("{key}_wall_usec_per_group_{jobs}"), rounded(a_group(wall)));
    }
    verdict.insert(format!("groups_{jobs}"), groups.into());
}

fn rounded(value: f64) -> serde_json::Value {
    ((value * 1000.0).round() / 1000.0).into()
}

fn median(times: impl Iterator<Item = u64>) -> u64 {
    let mut times: Vec<u64> = times.collect();
    times.sort_unstable();
    times[times.len() / 2]
}

// What is measured.

/// Nanoseconds of one round.
#[derive(Clone, Copy)]
struct Time {
    cpu: u64,
    wall: u64,
}

fn timed(round: impl FnOnce()) -> Time {
    let (cpu, wall) = (cpu_ns(), Instant::now());
    round();
    let wall = u64::try_from(wall.elapsed().as_nanos()).unwrap();
    Time { cpu: cpu_ns() - cpu, wall }
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
    u64::try_from(time.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap()
}

/// The process that runs the bare loops.
struct Floor(Child);

impl Floor {
    fn start(tree: &Path) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.arg("floor").arg(tree).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Has one round run.
    fn round(&mut self, how: &str) -> Time {
        let mut line = how.to_owned() + "\n";
        self.0.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        line.clear();
        // It answers once for each line it is sent: nothing is lost with the buffer.
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        Time { cpu: numbers[0], wall: numbers[1] }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.0.stdin.take());
        let ended = self.0.wait().unwrap();
        assert!(ended.success(), "the floor's process failed: {ended}");
    }
}

/// The bare loops: a round for each line of input, its times as the answer.
fn floor(tree: &Path) {
    let mut paths = Vec::new();
    find_files(tree, &mut paths);
    let open: Vec<File> =
        paths.iter().map(|path| File::open(path).expect("12 descriptors a group")).collect();
    let mut buffer = vec![0; BUFFER_BYTES];
    for line in io::stdin().lines() {
        let time = match line.unwrap().as_str() {
            "pread" => timed(|| {
                for file in &open {
                    black_box(file.read_at(&mut buffer, 0).unwrap());
                }
            }),
            _ => timed(|| {
                for path in &paths {
                    black_box(File::open(path).unwrap().read(&mut buffer).unwrap());
                }
            }),
        };
        println!("{} {}", time.cpu, time.wall);
    }
}

fn find_files(dir: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_files(&path, paths);
        } else {
            paths.push(path);
        }
    }
}

// What it is measured on.

/// Lays out the groups of the jobs and of their tenants; how many they are in all.
fn plant(tree: &Path, jobs: u32) -> (Vec<Registration>, usize) {
    let scope = GroupPath::new(SCOPE).unwrap();
    let [outer, inner] = TENANTS;
    let tenants: Vec<TenantPath> = (0..outer)
        .flat_map(|one| (0..inner).map(move |two| format!("org{one}/lab{two}").parse().unwrap()))
        .collect();
    let mut groups: Vec<GroupPath> = tenants
        .iter()
        .flat_map(TenantPath::lineage)
        .map(|level| tenant::group(&scope, &level).unwrap())
        .collect();
    let registrations: Vec<Registration> = tenants
        .iter()
        .cycle()
        .zip(1..=jobs)
        .map(|(tenant, job)| {
            let group = tenant::group(&scope, tenant).unwrap().child(format!("job_{job}")).unwrap();
            let registration = registration(tenant, job, &group);
            groups.push(group);
            registration
        })
        .collect();
    groups.sort();
    groups.dedup();
    let texts = texts();
    for group in &groups {
        let dir = tree.join(group.as_path());
        fs::create_dir_all(&dir).unwrap();
        for (file, text) in &texts {
            fs::write(dir.join(file), text).unwrap();
        }
    }
    (registrations, groups.len())
}

/// The files as the lab's kernel wrote them for a group.
fn texts() -> Vec<(&'static str, Vec<u8>)> {
    let fixture = Path::new(MANIFEST).join("../../cgroup/tests/fixtures/7.3-uml");
    GroupReader::FILES
        .into_iter()
        .map(|file| {
            let text = fs::read(fixture.join(file)).unwrap();
            (file, text)
        })
        .collect()
}

fn registration(tenant: &TenantPath, job: u32, group: &GroupPath) -> Registration {
    let began = SystemClock.now().unwrap();
    let boot_id: BootId = "01234567-89ab-cdef-0123-456789abcdef".parse().unwrap();
    Registration {
        incarnation: Incarnation {
            cluster: Some("cluster".parse().unwrap()),
            node: "n1".parse().unwrap(),
            boot_id,
            job_id: JobId(job),
            began: began.wall,
        },
        restart_count: Some(0),
        sluid: None,
        uid: 1001,
        gid: 1001,
        user: Some("alice".to_owned()),
        account: Some("acme-physics".parse().unwrap()),
        partition: Some("main".to_owned()),
        allocated_cpus: Some(2),
        scope: SCOPE.into(),
        began,
        placement: Placement::Grafted {
            tenant: tenant.clone(),
            leaf: group.as_path().to_owned(),
            mounts: vec![Path::new(SCOPE).join(format!("job_{job}"))],
        },
    }
}
