//! `slurmstepd spank prolog`: root, on the node, before the job's first step.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;

use spank::{Failure, JobScript, Outcome};
use tenantry_cgroup::{Error, GroupPath, graft, node, tenant};
use tenantry_model::durable;
use tenantry_model::job::{Incarnation, JobRecords, Paths, Placement, Registration};
use tenantry_model::tenants::{self, IsolationFailure, MeteringFailure, Tenants, TenantsError};
use tenantry_model::{BootId, NodeName, TenantPath};

use crate::context::epilog;
use crate::facts::{Facts, MissingFact};
use crate::outbox;
use crate::placement::place;
use crate::scope;
use crate::site::Site;

/// Why a job could not be put under its tenant.
#[derive(Debug, thiserror::Error)]
pub enum IsolationError {
    /// Slurm did not say which job it is.
    #[error(transparent)]
    Spank(#[from] spank::Error),
    /// Slurm did not say on which node it is.
    #[error(transparent)]
    Facts(#[from] MissingFact),
    /// slurmd made no scope.
    #[error(
        "no slurmstepd.scope of {0} in the cgroup tree: Tenantry needs CgroupPlugin=cgroup/v2 and ProctrackType=proctrack/cgroup"
    )]
    NoScope(NodeName),
    /// The kernel refused.
    #[error(transparent)]
    Cgroup(#[from] Error),
    /// The record could not be written.
    #[error("cannot write the job's registration")]
    Record(#[source] io::Error),
}

/// The hook. Its failure drains the node, so it fails only where the site chose that.
pub fn run(site: Result<Site, Error>, job: &JobScript<'_>) -> Outcome {
    let in_force = tenants::in_force(&Paths::default());
    if let Ok((_, Some(stale))) = &in_force {
        spank::log::error(&format!("{stale}; the last good tenants file stays in force"));
    }
    let policy = in_force.as_ref().map(|(tenants, _)| tenants.policy()).unwrap_or_default();
    let tenants = in_force.map(|(tenants, _)| tenants);
    let placed = site
        .map_err(IsolationError::from)
        .and_then(|site| register(&site, &facts_of(job)?, tenants, policy.isolation_failure));
    match placed {
        Ok(None) => Ok(()),
        Ok(Some(failure)) => fail(policy.isolation_failure, failure),
        Err(error) => fail(policy.isolation_failure, Failure::from(error)),
    }
}

fn facts_of(job: &JobScript<'_>) -> Result<Facts, IsolationError> {
    Ok(Facts::new(job.job_id()?, job.uid()?, job.gid()?, |name| job.var(name))?)
}

fn fail(policy: IsolationFailure, failure: Failure) -> Outcome {
    match policy {
        IsolationFailure::DrainNode => Err(failure),
        IsolationFailure::FailJob => {
            spank::log::error(&format!("{failure}; the job's steps will be refused"));
            Ok(())
        }
        IsolationFailure::RunUnisolated => {
            spank::log::error(&format!("{failure}; the job runs UNISOLATED, as isolation_failure says"));
            Ok(())
        }
    }
}

/// Decides, grafts and writes the registration. `Some`: what kept the job from its tenant, where
/// that could be registered.
fn register(
    site: &Site,
    facts: &Facts,
    tenants: Result<Tenants, TenantsError>,
    policy: IsolationFailure,
) -> Result<Option<Failure>, IsolationError> {
    let scope =
        scope::find(&site.root, &facts.node)?.ok_or_else(|| IsolationError::NoScope(facts.node.clone()))?;
    let records = site.paths.job(scope.as_path(), facts.job_id);
    close_leftover(site, &records);

    let began = site.now()?;
    let (placement, failure) = decide(site, facts, &scope, tenants, policy);
    let registration = Registration {
        incarnation: Incarnation {
            cluster: facts.cluster.clone(),
            node: facts.node.clone(),
            boot_id: BootId::current().map_err(IsolationError::Record)?,
            job_id: facts.job_id,
            began: began.wall,
        },
        restart_count: facts.restart_count,
        sluid: facts.sluid.clone(),
        uid: facts.uid,
        gid: facts.gid,
        user: facts.user.clone(),
        account: facts.accepted_account(),
        partition: facts.partition.clone(),
        allocated_cpus: facts.cpus,
        scope: scope.as_path().to_owned(),
        began,
        placement,
    };
    if let Err(error) = write(&records, &registration) {
        // Unregistered, nobody would ever undo it.
        if let Placement::Grafted { leaf, mounts, .. } = &registration.placement {
            epilog::undo(site, leaf, mounts)?;
        }
        return Err(IsolationError::Record(error));
    }
    match &registration.placement {
        Placement::Refused { reason } => {
            spank::log::info(&format!("job {}: refused: {reason}", facts.job_id));
        }
        Placement::Unisolated { .. } => {}
        Placement::Grafted { tenant, leaf, .. } => {
            spank::log::info(&format!("job {}: tenant {tenant}, in {}", facts.job_id, leaf.display()));
        }
    }
    Ok(failure)
}

/// The tenant's group with the job's in it, or what is in its place and why.
fn decide(
    site: &Site,
    facts: &Facts,
    scope: &GroupPath,
    tenants: Result<Tenants, TenantsError>,
    policy: IsolationFailure,
) -> (Placement, Option<Failure>) {
    let tenants = match tenants {
        Ok(tenants) => tenants,
        Err(error) => return unplaced(policy, None, error.into()),
    };
    let tenant = match place(facts, &tenants) {
        Ok(tenant) => tenant,
        // Not a failure of isolation: the site's own answer. So is the next.
        Err(refusal) => return (Placement::Refused { reason: refusal.to_string() }, None),
    };
    if let Err(reason) = meterable(site, facts, &tenants) {
        return (Placement::Refused { reason }, None);
    }
    match graft_job(site, facts, scope, tenant, &tenants) {
        Ok(placement) => (placement, None),
        Err(error) => unplaced(policy, Some(tenant.clone()), error.into()),
    }
}

/// Where the site would rather refuse a job than not record it: whether it can be recorded.
fn meterable(site: &Site, facts: &Facts, tenants: &Tenants) -> Result<(), String> {
    match tenants.policy().metering_failure {
        MeteringFailure::RecordGap => Ok(()),
        MeteringFailure::RefuseJob => outbox::probe(&site.paths, facts.job_id).map_err(|error| {
            format!("its usage cannot be recorded on this node: {error}; tell your administrator")
        }),
    }
}

fn unplaced(
    policy: IsolationFailure,
    tenant: Option<TenantPath>,
    failure: Failure,
) -> (Placement, Option<Failure>) {
    let reason = format!("{failure}");
    let placement = match policy {
        IsolationFailure::RunUnisolated => Placement::Unisolated { tenant, reason },
        IsolationFailure::FailJob | IsolationFailure::DrainNode => Placement::Refused { reason },
    };
    (placement, Some(failure))
}

fn graft_job(
    site: &Site,
    facts: &Facts,
    scope: &GroupPath,
    tenant: &TenantPath,
    tenants: &Tenants,
) -> Result<Placement, IsolationError> {
    let limits = tenants.on(&node::size(&site.root, tenants)?);
    let group = tenant::ensure(&site.root, scope, tenant, &limits)?;
    let leaf = group.child(format!("job_{}", facts.job_id))?;
    let mounts = mount_points(facts, scope)?;
    // From a prolog that ended half-way: without a registration nothing of the job can be in it.
    graft::undo(&site.root, &leaf, &mounts)?;
    graft::graft(&site.root, &leaf, &mounts)?;
    Ok(Placement::Grafted {
        tenant: tenant.clone(),
        leaf: leaf.as_path().to_owned(),
        mounts: mounts.iter().map(|mount| mount.as_path().to_owned()).collect(),
    })
}

/// Where slurmstepd will look for the job's group. Since 26.05 that is the SLUID or, with
/// `CgroupJobIdPaths=yes`, the job id; slurmd read its setting when it started, so the file may
/// say something else by now: both are the job's.
fn mount_points(facts: &Facts, scope: &GroupPath) -> Result<Vec<GroupPath>, IsolationError> {
    let mut mounts = vec![scope.child(format!("job_{}", facts.job_id))?];
    if let Some(sluid) = &facts.sluid {
        mounts.push(scope.child(sluid.as_str())?);
    }
    Ok(mounts)
}

/// An earlier run of the same job id whose epilog did not come.
fn close_leftover(site: &Site, records: &JobRecords) {
    match durable::read_json(&records.registration()) {
        Ok(None) => {}
        Ok(Some(registration)) => {
            let job = records.dir.display();
            spank::log::error(&format!("{job}: an earlier run had no epilog; it is closed now"));
            epilog::close(site, records, registration);
        }
        Err(error) => {
            spank::log::error(&format!("cannot read {}: {error}", records.registration().display()));
        }
    }
}

fn write(records: &JobRecords, registration: &Registration) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&records.dir)?;
    durable::write_json(&records.registration(), registration)
}
