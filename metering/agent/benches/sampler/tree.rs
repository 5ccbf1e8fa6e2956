//! What is read: real cgroups, and a tree of ordinary files that looks like them.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use tenantry_cgroup::{GroupPath, GroupReader, tenant};
use tenantry_model::job::{Incarnation, Placement, Registration};
use tenantry_model::{Clock, JobId, SystemClock, TenantPath};

pub const FILES: [&str; 12] = GroupReader::FILES;
/// Groups above the tenants': the tree's own and the scope.
pub const ABOVE: u32 = 2;
const SCOPE: &str = "slurmstepd.scope";
/// Jobs of a tenant, and of the one above it, which has four.
const OF_A_TENANT: u32 = 50;
pub const OF_AN_OUTER: u32 = 4 * OF_A_TENANT;

/// Where trees are made.
pub enum Place {
    /// Ordinary files in memory. below reads only what is in a cgroup2: there the tree is mounted on a group.
    Fake { dir: tempfile::TempDir, cgroup2: Option<PathBuf> },
    /// A group of a mounted cgroup2.
    Cgroup2(PathBuf),
}

impl Place {
    pub fn fake(cgroup2: Option<&Self>) -> Self {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { memory.to_owned() } else { env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("tenantry-bench-").tempdir_in(dir).unwrap();
        let cgroup2 = cgroup2.and_then(|place| match place {
            Self::Cgroup2(group) => Some(group.clone()),
            Self::Fake { .. } => None,
        });
        Self::Fake { dir, cgroup2 }
    }

    /// Where `tests/bench/sampler` could mount one.
    pub fn cgroup2() -> Option<Self> {
        let group = PathBuf::from(env::var_os("TENANTRY_BENCH_CGROUP2")?);
        let group = group.join(format!("tenantry-bench-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        delegate(&group);
        Some(Self::Cgroup2(group))
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Fake { .. } => "fake",
            Self::Cgroup2(_) => "cgroup2",
        }
    }

    /// Which of the files a group has.
    pub fn files(&self) -> Vec<&'static str> {
        match self {
            Self::Fake { .. } => FILES.to_vec(),
            Self::Cgroup2(group) => {
                let probe = group.join("probe");
                fs::create_dir(&probe).unwrap();
                let found = FILES.into_iter().filter(|file| probe.join(file).exists()).collect();
                fs::remove_dir(probe).unwrap();
                found
            }
        }
    }

    pub fn describe(&self) {
        match self {
            Self::Fake { dir, .. } => println!(
                "\nbench-sampler: a tree of ordinary files in {}, all {} files in each group. In a real one the kernel\n\
                 writes each text while it is read, which adds the same to each contender",
                dir.path().parent().unwrap_or(dir.path()).display(),
                FILES.len()
            ),
            Self::Cgroup2(_) => {
                let files = self.files();
                println!(
                    "\nbench-sampler: real groups. Of the {} files this kernel has {} here: {}",
                    FILES.len(),
                    files.len(),
                    files.join(" ")
                );
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Cgroup2(group) = self {
            remove_groups(group);
        }
    }
}

/// The groups of some jobs and of their tenants.
pub struct Tree {
    pub jobs: u32,
    pub groups: u32,
    /// In each of them.
    pub files: usize,
    /// Where the scope stands.
    pub dir: PathBuf,
    /// For below: a group without any in it, and one that the fake tree is mounted in.
    cgroup2: Option<(PathBuf, PathBuf)>,
    real: bool,
}

impl Tree {
    pub fn plant(place: &Place, jobs: u32) -> Self {
        let registrations = registrations(0..jobs);
        let groups = groups(&registrations);
        let (above, real) = match place {
            Place::Fake { dir, .. } => (dir.path(), false),
            Place::Cgroup2(group) => (group.as_path(), true),
        };
        let dir = above.join(format!("of-{jobs}"));
        let texts = texts();
        for group in &groups {
            let group = dir.join(group);
            fs::create_dir_all(&group).unwrap();
            if !real {
                for (file, text) in &texts {
                    fs::write(group.join(file), text).unwrap();
                }
            }
        }
        if real {
            each_level(&dir).for_each(|group| delegate(&group));
            groups.iter().take(3).for_each(|group| work_in(&dir.join(group)));
        }
        let cgroup2 = match place {
            Place::Cgroup2(group) => Some((group.join("empty"), dir.clone())),
            Place::Fake { cgroup2, .. } => {
                cgroup2.as_ref().map(|group| (group.join("empty"), group.join(format!("fake-{jobs}"))))
            }
        };
        if let Some((empty, root)) = &cgroup2 {
            fs::create_dir_all(empty).unwrap();
            if !real {
                let point = root.join("tree");
                fs::create_dir_all(&point).unwrap();
                let mounted = Command::new("mount").arg("--bind").args([&dir.join(SCOPE), &point]).status();
                assert!(
                    mounted.unwrap().success(),
                    "a directory of this mount namespace could not be mounted"
                );
            }
        }
        let groups = u32::try_from(groups.len()).unwrap();
        Self { jobs, groups, files: place.files().len(), dir, cgroup2, real }
    }

    pub fn for_below(&self) -> Option<(&Path, &Path)> {
        self.cgroup2.as_ref().map(|(empty, root)| (empty.as_path(), root.as_path()))
    }

    /// The directory, where its groups are real.
    pub fn real(&self) -> Option<&Path> {
        self.real.then_some(self.dir.as_path())
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if let (Some((_, root)), false) = (&self.cgroup2, self.real) {
            let _ = Command::new("umount").arg(root.join("tree")).status();
            remove_groups(root);
        }
        if self.real {
            remove_groups(&self.dir);
        }
    }
}

/// Gives the groups in this one whatever controllers it has itself.
fn delegate(group: &Path) {
    let controllers = fs::read_to_string(group.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_whitespace() {
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// A group and all in it, from above.
fn each_level(group: &Path) -> impl Iterator<Item = PathBuf> {
    let mut found = vec![group.to_owned()];
    let mut at = 0;
    while at < found.len() {
        let inner = fs::read_dir(&found[at]).unwrap().map(|entry| entry.unwrap());
        let inner: Vec<PathBuf> =
            inner.filter(|entry| entry.file_type().unwrap().is_dir()).map(|entry| entry.path()).collect();
        found.extend(inner);
        at += 1;
    }
    found.into_iter()
}

fn remove_groups(group: &Path) {
    if group.is_dir() {
        let levels: Vec<PathBuf> = each_level(group).collect();
        levels.iter().rev().for_each(|group| drop(fs::remove_dir(group)));
    }
}

/// Some CPU time, so that there is something to read.
fn work_in(group: &Path) {
    let script = "echo 0 > \"$0/cgroup.procs\"; for ((n = 0; n < 20000; n++)); do :; done";
    // A group whose controllers are given on takes no process: then its children have one.
    let _ = Command::new("bash").args(["-c", script]).arg(group).stderr(std::process::Stdio::null()).status();
}

/// The registrations of a tree's jobs, the same each time.
pub fn registrations(jobs: Range<u32>) -> Vec<Registration> {
    let scope = GroupPath::new(SCOPE).unwrap();
    let registration = |job: u32| {
        let [outer, lab] = [job / OF_AN_OUTER, job / OF_A_TENANT];
        let tenant: TenantPath = format!("org{outer}/lab{lab}").parse().unwrap();
        let group = tenant::group(&scope, &tenant).unwrap().child(format!("job_{job}")).unwrap();
        register(&tenant, job, &group)
    };
    jobs.map(registration).collect()
}

/// Their groups and their tenants', relative to the tree, in the order of their paths.
pub fn groups(registrations: &[Registration]) -> Vec<PathBuf> {
    let scope = GroupPath::new(SCOPE).unwrap();
    let mut groups = BTreeSet::new();
    for registration in registrations {
        let Placement::Grafted { tenant, leaf, .. } = &registration.placement else { continue };
        groups.insert(leaf.clone());
        for level in tenant.lineage() {
            groups.insert(tenant::group(&scope, &level).unwrap().as_path().to_owned());
        }
    }
    groups.into_iter().collect()
}

/// The files as the lab's kernel wrote them for a group.
fn texts() -> Vec<(&'static str, Vec<u8>)> {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cgroup/tests/fixtures/7.3-uml");
    FILES.into_iter().map(|file| (file, fs::read(fixture.join(file)).unwrap())).collect()
}

fn register(tenant: &TenantPath, job: u32, group: &GroupPath) -> Registration {
    let began = SystemClock.now().unwrap();
    Registration {
        incarnation: Incarnation {
            cluster: Some("cluster".parse().unwrap()),
            node: "n1".parse().unwrap(),
            boot_id: "01234567-89ab-cdef-0123-456789abcdef".parse().unwrap(),
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
        allocated_gpus: Vec::new(),
        scope: SCOPE.into(),
        began,
        placement: Placement::Grafted {
            tenant: tenant.clone(),
            leaf: group.as_path().to_owned(),
            mounts: vec![Path::new(SCOPE).join(format!("job_{job}"))],
        },
    }
}
