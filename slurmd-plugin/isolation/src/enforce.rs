//! A tenant's limits, devices and network policy, in force on its groups here, and its traffic
//! counted: at each job's begin for that job's tenant, and by the warden for all that have a group.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use tenantry_cgroup::bpf::{self, Meter, PINS, Part, Policy, State};
use tenantry_cgroup::tenant::{self, Setting};
use tenantry_cgroup::{Error as Kernel, GroupPath, Root, node};
use tenantry_model::TenantPath;
use tenantry_model::tenants::{self, Resolved, Tenants, TenantsError, Unenforceable};

use crate::{Error, Site, scope, siblings};

/// Makes the tenant's group and those it stands in, and puts in force what is wanted of each.
///
/// # Errors
/// What the kernel here cannot enforce, unless the site's policy is to run without; anything that
/// is not done for another reason.
pub fn ensure(
    site: &Site,
    scope: &GroupPath,
    tenant: &TenantPath,
    tenants: &Tenants,
) -> Result<GroupPath, Error> {
    let limits = tenants.on(&node::size(&site.root, tenants)?);
    let policy = tenants.policy().unenforceable;
    match tenant::ensure(&site.root, scope, tenant, &limits) {
        Ok(_) => {}
        Err(error) => run_without(site, policy, tenant, error)?,
    }
    for level in tenant.lineage() {
        if let Err(error) =
            confine(&site.root, &tenant::group(scope, &level)?, &wanted(&level, tenants, &limits))
        {
            run_without(site, policy, &level, error)?;
        }
    }
    count(site, scope, tenant);
    Ok(tenant::group(scope, tenant)?)
}

/// What became of one running tenant in one scope.
#[derive(Debug)]
pub struct Applied {
    /// Whose.
    pub tenant: TenantPath,
    /// Where its group stands.
    pub scope: GroupPath,
    /// What was changed.
    pub changed: Vec<Change>,
    /// What could not be.
    pub failed: Vec<Error>,
}

/// Something that was put in force on a group, and was not before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A limit, with what stood in its file before.
    Limit(Setting),
    /// A part of the policy, and how it stood before: [`State::Unwanted`] was taken away.
    Policy(Part, State),
}

/// `memory.max was max, is 1073741824`, `device lists: was missing, is in force`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit(Setting { file, device, wanted, actual, .. }) => {
                let device = device.as_ref().map(|device| format!(" of {device}")).unwrap_or_default();
                let before = actual.as_deref().unwrap_or("absent");
                write!(f, "{file}{device} was {before}, is {wanted}")
            }
            Self::Policy(part, State::Unwanted) => write!(f, "{part}: was in force, is not wanted and gone"),
            Self::Policy(part, State::Different) => write!(f, "{part}: was another, is in force"),
            Self::Policy(part, _) => write!(f, "{part}: was missing, is in force"),
        }
    }
}

/// Applies the tenants file in force, and counts the traffic of each tenant that has a group here;
/// with what is wrong with the file where an earlier one is in force.
///
/// # Errors
/// Where there is no good tenants file, or the tree cannot be listed.
pub fn apply_in_force(site: &Site) -> Result<(Vec<Applied>, Option<TenantsError>), Error> {
    let (tenants, stale) = tenants::in_force(&site.paths)?;
    let limits = tenants.on(&node::size(&site.root, &tenants)?);
    let applied = apply(&site.root, &tenants, &limits)?;
    for Applied { tenant, scope, .. } in &applied {
        count(site, scope, tenant);
    }
    siblings::share_out(site, &tenants)?;
    Ok((applied, stale))
}

/// Puts in force what differs on every tenant that has a group here: limits, devices, network. What
/// Slurm wrote to its jobs is not touched. What cannot be done for one tenant keeps no other from it.
///
/// # Errors
/// Where the tree cannot be listed.
pub fn apply(root: &Root, tenants: &Tenants, limits: &Resolved) -> Result<Vec<Applied>, Error> {
    let mut all = Vec::new();
    for scope in scope::all(root)? {
        for tenant::Applied { tenant, changed, failed } in tenant::apply(root, &scope, limits)? {
            let mut changed: Vec<_> = changed.into_iter().map(Change::Limit).collect();
            let mut failed: Vec<_> = failed.into_iter().map(Error::from).collect();
            let group = tenant::group(&scope, &tenant)?;
            match confine(root, &group, &wanted(&tenant, tenants, limits)) {
                Ok(parts) => changed.extend(parts),
                // A group that went in the meantime has no policy to fail.
                Err(error) if root.exists(&group)? => failed.push(error.into()),
                Err(_) => {}
            }
            all.push(Applied { tenant, scope: scope.clone(), changed, failed });
        }
    }
    Ok(all)
}

/// What the file wants of a tenant's group beyond its limits.
#[must_use]
pub fn wanted<'a>(tenant: &TenantPath, tenants: &'a Tenants, limits: &'a Resolved) -> Policy<'a> {
    Policy {
        devices: limits.limits(tenant).and_then(|limits| limits.devices.as_deref()),
        network: tenants.get(tenant).map(|tenant| &tenant.network).filter(|network| !network.is_empty()),
    }
}

/// How a group stands to a policy, as [`bpf::compare`] says it: a kernel without BPF has nothing of
/// ours where nothing is wanted.
///
/// # Errors
/// As [`bpf::compare`].
pub fn compare(root: &Root, group: &GroupPath, policy: &Policy<'_>) -> Result<BTreeMap<Part, State>, Kernel> {
    match bpf::compare(root, group, policy) {
        Err(Kernel::Unenforceable { .. } | Kernel::Bpf { .. }) if *policy == Policy::default() => {
            Ok(BTreeMap::new())
        }
        compared => compared,
    }
}

/// Puts a policy in force where it is not, and says what that changed.
fn confine(root: &Root, group: &GroupPath, policy: &Policy<'_>) -> Result<Vec<Change>, Kernel> {
    let differing = compare(root, group, policy)?.into_iter().filter(|(_, state)| *state != State::InForce);
    let changed: Vec<_> = differing.map(|(part, state)| Change::Policy(part, state)).collect();
    if !changed.is_empty() {
        bpf::confine(root, group, policy)?;
    }
    Ok(changed)
}

/// Counts a job's own traffic. Without the counters a job runs as well: they are absent.
pub fn count_job(site: &Site, leaf: &GroupPath) {
    let counted = meter().and_then(|meter| meter.attach(&site.root, leaf));
    if let Err(error) = counted {
        (site.say)(
            crate::Severity::Verbose,
            &format!("{leaf}: its traffic is not counted: {}", Error::from(error).describe()),
        );
    }
}

fn count(site: &Site, scope: &GroupPath, tenant: &TenantPath) {
    for level in tenant.lineage() {
        if let Ok(group) = tenant::group(scope, &level) {
            count_job(site, &group);
        }
    }
}

fn meter() -> Result<Meter, Kernel> {
    Meter::open_or_load(Path::new(PINS), None)
}

fn run_without(site: &Site, policy: Unenforceable, tenant: &TenantPath, error: Kernel) -> Result<(), Error> {
    let is_unenforceable = error.is_unenforceable();
    let error = Error::from(error);
    if is_unenforceable && policy == Unenforceable::RunWithout {
        site.error(&format!(
            "tenant {tenant}: {}; its jobs run without, as unenforceable says",
            error.describe()
        ));
        return Ok(());
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_changed_is_said_with_what_was_before() {
        let limit = Setting {
            file: "io.max".to_owned(),
            device: Some("8:0".to_owned()),
            wanted: "rbps=1 wbps=max riops=max wiops=max".to_owned(),
            is_default: false,
            actual: None,
        };
        for (change, said) in [
            (Change::Limit(limit), "io.max of 8:0 was absent, is rbps=1 wbps=max riops=max wiops=max"),
            (Change::Policy(Part::Devices, State::Missing), "device lists: was missing, is in force"),
            (Change::Policy(Part::Acl, State::Different), "network ACLs: was another, is in force"),
            (
                Change::Policy(Part::EgressGuard, State::Unwanted),
                "the egress guard: was in force, is not wanted and gone",
            ),
        ] {
            assert_eq!(change.to_string(), said);
        }
    }

    #[test]
    fn a_policy_that_cannot_be_put_in_force_keeps_no_other_tenant_from_its_limits() {
        const SCOPE: &str = "system.slice/slurmstepd.scope";
        let dir = tempfile::tempdir().unwrap();
        for tenant in ["tenant_a", "tenant_b"] {
            let group = dir.path().join(SCOPE).join(tenant);
            fs::create_dir_all(&group).unwrap();
            for (file, text) in
                [("cpu.weight", "100"), ("pids.max", "max"), ("cgroup.controllers", "cpu memory pids")]
            {
                fs::write(group.join(file), text).unwrap();
            }
            fs::write(group.join("cgroup.subtree_control"), "cpu memory pids").unwrap();
        }
        for file in ["cgroup.controllers", "cgroup.subtree_control"] {
            fs::write(dir.path().join(SCOPE).join(file), "cpu memory pids").unwrap();
        }
        let root = Root::open_fake(dir.path()).unwrap();
        // A directory takes no program, whatever the kernel is.
        let file = "[tenants.a]\npids_max = 700\ndevices = ['c 1:3 rw']\n[tenants.b]\npids_max = 900\n";
        let tenants = Tenants::parse(Path::new("tenants.toml"), file).unwrap();
        let node = tenantry_model::tenants::NodeSize {
            cpus: "0-3".parse().unwrap(),
            cores: None,
            memory: tenantry_model::Bytes(8 << 30),
            swap: tenantry_model::Bytes(0),
            page: tenantry_model::Bytes(4096),
            pid_max: 32_768,
            huge_pages: [].into(),
            rdma: [].into(),
            devices: [].into(),
        };
        let applied = apply(&root, &tenants, &tenants.on(&node)).unwrap();
        let done = |name: &str| applied.iter().find(|applied| applied.tenant.to_string() == name).unwrap();
        assert_eq!((done("a").changed.len(), done("a").failed.len()), (1, 1), "{applied:?}");
        assert_eq!(done("b").changed.len(), 1, "{applied:?}");
        assert!(done("b").failed.is_empty(), "{applied:?}");
        assert_eq!(fs::read_to_string(dir.path().join(SCOPE).join("tenant_a/pids.max")).unwrap(), "700");
    }
}
