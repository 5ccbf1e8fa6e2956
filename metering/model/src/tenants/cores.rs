//! Which CPUs each tenant has: those the file lists, and the shares of cores, given out.
//!
//! Shares of one tenant's cores (at the top: of the node's) are given out in the order of the tenants'
//! names, next to each other, whole cores only: two tenants never meet on the threads of one core,
//! where either could watch the other. The same file and node always give the same cores.

use std::collections::BTreeMap;

use super::resolve::Findings;
use super::{NodeSize, Tenants};
use crate::cpu_list::CpuList;
use crate::ids::TenantPath;
use crate::units::{Amount, Share};

/// The CPUs of each tenant whose `cpus` the file sets.
pub(super) fn give_out(
    tenants: &Tenants,
    node: &NodeSize,
    findings: &mut Findings,
) -> BTreeMap<TenantPath, CpuList> {
    let mut families = BTreeMap::<Option<TenantPath>, Vec<_>>::new();
    for (path, tenant) in tenants.iter() {
        if let Some(cpus) = &tenant.limits.cpus {
            families.entry(path.parent()).or_default().push((path, cpus));
        }
    }
    let all_cores = node.cores.clone().unwrap_or_else(|| node.cpus.iter().filter_map(CpuList::one).collect());
    let mut given = BTreeMap::new();
    // Parents sort before what stands in them: what a family shares is known when its turn comes.
    for (parent, family) in families {
        let (of_whom, whole) = whole(parent.as_ref(), &given, node);
        let cores: Vec<_> =
            all_cores.iter().map(|core| core.intersection(&whole)).filter(|core| !core.is_empty()).collect();
        give_family(&family, &cores, &whole, &of_whom, findings, &mut given);
    }
    given
}

/// What a family shares: its nearest ancestor's CPUs, else the node's.
fn whole(
    parent: Option<&TenantPath>,
    given: &BTreeMap<TenantPath, CpuList>,
    node: &NodeSize,
) -> (String, CpuList) {
    let mut at = parent.cloned();
    while let Some(path) = at {
        if let Some(cpus) = given.get(&path) {
            return (path.to_string(), cpus.clone());
        }
        at = path.parent();
    }
    ("this node".to_owned(), node.cpus.clone())
}

fn give_family(
    family: &[(&TenantPath, &Amount<CpuList>)],
    cores: &[CpuList],
    whole: &CpuList,
    of_whom: &str,
    findings: &mut Findings,
    given: &mut BTreeMap<TenantPath, CpuList>,
) {
    let mut shares: Vec<(&TenantPath, Share)> = Vec::new();
    let mut listed = Vec::new();
    for (path, cpus) in family {
        match cpus {
            Amount::Share(share) => shares.push((path, *share)),
            Amount::Absolute(list) => {
                listed.push(list);
                given.insert((*path).clone(), within(path, list, whole, of_whom, findings));
            }
        }
    }
    let listed: CpuList = listed.into_iter().collect();
    let free: Vec<_> = cores.iter().filter(|core| core.is_disjoint(&listed)).collect();
    let free = if free.is_empty() { cores.iter().collect() } else { free };
    let counts = counts(&shares, cores.len(), free.len());
    let mut next = free.iter().cycle();
    let mut taken = 0_usize;
    for ((path, share), count) in shares.iter().zip(counts) {
        let own: CpuList = next.by_ref().take(count).copied().collect();
        taken = taken.saturating_add(count);
        let entitled = entitled(*share, cores.len());
        let finding = if free.is_empty() {
            Some(format!("{of_whom} has no CPU to share"))
        } else if taken > free.len() || own.iter().any(|cpu| listed.iter().any(|other| other == cpu)) {
            Some(format!("{of_whom} has too few cores for all: it has {own} together with others"))
        } else if count > entitled {
            Some(format!("{of_whom} has {} cores, of which that is less than one: it has one", cores.len()))
        } else if count < entitled {
            Some(format!("{of_whom} has {} cores left for shares: it has {count}", free.len()))
        } else {
            None
        };
        if let Some(finding) = finding {
            findings.add(path, "cpus", share, finding);
        }
        if !own.is_empty() {
            given.insert((*path).clone(), own);
        }
    }
}

/// The part of a tenant's list that is there. A list that is nowhere is kept as it is: the kernel
/// refuses it, which is better than a tenant on all CPUs.
fn within(
    path: &TenantPath,
    list: &CpuList,
    whole: &CpuList,
    of_whom: &str,
    findings: &mut Findings,
) -> CpuList {
    if list.is_subset(whole) {
        return list.clone();
    }
    findings.add(path, "cpus", list, format!("{of_whom} has {whole}"));
    let there = list.intersection(whole);
    if there.is_empty() { list.clone() } else { there }
}

/// The whole cores in a share.
fn entitled(share: Share, cores: usize) -> usize {
    let cores = u64::try_from(cores).unwrap_or(u64::MAX);
    usize::try_from(share.of(cores)).unwrap_or(usize::MAX)
}

/// How many cores each gets: those its share comes to, but at least one, and together, while there
/// are that many, no more than are free. What is too much is taken from who has most.
fn counts(shares: &[(&TenantPath, Share)], cores: usize, free: usize) -> Vec<usize> {
    let mut counts: Vec<_> = shares.iter().map(|(_, share)| entitled(*share, cores).max(1)).collect();
    while counts.iter().sum::<usize>() > free {
        match counts.iter_mut().max() {
            Some(most) if *most > 1 => *most = most.saturating_sub(1),
            _ => break,
        }
    }
    counts
}

#[cfg(test)]
mod tests;
