use super::*;
use crate::job::Paths;
use proptest::prelude::*;
use std::fs;

fn parse(text: &str) -> Result<Tenants, TenantsError> {
    Tenants::parse("tenants.toml".as_ref(), text)
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
    let limits = |path: &str| tenants.get(&path.parse().unwrap()).unwrap().limits;
    assert_eq!(limits("acme").cpu_weight, Some(200));
    assert_eq!(limits("acme").memory_max, Some(Limit::At(Bytes(64 << 30))));
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
    ];
    for (line, text) in table {
        let error = parse(text).expect_err(text);
        assert_eq!(error.line, line, "{text:?}: {error}");
        assert!(!error.fix.is_empty() && !error.problem.is_empty(), "{text:?}: {error}");
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
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
    let tenants = parse(SITE).unwrap();
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
