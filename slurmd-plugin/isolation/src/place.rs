//! A job's begin on this node: whose it is, its group in its tenant's, its registration.

use std::ffi::CString;
use std::io;
use std::path::PathBuf;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tenantry_cgroup::{GroupPath, graft};
use tenantry_model::job::{Incarnation, JobRecords, Paths, Placement, Registration};
use tenantry_model::tenants::{
    self, IsolationFailure, MeteringFailure, PlacementMode, Tenants, TenantsError,
};
use tenantry_model::{BootId, TenantPath, durable, fault};

use crate::placement::{Member, place};
use crate::records::{self, Plan};
use crate::{
    Error, Facts, Severity, Site, close, enforce, late, lock, namespace, outbox, processes, residue, scope,
    siblings,
};

/// Who calls: it decides how the job gets into its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prolog {
    /// slurmd, before any process of the job is there.
    BeforeTheJob,
    /// slurmstepd, inside the job (`PrologFlags=RunInJob`).
    InTheJob,
}

/// A job could not be put under its tenant, and the site wants the node drained for it.
#[derive(Debug, thiserror::Error)]
#[error("{0}; the node drains, as isolation_failure says")]
pub struct Drain(String);

/// Puts a job under its tenant and registers it. What goes wrong is the site's policy to answer:
/// the job's steps are refused, or it runs unisolated.
///
/// # Errors
/// [`Drain`], only where the site chose that.
pub fn begin(facts: Result<Facts, Error>, prolog: Prolog, say: fn(Severity, &str)) -> Result<(), Drain> {
    // Before any file is read: it may be another file in slurmd's own mount namespace.
    let entered = namespace::enter_the_nodes();
    let in_force = tenants::in_force(&Paths::default());
    if let Ok((_, Some(stale))) = &in_force {
        say(Severity::Error, &format!("{stale}; the last good tenants file stays in force"));
    }
    let policy = in_force.as_ref().map(|(tenants, _)| tenants.policy()).unwrap_or_default();
    let tenants = in_force.map(|(tenants, _)| tenants);
    let failure = entered
        .and_then(|()| register(&Site::system(say)?, &facts?, tenants, policy.isolation_failure, prolog))
        .unwrap_or_else(Some);
    let Some(failure) = failure else { return Ok(()) };
    let failure = failure.describe();
    match policy.isolation_failure {
        IsolationFailure::DrainNode => return Err(Drain(failure)),
        IsolationFailure::FailJob => {
            say(Severity::Error, &format!("{failure}; the job's steps will be refused"));
        }
        IsolationFailure::RunUnisolated => {
            say(Severity::Error, &format!("{failure}; the job runs UNISOLATED, as isolation_failure says"));
        }
    }
    Ok(())
}

/// Decides, grafts and writes the registration. `Some`: what kept the job from its tenant, where
/// that could be registered.
fn register(
    site: &Site,
    facts: &Facts,
    tenants: Result<Tenants, TenantsError>,
    policy: IsolationFailure,
    prolog: Prolog,
) -> Result<Option<Error>, Error> {
    let scope = scope::find(&site.root, &facts.node)?.ok_or_else(|| Error::NoScope(facts.node.clone()))?;
    let records = site.paths.job(scope.as_path(), facts.job_id);
    let Some(_lock) = lock_fresh(site, &records)? else { return Ok(None) };
    fault::step("prolog: locked");

    let began = site.now()?;
    let boot_id = BootId::current().map_err(Error::record("read", "/proc/sys/kernel/random/boot_id"))?;
    let (placement, failure) = decide(site, facts, &scope, tenants, policy, prolog);
    let registration = Registration {
        incarnation: Incarnation {
            cluster: facts.cluster.clone(),
            node: facts.node.clone(),
            boot_id,
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
        allocated_gpus: facts.gpus.clone(),
        scope: scope.as_path().to_owned(),
        began,
        placement,
    };
    let written = residue::lock_user(site, facts.uid).and_then(|_user| write(&records, &registration));
    if let Err(error) = written {
        // Unregistered, nobody would ever undo it.
        if let Placement::Grafted { leaf, mounts, .. } = &registration.placement {
            graft::undo(&site.root, &GroupPath::new(leaf)?, &close::groups(mounts)?)?;
        }
        return Err(error);
    }
    fault::step("prolog: registered");
    if let Placement::Grafted { leaf, .. } = &registration.placement {
        records::note(site, &GroupPath::new(leaf)?, &registration);
    }
    match &registration.placement {
        Placement::Refused { reason } => site.info(&format!("job {}: refused: {reason}", facts.job_id)),
        Placement::Unisolated { .. } => {}
        Placement::Grafted { tenant, leaf, .. } => {
            site.info(&format!("job {}: tenant {tenant}, in {}", facts.job_id, leaf.display()));
        }
    }
    Ok(failure)
}

/// Writes a registration, or writes it anew.
pub(crate) fn write(records: &JobRecords, registration: &Registration) -> Result<(), Error> {
    let file = records.registration();
    durable::write_json(&file, registration).map_err(Error::record("write", file))
}

/// The tenant's group with the job's in it, or what is in its place and why.
fn decide(
    site: &Site,
    facts: &Facts,
    scope: &GroupPath,
    tenants: Result<Tenants, TenantsError>,
    policy: IsolationFailure,
    prolog: Prolog,
) -> (Placement, Option<Error>) {
    let tenants = match tenants {
        Ok(tenants) => tenants,
        Err(error) => return unplaced(policy, None, error.into()),
    };
    let tenant = match place(facts, &tenants, || member(facts)) {
        Ok(tenant) => tenant,
        // Not a failure of isolation: the site's own answer. So is the next.
        Err(refusal) => return (Placement::Refused { reason: refusal.to_string() }, None),
    };
    if let Err(reason) = meterable(site, facts, &tenants) {
        return (Placement::Refused { reason }, None);
    }
    match graft_job(site, facts, scope, tenant, &tenants, prolog) {
        Ok(placement) => (placement, None),
        Err(error) => unplaced(policy, Some(tenant.clone()), error),
    }
}

/// The job's owner, as this node's user database has him.
fn member(facts: &Facts) -> Member {
    let user = User::from_uid(Uid::from_raw(facts.uid)).ok().flatten();
    let Some(user) = user else { return Member::default() };
    let ids = CString::new(user.name.as_str()).ok().and_then(|name| getgrouplist(&name, user.gid).ok());
    let name_of = |gid: Gid| Group::from_gid(gid).ok().flatten().map(|group| group.name);
    let groups = ids.unwrap_or_default().into_iter().filter_map(name_of).collect();
    Member { user: Some(user.name), groups }
}

/// Where the site would rather refuse a job than not record it: whether it can be recorded.
fn meterable(site: &Site, facts: &Facts, tenants: &Tenants) -> Result<(), String> {
    match tenants.policy().metering_failure {
        MeteringFailure::RecordGap => Ok(()),
        MeteringFailure::RefuseJob => outbox::probe(&site.paths, facts.job_id).map_err(|error: io::Error| {
            format!("its usage cannot be recorded on this node: {error}; tell your administrator")
        }),
    }
}

fn unplaced(
    policy: IsolationFailure,
    tenant: Option<TenantPath>,
    failure: Error,
) -> (Placement, Option<Error>) {
    let reason = failure.describe();
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
    prolog: Prolog,
) -> Result<Placement, Error> {
    let records = site.paths.job(scope.as_path(), facts.job_id);
    // Of a prolog that ended half-way: a requeued job's group may have another name than its first.
    if let Some(plan) = Plan::read(&records)? {
        plan.undo(&site.root)?;
    }
    let in_the_job = prolog == Prolog::InTheJob;
    if tenants.policy().placement == PlacementMode::Siblings {
        return siblings::place(site, facts, scope, tenant, tenants, in_the_job);
    }
    let group = enforce::ensure(site, scope, tenant, tenants)?;
    fault::step("prolog: tenant made");
    let leaf = group.child(format!("job_{}", facts.job_id))?;
    let mounts = mount_points(facts, scope)?;
    let paths = mounts.iter().map(|mount| mount.as_path().to_owned()).collect();
    Plan { leaf: leaf.as_path().to_owned(), mounts: paths, in_the_job }.write(&records)?;
    if in_the_job {
        late::graft(&site.root, scope, &leaf, &mounts)?;
    } else {
        // From a prolog that ended half-way: without a registration nothing of the job can be in it.
        graft::undo(&site.root, &leaf, &mounts)?;
        graft::graft(&site.root, &leaf, &mounts, |step| fault::step(&format!("graft: {step:?}")))?;
    }
    let points: Vec<PathBuf> = mounts.iter().map(|mount| site.root.path().join(mount.as_path())).collect();
    if !namespace::parent_sees(&points)? {
        graft::undo(&site.root, &leaf, &mounts)?;
        return Err(Error::Unseen);
    }
    enforce::count_job(site, &leaf);
    Ok(Placement::Grafted {
        tenant: tenant.clone(),
        leaf: leaf.as_path().to_owned(),
        mounts: mounts.iter().map(|mount| mount.as_path().to_owned()).collect(),
    })
}

/// Where slurmstepd will look for the job's group. Since 26.05 that is the SLUID or, with
/// `CgroupJobIdPaths=yes`, the job id; slurmd read its setting when it started, so the file may
/// say something else by now: both are the job's.
fn mount_points(facts: &Facts, scope: &GroupPath) -> Result<Vec<GroupPath>, Error> {
    let mut mounts = vec![scope.child(format!("job_{}", facts.job_id))?];
    if let Some(sluid) = &facts.sluid {
        mounts.push(scope.child(sluid.as_str())?);
    }
    Ok(mounts)
}

/// The lock of a job that has no registration yet: an earlier run of the same id whose epilog did
/// not come is closed first. `None` where the job runs: a slurmd that was killed has forgotten that,
/// and calls the prolog once more with the job's next step.
fn lock_fresh(site: &Site, records: &JobRecords) -> Result<Option<lock::Lock>, Error> {
    loop {
        let lock = lock::take(&records.dir).map_err(Error::record("make and lock", &records.dir))?;
        let Some(registration) = close::registration(records)? else { return Ok(Some(lock)) };
        let job = registration.incarnation.job_id;
        if let Placement::Grafted { leaf, mounts, .. } = &registration.placement {
            let leaf = GroupPath::new(leaf)?;
            if processes::has_slurmstepd(&site.root, &leaf)? {
                let scope = GroupPath::new(&registration.scope)?;
                late::graft(&site.root, &scope, &leaf, &close::groups(mounts)?)?;
                site.info(&format!(
                    "job {job}: its prolog is called again, and it runs already: it stays as it is"
                ));
                return Ok(None);
            }
        }
        site.error(&format!("job {job}: an earlier run had no epilog; it is closed now"));
        // The directory, and so the lock, goes with it.
        close::registered(site, records, registration)?;
    }
}
