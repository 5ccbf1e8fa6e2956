use super::*;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use tenantry_model::Bytes;
use tenantry_model::tenants::{DeviceKind, DeviceName, DeviceNode, NodeSize, Tenants};

/// A fresh group's files as kernel 7.3 prints them.
const FRESH: [(&str, &str); 17] = [
    ("cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma\n"),
    ("cgroup.subtree_control", "\n"),
    ("cgroup.max.descendants", "max\n"),
    ("cpu.max", "max 100000\n"),
    ("cpu.max.burst", "0\n"),
    ("cpu.weight", "100\n"),
    ("cpuset.cpus", "\n"),
    ("hugetlb.2MB.max", "max\n"),
    ("io.max", ""),
    ("io.weight", "default 100\n"),
    ("memory.high", "max\n"),
    ("memory.low", "0\n"),
    ("memory.max", "max\n"),
    ("memory.min", "0\n"),
    ("memory.oom.group", "0\n"),
    ("memory.swap.max", "max\n"),
    ("pids.max", "max\n"),
];

struct Tree {
    dir: tempfile::TempDir,
    root: Root,
    scope: GroupPath,
}

impl Tree {
    /// A slice with a scope with the levels of acme/physics in it.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open_fake(dir.path()).unwrap();
        let tree = Self { dir, root, scope: GroupPath::new("s.slice/slurmstepd.scope").unwrap() };
        tree.set("", "cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n");
        tree.set("", "cgroup.subtree_control", "cpuset cpu io memory pids\n");
        for group in ["s.slice", "s.slice/slurmstepd.scope", ACME, PHYSICS] {
            tree.fresh(group);
        }
        tree
    }

    fn fresh(&self, group: &str) {
        fs::create_dir_all(self.dir.path().join(group)).unwrap();
        for (file, text) in FRESH {
            self.set(group, file, text);
        }
    }

    fn set(&self, group: &str, file: &str, text: &str) {
        fs::write(self.path(group, file), text).unwrap();
    }

    fn path(&self, group: &str, file: &str) -> std::path::PathBuf {
        self.dir.path().join(group).join(file)
    }

    fn remove(&self, group: &str, file: &str) {
        fs::remove_file(self.path(group, file)).unwrap();
    }

    fn text(&self, group: &str, file: &str) -> String {
        fs::read_to_string(self.path(group, file)).unwrap()
    }

    fn ensure(&self, file: &str) -> Result<GroupPath> {
        ensure(&self.root, &self.scope, &"acme/physics".parse().unwrap(), &limits(file))
    }

    /// What `apply` writes to acme's group, in that order.
    fn applied(&self, file: &str) -> Vec<String> {
        let applied = apply(&self.root, &self.scope, &limits(file)).unwrap();
        let acme = applied.into_iter().find(|applied| applied.tenant.as_str() == "acme").unwrap();
        assert!(acme.failed.is_empty(), "{:?}", acme.failed);
        acme.changed.iter().map(|setting| format!("{} {}", setting.file, setting.wanted)).collect()
    }
}

const ACME: &str = "s.slice/slurmstepd.scope/tenant_acme";
const PHYSICS: &str = "s.slice/slurmstepd.scope/tenant_acme/tenant_physics";

fn disk(number: &str) -> (DeviceName, DeviceNode) {
    let name: DeviceName = number.parse().unwrap();
    (name, DeviceNode { kind: DeviceKind::Block, number: number.parse().unwrap(), is_partition: false })
}

/// The file's limits on a node of 4 CPUs.
fn limits(file: &str) -> Resolved {
    let node = NodeSize {
        cpus: "0-3".parse().unwrap(),
        cores: None,
        memory: Bytes(8 << 30),
        swap: Bytes(0),
        page: Bytes(4096),
        pid_max: 32_768,
        huge_pages: BTreeSet::from(["2MB".parse().unwrap()]),
        rdma: BTreeSet::from(["mlx5_0".to_owned()]),
        devices: ["8:0", "8:16"].map(disk).into(),
    };
    Tenants::parse(Path::new("tenants.toml"), file).unwrap().on(&node)
}

#[test]
fn each_level_gets_its_own_limits_and_defaults_for_the_rest() {
    let tree = Tree::new();
    tree.set(PHYSICS, "memory.max", "4096\n");
    let file = "[tenants.acme]\nmemory_max = '1GiB'\n[tenants.'acme/physics']\ncpu_weight = 50\n";
    let group = tree.ensure(file).unwrap();
    assert_eq!(group.to_string(), PHYSICS);
    assert_eq!(tree.text(ACME, "memory.max"), "1073741824");
    assert_eq!(tree.text(ACME, "memory.high"), "max\n");
    // A fake file keeps the tail of a longer old text.
    assert!(tree.text(PHYSICS, "memory.max").starts_with("max"));
    assert!(tree.text(PHYSICS, "cpu.weight").starts_with("50"));
}

#[test]
fn what_holds_already_in_the_kernels_own_form_is_not_written() {
    let tree = Tree::new();
    let file = "[tenants.acme]\nmemory_max = '10001B'\ncpus = '0,1,3'\nio_weight = 100\n\
                io_max = { '8:0' = { wbps = '1MiB' } }\ncpu_max = '1.5 cores'\n";
    for (name, text) in [
        ("memory.max", "8192\n"),
        ("cpuset.cpus", "0-1,3\n"),
        ("io.weight", "default 100\n8:16 200\n"),
        ("io.max", "8:0 rbps=max wbps=1048576 riops=max wiops=max\n"),
        ("cpu.max", "150000 100000\n"),
    ] {
        tree.set(ACME, name, text);
    }
    assert_eq!(tree.applied(file), Vec::<String>::new());
    let acme = "acme".parse().unwrap();
    let wanted = limits(file);
    let differences = differences(&tree.root, &tree.scope, &acme, wanted.limits(&acme).unwrap()).unwrap();
    assert_eq!(differences, []);
}

#[test]
fn ceilings_are_raised_before_and_lowered_after_what_stays_below_them() {
    let small =
        "[tenants.acme]\nmemory_high = '1GiB'\nmemory_max = '2GiB'\ncpu_max = '1 core'\ncpu_burst = '10ms'\n";
    let large = "[tenants.acme]\nmemory_high = '3GiB'\nmemory_max = '4GiB'\ncpu_max = '2 cores'\ncpu_burst = '150ms'\n";
    let tree = Tree::new();
    let set = |texts: [&str; 4]| {
        for (file, text) in ["memory.high", "memory.max", "cpu.max", "cpu.max.burst"].into_iter().zip(texts) {
            tree.set(ACME, file, text);
        }
    };
    set(["1073741824\n", "2147483648\n", "100000 100000\n", "10000\n"]);
    assert_eq!(
        tree.applied(large),
        ["cpu.max 200000 100000", "cpu.max.burst 150000", "memory.max 4294967296", "memory.high 3221225472"]
    );
    set(["3221225472\n", "4294967296\n", "200000 100000\n", "150000\n"]);
    assert_eq!(
        tree.applied(small),
        ["memory.high 1073741824", "memory.max 2147483648", "cpu.max.burst 10000", "cpu.max 100000 100000"]
    );
}

#[test]
fn a_device_taken_out_of_the_file_has_no_limit_any_more() {
    let tree = Tree::new();
    tree.set(
        ACME,
        "io.max",
        "8:0 rbps=max wbps=1048576 riops=max wiops=max\n8:16 rbps=1 wbps=max riops=max wiops=max\n",
    );
    let acme = "acme".parse().unwrap();
    let wanted = limits("[tenants.acme]\nio_max = { '8:16' = { rbps = '2B' } }\n");
    let differences = differences(&tree.root, &tree.scope, &acme, wanted.limits(&acme).unwrap()).unwrap();
    let lines: Vec<_> =
        differences.iter().map(|setting| (setting.device.as_deref(), setting.wanted.as_str())).collect();
    assert_eq!(
        lines,
        [
            (Some("8:0"), "rbps=max wbps=max riops=max wiops=max"),
            (Some("8:16"), "rbps=2 wbps=max riops=max wiops=max")
        ]
    );
    apply(&tree.root, &tree.scope, &wanted).unwrap();
    assert!(
        tree.text(ACME, "io.max").starts_with("8:16 rbps=2 wbps=max riops=max wiops=max"),
        "the last write"
    );
}

#[test]
fn a_cpu_list_taken_out_of_the_file_is_emptied() {
    let tree = Tree::new();
    tree.set(ACME, "cpuset.cpus", "3");
    assert_eq!(tree.applied("[tenants.acme]\n"), ["cpuset.cpus "]);
    assert_eq!(tree.text(ACME, "cpuset.cpus"), "\n");
}

#[test]
fn a_node_without_the_memory_controller_is_an_error_that_names_it() {
    let tree = Tree::new();
    tree.set("s.slice/slurmstepd.scope", "cgroup.controllers", "cpuset cpu io pids\n");
    let error = tree.ensure("[tenants.acme]\n[tenants.'acme/physics']\n").unwrap_err();
    assert!(matches!(error, Error::NoController { controller: "memory", .. }), "{error}");
    assert!(!error.is_unenforceable());
}

#[test]
fn a_limit_the_kernel_does_not_have_is_an_error_only_if_it_is_wanted_and_the_rest_is_done() {
    let tree = Tree::new();
    tree.remove(ACME, "pids.max");
    let rest = "[tenants.'acme/physics']\npids_max = 7\n";
    tree.ensure(&format!("[tenants.acme]\npids_max = 'max'\n{rest}")).unwrap();
    let error =
        tree.ensure(&format!("[tenants.acme]\npids_max = 5\nmemory_max = '1GiB'\n{rest}")).unwrap_err();
    assert!(matches!(&error, Error::NoSuchLimit { file, .. } if file == "pids.max"), "{error}");
    assert!(error.is_unenforceable());
    assert_eq!(tree.text(ACME, "memory.max"), "1073741824");
    assert!(tree.text(PHYSICS, "pids.max").starts_with('7'));
}

#[test]
fn a_controller_systemd_does_not_hand_down_is_handed_down_where_a_limit_needs_it() {
    let tree = Tree::new();
    tree.set("s.slice/slurmstepd.scope", "cgroup.controllers", "cpuset cpu io memory pids\n");
    let subtree = |group: &str| tree.text(group, "cgroup.subtree_control");
    tree.ensure("[tenants.acme]\nhugetlb_max = { '2MB' = 'max' }\n[tenants.'acme/physics']\n").unwrap();
    assert_eq!(subtree(""), "cpuset cpu io memory pids\n");
    tree.ensure("[tenants.acme]\nhugetlb_max = { '2MB' = '1GiB' }\n[tenants.'acme/physics']\n").unwrap();
    assert!(
        subtree("").starts_with("+hugetlb") && subtree("s.slice").starts_with("+hugetlb"),
        "{}",
        subtree("")
    );
    assert_eq!(tree.text(ACME, "hugetlb.2MB.max"), "1073741824");
    // The job's own groups need no controller that only a tenant is limited by.
    assert!(!subtree(PHYSICS).contains("hugetlb"));
}

#[test]
fn apply_makes_no_group_and_touches_none_of_slurms() {
    let tree = Tree::new();
    let job = format!("{ACME}/job_7");
    tree.fresh(&job);
    tree.set(&job, "memory.max", "1048576\n");
    tree.fresh("s.slice/slurmstepd.scope/tenant_gone");
    tree.set("s.slice/slurmstepd.scope/tenant_gone", "pids.max", "5\n");
    let file = limits("[tenants.acme]\npids_max = 9\n[tenants.globex]\npids_max = 9\n");
    let applied = apply(&tree.root, &tree.scope, &file).unwrap();
    let names: Vec<_> = applied.iter().map(|applied| applied.tenant.as_str()).collect();
    assert_eq!(names, ["acme"]);
    assert!(!tree.path("s.slice/slurmstepd.scope/tenant_globex", "").exists());
    assert_eq!(tree.text("s.slice/slurmstepd.scope/tenant_gone", "pids.max"), "5\n");
    for (name, text) in FRESH {
        let expected = if name == "memory.max" { "1048576\n" } else { text };
        assert_eq!(tree.text(&job, name), expected, "{name}");
    }
}

#[test]
fn the_tenants_that_are_there_are_listed_with_their_nesting() {
    let tree = Tree::new();
    tree.fresh("s.slice/slurmstepd.scope/tenant_Odd");
    tree.fresh("s.slice/slurmstepd.scope/job_9/tenant_x");
    let names: Vec<_> = present(&tree.root, &tree.scope).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["acme", "acme/physics"]);
    let absent = "globex".parse().unwrap();
    assert_eq!(settings(&tree.root, &tree.scope, &absent, &NodeLimits::default()).unwrap(), None);
}

#[test]
fn what_the_kernel_refuses_is_named_with_file_and_value() {
    let tree = Tree::new();
    let mut setting = settings(&tree.root, &tree.scope, &"acme".parse().unwrap(), &NodeLimits::default())
        .unwrap()
        .unwrap()
        .swap_remove(0);
    assert_eq!(setting.file, "cpu.weight");
    setting.wanted = "7".into();
    tree.remove(ACME, "cpu.weight");
    let (written, failed) = settings::write(&tree.root, &GroupPath::new(ACME).unwrap(), vec![setting]);
    assert_eq!(written, []);
    assert_eq!(failed[0].to_string(), format!("cannot set cpu.weight of {ACME} to \"7\""));
}
