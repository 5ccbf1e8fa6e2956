//! `slurmstepd spank epilog`: root, on the node, after the job's last step.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use spank::JobScript;
use tenantry_cgroup::{Error, GroupPath, GroupReader, Result, graft};
use tenantry_model::durable;
use tenantry_model::job::{Allocation, JobEnd, JobRecords, Paths, Placement, Quality, Registration};
use tenantry_model::reading::Reading;
use tenantry_model::{JobId, NodeName};

use crate::outbox;
use crate::scope;
use crate::site::Site;

/// How long the last processes may take to die after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(30);

/// The hook. It never fails: that would drain the node. What it cannot finish stays registered,
/// for the next prolog of the job and for the daemon.
pub fn run(site: Result<Site>, job: &JobScript<'_>) {
    let (Ok(site), Ok(job_id)) = (site, job.job_id()) else {
        spank::log::error("the epilog cannot tell its job or the cgroup tree; the registration stays");
        return;
    };
    let node = job.var("SLURMD_NODENAME").and_then(|name| name.into_string().ok()?.parse().ok());
    match registered(&site, node.as_ref(), JobId(job_id)) {
        Ok(Some((records, registration))) => close(&site, &records, registration),
        // The plugin was installed while the job ran.
        Ok(None) => spank::log::verbose(&format!("job {job_id}: no registration, nothing to close")),
        Err(error) => spank::log::error(&format!("job {job_id}: cannot read its registration: {error}")),
    }
}

fn registered(
    site: &Site,
    node: Option<&NodeName>,
    job: JobId,
) -> io::Result<Option<(JobRecords, Registration)>> {
    let scope = node.and_then(|node| scope::find(&site.root, node).ok()?);
    let Some(scope) = scope else { return Ok(None) };
    let records = site.paths.job(scope.as_path(), job);
    Ok(durable::read_json(&records.registration())?.map(|registration| (records, registration)))
}

/// Ends a job on this node: what is left of it is killed, its final counters are durable in the
/// outbox, its group is gone, and then its records are.
pub fn close(site: &Site, records: &JobRecords, registration: Registration) {
    let job = registration.incarnation.job_id;
    let allocation = durable::read_json::<Allocation>(&records.allocation()).unwrap_or_else(|error| {
        spank::log::error(&format!("job {job}: cannot read its allocation, which stays unknown: {error}"));
        None
    });
    let closed = match &registration.placement {
        Placement::Grafted { leaf, mounts, .. } => {
            let (leaf, mounts) = (leaf.clone(), mounts.clone());
            final_reading(site, &leaf)
                .and_then(|(reading, quality)| keep(site, registration, allocation, reading, quality))
                .and_then(|()| undo(site, &leaf, &mounts))
        }
        // Never in a group of ours: the times and the allocation are all there is.
        Placement::Unisolated { .. } | Placement::Refused { .. } => {
            keep(site, registration, allocation, None, Quality::Gap)
        }
    };
    match closed.and_then(|()| remove_records(&site.paths, records)) {
        Ok(()) => {}
        Err(error) => spank::log::error(&format!(
            "job {job}: {}; its registration stays, and {} with it",
            spank::Failure::from(error),
            records.dir.display()
        )),
    }
}

/// Kills what is left and reads until nothing moves: a task's last moment may be charged just
/// after it has left the group.
fn final_reading(site: &Site, leaf: &Path) -> Result<(Option<Reading>, Quality)> {
    const PAUSE: Duration = Duration::from_millis(1);
    const READINGS: usize = 20;
    let leaf = GroupPath::new(leaf)?;
    if !site.root.exists(&leaf)? {
        return Ok((None, Quality::Gap));
    }
    site.root.kill(&leaf, PATIENCE)?;
    let mut reader = GroupReader::open(&site.root, &leaf)?;
    let mut last = reader.read(site.clock)?;
    for _ in 0..READINGS {
        thread::sleep(PAUSE);
        let next = reader.read(site.clock)?;
        let settled = next.cpu == last.cpu;
        last = next;
        if settled {
            break;
        }
    }
    let quality = if last.cpu.is_some() { Quality::Exact } else { Quality::Gap };
    Ok((Some(last), quality))
}

/// Puts the end into the outbox. Where no outbox takes it the job's group must stay: the kernel
/// keeps the counters for the next prolog of the job, or until the node reboots.
fn keep(
    site: &Site,
    registration: Registration,
    allocation: Option<Allocation>,
    reading: Option<Reading>,
    quality: Quality,
) -> Result<()> {
    let ended = site.now()?;
    let end = JobEnd { registration, allocation, reading, ended, quality };
    if let Err(lost) = outbox::put(&site.paths, &end) {
        let job = end.registration.incarnation.job_id;
        spank::log::error(&format!(
            "job {job}: {lost}; its group keeps them meanwhile: make room on the disk"
        ));
        return Err(Error::Io {
            operation: "keep the final counters in",
            path: site.paths.state.clone(),
            source: io::Error::other(lost),
        });
    }
    Ok(())
}

/// Takes a job's group out of the tree.
pub fn undo(site: &Site, leaf: &Path, mounts: &[PathBuf]) -> Result<()> {
    let mounts = mounts.iter().map(GroupPath::new).collect::<Result<Vec<_>>>()?;
    graft::undo(&site.root, &GroupPath::new(leaf)?, &mounts)
}

fn remove_records(paths: &Paths, records: &JobRecords) -> Result<()> {
    let removed = || {
        for file in [records.allocation(), records.registration()] {
            match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err((file, error)),
                _ => {}
            }
        }
        fs::remove_dir(&records.dir).map_err(|error| (records.dir.clone(), error))
    };
    removed().map_err(|(path, source)| Error::Io { operation: "remove", path, source })?;
    // The scope's directory goes with its last job; another job's prolog may be making it anew.
    if let Some(scope) = records.dir.parent().filter(|scope| scope.starts_with(paths.jobs())) {
        let _ = fs::remove_dir(scope);
    }
    Ok(())
}
