use std::fs;

use tenantry_model::tenants::{DeviceKind, DeviceNode, NodeSize};
use tenantry_model::{Bytes, Moment, Usec, WallTime};

use super::*;

/// A clock that stands.
struct Still;

impl Clock for Still {
    fn now(&self) -> io::Result<Moment> {
        Ok(Moment { wall: WallTime::from_unix_usec(0).unwrap(), boottime_usec: Usec(0) })
    }
}

const SITE: &str = "[tenants.acme]\ncpu_max = '50%'\nmemory_max = '1GiB'\nmemory_oom_group = true\npids_max = 100\n\
    io_max = { '8:0' = { wbps = '1MiB' } }\n[tenants.'acme/physics']\ncpus = '0-1'\n[tenants.acme-2]\ncpu_weight = 50\n";
const SCOPE: &str = "system.slice/n1_slurmstepd.scope";

/// A fresh tenant's group as the kernel prints it, with a few processes in it.
const FILES: [(&str, &str); 20] = [
    ("cgroup.controllers", "cpuset cpu io memory pids\n"),
    ("cgroup.subtree_control", "cpuset cpu io memory pids\n"),
    ("cgroup.max.descendants", "max\n"),
    ("cpu.max", "max 100000\n"),
    ("cpu.max.burst", "0\n"),
    ("cpu.stat", "usage_usec 3723004005\nuser_usec 0\nsystem_usec 0\n"),
    ("cpu.weight", "100\n"),
    ("cpuset.cpus", "\n"),
    ("io.stat", ""),
    ("io.max", "8:16 rbps=1048576 wbps=max riops=max wiops=max\n"),
    ("io.weight", "default 100\n"),
    ("memory.current", "12582912\n"),
    ("memory.high", "max\n"),
    ("memory.low", "0\n"),
    ("memory.max", "max\n"),
    ("memory.min", "0\n"),
    ("memory.oom.group", "1\n"),
    ("memory.swap.max", "max\n"),
    ("pids.current", "3\n"),
    ("pids.max", "100\n"),
];

struct Tree {
    dir: tempfile::TempDir,
    root: Root,
}

impl Tree {
    fn new(groups: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for group in groups {
            let group = dir.path().join(group);
            fs::create_dir_all(&group).unwrap();
            for (file, text) in FILES {
                fs::write(group.join(file), text).unwrap();
            }
        }
        let root = Root::open_fake(dir.path()).unwrap();
        Self { dir, root }
    }

    /// acme runs a job itself and one in physics, acme-2 none; a tenant that the file no longer has
    /// runs one more.
    fn busy() -> Self {
        let acme = format!("{SCOPE}/tenant_acme");
        Self::new(&[
            SCOPE,
            &acme,
            &format!("{acme}/job_12"),
            &format!("{acme}/job_7"),
            &format!("{acme}/tenant_physics"),
            &format!("{acme}/tenant_physics/job_9"),
            &format!("{SCOPE}/tenant_gone"),
            &format!("{SCOPE}/tenant_gone/job_3"),
            "user.slice/user-1000.slice/x_slurmstepd.service/y_slurmstepd.scope/tenant_acme",
        ])
    }

    fn set(&self, path: &str, text: &str) {
        fs::write(self.dir.path().join(SCOPE).join(path), text).unwrap();
    }

    fn act(&self, action: &Action, format: Format) -> (Result<(), Error>, String) {
        self.act_as(SITE, Some(|_, _, _| Ok(BTreeMap::new())), action, format)
    }

    /// With another file, and programs that are there or cannot be seen.
    fn act_as(
        &self,
        site: &str,
        compare: Option<Compare>,
        action: &Action,
        format: Format,
    ) -> (Result<(), Error>, String) {
        let number = "8:0".parse().unwrap();
        let disk = DeviceNode { kind: DeviceKind::Block, number, is_partition: false };
        let node = NodeSize {
            cpus: "0-3".parse().unwrap(),
            cores: None,
            memory: Bytes(8 << 30),
            swap: Bytes(0),
            page: Bytes(4096),
            pid_max: 32_768,
            huge_pages: ["2MB".parse().unwrap()].into(),
            rdma: [].into(),
            devices: [("8:0".parse().unwrap(), disk)].into(),
        };
        let tenants = Tenants::parse(Path::new("tenants.toml"), site).unwrap();
        let limits = tenants.on(&node);
        let scopes = scope::all(&self.root).unwrap();
        let here = Here { root: &self.root, scopes, tenants, limits, compare, clock: &Still };
        let mut out = Vec::new();
        let done = here.act(action, format, &mut out);
        (done, String::from_utf8(out).unwrap())
    }
}

fn show(tenant: &str) -> Action {
    Action::Show { tenant: Some(tenant.parse().unwrap()) }
}

fn is_golden(name: &str, said: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, said).unwrap();
    }
    assert_eq!(said, fs::read_to_string(file).unwrap(), "{name}");
}

#[test]
fn what_is_shown_is_the_golden_text() {
    let tree = Tree::busy();
    for (action, name) in [
        (Action::Show { tenant: None }, "tenants-show"),
        (Action::Tree, "tenants-tree"),
        (Action::Diff, "tenants-diff"),
        (Action::Apply, "tenants-apply"),
    ] {
        for (format, kind) in [(Format::Table, "table"), (Format::Json, "json")] {
            // apply changes what it finds: a tree of its own.
            let fresh = Tree::busy();
            let tree = if name == "tenants-apply" { &fresh } else { &tree };
            let (done, said) = tree.act(&action, format);
            match action {
                Action::Diff => assert!(matches!(done, Err(Error::Differs)), "{done:?}"),
                _ => done.unwrap(),
            }
            is_golden(&format!("{name}.{kind}"), &said);
        }
    }
}

#[test]
fn a_tenant_that_does_not_run_is_shown_with_what_it_will_get() {
    let (done, said) = Tree::busy().act(&show("acme-2"), Format::Table);
    done.unwrap();
    assert!(
        said.lines().any(|line| line.split_whitespace().eq(["acme-2", "cpu.weight", "50", "-"])),
        "{said}"
    );
    let (done, said) = Tree::busy().act(&show("gone"), Format::Table);
    assert!(matches!(done, Err(Error::NoTenant(_))) && said.is_empty(), "{done:?}");
}

#[test]
fn without_a_scope_all_but_what_the_file_says_is_refused() {
    let tree = Tree::new(&["system.slice"]);
    for action in [Action::Tree, Action::Diff, Action::Apply] {
        assert!(matches!(tree.act(&action, Format::Table).0, Err(Error::NoScope)));
    }
    tree.act(&show("acme"), Format::Table).0.unwrap();
}

#[test]
fn limits_that_hold_do_not_differ_and_need_no_change() {
    let tree = Tree::new(&[SCOPE, &format!("{SCOPE}/tenant_acme")]);
    for (file, text) in [
        ("cpu.max", "200000 100000\n"),
        ("memory.max", "1073741824\n"),
        ("io.max", "8:0 rbps=max wbps=1048576 riops=max wiops=max\n"),
    ] {
        tree.set(&format!("tenant_acme/{file}"), text);
    }
    let (done, said) = tree.act(&Action::Diff, Format::Table);
    done.unwrap();
    assert_eq!(said, "Nothing of a running tenant differs from the file.\n");
    let (done, said) = tree.act(&Action::Apply, Format::Table);
    done.unwrap();
    assert_eq!(said, "Nothing to change: every running tenant has its limits and policies.\n");
}

#[test]
fn a_limit_that_cannot_be_set_is_said_and_the_others_are_set() {
    let tree = Tree::busy();
    fs::remove_file(tree.dir.path().join(SCOPE).join("tenant_acme/pids.max")).unwrap();
    let (done, said) = tree.act(&Action::Apply, Format::Table);
    assert!(matches!(done, Err(Error::NotApplied)), "{done:?}");
    assert!(said.contains("failed: tenant acme: ") && said.contains("pids.max"), "{said}");
    let max = fs::read_to_string(tree.dir.path().join(SCOPE).join("tenant_acme/memory.max")).unwrap();
    assert_eq!(max, "1073741824");
}

#[test]
fn two_slurmds_on_a_machine_are_told_apart() {
    let other = "system.slice/n2_slurmstepd.scope";
    let tree = Tree::new(&[SCOPE, &format!("{SCOPE}/tenant_acme"), other, &format!("{other}/tenant_acme")]);
    let (_, said) = tree.act(&Action::Diff, Format::Table);
    assert!(said.contains(&format!("acme ({SCOPE})")) && said.contains(&format!("acme ({other})")), "{said}");
    let (done, said) = tree.act(&Action::Tree, Format::Table);
    done.unwrap();
    assert_eq!(said.lines().filter(|line| line.ends_with("_slurmstepd.scope")).count(), 2, "{said}");
}

const POLICIES: &str = "[tenants.acme]\npids_max = 100\nmemory_oom_group = true\n\
    devices = ['c 1:3 rw', 'c 1:5 r']\n[tenants.acme.network]\nbind_to = 'vrf-acme'\nmark = 17\n\
    interfaces = ['lo', 'vrf-acme']\nacl = ['deny connect 10.0.0.0/8']\n[tenants.idle]\ndevices = []\n";

/// Only acme runs, with the limits of [`POLICIES`].
fn acme_alone() -> Tree {
    let tree = Tree::new(&[SCOPE, &format!("{SCOPE}/tenant_acme")]);
    tree.set("tenant_acme/io.max", "");
    tree
}

fn policy_lines(said: &str) -> Vec<Vec<&str>> {
    let table =
        said.split("TENANT").find(|table| table.trim_start().starts_with("POLICY")).unwrap_or_default();
    table
        .lines()
        .skip(1)
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect()
}

#[test]
fn each_part_of_a_policy_is_shown_beside_what_is_in_force() {
    let compare: Compare = |_, group, policy| {
        assert!(group.to_string().ends_with("/tenant_acme") && policy.devices.is_some());
        Ok([
            (Part::Devices, State::InForce),
            (Part::Sockets, State::Different),
            (Part::Acl, State::Missing),
            (Part::EgressGuard, State::Unwanted),
        ]
        .into())
    };
    let tree = acme_alone();
    let (done, said) = tree.act_as(POLICIES, Some(compare), &Action::Show { tenant: None }, Format::Table);
    done.unwrap();
    assert_eq!(
        policy_lines(&said),
        [
            vec!["acme", "devices", "2 rules", "in force"],
            vec!["acme", "sockets", "bound to vrf-acme, mark 17", "different", "differs"],
            vec!["acme", "acl", "1 rule, else allow", "missing", "differs"],
            vec!["acme", "interfaces", "(none)", "unwanted", "differs"],
            vec!["idle", "devices", "no rule", "-"],
        ],
        "{said}"
    );
    let (done, said) = tree.act_as(POLICIES, Some(compare), &Action::Diff, Format::Table);
    assert!(matches!(done, Err(Error::Differs)), "{done:?}");
    assert_eq!(policy_lines(&said).len(), 3, "{said}");
    let (done, said) = tree.act_as(POLICIES, Some(compare), &Action::Diff, Format::Json);
    assert!(matches!(done, Err(Error::Differs)), "{done:?}");
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["differences"], serde_json::json!([]));
    let part =
        |at: usize| (report["policies"][at]["part"].as_str(), report["policies"][at]["state"].as_str());
    assert_eq!(
        [part(0), part(2)],
        [(Some("sockets"), Some("different")), (Some("interfaces"), Some("unwanted"))]
    );
}

#[test]
fn a_policy_in_force_does_not_differ() {
    let compare: Compare = |_, _, _| Ok([(Part::Devices, State::InForce)].into());
    let (done, said) = acme_alone().act_as(POLICIES, Some(compare), &Action::Diff, Format::Table);
    done.unwrap();
    assert_eq!(said, "Nothing of a running tenant differs from the file.\n");
}

#[test]
fn who_is_not_root_sees_limits_and_is_told_what_else_root_sees() {
    let tree = acme_alone();
    let (done, said) = tree.act_as(POLICIES, None, &show("acme"), Format::Table);
    done.unwrap();
    assert_eq!(policy_lines(&said)[3][..4], ["acme", "interfaces", "lo vrf-acme", "not seen"], "{said}");
    assert!(said.ends_with("are in force: run it as root\n") && !said.contains("differs"), "{said}");
    let (done, said) = tree.act_as(POLICIES, None, &Action::Diff, Format::Table);
    done.unwrap();
    assert!(said.starts_with("No limit of a running tenant differs from the file.\nnote: "), "{said}");
}

#[test]
fn a_policy_that_the_node_cannot_enforce_differs_and_is_explained() {
    let compare: Compare = |_, _, _| Err(tenantry_cgroup::Error::NoInterface("vrf-acme".to_owned()));
    let (done, said) = acme_alone().act_as(POLICIES, Some(compare), &Action::Diff, Format::Table);
    assert!(matches!(done, Err(Error::Differs)), "{done:?}");
    assert_eq!(policy_lines(&said)[0], ["acme", "devices", "2 rules", "not as wanted", "differs"], "{said}");
    assert!(said.contains("failed: tenant acme: there is no network interface \"vrf-acme\" here"), "{said}");
}

#[test]
fn a_policy_that_cannot_be_put_in_force_is_said_by_apply() {
    // A directory takes no program, whatever the kernel is.
    let (done, said) = acme_alone().act_as(POLICIES, None, &Action::Apply, Format::Table);
    assert!(matches!(done, Err(Error::NotApplied)), "{done:?}");
    assert!(said.lines().any(|line| line.starts_with("failed: tenant acme: ")), "{said}");
}
