use super::*;
use std::cell::RefCell;
use std::fs;

use tempfile::TempDir;
use tenantry_cgroup::Root;
use tenantry_model::SystemClock;
use tenantry_model::job::Paths;

const SCOPE: &str = "system.slice/n1_slurmstepd.scope";
const JOB: JobId = JobId(7);

/// A Slurm that knows no job.
struct Forgetful;

impl Slurm for Forgetful {
    fn jobs_on(&self, _: &NodeName) -> Option<BTreeSet<JobId>> {
        Some(BTreeSet::new())
    }
}

thread_local! {
    static SAID: RefCell<Vec<(crate::Severity, String)>> = const { RefCell::new(Vec::new()) };
}

/// A node with job 7's group of this name in the scope, and its plan.
fn node(group: &str, in_the_job: bool) -> (TempDir, Reconciler, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let leaf = Path::new(SCOPE).join(group);
    fs::create_dir_all(path("cgroup").join(&leaf).join(graft::SENTINEL)).unwrap();
    let paths = Paths { run: path("run"), state: path("state"), etc: path("etc") };
    let records = paths.job(SCOPE.as_ref(), JOB);
    fs::create_dir_all(&records.dir).unwrap();
    Plan { leaf: leaf.clone(), mounts: Vec::new(), in_the_job }.write(&records).unwrap();
    let root = Root::open_fake(&path("cgroup")).unwrap();
    let say =
        |severity, message: &str| SAID.with_borrow_mut(|said| said.push((severity, message.to_owned())));
    let leaf = path("cgroup").join(leaf);
    (dir, Reconciler::new(Site { paths, root, clock: &SystemClock, say }), leaf)
}

fn register(reconciler: &Reconciler, group: &str) {
    let began = reconciler.site.now().unwrap();
    let registration = Registration {
        incarnation: Incarnation {
            cluster: None,
            node: "n1".parse().unwrap(),
            boot_id: BootId::current().unwrap(),
            job_id: JOB,
            began: began.wall,
        },
        restart_count: None,
        sluid: None,
        // Root's: nothing is swept up.
        uid: 0,
        gid: 0,
        user: None,
        account: None,
        partition: None,
        allocated_cpus: None,
        allocated_gpus: Vec::new(),
        scope: SCOPE.into(),
        began,
        placement: Placement::Grafted {
            tenant: "acme".parse().unwrap(),
            leaf: Path::new(SCOPE).join(group),
            mounts: Vec::new(),
        },
    };
    let records = reconciler.site.paths.job(SCOPE.as_ref(), JOB);
    durable::write_json(&records.registration(), &registration).unwrap();
}

#[test]
fn a_half_made_sibling_goes_whatever_its_name() {
    for group in ["job_7", "sHA5VZ7W8E0700"] {
        let (_dir, mut reconciler, leaf) = node(group, false);
        assert_eq!(reconciler.look(&Forgetful).unwrap(), 1);
        assert!(!leaf.exists(), "{group}");
        assert_eq!(reconciler.look(&Forgetful).unwrap(), 0);
    }
}

#[test]
fn where_no_epilog_comes_one_look_is_enough_and_nothing_is_wrong() {
    for (in_the_job, looks, severity) in
        [(true, 1, crate::Severity::Info), (false, 2, crate::Severity::Error)]
    {
        let (_dir, mut reconciler, leaf) = node("job_7", in_the_job);
        register(&reconciler, "job_7");
        SAID.take();
        for _ in 0..looks {
            assert!(leaf.exists());
            reconciler.look(&Forgetful).unwrap();
        }
        assert!(!leaf.exists());
        let said = SAID.take();
        assert_eq!(said.iter().map(|(severity, _)| *severity).collect::<Vec<_>>(), [severity], "{said:?}");
    }
}
