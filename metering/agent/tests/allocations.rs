//! What a sampling round allocates: nothing, once its groups were read.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test stops where something fails")]

use std::fs;
use std::path::Path;

use tenantry_cgroup::Root;
use tenantry_model::job::{Incarnation, Placement, Registration};
use tenantry_model::{Clock, JobId, Moment, SystemClock};
use tenantryd::sampler::Sampler;

const JOBS: u32 = 50;

/// Every second group has two devices, the others have no `io.stat`.
fn plant(tree: &Path, leaf: &str, with_io: bool) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cgroup/tests/fixtures/7.3-uml");
    let group = tree.join(leaf);
    fs::create_dir_all(&group).unwrap();
    for file in fs::read_dir(fixture).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), group.join(file.file_name())).unwrap();
    }
    let io = group.join("io.stat");
    if with_io {
        fs::write(
            io,
            "8:16 rbytes=1 wbytes=2 rios=3 wios=4\n8:0 rbytes=5 wbytes=6 rios=7 wios=8 dbytes=0 dios=0\n",
        )
        .unwrap();
    } else {
        fs::remove_file(io).unwrap();
    }
}

fn registration(job: u32, began: Moment, leaf: &str) -> Registration {
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
            tenant: "acme".parse().unwrap(),
            leaf: leaf.into(),
            mounts: Vec::new(),
        },
    }
}

#[test]
fn a_round_over_groups_that_were_read_before_allocates_nothing() {
    let tree = tempfile::tempdir().unwrap();
    let began = SystemClock.now().unwrap();
    plant(tree.path(), "s/tenant_acme", true);
    let jobs: Vec<Registration> = (1..=JOBS)
        .map(|job| {
            let leaf = format!("s/tenant_acme/job_{job}");
            plant(tree.path(), &leaf, job % 2 == 0);
            registration(job, began, &leaf)
        })
        .collect();
    let mut sampler = Sampler::new(Root::open_fake(tree.path()).unwrap(), Box::new(SystemClock));
    let round = |sampler: &mut Sampler| {
        let (mut groups, mut devices) = (0, 0);
        let made = allocation_counter::measure(|| {
            sampler
                .round(&mut |_, reading| {
                    groups += 1;
                    devices += reading.io.as_ref().map_or(0, Vec::len);
                })
                .unwrap();
        });
        (groups, devices, made.count_total)
    };
    sampler.set_jobs(&jobs);
    let (_, _, first) = round(&mut sampler);
    assert!(first > 0, "the counter counts: files were opened");
    for _ in 0..3 {
        assert_eq!(round(&mut sampler), (51, 52, 0));
    }
}
