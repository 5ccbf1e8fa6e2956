use super::*;
use crate::job::Paths;
use crate::units::{Amount, Bytes, Limit, Usec};
use proptest::prelude::*;
use std::fs;

pub(super) fn parse(text: &str) -> Result<Tenants, TenantsError> {
    Tenants::parse("tenants.toml".as_ref(), text)
}

/// A node of these CPUs, each a core, with 1 GiB of memory and 512 MiB of swap.
pub(super) fn node(cpus: &str) -> NodeSize {
    NodeSize {
        cpus: cpus.parse().unwrap(),
        cores: None,
        memory: Bytes(1 << 30),
        swap: Bytes(512 << 20),
        page: Bytes(4096),
        pid_max: 32_768,
        huge_pages: ["2MB".parse().unwrap()].into(),
        rdma: ["mlx5_0".to_owned()].into(),
        devices: BTreeMap::new(),
    }
}

fn claimant(tenants: &Tenants, account: &str) -> Result<String, NoTenant> {
    tenants.claimant(&account.parse().unwrap()).map(ToString::to_string)
}

const SITE: &str = r#"
[tenants.acme]
accounts = ["acme", "acme-*"]
cpu_weight = 200
memory_max = "64GiB"

[tenants."acme/physics"]
accounts = ["acme-physics", "acme-phys-*"]
cpu_max = "1.5 cores"
pids_max = 100

[tenants.globex]
accounts = ["globex?"]
pids_max = "max"
"#;

#[test]
fn an_exact_name_wins_over_a_glob_and_a_longer_glob_over_a_shorter() {
    let tenants = parse(SITE).unwrap();
    assert_eq!(claimant(&tenants, "acme").unwrap(), "acme");
    assert_eq!(claimant(&tenants, "acme-physics").unwrap(), "acme/physics");
    assert_eq!(claimant(&tenants, "acme-phys-x").unwrap(), "acme/physics");
    assert_eq!(claimant(&tenants, "acme-chem").unwrap(), "acme");
    assert_eq!(claimant(&tenants, "globex1").unwrap(), "globex");
    assert!(matches!(claimant(&tenants, "globex"), Err(NoTenant::Unclaimed { .. })));
}

#[test]
fn an_account_two_equal_globs_claim_has_no_tenant() {
    let tenants = parse("[tenants.a]\naccounts = ['ab*']\n[tenants.b]\naccounts = ['*ab']").unwrap();
    assert!(matches!(claimant(&tenants, "abab"), Err(NoTenant::Ambiguous { .. })));
    assert_eq!(claimant(&tenants, "abx").unwrap(), "a");
}

#[test]
fn unclaimed_accounts_go_to_default_only_where_the_policy_says_so() {
    let with = |policy: &str| {
        parse(&format!("[policy]\nunclaimed_accounts = {policy:?}\n[tenants.default]\n")).unwrap()
    };
    assert_eq!(claimant(&with("default"), "x").unwrap(), "default");
    assert!(claimant(&with("refuse"), "x").is_err());
}

#[test]
fn limits_are_read_with_their_units() {
    let tenants = parse(SITE).unwrap();
    let limits = |path: &str| tenants.get(&path.parse().unwrap()).unwrap().limits.clone();
    assert_eq!(limits("acme").cpu_weight, Some(200));
    assert_eq!(limits("acme").memory_max, Some(Limit::At(Amount::Absolute(Bytes(64 << 30)))));
    assert_eq!(limits("acme/physics").pids_max, Some(Limit::At(100)));
    assert_eq!(limits("globex").pids_max, Some(Limit::Max));
    assert_eq!(limits("globex").memory_max, None);
}

#[test]
fn every_mistake_is_refused_with_its_line_and_a_fix() {
    let table = [
        (1, "[tenants.acme"),
        (1, "[tenant.acme]"),
        (2, "[tenants.acme]\nmemory = '1GiB'"),
        (2, "[tenants.acme]\nmemory_max = '1'"),
        (2, "[tenants.acme]\nmemory_max = 1"),
        (3, "\n[tenants.acme]\ncpu_max = '3'"),
        (2, "[tenants.acme]\ncpu_weight = 0"),
        (2, "[tenants.acme]\ncpu_weight = 10001"),
        (2, "[tenants.acme]\npids_max = -1"),
        (2, "[tenants.acme]\naccounts = ['../x']"),
        (2, "[tenants.acme]\naccounts = [\"a\\nb\"]"),
        (1, "[tenants.'../x']"),
        (1, "[tenants.ACME]"),
        (1, "[tenants.'acme/physics']"),
        (1, "[tenants.'a/b/c/d/e']"),
        (4, "[tenants.a]\naccounts = ['x']\n[tenants.b]\naccounts = ['x']"),
        (2, "[tenants.a]\n[tenants.a]"),
        (1, "[policy]\nunclaimed_accounts = 'default'"),
        (2, "[policy]\nisolation_failure = 'panic'"),
        (2, "[policy]\ntmp = 'purge'"),
        (2, "[policy]\nplacement = 'mount'"),
        (2, "[tenants.a]\nusers = ['a b']"),
        (2, "[tenants.a]\ngroups = ['1000']"),
        (2, "[tenants.a]\nmemory_max = '101%'"),
        (2, "[tenants.a]\nmemory_max = '1.125%'"),
        (2, "[tenants.a]\ncpu_max = '0%'"),
        (2, "[tenants.a]\ncpu_burst = '20ms'"),
        (3, "[tenants.a]\ncpu_max = 'max'\ncpu_burst = '20ms'"),
        (3, "[tenants.a]\ncpu_max = '0.1 cores'\ncpu_burst = '20ms'"),
        (2, "[tenants.a]\ncpus = '3-1'"),
        (2, "[tenants.a]\ncpus = '0-99999'"),
        (4, "[tenants.a]\ncpus = '60%'\n[tenants.b]\ncpus = '40.01%'"),
        (5, "[tenants.a]\n[tenants.'a/x']\ncpus = '60%'\n[tenants.'a/y']\ncpus = '50%'"),
        (2, "[tenants.a]\nmemory_min = '2GiB'\nmemory_low = '1GiB'"),
        (2, "[tenants.a]\nmemory_low = '2GiB'\nmemory_max = '1GiB'"),
        (2, "[tenants.a]\nmemory_high = '2GiB'\nmemory_max = '1GiB'"),
        (3, "[tenants.a]\nmemory_max = '40%'\nmemory_high = '40.01%'"),
        (2, "[tenants.a]\nmemory_oom_group = 1"),
        (2, "[tenants.a]\npids_max = 4194305"),
        (2, "[tenants.a]\nio_weight = 0"),
        (2, "[tenants.a]\nio_max = { sda = { rbps = '1MiB' } }"),
        (2, "[tenants.a]\nio_max = { '8:0' = { rbps = '0B' } }"),
        (2, "[tenants.a]\nio_max = { '8:0' = { riops = 0 } }"),
        (2, "[tenants.a]\nio_max = { '8:0' = { bps = '1MiB' } }"),
        (2, "[tenants.a]\ndescendants_max = 2147483647"),
        (2, "[tenants.a]\nhugetlb_max = { '2MiB' = '1GiB' }"),
        (2, "[tenants.a]\nhugetlb_max = { '2MB' = '40%' }"),
        (2, "[tenants.a]\nrdma_max = { 'a b' = {} }"),
        (2, "[tenants.a]\nrdma_max = { mlx5_0 = { hca_handle = -1 } }"),
        (2, "[tenants.a]\ndevices = ['c 1:3']"),
        (2, "[tenants.a]\ndevices = ['/etc/passwd rw']"),
        (2, "[tenants.a.network]\nbind_to = 'much-too-long-name'"),
        (2, "[tenants.a.network]\ninterfaces = ['lo', 'a/b']"),
        (2, "[tenants.a.network]\nmark = 4294967296"),
        (2, "[tenants.a.network]\nacl = ['deny connect']"),
        (2, "[tenants.a.network]\nacl_default = 'drop'"),
    ];
    for (line, text) in table {
        let error = parse(text).expect_err(text);
        assert_eq!(error.line, line, "{text:?}: {error}");
        assert!(!error.fix.is_empty() && !error.problem.is_empty(), "{text:?}: {error}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
}

/// Every key there is.
const FULL: &str = r#"
[policy]
unenforceable = "run-without"
placement = "siblings"
shared_memory = "keep"
tmp = "remove"

[tenants.acme]
accounts = ["acme"]
users = ["alice"]
groups = ["acme-hpc"]
cpu_weight = 200
cpu_max = "50%"
cpu_burst = "20ms"
cpus = "25%"
memory_min = "1GiB"
memory_low = "2GiB"
memory_high = "40%"
memory_max = "50%"
memory_swap_max = "max"
memory_oom_group = true
pids_max = 20000
io_weight = 50
io_max = { "/dev/nvme0n1" = { rbps = "1GiB", wiops = 10000 }, "8:0" = { wbps = "max" } }
descendants_max = 5000
hugetlb_max = { "2MB" = "8GiB" }
rdma_max = { "mlx5_0" = { hca_handle = 100, hca_object = "max" } }
devices = ["c 1:3 rw", "c 136:* rwm", "/dev/fuse rw"]
[tenants.acme.network]
bind_to = "vrf-acme"
interfaces = ["lo", "eth1"]
mark = 17
acl = ["allow connect 10.20.0.0/16 port 443", "deny ::/0"]
acl_default = "deny"
[tenants."acme/physics"]
cpus = "0-3"
"#;

#[test]
fn every_key_is_read() {
    let tenants = parse(FULL).unwrap();
    let policy = tenants.policy();
    assert_eq!(
        (policy.unenforceable, policy.placement, policy.shared_memory, policy.tmp),
        (Unenforceable::RunWithout, PlacementMode::Siblings, Leftovers::Keep, Leftovers::Remove)
    );
    let tenant = tenants.get(&"acme".parse().unwrap()).unwrap();
    let limits = &tenant.limits;
    assert_eq!(limits.cpu_max.unwrap().to_string(), "50%");
    assert_eq!(limits.cpu_burst, Some(Usec(20_000)));
    assert_eq!(limits.cpus.as_ref().unwrap().to_string(), "25%");
    assert_eq!(limits.memory_high.unwrap().to_string(), "40%");
    assert_eq!(limits.memory_swap_max, Some(Limit::Max));
    assert!(limits.memory_oom_group);
    let io: Vec<_> = limits.io_max.iter().map(|(disk, max)| format!("{disk} {max}")).collect();
    assert_eq!(
        io,
        [
            "8:0 rbps=max wbps=max riops=max wiops=max",
            "/dev/nvme0n1 rbps=1073741824 wbps=max riops=max wiops=10000"
        ]
    );
    assert_eq!((limits.io_weight, limits.descendants_max), (Some(50), Some(Limit::At(5000))));
    assert_eq!(limits.hugetlb_max[&"2MB".parse().unwrap()], Limit::At(Bytes(8 << 30)));
    assert_eq!(limits.rdma_max["mlx5_0"].to_string(), "hca_handle=100 hca_object=max");
    let devices: Vec<_> = limits.devices.as_ref().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(devices, ["c 1:3 rw", "c 136:* rwm", "/dev/fuse rw"]);
    let network = &tenant.network;
    assert_eq!((network.bind_to.as_deref(), network.mark), (Some("vrf-acme"), Some(17)));
    assert_eq!(network.interfaces.as_ref().unwrap().len(), 2);
    assert_eq!(network.acl[1].to_string(), "deny ::/0");
    assert_eq!(network.acl_default, AclVerdict::Deny);
    let physics = tenants.get(&"acme/physics".parse().unwrap()).unwrap();
    assert!(physics.network.is_empty() && physics.limits.devices.is_none());
}

#[test]
fn what_stays_in_shared_memory_goes_and_files_stay_unless_the_site_says_otherwise() {
    let policy = parse("[policy]\nunclaimed_accounts = 'refuse'").unwrap().policy();
    assert_eq!((policy.shared_memory, policy.tmp), (Leftovers::Remove, Leftovers::Keep));
    assert_eq!(policy, Policy::default());
}

#[test]
fn a_tenant_is_chosen_by_those_it_names_and_no_others() {
    let tenants = parse(FULL).unwrap();
    let may = |tenant: &str, user: &str, groups: &[&str]| {
        tenants.may_choose(&tenant.parse().unwrap(), user, groups)
    };
    assert!(may("acme", "alice", &[]) && may("acme", "bob", &["users", "acme-hpc"]));
    assert!(!may("acme", "bob", &["users"]) && !may("acme", "acme-hpc", &["alice"]));
    assert!(!may("acme/physics", "alice", &["acme-hpc"]) && !may("globex", "alice", &[]));
}

#[test]
fn drop_ins_are_one_with_the_file_and_clashes_name_both_places() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Tenants::load(dir.path()).unwrap_err();
    assert!(missing.file.ends_with("tenants.toml"));
    fs::write(dir.path().join("tenants.toml"), "[tenants.acme]\n").unwrap();
    fs::create_dir(dir.path().join("tenants.d")).unwrap();
    fs::write(dir.path().join("tenants.d/10-physics.toml"), "[tenants.'acme/physics']\n").unwrap();
    fs::write(dir.path().join("tenants.d/notes.txt"), "not read").unwrap();
    assert_eq!(Tenants::load(dir.path()).unwrap().iter().count(), 2);
    fs::write(dir.path().join("tenants.d/20-again.toml"), "\n[tenants.acme]\n").unwrap();
    let clash = Tenants::load(dir.path()).unwrap_err();
    assert!(clash.file.ends_with("20-again.toml") && clash.line == 2, "{clash}");
    assert!(clash.problem.contains("tenants.toml:1"), "{clash}");
}

#[test]
fn the_last_good_copy_reads_back_the_same() {
    let tenants = parse(FULL).unwrap();
    let text = serde_json::to_string(&tenants).unwrap();
    assert_eq!(serde_json::from_str::<Tenants>(&text).unwrap(), tenants);
}

#[test]
fn a_broken_file_leaves_the_last_good_one_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let paths = Paths { run: at("run"), state: at("state"), etc: at("etc") };
    fs::create_dir(&paths.etc).unwrap();
    let file = paths.etc.join("tenants.toml");
    fs::write(&file, "broken").unwrap();
    assert!(in_force(&paths).is_err(), "there never was a good one");
    fs::write(&file, "[tenants.acme]\n").unwrap();
    let (good, stale) = in_force(&paths).unwrap();
    assert_eq!(stale, None);
    fs::write(&file, "[tenants.acme]\nbroken\n").unwrap();
    let (still, stale) = in_force(&paths).unwrap();
    assert_eq!(still, good);
    assert_eq!(stale.unwrap().line, 2);
}

proptest! {
    #[test]
    fn whatever_parses_is_a_tree_without_double_claims(
        names in prop::collection::vec("[a-c](/[a-c]){0,3}", 1..6),
        accounts in prop::collection::vec("[x-z]{1,2}", 6),
    ) {
        let tables = names.iter().zip(&accounts);
        let text = tables.map(|(name, account)| format!("[tenants.{name:?}]\naccounts = [{account:?}]\n"));
        let text = text.collect::<Vec<_>>().concat();
        if let Ok(tenants) = parse(&text) {
            for (path, tenant) in tenants.iter() {
                prop_assert!(path.parent().is_none_or(|parent| tenants.get(&parent).is_some()));
                for claim in &tenant.accounts {
                    prop_assert_eq!(claimant(&tenants, &claim.0).unwrap(), path.to_string());
                }
            }
        }
    }

    #[test]
    fn a_glob_matches_as_the_slow_obvious_way_does(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
        fn slow(p: &[u8], t: &[u8]) -> bool {
            match (p.first(), t.first()) {
                (None, None) => true,
                (Some(b'*'), _) => slow(&p[1..], t) || (!t.is_empty() && slow(p, &t[1..])),
                (Some(b'?'), Some(_)) => slow(&p[1..], &t[1..]),
                (Some(a), Some(b)) if a == b => slow(&p[1..], &t[1..]),
                _ => false,
            }
        }
        prop_assert_eq!(glob_matches(pattern.as_bytes(), text.as_bytes()), slow(pattern.as_bytes(), text.as_bytes()));
    }
}
