//! The tenants' groups: one in another as the tenants are, in the scope that holds the jobs.

use std::fmt::Display;

use tenantry_model::tenants::Limits;
use tenantry_model::{Limit, TenantPath};

use crate::parse::words;
use crate::{Error, GroupPath, Result, Root};

/// What a tenant's group is called: `tenant_` keeps it apart from Slurm's names and the kernel's.
const PREFIX: &str = "tenant_";

/// The controllers a tenant's jobs are held and measured by. Without the first two there is no
/// isolation worth the name; the others are enabled where the kernel has them, and a limit that
/// needs one that is missing is an error of its own.
const CONTROLLERS: [(&str, Need); 5] = [
    ("cpu", Need::Required),
    ("memory", Need::Required),
    ("cpuset", Need::WhereOffered),
    ("io", Need::WhereOffered),
    ("pids", Need::WhereOffered),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    WhereOffered,
}

/// Where a tenant's group stands: `<scope>/tenant_acme/tenant_physics`.
///
/// # Errors
/// None for a [`TenantPath`]: its segments are plain names.
pub fn group(scope: &GroupPath, tenant: &TenantPath) -> Result<GroupPath> {
    tenant.segments().try_fold(scope.clone(), |group, segment| group.child(format!("{PREFIX}{segment}")))
}

/// The tenant whose group has this name in the group of `outer`; `None` where it is no tenant's.
#[must_use]
pub fn named(outer: Option<&TenantPath>, name: &str) -> Option<TenantPath> {
    let segment = name.strip_prefix(PREFIX)?;
    match outer {
        None => segment.parse(),
        Some(outer) => format!("{outer}/{segment}").parse(),
    }
    .ok()
}

/// Makes the tenant's group and those it stands in, enables the controllers down to it, and sets
/// the limits of each level. What is so already is left alone.
///
/// `limits_of` answers for the tenant and each tenant it stands in.
///
/// # Errors
/// Where a group cannot be made, or a limit cannot be enforced here.
pub fn ensure(
    root: &Root,
    scope: &GroupPath,
    tenant: &TenantPath,
    limits_of: impl Fn(&TenantPath) -> Limits,
) -> Result<GroupPath> {
    enable_controllers(root, scope)?;
    let mut innermost = scope.clone();
    for level in tenant.lineage() {
        innermost = group(scope, &level)?;
        root.ensure(&innermost)?;
        set_limits(root, &innermost, &limits_of(&level))?;
        enable_controllers(root, &innermost)?;
    }
    Ok(innermost)
}

fn enable_controllers(root: &Root, group: &GroupPath) -> Result<()> {
    let offered = root.read(group, "cgroup.controllers")?.unwrap_or_default();
    let enabled = root.read(group, "cgroup.subtree_control")?.unwrap_or_default();
    let is_in = |list: &[u8], name: &str| words(list).any(|word| word == name.as_bytes());
    for (controller, need) in CONTROLLERS {
        if is_in(&enabled, controller) {
            continue;
        }
        if is_in(&offered, controller) {
            root.write(group, "cgroup.subtree_control", &format!("+{controller}"))?;
        } else if need == Need::Required {
            return Err(Error::NoController { controller, group: group.as_path().to_owned() });
        }
    }
    Ok(())
}

/// Sets every limit: those of the tenants file, and the kernel's default where the file has none,
/// so that a limit taken out of the file is gone from the group.
fn set_limits(root: &Root, group: &GroupPath, limits: &Limits) -> Result<()> {
    let set = |file: &'static str, wanted: Option<String>, default: &str| {
        let Some(current) = root.read(group, file)? else {
            let no_limit = |value| Error::NoSuchLimit { group: group.as_path().to_owned(), file, value };
            return wanted.map_or(Ok(()), |value| Err(no_limit(value)));
        };
        let value = wanted.as_deref().unwrap_or(default);
        // A limit that already holds is not written again: a write to memory.max reclaims.
        if current.trim_ascii() == value.as_bytes() { Ok(()) } else { root.write(group, file, value) }
    };
    set("cpu.weight", limits.cpu_weight.map(|weight| weight.to_string()), "100")?;
    set("cpu.max", text_of(limits.cpu_max.as_ref()), "max 100000")?;
    set("memory.low", text_of(limits.memory_low.as_ref()), "0")?;
    set("memory.high", text_of(limits.memory_high.as_ref()), "max")?;
    set("memory.max", text_of(limits.memory_max.as_ref()), "max")?;
    set("memory.swap.max", text_of(limits.memory_swap_max.as_ref()), "max")?;
    set("pids.max", text_of(limits.pids_max.as_ref()), "max")
}

fn text_of<T: Display>(limit: Option<&Limit<T>>) -> Option<String> {
    limit.map(ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;
    use tenantry_model::Bytes;

    const LIMIT_FILES: [&str; 7] =
        ["cpu.weight", "cpu.max", "memory.low", "memory.high", "memory.max", "memory.swap.max", "pids.max"];

    /// A group's files as the kernel makes them, for the levels of acme/physics.
    fn fake_tree(controllers: &str) -> (tempfile::TempDir, Root, GroupPath) {
        let dir = tempfile::tempdir().unwrap();
        for level in ["scope", "scope/tenant_acme", "scope/tenant_acme/tenant_physics"] {
            let group = dir.path().join(level);
            fs::create_dir(&group).unwrap();
            fs::write(group.join("cgroup.controllers"), controllers).unwrap();
            fs::write(group.join("cgroup.subtree_control"), "").unwrap();
            for file in LIMIT_FILES {
                fs::write(group.join(file), "max\n").unwrap();
            }
        }
        let root = Root::open_fake(dir.path()).unwrap();
        (dir, root, GroupPath::new("scope").unwrap())
    }

    fn text(dir: &Path, path: &str) -> String {
        fs::read_to_string(dir.join(path)).unwrap().trim_end().to_owned()
    }

    fn physics() -> TenantPath {
        "acme/physics".parse().unwrap()
    }

    #[test]
    fn each_level_gets_its_own_limits_and_defaults_for_the_rest() {
        let (dir, root, scope) = fake_tree("cpuset cpu io memory pids");
        let limits_of = |tenant: &TenantPath| match tenant.as_str() {
            "acme" => Limits { memory_max: Some(Limit::At(Bytes(1 << 30))), ..Limits::default() },
            _ => Limits { cpu_weight: Some(50), pids_max: Some(Limit::At(9)), ..Limits::default() },
        };
        let group = ensure(&root, &scope, &physics(), limits_of).unwrap();
        assert_eq!(group.to_string(), "scope/tenant_acme/tenant_physics");
        // A fake file keeps the tail of a longer old text; these two are written over "max".
        assert_eq!(text(dir.path(), "scope/tenant_acme/memory.max"), "1073741824");
        assert_eq!(text(dir.path(), "scope/tenant_acme/memory.high"), "max");
        assert!(text(dir.path(), "scope/tenant_acme/tenant_physics/cpu.weight").starts_with("50"));
        assert_eq!(text(dir.path(), "scope/tenant_acme/tenant_physics/memory.max"), "max");
    }

    #[test]
    fn a_node_without_the_memory_controller_is_an_error_that_names_it() {
        let (_dir, root, scope) = fake_tree("cpuset cpu io pids");
        let error = ensure(&root, &scope, &physics(), |_| Limits::default()).unwrap_err();
        assert!(matches!(error, Error::NoController { controller: "memory", .. }), "{error}");
    }

    #[test]
    fn a_limit_the_kernel_does_not_have_is_an_error_only_if_it_is_wanted() {
        let (dir, root, scope) = fake_tree("cpu memory");
        fs::remove_file(dir.path().join("scope/tenant_acme/pids.max")).unwrap();
        ensure(&root, &scope, &physics(), |_| Limits::default()).unwrap();
        let wanted = |_: &TenantPath| Limits { pids_max: Some(Limit::At(5)), ..Limits::default() };
        let error = ensure(&root, &scope, &physics(), wanted).unwrap_err();
        assert!(matches!(error, Error::NoSuchLimit { file: "pids.max", .. }), "{error}");
    }
}
