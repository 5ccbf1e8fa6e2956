//! `placement = "siblings"`: for sites that want no mounts. A job's group stays where Slurm makes
//! it, and what its tenant may use of CPU, pids and IO is shared out equally over the tenant's jobs
//! on the node: at each job's begin, and by the warden when one has ended.

use std::fs;
use std::path::Path;

use tenantry_cgroup::bpf::{self, Policy};
use tenantry_cgroup::{GroupPath, graft, node, tenant};
use tenantry_model::TenantPath;
use tenantry_model::job::Placement;
use tenantry_model::tenants::{NodeLimits, PlacementMode, Resolved, Tenants, Unenforceable};

use tenantry_model::fault;

use crate::records::{self, Plan};
use crate::{Error, Facts, Site, close, enforce, scope};

/// A job's group among its siblings, which keeps its counters after Slurm's last step. Where the
/// prolog runs inside the job, Slurm has made it already.
///
/// # Errors
/// [`Error::NotShared`], unless the site's policy is to run without; where the kernel refuses.
pub fn place(
    site: &Site,
    facts: &Facts,
    scope: &GroupPath,
    tenant: &TenantPath,
    tenants: &Tenants,
    in_the_job: bool,
) -> Result<Placement, Error> {
    let limits = tenants.on(&node::size(&site.root, tenants)?);
    let network = policy_of(tenant, tenants, &limits).or_else(|error| {
        if tenants.policy().unenforceable != Unenforceable::RunWithout {
            return Err(error);
        }
        (site.say)(
            crate::Severity::Error,
            &format!("{}; its jobs run without, as unenforceable says", error.describe()),
        );
        Ok(None)
    })?;
    tenant::enable(&site.root, scope)?;
    let leaf = scope.child(name(facts))?;
    Plan { leaf: leaf.as_path().to_owned(), mounts: Vec::new(), in_the_job }
        .write(&site.paths.job(scope.as_path(), facts.job_id))?;
    if !in_the_job {
        // From a prolog that ended half-way: without a registration nothing of the job can be in it.
        graft::undo(&site.root, &leaf, &[])?;
    }
    site.root.ensure(&leaf)?;
    fault::step("sibling: Leaf");
    site.root.ensure(&leaf.child(graft::SENTINEL)?)?;
    fault::step("sibling: Sentinel");
    let network = network
        .map(|level| &tenants.get(level).unwrap_or_else(|| unreachable!("it was found there")).network);
    bpf::confine(&site.root, &leaf, &Policy { devices: None, network })?;
    enforce::count_job(site, &leaf);
    let also = (tenant.clone(), leaf.clone());
    share_out_in(site, scope, &limits, Some(also))?;
    Ok(Placement::Grafted { tenant: tenant.clone(), leaf: leaf.as_path().to_owned(), mounts: Vec::new() })
}

/// Shares out anew where the site has siblings: a job may have ended, or the file may have changed.
///
/// # Errors
/// Where a record cannot be read, or the kernel refuses.
pub fn share_out(site: &Site, tenants: &Tenants) -> Result<(), Error> {
    if tenants.policy().placement != PlacementMode::Siblings {
        return Ok(());
    }
    let limits = tenants.on(&node::size(&site.root, tenants)?);
    for scope in scope::all(&site.root)? {
        share_out_in(site, &scope, &limits, None)?;
    }
    Ok(())
}

/// `also`: a job that is not registered yet.
fn share_out_in(
    site: &Site,
    scope: &GroupPath,
    limits: &Resolved,
    also: Option<(TenantPath, GroupPath)>,
) -> Result<(), Error> {
    let mut jobs: Vec<(TenantPath, GroupPath)> = also.into_iter().collect();
    for (_, records) in records::of_scope(&site.paths, scope)? {
        let registered = close::registration(&records)?;
        if let Some(Placement::Grafted { tenant, leaf, mounts }) = registered.map(|job| job.placement)
            && mounts.is_empty()
        {
            jobs.push((tenant, GroupPath::new(leaf)?));
        }
    }
    for (tenant, leaf) in &jobs {
        let mut own = NodeLimits::default();
        // From the innermost tenant out.
        for level in tenant.lineage().collect::<Vec<_>>().into_iter().rev() {
            let sharing =
                jobs.iter().filter(|(other, _)| other.lineage().any(|other| other == level)).count();
            let part = |limits: &NodeLimits| limits.part_of(u64::try_from(sharing).unwrap_or(u64::MAX));
            own = own.tightened_by(&limits.limits(&level).map(part).unwrap_or_default());
        }
        if site.root.exists(leaf)? {
            tenant::set_shared(&site.root, leaf, &own)?;
        }
    }
    Ok(())
}

/// The one tenant of the lineage with a network policy.
fn policy_of<'t>(
    tenant: &TenantPath,
    tenants: &'t Tenants,
    limits: &Resolved,
) -> Result<Option<&'t TenantPath>, Error> {
    let mut found = None;
    for level in tenant.lineage() {
        let indivisible = limits.limits(&level).and_then(NodeLimits::indivisible);
        let named = tenants.iter().find(|(path, _)| **path == level);
        let second = match named.filter(|(_, tenant)| !tenant.network.is_empty()) {
            Some((path, _)) => found.replace(path).is_some().then_some("a second network policy"),
            None => None,
        };
        if let Some(what) = indivisible.or(second) {
            return Err(Error::NotShared { tenant: level, what });
        }
    }
    Ok(found)
}

/// What slurmstepd will call the job's group. Since 26.05 that is the SLUID, unless
/// `CgroupJobIdPaths=yes`; where slurmd was not restarted since that was changed, the job's steps
/// are found in another group, and refused.
fn name(facts: &Facts) -> String {
    let by_id = format!("job_{}", facts.job_id);
    match &facts.sluid {
        Some(sluid) if !uses_job_ids(Path::new("/etc/slurm/cgroup.conf")) => sluid.as_str().to_owned(),
        _ => by_id,
    }
}

fn uses_job_ids(file: &Path) -> bool {
    let text = fs::read_to_string(file).unwrap_or_default();
    let values = text.lines().filter_map(|line| line.split_once('='));
    let mut set = values.filter(|(key, _)| key.trim().eq_ignore_ascii_case("CgroupJobIdPaths"));
    set.next_back().is_some_and(|(_, value)| value.trim().eq_ignore_ascii_case("yes"))
}
