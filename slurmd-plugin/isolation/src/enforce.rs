//! A tenant's limits, devices and network policy, in force on its groups here, and its traffic
//! counted: at each job's begin for that job's tenant, and by the warden for all that have a group.

use std::path::Path;

use tenantry_cgroup::bpf::{self, Meter, PINS, Policy};
use tenantry_cgroup::{Error as Kernel, GroupPath, node, tenant};
use tenantry_model::TenantPath;
use tenantry_model::tenants::{self, Resolved, Tenants, Unenforceable};

use crate::{Error, Site, scope};

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
        confine(site, scope, &level, tenants, &limits)
            .or_else(|error| run_without(site, policy, &level, error))?;
    }
    count(site, scope, tenant);
    Ok(tenant::group(scope, tenant)?)
}

/// Puts in force what differs on every tenant that has a group here. What Slurm wrote to its jobs
/// is not touched. What cannot be done for one tenant keeps no other from it.
///
/// # Errors
/// Where there is no good tenants file, or the tree cannot be listed.
pub fn apply(site: &Site) -> Result<Vec<String>, Error> {
    let (tenants, stale) = tenants::in_force(&site.paths)?;
    let limits = tenants.on(&node::size(&site.root, &tenants)?);
    let mut failed: Vec<String> =
        stale.iter().map(|stale| format!("{stale}; the last good tenants file stays in force")).collect();
    for scope in scope::all(&site.root)? {
        for applied in tenant::apply(&site.root, &scope, &limits)? {
            let tenant = &applied.tenant;
            for setting in applied.changed {
                let (file, wanted) = (&setting.file, &setting.wanted);
                let device = setting.device.map(|device| format!(" of {device}")).unwrap_or_default();
                let before = setting.actual.as_deref().unwrap_or("absent");
                site.info(&format!("tenant {tenant}: {file}{device} was {before}, is {wanted}"));
            }
            let mut fail = |error| failed.push(format!("tenant {tenant}: {}", Error::from(error).describe()));
            applied.failed.into_iter().for_each(&mut fail);
            if let Err(error) = confine(site, &scope, tenant, &tenants, &limits) {
                fail(error);
            }
            count(site, &scope, tenant);
        }
    }
    Ok(failed)
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

fn confine(
    site: &Site,
    scope: &GroupPath,
    tenant: &TenantPath,
    tenants: &Tenants,
    limits: &Resolved,
) -> Result<(), Kernel> {
    let network = tenants.get(tenant).map(|tenant| &tenant.network).filter(|network| !network.is_empty());
    let devices = limits.limits(tenant).and_then(|limits| limits.devices.as_deref());
    let group = tenant::group(scope, tenant)?;
    match bpf::confine(&site.root, &group, &Policy { devices, network }) {
        // A kernel without BPF has nothing of ours to take away.
        Err(Kernel::Unenforceable { .. } | Kernel::Bpf { .. }) if devices.is_none() && network.is_none() => {
            Ok(())
        }
        confined => confined,
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
