//! Who reads: this crate's sampler, the bare loops, below, the kernel's iterator.

use std::env;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::time::{ClockId, clock_gettime};
use tenantry_cgroup::Root;
use tenantry_model::SystemClock;
use tenantryd::sampler::Sampler;

use crate::tree::{self, FILES, Tree};

const BUFFER_BYTES: usize = 16 << 10;
/// The kernel keeps what one pass writes in 32 KiB, and ends it there; a group takes 16 bytes.
const ITERATOR_MOST: u32 = 2000;
/// It says so where the kernel does not offer what it takes.
const CANNOT: i32 = 77;

/// Nanoseconds of one round.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    pub cpu: u64,
    pub wall: u64,
}

/// Processes that read a round when they are told to.
pub struct Contender {
    pub key: &'static str,
    pub title: &'static str,
    /// Over how many groups its times are shared out.
    pub groups: u32,
    /// Resident bytes after its first round.
    pub resident: u64,
    /// Whether a turn is one round of however few groups.
    single: bool,
    children: Vec<Child>,
}

impl Contender {
    /// Our sampler.
    pub fn ours(tree: &Tree) -> Self {
        Self::start("sampler", "Sampler::round", tree.groups, &mut itself(tree, "ours", FILES.len()))
    }

    /// What telling it the same jobs again costs.
    pub fn set_jobs(tree: &Tree) -> Self {
        let title = "Sampler::set_jobs, the same ones again";
        Self::start("set_jobs", title, tree.groups, &mut itself(tree, "set_jobs", FILES.len()))
    }

    /// A bare loop over the same files of the same groups.
    pub fn floor(tree: &Tree, how: &'static str, title: &'static str) -> Self {
        let (key, kept_open) =
            if how == "pread" { ("floor_pread", FILES.len()) } else { ("floor_open_read_close", 0) };
        Self::start(key, title, tree.groups, &mut itself(tree, how, kept_open))
    }

    /// below, where it was built. It looks at the groups above the tenants', too.
    pub fn below(tree: &Tree, how: &'static str, title: &'static str) -> Option<Self> {
        let (empty, root) = tree.for_below()?;
        let key = if how == "record" { "below_record" } else { "below_files" };
        let mut command = Command::new(env::var_os("TENANTRY_BENCH_BELOW")?);
        command.arg(how).arg(empty).arg(root);
        let mut contender = Self::start(key, title, tree.groups + tree::ABOVE, &mut [command]);
        // A recording looks at every process, too, and waits for that.
        contender.single = how == "record";
        Some(contender)
    }

    /// One pass of the kernel's cgroup iterator, where the kernel has what it takes.
    pub fn iterator(tree: &Tree) -> Option<Self> {
        let real = tree.real()?;
        if tree.groups > ITERATOR_MOST {
            println!(
                "{:6} {:7}  the BPF iterator goes over {ITERATOR_MOST} groups at most",
                tree.jobs, tree.groups
            );
            return None;
        }
        let mut command = Command::new("python3");
        command.arg(env::var_os("TENANTRY_BENCH_ITERATOR")?).arg(real);
        let tried = command.stdin(Stdio::null()).status().unwrap();
        if tried.code() == Some(CANNOT) {
            return None;
        }
        assert!(tried.success(), "the iterator has failed: see above");
        let title = "BPF iterator: cpu.stat's usage_usec only";
        Some(Self::start("iterator", title, tree.groups + tree::ABOVE, &mut [command]))
    }

    /// What the iterator stands for: `cpu.stat` alone.
    pub fn iterators_floor(tree: &Tree) -> Option<Self> {
        tree.real()?;
        let title = "    pread of cpu.stat alone, kept open";
        Some(Self::start("floor_cpu_stat", title, tree.groups, &mut itself(tree, "cpu.stat", 1)))
    }

    fn start(key: &'static str, title: &'static str, groups: u32, commands: &mut [Command]) -> Self {
        let start =
            |command: &mut Command| command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let children = commands.iter_mut().map(start).collect();
        let mut contender = Self { key, title, groups, resident: 0, single: false, children };
        contender.rounds(1);
        let resident = |child: &Child| kib(&format!("/proc/{}/status", child.id()), "VmRSS:");
        contender.resident = contender.children.iter().map(resident).sum();
        contender
    }

    /// How many processes it is.
    pub fn processes(&self) -> usize {
        self.children.len()
    }

    /// Has some rounds run at once: the times of one.
    pub fn rounds(&mut self, rounds: u64) -> Time {
        let rounds = if self.single { 1 } else { rounds };
        let mut sum = Time { cpu: 0, wall: 0 };
        for child in &mut self.children {
            writeln!(child.stdin.as_mut().unwrap(), "{rounds}").unwrap();
            let mut line = String::new();
            // It answers once for each line it is sent: nothing is lost with the buffer.
            BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
            let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
            assert_eq!(numbers.len(), 2, "{} has failed: see above", self.title);
            sum = Time { cpu: sum.cpu + numbers[0] / rounds, wall: sum.wall + numbers[1] / rounds };
        }
        sum
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It ends with its input.
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// This program for a tree's jobs: as often as the limit on descriptors makes it.
fn itself(tree: &Tree, how: &str, kept_open: usize) -> Vec<Command> {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let limit: u32 = limit.split_whitespace().next().unwrap().parse().unwrap();
    let files = u32::try_from(kept_open.min(tree.files)).unwrap();
    let most = (limit - 100).checked_div(files).unwrap_or(tree.jobs);
    // Whole outer tenants: no group is in two parts.
    let part = (most / (tree::OF_AN_OUTER + 5) * tree::OF_AN_OUTER).max(tree::OF_AN_OUTER);
    let command = |from: u32| {
        let mut command = Command::new(env::current_exe().unwrap());
        let to = (from + part).min(tree.jobs);
        command.args(["contend", how, &from.to_string(), &to.to_string()]).arg(&tree.dir);
        command
    };
    (0..tree.jobs).step_by(part as usize).map(command).collect()
}

/// A number of KiB in a file of the kernel's, as bytes.
pub fn kib(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

// In the contender's own process.

/// So many rounds as each line of input says, their times as the answer.
pub fn contend(how: &str, jobs: Range<u32>, dir: &Path) {
    match how {
        "ours" => ours(jobs, dir),
        "set_jobs" => set_jobs(jobs, dir),
        "pread" => pread(&files(jobs, dir, &FILES)),
        "cpu.stat" => pread(&files(jobs, dir, &["cpu.stat"])),
        _ => open(&files(jobs, dir, &FILES)),
    }
}

fn ours(jobs: Range<u32>, dir: &Path) {
    let mut sampler = Sampler::new(Root::open_fake(dir).unwrap(), Box::new(SystemClock));
    sampler.set_jobs(&tree::registrations(jobs));
    let groups = sampler.groups();
    answer(|| {
        let mut read = 0;
        let each = &mut |_: tenantryd::sampler::Group<'_>, reading: &_| {
            black_box(reading);
            read += 1;
        };
        sampler.round(each).unwrap();
        assert_eq!(read, groups, "not every group was read: has this process 12 descriptors a group?");
    });
}

fn set_jobs(jobs: Range<u32>, dir: &Path) {
    let mut sampler = Sampler::new(Root::open_fake(dir).unwrap(), Box::new(SystemClock));
    let registrations = tree::registrations(jobs);
    answer(|| sampler.set_jobs(black_box(&registrations)));
}

fn pread(paths: &[PathBuf]) {
    let open: Vec<File> =
        paths.iter().map(|path| File::open(path).expect("12 descriptors a group")).collect();
    let mut buffer = vec![0; BUFFER_BYTES];
    answer(|| {
        for file in &open {
            // A kernel that was told not to account pressure refuses to read it.
            let _ = black_box(file.read_at(&mut buffer, 0));
        }
    });
}

fn open(paths: &[PathBuf]) {
    let mut buffer = vec![0; BUFFER_BYTES];
    answer(|| {
        for path in paths {
            let _ = black_box(File::open(path).unwrap().read(&mut buffer));
        }
    });
}

/// Those of the files that are there, of each group, in the sampler's order.
fn files(jobs: Range<u32>, dir: &Path, names: &[&str]) -> Vec<PathBuf> {
    let groups = tree::groups(&tree::registrations(jobs));
    let of = |group| names.iter().map(move |name| dir.join(&group).join(name));
    groups.into_iter().flat_map(of).filter(|path| path.exists()).collect()
}

fn answer(mut round: impl FnMut()) {
    for line in io::stdin().lines() {
        let rounds: u64 = line.unwrap().parse().unwrap();
        // Of several rounds the first is not counted: others have had the caches meanwhile.
        (1..rounds.min(2)).for_each(|_| round());
        let (cpu, wall) = (cpu_ns(), Instant::now());
        (0..rounds).for_each(|_| round());
        let wall = wall.elapsed().as_nanos();
        println!("{} {wall}", cpu_ns() - cpu);
    }
}

fn cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap();
    u64::try_from(time.tv_sec()).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec()).unwrap()
}
