//! The scopes in which the slurmds of this machine make their jobs' groups.

use tenantry_cgroup::{GroupPath, Result, Root};

const SCOPE: &str = "slurmstepd.scope";

/// How many slices deep a scope is looked for.
const DEEPEST_SLICE: usize = 4;

/// `slurmstepd.scope`, or `<node>_slurmstepd.scope` for each slurmd where there are several: in
/// slices only, where no user can make a group of that name.
///
/// # Errors
/// Where a slice cannot be listed.
pub fn scopes(root: &Root) -> Result<Vec<GroupPath>> {
    let ends = |group: &GroupPath, end: &str| group.name().as_encoded_bytes().ends_with(end.as_bytes());
    let mut found = Vec::new();
    let mut groups = root.top()?;
    for _ in 0..DEEPEST_SLICE {
        let mut deeper = Vec::new();
        for slice in groups.iter().filter(|group| ends(group, ".slice")) {
            deeper.extend(root.children(slice)?);
        }
        let is_scope = |group: &&GroupPath| group.name() == SCOPE || ends(group, &format!("_{SCOPE}"));
        found.extend(deeper.iter().filter(is_scope).cloned());
        groups = deeper;
    }
    found.sort();
    Ok(found)
}
