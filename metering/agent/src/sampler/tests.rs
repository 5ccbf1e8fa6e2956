use super::*;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use tenantry_model::job::Incarnation;
use tenantry_model::{JobId, WallTime};

/// Goes on by a microsecond whenever the monotonic clock is asked alone.
#[derive(Default)]
struct Ticking {
    boottime: AtomicU64,
    wall_asked: Arc<AtomicU64>,
}

impl Clock for Ticking {
    fn now(&self) -> io::Result<Moment> {
        self.wall_asked.fetch_add(1, SeqCst);
        let wall = WallTime::from_unix_usec(1_795_000_000_000_000).unwrap();
        Ok(Moment { wall, boottime_usec: Usec(self.boottime.load(SeqCst)) })
    }

    fn boottime(&self) -> io::Result<Usec> {
        Ok(Usec(self.boottime.fetch_add(1, SeqCst)))
    }

    fn thread_cpu(&self) -> io::Result<Usec> {
        Ok(Usec(self.boottime.load(SeqCst)))
    }
}

struct Tree {
    dir: tempfile::TempDir,
    wall_asked: Arc<AtomicU64>,
}

impl Tree {
    /// `acme/physics` with jobs; each group's CPU time is the job's number, a tenant's is 1000.
    fn new(jobs: &[u32]) -> (Self, Sampler, Vec<Registration>) {
        let dir = tempfile::tempdir().unwrap();
        let clock = Ticking::default();
        let tree = Self { wall_asked: clock.wall_asked.clone(), dir };
        let registrations: Vec<Registration> = jobs.iter().map(|job| registration(*job)).collect();
        for tenant in ["s/tenant_acme", "s/tenant_acme/tenant_physics"] {
            tree.group(Path::new(tenant), 1000);
        }
        for registration in &registrations {
            tree.group(&leaf(registration), registration.incarnation.job_id.0);
        }
        let root = Root::open_fake(tree.dir.path()).unwrap();
        (tree, Sampler::new(root, Box::new(clock)), registrations)
    }

    fn group(&self, path: &Path, usage: u32) {
        let group = self.dir.path().join(path);
        fs::create_dir_all(&group).unwrap();
        fs::write(group.join("cpu.stat"), format!("usage_usec {usage}\n")).unwrap();
    }

    fn remove(&self, path: &Path) {
        fs::remove_dir_all(self.dir.path().join(path)).unwrap();
    }
}

fn leaf(registration: &Registration) -> std::path::PathBuf {
    let Placement::Grafted { leaf, .. } = &registration.placement else { panic!("not grafted") };
    leaf.clone()
}

fn registration(job: u32) -> Registration {
    let began = Moment { wall: WallTime::from_unix_usec(7).unwrap(), boottime_usec: Usec(7) };
    Registration {
        incarnation: Incarnation {
            cluster: None,
            node: "n1".parse().unwrap(),
            boot_id: "01234567-89ab-cdef-0123-456789abcdef".parse().unwrap(),
            job_id: JobId(job),
            began: began.wall,
        },
        restart_count: None,
        sluid: None,
        uid: 1001,
        gid: 1001,
        user: None,
        account: None,
        partition: None,
        allocated_cpus: None,
        allocated_gpus: Vec::new(),
        scope: "s".into(),
        began,
        placement: Placement::Grafted {
            tenant: "acme/physics".parse().unwrap(),
            leaf: format!("s/tenant_acme/tenant_physics/job_{job}").into(),
            mounts: Vec::new(),
        },
    }
}

/// A round's CPU times, and whose they are.
fn round(sampler: &mut Sampler) -> Vec<(String, u64)> {
    let mut seen = Vec::new();
    sampler.begin().unwrap();
    assert_eq!(part(sampler, usize::MAX, &mut seen), 0);
    seen
}

fn part(sampler: &mut Sampler, most: usize, seen: &mut Vec<(String, u64)>) -> usize {
    sampler
        .read_some(most, Usec(u64::MAX), &mut |group, reading| {
            let name = match group {
                Group::Job(registration) => registration.incarnation.job_id.to_string(),
                Group::Tenant { path, .. } => path.to_string(),
            };
            seen.push((name, reading.cpu_usage().unwrap().0));
        })
        .unwrap()
}

fn pair(name: &str, usage: u64) -> (String, u64) {
    (name.to_owned(), usage)
}

#[test]
fn every_job_and_every_level_of_its_tenant_is_read_once() {
    let (_tree, mut sampler, jobs) = Tree::new(&[1, 2]);
    sampler.set_jobs(&jobs);
    assert_eq!(sampler.groups(), 4);
    let all = [pair("acme", 1000), pair("acme/physics", 1000), pair("1", 1), pair("2", 2)];
    assert_eq!(round(&mut sampler), all);
    assert_eq!(round(&mut sampler), all);
    let effort = sampler.effort();
    assert_eq!((effort.rounds, effort.read, effort.gone + effort.failed + effort.late), (2, 8, 0));
    assert!(effort.elapsed.0 > 0 && effort.cpu.0 > 0);
}

#[test]
fn a_group_that_is_gone_is_counted_and_handed_out_no_more() {
    let (tree, mut sampler, jobs) = Tree::new(&[1, 2]);
    sampler.set_jobs(&jobs);
    tree.remove(&leaf(&jobs[0]));
    assert_eq!(round(&mut sampler), [pair("acme", 1000), pair("acme/physics", 1000), pair("2", 2)]);
    assert_eq!((sampler.effort().read, sampler.effort().gone), (3, 1));
    assert!(sampler.is_gone(&leaf(&jobs[0])));
}

#[test]
fn a_group_that_comes_late_or_again_under_the_same_name_is_read() {
    let (tree, mut sampler, jobs) = Tree::new(&[1]);
    sampler.set_jobs(&jobs);
    tree.remove(&leaf(&jobs[0]));
    assert_eq!(round(&mut sampler).len(), 2);
    tree.group(&leaf(&jobs[0]), 5);
    assert_eq!(round(&mut sampler).last(), Some(&pair("1", 5)));
}

#[test]
fn a_jobs_next_run_does_not_get_its_last_ones_descriptors() {
    let (tree, mut sampler, jobs) = Tree::new(&[1]);
    sampler.set_jobs(&jobs);
    round(&mut sampler);
    // Of an ordinary file a descriptor goes on with the old text.
    tree.remove(&leaf(&jobs[0]));
    tree.group(&leaf(&jobs[0]), 9);
    let mut next = jobs[0].clone();
    next.incarnation.began = WallTime::from_unix_usec(8).unwrap();
    sampler.set_jobs([&next]);
    assert_eq!(round(&mut sampler).last(), Some(&pair("1", 9)));
}

#[test]
fn a_round_in_parts_reads_what_a_whole_one_does() {
    let (_tree, mut sampler, jobs) = Tree::new(&[1, 2, 3, 4]);
    sampler.set_jobs(&jobs);
    let whole = round(&mut sampler);
    sampler.begin().unwrap();
    let mut seen = Vec::new();
    assert_eq!(part(&mut sampler, 4, &mut seen), 2);
    assert_eq!(part(&mut sampler, 1, &mut seen), 1);
    assert_eq!(part(&mut sampler, 4, &mut seen), 0);
    assert_eq!(part(&mut sampler, 4, &mut seen), 0);
    assert_eq!(seen, whole);
}

#[test]
fn jobs_that_come_and_go_in_a_round_are_read_once_or_not_at_all() {
    let (tree, mut sampler, jobs) = Tree::new(&[1, 2, 3, 4, 5]);
    sampler.set_jobs(&jobs[1..]);
    sampler.begin().unwrap();
    let mut seen = Vec::new();
    part(&mut sampler, 3, &mut seen);
    tree.remove(&leaf(&jobs[4]));
    sampler.set_jobs(&jobs[..4]);
    assert_eq!(part(&mut sampler, usize::MAX, &mut seen), 0);
    let names: BTreeSet<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["acme", "acme/physics", "1", "2", "3", "4"]));
    assert_eq!(seen.len(), names.len());
}

#[test]
fn after_the_deadline_nothing_is_read_and_the_next_round_counts_it_late() {
    let (_tree, mut sampler, jobs) = Tree::new(&[1, 2, 3]);
    sampler.set_jobs(&jobs);
    let began = sampler.begin().unwrap();
    let read = Cell::new(0);
    // The clock is asked once for the part and once for each group.
    let deadline = Usec(began.boottime_usec.0 + 2);
    let left = sampler.read_some(usize::MAX, deadline, &mut |_, _| read.set(read.get() + 1)).unwrap();
    assert_eq!((read.get(), left), (2, 3));
    sampler.begin().unwrap();
    assert_eq!((sampler.effort().late, sampler.effort().read), (3, 2));
}

#[test]
fn wall_time_is_asked_once_a_round_and_counted_on_by_the_monotonic_clock() {
    let (tree, mut sampler, jobs) = Tree::new(&[1, 2]);
    sampler.set_jobs(&jobs);
    let mut moments = Vec::new();
    sampler.round(&mut |_, reading| moments.push(reading.at)).unwrap();
    assert_eq!(tree.wall_asked.load(SeqCst), 1);
    for pair in moments.windows(2) {
        let passed = pair[1].since(&pair[0]).unwrap();
        assert!(passed.0 > 0);
        assert_eq!(pair[1].wall.unix_usec() - pair[0].wall.unix_usec(), i64::try_from(passed.0).unwrap());
    }
}
