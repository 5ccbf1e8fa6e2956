//! A job's end on this node: by its epilog, by the next prolog of its id, or by the warden.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tenantry_cgroup::bpf::{Counters, PINS};
use tenantry_cgroup::{GroupPath, GroupReader, graft};
use tenantry_model::job::{Allocation, JobEnd, JobRecords, Paths, Placement, Quality, Registration};
use tenantry_model::reading::Reading;
use tenantry_model::{JobId, NodeName};
use tenantry_model::{durable, fault};

use crate::records::Plan;
use crate::{Error, Site, lock, namespace, outbox, residue, scope, settle, steps};

/// How long the last processes may take to die after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the epilog does. It has nothing to fail with: what it cannot finish stays registered, for
/// the next prolog of the job and for the warden.
pub fn end(site: &Site, node: Option<&NodeName>, job: JobId) {
    match try_end(site, node, job) {
        Ok(true) => {}
        // The plugin was installed while the job ran.
        Ok(false) => {
            (site.say)(crate::Severity::Verbose, &format!("job {job}: no registration, nothing to close"));
        }
        Err(error) => {
            site.error(&format!("job {job}: {}; it stays registered until that is mended", error.describe()));
        }
    }
}

fn try_end(site: &Site, node: Option<&NodeName>, job: JobId) -> Result<bool, Error> {
    namespace::enter_the_nodes()?;
    let scope = match node {
        Some(node) => scope::find(&site.root, node)?,
        None => None,
    };
    let Some(scope) = scope else { return Ok(false) };
    let records = site.paths.job(scope.as_path(), job);
    // Without: its prolog died before it was registered, and no step of it was let in.
    let Some((_lock, registration)) = locked_registration(&records)? else { return Ok(false) };
    registered(site, &records, registration)?;
    Ok(true)
}

/// A job's registration, if it has one, and its lock, which was waited for: nobody else acts on the job meanwhile.
///
/// # Errors
/// Where there is one that cannot be read, or the lock cannot be had.
pub fn locked_registration(records: &JobRecords) -> Result<Option<(lock::Lock, Registration)>, Error> {
    let lock = lock::take_if_there(&records.dir).map_err(Error::record("lock", &records.dir))?;
    let Some(lock) = lock else { return Ok(None) };
    Ok(registration(records)?.map(|registration| (lock, registration)))
}

/// A job's registration, if it has one.
///
/// # Errors
/// Where there is one that cannot be read.
pub fn registration(records: &JobRecords) -> Result<Option<Registration>, Error> {
    durable::read_json(&records.registration()).map_err(Error::record("read", records.registration()))
}

/// Ends a registered job, whose lock is held: what is left of it is killed, its final counters are
/// durable in the outbox, its group is gone, and then its records are.
///
/// # Errors
/// What could not be done; all that follows it is not done, and can be done later.
pub fn registered(site: &Site, records: &JobRecords, registration: Registration) -> Result<(), Error> {
    let uid = registration.uid;
    let placement = registration.placement.clone();
    let told = durable::read_json::<JobEnd>(&records.end()).map_err(Error::record("read", records.end()))?;
    let end = match told {
        Some(end) => end,
        None => end_of(site, records, registration)?,
    };
    // Where no outbox takes it the job's group must stay: the kernel keeps the counters until one
    // does, or until the node reboots.
    outbox::put(site, &end)?;
    fault::step("close: kept");
    match &placement {
        Placement::Grafted { leaf, mounts, .. } => {
            graft::undo(&site.root, &GroupPath::new(leaf)?, &groups(mounts)?)?;
            fault::step("close: undone");
        }
        // Slurm made no use of what was made for it.
        Placement::Unisolated { .. } => {
            if let Some(plan) = Plan::read(records)? {
                plan.undo(&site.root)?;
            }
        }
        Placement::Refused { .. } => {}
    }
    residue::leave(site, uid, || remove_records(&site.paths, records))
}

/// Kills what is left of a job and writes down how it ended.
fn end_of(site: &Site, records: &JobRecords, registration: Registration) -> Result<JobEnd, Error> {
    let job = registration.incarnation.job_id;
    let allocation = durable::read_json::<Allocation>(&records.allocation()).unwrap_or_else(|error| {
        site.error(&format!("job {job}: cannot read its allocation, which stays unknown: {error}"));
        None
    });
    let (reading, quality) = match &registration.placement {
        Placement::Grafted { leaf, .. } => final_reading(site, &GroupPath::new(leaf)?)?,
        // Never in a group of ours: the times and the allocation are all there is.
        Placement::Unisolated { .. } | Placement::Refused { .. } => (None, Quality::Gap),
    };
    let steps = match &registration.placement {
        Placement::Grafted { leaf, .. } => steps::of_job(site, records, &GroupPath::new(leaf)?),
        Placement::Unisolated { .. } | Placement::Refused { .. } => None,
    };
    fault::step("close: killed");
    let ended = site.now()?;
    let end = JobEnd { registration, allocation, reading, steps, ended, quality, unmeasured_usec: None };
    if let Err(error) = durable::write_json(&records.end(), &end) {
        // Only a close that is cut off would miss it.
        site.error(&format!("job {job}: cannot write {}: {error}", records.end().display()));
    }
    Ok(end)
}

/// Group paths from what a registration holds.
///
/// # Errors
/// Where one names no group.
pub fn groups(paths: &[impl AsRef<Path>]) -> tenantry_cgroup::Result<Vec<GroupPath>> {
    paths.iter().map(GroupPath::new).collect()
}

/// Kills what is left, and reads what all of it has used.
fn final_reading(site: &Site, leaf: &GroupPath) -> Result<(Option<Reading>, Quality), Error> {
    if !site.root.exists(leaf)? {
        return Ok((None, Quality::Gap));
    }
    site.root.kill(leaf, PATIENCE)?;
    // Where nothing is pinned nothing was counted.
    let traffic = Counters::open(PINS.as_ref()).ok().map(Arc::new);
    let last = settle::last_reading(&GroupReader::open_with(&site.root, leaf, traffic)?, site.clock)?;
    let quality = if last.cpu_usage().is_some() { Quality::Exact } else { Quality::Gap };
    Ok((Some(last), quality))
}

fn remove_records(paths: &Paths, records: &JobRecords) -> Result<(), Error> {
    match fs::remove_dir_all(records.steps()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::record("remove", records.steps())(error));
        }
        _ => {}
    }
    // The end is last: while there is a registration, there is what was told of it.
    for file in [records.allocation(), records.registration(), records.end()] {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::record("remove", file)(error));
            }
            _ => {}
        }
        fault::step("close: a record removed");
    }
    clear_directory(paths, records)
}

/// Removes a job's directory and what is left there.
///
/// # Errors
/// Where something cannot be removed.
pub fn clear_directory(paths: &Paths, records: &JobRecords) -> Result<(), Error> {
    let listed = fs::read_dir(&records.dir).map_err(Error::record("list", &records.dir))?;
    for entry in listed.flatten() {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let remove = if is_dir { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        remove.map_err(Error::record("remove", entry.path()))?;
    }
    fs::remove_dir(&records.dir).map_err(Error::record("remove", &records.dir))?;
    // The scope's directory goes with its last job; another job's prolog may be making it anew.
    if let Some(scope) = records.dir.parent().filter(|scope| scope.starts_with(paths.jobs())) {
        let _ = fs::remove_dir(scope);
    }
    Ok(())
}
