//! slurmd's scope: the group in which slurmd makes the jobs' groups.
//!
//! Its slice is the site's choice (`CgroupSlice`, 25.11 and later) and its name depends on how
//! slurmd was built, so it is looked for.

use tenantry_cgroup::{GroupPath, Result, Root};
use tenantry_model::NodeName;

const SCOPE: &str = "slurmstepd.scope";

/// How many slices deep a scope is looked for.
const DEEPEST_SLICE: usize = 4;

/// The scope of a node's slurmd: `<node>_slurmstepd.scope` where slurmd was built for several on
/// one machine, else `slurmstepd.scope`. `None` where there is neither.
///
/// # Errors
/// Where a slice cannot be listed.
pub fn find(root: &Root, node: &NodeName) -> Result<Option<GroupPath>> {
    let own = format!("{node}_{SCOPE}");
    let all = all(root)?;
    let named = |name: &str| all.iter().find(|scope| scope.name() == name).cloned();
    Ok(named(&own).or_else(|| named(SCOPE)))
}

/// Every scope on this machine, one for each slurmd, in the order of their names: in slices only,
/// where no user can make a group of that name.
///
/// # Errors
/// Where a slice cannot be listed.
pub fn all(root: &Root) -> Result<Vec<GroupPath>> {
    let mut scopes = Vec::new();
    let mut slices = root.top()?;
    for _ in 0..DEEPEST_SLICE {
        let mut deeper = Vec::new();
        for slice in slices.iter().filter(|group| is_slice(group)) {
            for group in root.children(slice)? {
                let found = if is_scope(&group) { &mut scopes } else { &mut deeper };
                found.push(group);
            }
        }
        slices = deeper;
    }
    scopes.sort();
    Ok(scopes)
}

/// The node whose slurmd a scope is, where its name tells.
#[must_use]
pub fn node(scope: &GroupPath) -> Option<NodeName> {
    scope.name().to_str()?.strip_suffix(SCOPE)?.strip_suffix('_')?.parse().ok()
}

fn is_slice(group: &GroupPath) -> bool {
    group.name().as_encoded_bytes().ends_with(b".slice")
}

/// `slurmstepd.scope`, or `<node>_slurmstepd.scope`.
fn is_scope(group: &GroupPath) -> bool {
    let node = group.name().to_str().and_then(|name| name.strip_suffix(SCOPE));
    node.is_some_and(|node| node.is_empty() || node.ends_with('_'))
}

/// The scope a group stands in.
#[must_use]
pub fn of(group: &GroupPath) -> Option<GroupPath> {
    let mut at = Some(group.clone());
    while let Some(group) = at {
        if is_scope(&group) {
            return Some(group);
        }
        at = group.parent();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn find_in(groups: &[&str]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        for group in groups {
            fs::create_dir_all(dir.path().join(group)).unwrap();
        }
        let root = Root::open_fake(dir.path()).unwrap();
        find(&root, &"n1".parse().unwrap()).unwrap().map(|scope| scope.to_string())
    }

    #[test]
    fn the_nodes_own_scope_is_found_in_whatever_slice() {
        let own = "system.slice/n1_slurmstepd.scope";
        assert_eq!(find_in(&["system.slice/n2_slurmstepd.scope", own]).as_deref(), Some(own));
        assert_eq!(find_in(&["system.slice/slurmstepd.scope", own]).as_deref(), Some(own));
        let deep = "hpc.slice/hpc-slurm.slice/slurmstepd.scope";
        assert_eq!(find_in(&["system.slice", deep]).as_deref(), Some(deep));
        assert_eq!(find_in(&["system.slice/xslurmstepd.scope", "user.slice"]), None);
    }

    #[test]
    fn a_name_a_user_could_make_is_not_looked_at() {
        assert_eq!(find_in(&["user.slice/user-1.slice/user@1.service/app.slice/n1_slurmstepd.scope"]), None);
    }

    #[test]
    fn a_group_tells_its_scope() {
        let group = GroupPath::new("system.slice/n1_slurmstepd.scope/tenant_a/job_1/step_0/slurm").unwrap();
        assert_eq!(of(&group).unwrap().to_string(), "system.slice/n1_slurmstepd.scope");
        assert_eq!(of(&GroupPath::new("system.slice/slurmd.service").unwrap()), None);
    }
}
