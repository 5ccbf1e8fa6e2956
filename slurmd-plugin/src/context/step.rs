//! slurmstepd: root, once for each step on the node; then in the process that becomes a task.

use std::sync::OnceLock;

use spank::{Failure, Outcome, Step};
use tenantry_cgroup::{GroupPath, Root, graft};
use tenantry_isolation::{Site, renamed, scope, steps, unisolated};
use tenantry_model::durable;
use tenantry_model::job::{Allocation, JobRecords, Paths, Placement, Registration};
use tenantry_model::tenants::{self, IsolationFailure};
use tenantry_model::{Bytes, JobId, SystemClock};

use crate::log;

const CGROUPS: &str = "/sys/fs/cgroup";

/// What `init` found. Unset: it did not get to an end.
static VERDICT: OnceLock<Verdict> = OnceLock::new();

/// Whether the step's tasks may run.
enum Verdict {
    /// In this group or below it.
    Within(GroupPath),
    /// Anywhere: the site chose `isolation_failure = "run-unisolated"`.
    Unisolated,
    /// Not at all.
    Refused(String),
}

/// Judges the step once, before any fork, and notes what Slurm allocated. Its own failure is a
/// verdict, too: a failure of the hook would drain the node.
pub fn init(step: &Step<'_>) {
    let verdict = judge(step).unwrap_or_else(|failure| Verdict::Refused(failure.to_string()));
    // init runs once in a slurmstepd.
    let _ = VERDICT.set(verdict);
}

/// In the task's process, as the user, where the program will run: only looks.
pub fn judge_task() -> Outcome {
    match VERDICT.get() {
        Some(Verdict::Unisolated) => Ok(()),
        Some(Verdict::Within(leaf)) => {
            let own = graft::own_group()?;
            if own.is_within(leaf) {
                Ok(())
            } else {
                Err(refused(&format!("it is in {own}, outside {leaf}")))
            }
        }
        Some(Verdict::Refused(reason)) => Err(refused(reason)),
        None => Err(refused("the plugin could not check the step; slurmd's log on the node says why")),
    }
}

/// The step is over: what its tasks used, before Slurm removes their group. The job's own counters
/// do not depend on it.
pub fn exit(step: &Step<'_>) -> Outcome {
    let own = graft::own_group()?;
    let (Some(scope), Some(group)) = (scope::of(&own), steps::group_of(&own)) else { return Ok(()) };
    let paths = Paths::default();
    let records = paths.job(scope.as_path(), JobId(step.job_id()?));
    Ok(steps::end(&Root::open(CGROUPS.as_ref())?, &SystemClock, &records, &group)?)
}

fn refused(reason: &str) -> Failure {
    Failure::new(format!("this job may not run here: {reason}"))
}

fn judge(step: &Step<'_>) -> Result<Verdict, Failure> {
    let job = JobId(step.job_id()?);
    let paths = Paths::default();
    // Without a scope there is no proctrack/cgroup, and the prolog found none either.
    let own = graft::own_group()?;
    let Some(scope) = scope::of(&own) else { return Ok(unregistered(&paths, job)) };
    let records = paths.job(scope.as_path(), job);
    let Some(registration) = durable::read_json::<Registration>(&records.registration())? else {
        return Ok(unregistered(&paths, job));
    };
    note_allocation(step, &records);
    if let Some(group) = steps::group_of(&own)
        && let Err(error) = steps::begin(&records, &group)
    {
        spank::log::error(&format!(
            "cannot note {group} in {}: {error}; its own part stays unknown",
            records.dir.display()
        ));
    }
    Ok(match registration.placement {
        Placement::Refused { reason } => Verdict::Refused(reason),
        Placement::Unisolated { .. } => Verdict::Unisolated,
        Placement::Grafted { leaf, .. } => {
            let leaf = GroupPath::new(leaf)?;
            let is_placed = |site: &Site| -> Result<bool, Failure> {
                Ok(renamed::rejoin(site, &scope, job, &own)? || !unisolated::run(site, &scope, job, &own)?)
            };
            if own.is_within(&leaf) || is_placed(&Site::system(log::say)?)? {
                Verdict::Within(leaf)
            } else {
                Verdict::Unisolated
            }
        }
    })
}

/// No prolog of ours has seen the job: it was running when the plugin was installed, slurmd ran no
/// prolog for it, or the prolog could not even register it.
fn unregistered(paths: &Paths, job: JobId) -> Verdict {
    let policy = tenants::in_force(paths).map(|(tenants, _)| tenants.policy()).unwrap_or_default();
    match policy.isolation_failure {
        IsolationFailure::RunUnisolated => Verdict::Unisolated,
        IsolationFailure::FailJob | IsolationFailure::DrainNode => Verdict::Refused(format!(
            "job {job} is not registered on this node; slurmd's log there says why, unless PrologFlags=RunInJob keeps slurmd from calling the plugin"
        )),
    }
}

/// The first step that knows writes it down. The extern step knows no CPUs (Slurm says 0).
fn note_allocation(step: &Step<'_>, records: &JobRecords) {
    let file = records.allocation();
    let Some(cpus) = step.ncpus().ok().filter(|cpus| *cpus > 0) else { return };
    if file.exists() {
        return;
    }
    let memory = step.alloc_mem_mb().ok().flatten().and_then(|mib| mib.checked_mul(Bytes::MIB)).map(Bytes);
    let allocation = Allocation { cpus: Some(cpus.into()), memory };
    if let Err(error) = durable::write_json(&file, &allocation)
        // Another step of the job was first.
        && !file.exists()
    {
        spank::log::error(&format!("cannot write {}: {error}; the allocation stays unknown", file.display()));
    }
}
