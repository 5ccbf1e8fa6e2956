//! What this crate keeps beside the records under `/run/tenantry/jobs`; and those of one scope.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tenantry_cgroup::{GroupPath, Root, graft};
use tenantry_model::job::{JobRecords, Paths, Registration};
use tenantry_model::{JobId, durable};

use crate::{Error, Severity, Site, close};

/// What a prolog is about to make for a job, written down before the first of it is there: should
/// the prolog die, or the job run elsewhere, it is found by this, whatever Slurm calls the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The job's group.
    pub leaf: PathBuf,
    /// Where it is to be mounted.
    pub mounts: Vec<PathBuf>,
    /// Whether the prolog runs inside the job (`PrologFlags=RunInJob`): then no epilog comes.
    pub in_the_job: bool,
}

impl Plan {
    /// Writes it down.
    pub fn write(&self, records: &JobRecords) -> Result<(), Error> {
        let file = Self::file(records);
        durable::write_json(&file, self).map_err(Error::record("write", file))
    }

    /// A job's, if there is one.
    pub fn read(records: &JobRecords) -> Result<Option<Self>, Error> {
        durable::read_json(&Self::file(records)).map_err(Error::record("read", Self::file(records)))
    }

    /// Removes what was made of it. The leaf was made first and is removed last: without it there is
    /// nothing.
    pub fn undo(&self, root: &Root) -> Result<(), Error> {
        let leaf = GroupPath::new(&self.leaf)?;
        if root.exists(&leaf)? {
            graft::undo(root, &leaf, &close::groups(&self.mounts)?)?;
        }
        Ok(())
    }

    fn file(records: &JobRecords) -> PathBuf {
        records.dir.join("plan.json")
    }
}

/// Leaves a copy of a registration on the job's group: should the record be lost, the run is known
/// all the same, and not taken for another one.
pub fn note(site: &Site, leaf: &GroupPath, registration: &Registration) {
    let noted = serde_json::to_vec(registration)
        .map_err(|error| error.to_string())
        .and_then(|text| site.root.set_note(leaf, &text).map_err(|error| Error::from(error).describe()));
    if let Err(error) = noted {
        (site.say)(Severity::Verbose, &format!("{leaf}: no copy of its registration: {error}"));
    }
}

/// The copy, if there is one that can be read.
pub fn noted(site: &Site, leaf: &GroupPath) -> Option<Registration> {
    let text = site.root.note(leaf).ok().flatten()?;
    serde_json::from_slice(&text).ok()
}

/// The records of every job of a scope that has a directory.
pub fn of_scope(paths: &Paths, scope: &GroupPath) -> Result<Vec<(JobId, JobRecords)>, Error> {
    let all = paths.all_jobs().map_err(Error::record("list", paths.jobs()))?.into_iter();
    Ok(all.filter(|listed| listed.scope == scope.name()).map(|listed| (listed.job, listed.records)).collect())
}
