//! What a crash left between a job's begin and its end, mended: by the warden, at its start and
//! every few seconds. Each case ends in one of the two states there are: the job runs in its tenant
//! and is registered, or nothing of it is left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};
use tenantry_cgroup::graft::{self, Mount};
use tenantry_cgroup::{GroupPath, tenant};
use tenantry_model::job::{Incarnation, JobRecords, Placement, Registration};
use tenantry_model::{BootId, JobId, NodeName, TenantPath, durable};

use crate::records::{self, Plan};
use crate::{Error, Site, close, late, lock, processes, scope};

/// In how many looks in a row Slurm must not know a job that has no slurmstepd left before it is
/// closed here: its epilog may be about to. Where none comes, one look is enough.
const LOOKS: u32 = 2;

/// How many looks in a row are hurried because Slurm still knows a job that has ended, and has no epilog.
const HURRIED: u32 = 10;

/// Which jobs Slurm has on a node, the ending ones included; `None` where it does not answer.
pub trait Slurm {
    /// Asks.
    fn jobs_on(&self, node: &NodeName) -> Option<BTreeSet<JobId>>;
}

/// Mends one node, look by look.
pub struct Reconciler {
    site: Site,
    /// How many looks Slurm has not known a job, by its records' directory.
    unknown: BTreeMap<PathBuf, u32>,
    /// Running jobs that will have no epilog, by their records' directory: their groups, and in how many
    /// looks they had ended and Slurm still knew them.
    without_epilog: BTreeMap<PathBuf, (GroupPath, u32)>,
    /// What was said already.
    told: BTreeSet<String>,
}

/// What stands in one scope.
struct Scope {
    group: GroupPath,
    /// The jobs' groups: in the tenants', and siblings that have a copy of their registration.
    leaves: BTreeMap<JobId, (TenantPath, GroupPath)>,
    mounts: Vec<Mount>,
}

impl Reconciler {
    /// For this node.
    #[must_use]
    pub fn new(site: Site) -> Self {
        Self { site, unknown: BTreeMap::new(), without_epilog: BTreeMap::new(), told: BTreeSet::new() }
    }

    /// The node.
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Looks at everything once, and mends what needs it; how many cases there were. A case that
    /// cannot be mended is said once, and tried again at the next look.
    ///
    /// # Errors
    /// Where the tree or the mounts cannot be read at all.
    pub fn look(&mut self, slurm: &impl Slurm) -> Result<usize, Error> {
        let mut mended = 0_usize;
        let mut asked = BTreeMap::new();
        for group in scope::all(&self.site.root)? {
            let scope = self.survey(group)?;
            let records = records::of_scope(&self.site.paths, &scope.group)?;
            let mut jobs: BTreeSet<JobId> = scope.leaves.keys().copied().collect();
            jobs.extend(records.iter().map(|(job, _)| *job));
            jobs.extend(scope.mounts.iter().filter_map(|mount| job_of(&mount.point)));
            for job in jobs {
                let records = self.site.paths.job(scope.group.as_path(), job);
                match self.mend(&scope, job, &records, slurm, &mut asked) {
                    Ok(false) => {}
                    Ok(true) => mended = mended.saturating_add(1),
                    Err(error) => self.tell(&format!("job {job}: {}; it is tried again", error.describe())),
                }
            }
        }
        self.unknown.retain(|records, _| records.exists());
        self.without_epilog.retain(|records, _| records.exists());
        Ok(mended)
    }

    /// The groups of the running jobs that will have no epilog: when one is empty, it is time for a look.
    pub fn without_epilog(&self) -> impl Iterator<Item = &GroupPath> {
        self.without_epilog.values().map(|(leaf, _)| leaf)
    }

    /// Whether the next look should be soon: a job has ended that will have no epilog, and Slurm is
    /// about to forget it.
    #[must_use]
    pub fn is_hurried(&self) -> bool {
        self.without_epilog.values().any(|(_, looks)| (1..HURRIED).contains(looks))
    }

    fn tell(&mut self, message: &str) {
        if self.told.insert(message.to_owned()) {
            self.site.error(message);
        }
    }

    fn survey(&self, group: GroupPath) -> Result<Scope, Error> {
        let root = &self.site.root;
        let mut leaves = BTreeMap::new();
        for tenant in tenant::present(root, &group)? {
            for child in root.children(&tenant::group(&group, &tenant)?)? {
                if let Some(job) = job_of(&child) {
                    leaves.insert(job, (tenant.clone(), child));
                }
            }
        }
        let mut mounts = graft::mounts(root)?;
        mounts.retain(|mount| mount.point.parent().as_ref() == Some(&group));
        for child in root.children(&group)? {
            // What is mounted there is a leaf, and was found in its tenant.
            let is_mounted = mounts.iter().any(|mount| mount.point == child);
            if is_mounted || !root.exists(&child.child(graft::SENTINEL)?)? {
                continue;
            }
            let copy = records::noted(&self.site, &child);
            if let Some(job) = copy
                && let Placement::Grafted { tenant, .. } = job.placement
            {
                leaves.insert(job.incarnation.job_id, (tenant, child));
            }
        }
        Ok(Scope { group, leaves, mounts })
    }

    /// Whether there was something to mend.
    fn mend(
        &mut self,
        scope: &Scope,
        job: JobId,
        records: &JobRecords,
        slurm: &impl Slurm,
        asked: &mut BTreeMap<NodeName, Option<BTreeSet<JobId>>>,
    ) -> Result<bool, Error> {
        let was_there = records.dir.exists();
        let lock =
            if was_there { lock::take_if_free(&records.dir) } else { lock::take(&records.dir).map(Some) };
        // Its prolog or epilog is at work.
        let Some(_lock) = lock.map_err(Error::record("lock", &records.dir))? else { return Ok(false) };
        match close::registration(records)? {
            None => {
                // Before the lock was ours a prolog or an epilog may have done its work.
                let now = self.survey(scope.group.clone())?;
                if !was_there && !now.leaves.contains_key(&job) && points(&now, job).is_empty() {
                    close::clear_directory(&self.site.paths, records)?;
                    return Ok(false);
                }
                self.unregistered(&now, job, records)
            }
            Some(registration) => {
                if let Placement::Grafted { leaf, mounts, .. } = &registration.placement
                    && self.remount(scope, job, leaf, mounts)?
                {
                    return Ok(true);
                }
                let in_the_job = Plan::read(records)?.is_some_and(|plan| plan.in_the_job);
                if !self.is_over(&registration, records, in_the_job, slurm, asked)? {
                    return Ok(false);
                }
                if in_the_job {
                    self.site.info(&format!("job {job}: it is over; it is closed, as no epilog would"));
                } else {
                    self.site
                        .error(&format!("job {job}: it is over and had no epilog here; it is closed now"));
                }
                close::registered(&self.site, records, registration)?;
                Ok(true)
            }
        }
    }

    /// A job without a registration: its prolog ended half-way, or its record was lost.
    fn unregistered(&mut self, scope: &Scope, job: JobId, records: &JobRecords) -> Result<bool, Error> {
        let mut points = points(scope, job);
        if let Some((tenant, leaf)) = scope.leaves.get(&job) {
            if processes::were_in(&self.site.root, leaf, self.site.clock)? {
                points.sort();
                self.adopt(scope, job, records, tenant, leaf, &points)?;
                return Ok(true);
            }
            let own = scope.group.child(format!("job_{job}"))?;
            if !points.contains(&own) {
                points.push(own);
            }
            graft::undo(&self.site.root, leaf, &points)?;
        } else {
            for point in &points {
                // What was mounted there is gone.
                graft::undo(&self.site.root, point, std::slice::from_ref(point))?;
            }
            // A sibling, by whatever name.
            if let Some(plan) = Plan::read(records)? {
                plan.undo(&self.site.root)?;
            }
        }
        close::clear_directory(&self.site.paths, records)?;
        self.site.error(&format!(
            "job {job}: its prolog or epilog was cut off half-way; what that left is removed"
        ));
        Ok(true)
    }

    /// Registers a job again: by the copy on its group or, without one, by what the group tells.
    fn adopt(
        &self,
        scope: &Scope,
        job: JobId,
        records: &JobRecords,
        tenant: &TenantPath,
        leaf: &GroupPath,
        points: &[GroupPath],
    ) -> Result<(), Error> {
        let copy = records::noted(&self.site, leaf);
        let how =
            if copy.is_some() { "as it was" } else { "by its group, without its account and its begin" };
        let registration = match copy {
            Some(copy) => copy,
            None => self.reconstructed(scope, job, tenant, leaf, points)?,
        };
        let file = records.registration();
        durable::write_json(&file, &registration).map_err(Error::record("write", file))?;
        self.site.error(&format!(
            "job {job}: it runs, but its registration was lost; it is registered anew, {how}"
        ));
        Ok(())
    }

    /// What a job's group tells: its tenant, and what it has used, are the kernel's. Which account,
    /// and since when, is not to be known any more.
    fn reconstructed(
        &self,
        scope: &Scope,
        job: JobId,
        tenant: &TenantPath,
        leaf: &GroupPath,
        points: &[GroupPath],
    ) -> Result<Registration, Error> {
        let node = scope::node(&scope.group).or_else(NodeName::of_this_host);
        let node = node.ok_or_else(|| Error::Unidentified("this host has no name".into()))?;
        let began = self.site.now()?;
        let boot_id = BootId::current().map_err(Error::record("read", "/proc/sys/kernel/random/boot_id"))?;
        let (uid, gid) = processes::owner(&self.site.root, leaf)?.unwrap_or_default();
        Ok(Registration {
            incarnation: Incarnation { cluster: None, node, boot_id, job_id: job, began: began.wall },
            restart_count: None,
            sluid: None,
            uid,
            gid,
            user: User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name),
            account: None,
            partition: None,
            allocated_cpus: None,
            allocated_gpus: Vec::new(),
            scope: scope.group.as_path().to_owned(),
            began,
            placement: Placement::Grafted {
                tenant: tenant.clone(),
                leaf: leaf.as_path().to_owned(),
                mounts: points.iter().map(|point| point.as_path().to_owned()).collect(),
            },
        })
    }

    /// Whether a mount was missing, and is there again.
    fn remount(&self, scope: &Scope, job: JobId, leaf: &Path, mounts: &[PathBuf]) -> Result<bool, Error> {
        let (leaf, points) = (GroupPath::new(leaf)?, close::groups(mounts)?);
        if !self.site.root.exists(&leaf)? || !late::graft(&self.site.root, &scope.group, &leaf, &points)? {
            return Ok(false);
        }
        self.site.error(&format!(
            "job {job}: its mount was lost; it is made anew, and what ran beside it is moved in"
        ));
        Ok(true)
    }

    /// Whether a registered job has ended and nobody has closed it: no slurmstepd of it is left,
    /// and Slurm has not known it for [`LOOKS`] looks, or for one where no epilog comes.
    fn is_over(
        &mut self,
        registration: &Registration,
        records: &JobRecords,
        in_the_job: bool,
        slurm: &impl Slurm,
        asked: &mut BTreeMap<NodeName, Option<BTreeSet<JobId>>>,
    ) -> Result<bool, Error> {
        if let Placement::Grafted { leaf, .. } = &registration.placement {
            let leaf = GroupPath::new(leaf)?;
            let is_running = processes::has_slurmstepd(&self.site.root, &leaf)?;
            if in_the_job {
                let (_, looks) = self.without_epilog.entry(records.dir.clone()).or_insert_with(|| (leaf, 0));
                *looks = if is_running { 0 } else { looks.saturating_add(1) };
            }
            if is_running {
                self.unknown.remove(&records.dir);
                return Ok(false);
            }
        }
        let node = &registration.incarnation.node;
        let known = asked.entry(node.clone()).or_insert_with(|| slurm.jobs_on(node));
        let Some(known) = known else { return Ok(false) };
        if known.contains(&registration.incarnation.job_id) {
            self.unknown.remove(&records.dir);
            return Ok(false);
        }
        let looks = self.unknown.entry(records.dir.clone()).or_default();
        *looks = looks.saturating_add(1);
        Ok(in_the_job || *looks >= LOOKS)
    }
}

/// Where a job's group is mounted, or where one of its name was.
fn points(scope: &Scope, job: JobId) -> Vec<GroupPath> {
    let leaf = scope.leaves.get(&job).map(|(_, leaf)| leaf);
    let is_its = |mount: &&Mount| leaf == Some(&mount.group) || job_of(&mount.point) == Some(job);
    scope.mounts.iter().filter(is_its).map(|mount| mount.point.clone()).collect()
}

/// The job whose group this is by its name.
fn job_of(group: &GroupPath) -> Option<JobId> {
    group.name().to_str()?.strip_prefix("job_")?.parse().ok().map(JobId)
}

#[cfg(test)]
mod tests;
