//! The tenants' groups: one in another as the tenants are, in the scope that holds the jobs.
//!
//! Nothing here writes to any other group's limits: what stands in a tenant's group and in it, the
//! jobs' groups included, is Slurm's.

mod settings;

use tenantry_model::TenantPath;
use tenantry_model::tenants::{NodeLimits, Resolved};
use tenantry_model::units::Limit;

use crate::parse::words;
use crate::{Error, GroupPath, Result, Root};

pub use settings::{Setting, wanted};

/// What a tenant's group is called: `tenant_` keeps it apart from Slurm's names and the kernel's.
const PREFIX: &str = "tenant_";

/// The controllers a tenant's jobs are held and measured by. Without the first two there is no
/// isolation worth the name; the next are enabled where the kernel has them, the last where a limit
/// needs them too. A limit that needs one that is missing is an error of its own.
const CONTROLLERS: [(&str, Need); 7] = [
    ("cpu", Need::Required),
    ("memory", Need::Required),
    ("cpuset", Need::WhereOffered),
    ("io", Need::WhereOffered),
    ("pids", Need::WhereOffered),
    (HUGETLB, Need::WhereWanted),
    (RDMA, Need::WhereWanted),
];
const HUGETLB: &str = "hugetlb";
const RDMA: &str = "rdma";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    WhereOffered,
    WhereWanted,
}

/// Where a tenant's group stands: `<scope>/tenant_acme/tenant_physics`.
///
/// # Errors
/// None for a [`TenantPath`]: its segments are plain names.
pub fn group(scope: &GroupPath, tenant: &TenantPath) -> Result<GroupPath> {
    tenant.segments().try_fold(scope.clone(), |group, segment| group.child(format!("{PREFIX}{segment}")))
}

/// The tenants that have a group in the scope now, parents before their children.
///
/// # Errors
/// Where a group cannot be listed.
pub fn present(root: &Root, scope: &GroupPath) -> Result<Vec<TenantPath>> {
    let mut found = Vec::new();
    let mut groups = vec![(None::<TenantPath>, scope.clone())];
    while let Some((outer, group)) = groups.pop() {
        for child in root.children(&group)? {
            let segment = child.name().to_str().and_then(|name| name.strip_prefix(PREFIX));
            let path = segment.map(|segment| match &outer {
                Some(outer) => format!("{outer}/{segment}"),
                None => segment.to_owned(),
            });
            if let Some(path) = path.and_then(|path| path.parse::<TenantPath>().ok()) {
                groups.push((Some(path.clone()), child));
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Makes the tenant's group and those it stands in, enables the controllers down to it, and sets
/// the limits of each level. What is so already is left alone.
///
/// # Errors
/// Where a group cannot be made. Where limits cannot be enforced here, the first of them
/// ([`Error::is_unenforceable`]): then all else is done, and a site that would rather run without may
/// go on; [`differences`] lists them all.
pub fn ensure(root: &Root, scope: &GroupPath, tenant: &TenantPath, limits: &Resolved) -> Result<GroupPath> {
    let mut innermost = scope.clone();
    let mut failed = Vec::new();
    for level in tenant.lineage() {
        let unlimited = NodeLimits::default();
        let wanted = limits.limits(&level).unwrap_or(&unlimited);
        enable_for(root, scope, &level, wanted)?;
        innermost = group(scope, &level)?;
        root.ensure(&innermost)?;
        failed.extend(settings::write(root, &innermost, settings::read(root, &innermost, wanted)?).1);
    }
    enable_controllers(root, &innermost, &[])?;
    failed.into_iter().next().map_or(Ok(innermost), Err)
}

/// Enables in a group what its jobs are held and measured by.
///
/// # Errors
/// Where the kernel lacks what isolation cannot do without.
pub fn enable(root: &Root, group: &GroupPath) -> Result<()> {
    enable_controllers(root, group, &[])
}

/// Sets a job's part of what its tenant may use: in the files that Slurm does not write.
///
/// # Errors
/// The first limit that cannot be set; the others are.
pub fn set_shared(root: &Root, group: &GroupPath, part: &NodeLimits) -> Result<()> {
    const FILES: [&str; 6] = ["cpu.weight", "cpu.max", "cpu.max.burst", "pids.max", "io.weight", "io.max"];
    let mut settings = settings::read(root, group, part)?;
    settings.retain(|setting| FILES.contains(&setting.file.as_str()));
    settings::write(root, group, settings).1.into_iter().next().map_or(Ok(()), Err)
}

/// What became of one running tenant's limits.
#[derive(Debug)]
pub struct Applied {
    /// Whose.
    pub tenant: TenantPath,
    /// What was changed, with what stood there before.
    pub changed: Vec<Setting>,
    /// What could not be.
    pub failed: Vec<Error>,
}

/// Sets the limits of the tenants that have a group now, and makes none. A tenant that the file no
/// longer has keeps its limits for as long as its last jobs run.
///
/// # Errors
/// Where the scope cannot be listed. What fails for one tenant keeps no other from its limits.
pub fn apply(root: &Root, scope: &GroupPath, limits: &Resolved) -> Result<Vec<Applied>> {
    let mut applied = Vec::new();
    for tenant in present(root, scope)? {
        let Some(wanted) = limits.limits(&tenant) else { continue };
        let group = group(scope, &tenant)?;
        let (changed, failed) = enable_for(root, scope, &tenant, wanted)
            .and_then(|()| settings::read(root, &group, wanted))
            .map_or_else(
                |error| (Vec::new(), vec![error]),
                |settings| settings::write(root, &group, settings),
            );
        // A group that went in the meantime has no limits to fail.
        if failed.is_empty() || root.exists(&group)? {
            applied.push(Applied { tenant, changed, failed });
        }
    }
    Ok(applied)
}

/// A tenant's limits on this node beside what its group has; `None` where it has no group now.
///
/// # Errors
/// Where the kernel does not let one be read.
pub fn settings(
    root: &Root,
    scope: &GroupPath,
    tenant: &TenantPath,
    wanted: &NodeLimits,
) -> Result<Option<Vec<Setting>>> {
    let group = group(scope, tenant)?;
    let settings = settings::read(root, &group, wanted)?;
    Ok(root.exists(&group)?.then_some(settings))
}

/// What differs between a tenant's limits and its group's; nothing where it has no group now.
///
/// # Errors
/// Where the kernel does not let one be read.
pub fn differences(
    root: &Root,
    scope: &GroupPath,
    tenant: &TenantPath,
    wanted: &NodeLimits,
) -> Result<Vec<Setting>> {
    let settings = settings(root, scope, tenant, wanted)?.unwrap_or_default();
    Ok(settings.into_iter().filter(|setting| !setting.holds()).collect())
}

/// Enables, in the scope and in each tenant above, what a tenant's group needs to have its files.
fn enable_for(root: &Root, scope: &GroupPath, tenant: &TenantPath, limits: &NodeLimits) -> Result<()> {
    let wanted = wanted_controllers(limits);
    enable_above(root, scope, &wanted)?;
    enable_controllers(root, scope, &wanted)?;
    match tenant.parent() {
        None => Ok(()),
        Some(parent) => {
            parent.lineage().try_for_each(|level| enable_controllers(root, &group(scope, &level)?, &wanted))
        }
    }
}

fn wanted_controllers(limits: &NodeLimits) -> Vec<&'static str> {
    let huge = limits.hugetlb_max.values().any(|max| matches!(max, Limit::At(_)));
    [(huge, HUGETLB), (!limits.rdma_max.is_empty(), RDMA)]
        .into_iter()
        .filter_map(|(wanted, controller)| wanted.then_some(controller))
        .collect()
}

/// systemd hands down the controllers it knows and leaves the others alone: those are ours to hand
/// down, from the root to the scope.
fn enable_above(root: &Root, scope: &GroupPath, wanted: &[&'static str]) -> Result<()> {
    let offered = root.read(scope, "cgroup.controllers")?.unwrap_or_default();
    let missing: Vec<_> =
        wanted.iter().copied().filter(|controller| !contains(&offered, controller)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let top = root.read_top("cgroup.controllers")?.unwrap_or_default();
    let mut above = Vec::new();
    let mut at = scope.parent();
    while let Some(group) = at {
        at = group.parent();
        above.push(group);
    }
    for controller in missing.into_iter().filter(|controller| contains(&top, controller)) {
        let enable = format!("+{controller}");
        root.write_top(SUBTREE, &enable)?;
        above.iter().rev().try_for_each(|group| root.write(group, SUBTREE, &enable))?;
    }
    Ok(())
}

const SUBTREE: &str = "cgroup.subtree_control";

fn enable_controllers(root: &Root, group: &GroupPath, wanted: &[&'static str]) -> Result<()> {
    let offered = root.read(group, "cgroup.controllers")?.unwrap_or_default();
    let enabled = root.read(group, SUBTREE)?.unwrap_or_default();
    for (controller, need) in CONTROLLERS {
        if contains(&enabled, controller) || (need == Need::WhereWanted && !wanted.contains(&controller)) {
            continue;
        }
        if contains(&offered, controller) {
            root.write(group, SUBTREE, &format!("+{controller}"))?;
        } else if need == Need::Required {
            return Err(Error::NoController { controller, group: group.as_path().to_owned() });
        }
    }
    Ok(())
}

fn contains(list: &[u8], controller: &str) -> bool {
    words(list).any(|word| word == controller.as_bytes())
}

#[cfg(test)]
mod tests;
