use proptest::prelude::*;

use super::*;
use crate::tenants::tests::node;

fn tenants(cpus: &[(&str, &str)]) -> Tenants {
    let tables = cpus.iter().map(|(name, cpus)| format!("[tenants.{name:?}]\ncpus = {cpus:?}\n"));
    Tenants::parse("tenants.toml".as_ref(), &tables.collect::<String>()).unwrap()
}

/// Each tenant's CPUs, and the findings.
fn given(tenants: &Tenants, node: &NodeSize) -> (Vec<(String, String)>, Vec<String>) {
    let mut findings = Findings::default();
    let given = give_out(tenants, node, &mut findings);
    let cpus = given.into_iter().map(|(path, cpus)| (path.to_string(), cpus.to_string())).collect();
    (cpus, findings.into_iter().map(|warning| warning.to_string()).collect())
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, cpus)| ((*name).to_owned(), (*cpus).to_owned())).collect()
}

#[test]
fn shares_stand_next_to_each_other_in_the_order_of_the_names() {
    let site = tenants(&[("globex", "50%"), ("acme", "25%"), ("acme/physics", "50%"), ("acme/chem", "50%")]);
    let (cpus, findings) = given(&site, &node("0-15"));
    let expected =
        pairs(&[("acme", "0-3"), ("acme/chem", "0-1"), ("acme/physics", "2-3"), ("globex", "4-11")]);
    assert_eq!((cpus, findings), (expected, vec![]));
}

#[test]
fn a_share_is_of_whole_cores_with_all_their_threads() {
    let mut node = node("0-7");
    node.cores = Some(["0,4", "1,5", "2,6", "3,7"].map(|core| core.parse().unwrap()).to_vec());
    let (cpus, findings) = given(&tenants(&[("a", "50%"), ("b", "30%")]), &node);
    assert_eq!(cpus, pairs(&[("a", "0-1,4-5"), ("b", "2,6")]));
    assert_eq!(findings, Vec::<String>::new());
}

#[test]
fn what_a_tenant_lists_is_not_given_out() {
    let (cpus, findings) = given(&tenants(&[("a", "50%"), ("b", "0-1"), ("c", "50%")]), &node("0-3"));
    assert_eq!(cpus, pairs(&[("a", "2"), ("b", "0-1"), ("c", "3")]));
    assert_eq!(findings.len(), 2);
    assert!(
        findings[0].contains("tenant a: cpus = \"50%\"") && findings[0].contains("2 cores left"),
        "{findings:?}"
    );
}

#[test]
fn where_cores_do_not_suffice_each_still_has_one_and_it_is_said() {
    let site = tenants(&[("a", "1%"), ("b", "1%"), ("c", "90%")]);
    let (cpus, findings) = given(&site, &node("0-1"));
    assert_eq!(cpus, pairs(&[("a", "0"), ("b", "1"), ("c", "0")]));
    assert!(
        findings
            .iter()
            .any(|finding| finding.contains("tenant c") && finding.contains("together with others"))
    );
    assert!(findings[0].contains("less than one"), "{findings:?}");
}

#[test]
fn a_list_the_node_has_not_is_cut_to_what_it_has_and_one_it_has_nothing_of_is_kept() {
    let (cpus, findings) = given(&tenants(&[("a", "2-5"), ("b", "64-65"), ("b/x", "3")]), &node("0-3"));
    assert_eq!(cpus, pairs(&[("a", "2-3"), ("b", "64-65"), ("b/x", "3")]));
    assert_eq!(findings[0], "tenant a: cpus = \"2-5\", but this node has 0-3");
    assert_eq!(findings[2], "tenant b/x: cpus = \"3\", but b has 64-65");
}

/// The shares as texts, scaled so that the sum is at most 100%.
fn scaled(shares: &BTreeMap<String, u16>) -> Vec<(&str, String)> {
    let sum = shares.values().map(|share| u32::from(*share)).sum::<u32>();
    let points = |share: u16| (u32::from(share).saturating_mul(10_000)).checked_div(sum).unwrap_or(0).max(1);
    let text = |points: u32| format!("{}.{:02}%", points / 100, points % 100);
    shares.iter().map(|(name, share)| (name.as_str(), text(points(*share)))).collect()
}

/// Cores whose threads are numbered as on most machines: 0 and 4 are one of four cores with two each.
fn by_core(cores: u32, threads: u32) -> Vec<CpuList> {
    let core = |first: u32| {
        (0..threads)
            .filter_map(move |thread| CpuList::one(thread.saturating_mul(cores).saturating_add(first)))
    };
    (0..cores).map(|first| core(first).collect::<Vec<_>>().iter().collect()).collect()
}

proptest! {
    #[test]
    fn shares_are_disjoint_of_the_node_and_the_same_each_time(
        shares in prop::collection::btree_map("[a-f]{1,2}", 1..=100_u16, 1..8),
        cores in 1_u32..40,
        threads in 1_u32..3,
    ) {
        let texts = scaled(&shares);
        let list: Vec<_> = texts.iter().map(|(name, share)| (*name, share.as_str())).collect();
        let site = tenants(&list);
        let by_core = by_core(cores, threads);
        let mut node = node("0");
        node.cpus = by_core.iter().collect();
        node.cores = Some(by_core.clone());

        let mut findings = Findings::default();
        let given = give_out(&site, &node, &mut findings);
        prop_assert_eq!(&give_out(&site, &node, &mut Findings::default()), &given);
        prop_assert_eq!(given.len(), shares.len());
        for (path, cpus) in &given {
            prop_assert!(cpus.is_subset(&node.cpus));
            prop_assert!(by_core.iter().any(|core| core.is_subset(cpus)), "{} has no core", path);
            prop_assert!(by_core.iter().all(|core| core.is_subset(cpus) || core.is_disjoint(cpus)));
        }
        if shares.len() <= by_core.len() {
            let owners: usize = given.values().map(CpuList::len).sum();
            let union: CpuList = given.values().collect();
            prop_assert_eq!(owners, union.len(), "two tenants share a CPU");
        }
    }
}
