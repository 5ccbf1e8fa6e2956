//! The records under `/run/tenantry/jobs`, listed.

use std::fs;
use std::io;

use tenantry_cgroup::GroupPath;
use tenantry_model::JobId;
use tenantry_model::job::{Paths, Registration};

use crate::{Error, Severity, Site};

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

/// The jobs that have a directory in a scope's: registered, or about to be.
pub fn of_scope(paths: &Paths, scope: &GroupPath) -> Result<Vec<JobId>, Error> {
    let dir = paths.jobs().join(scope.name());
    let listed = || -> io::Result<Vec<JobId>> {
        let names = fs::read_dir(&dir)?.map(|entry| entry.map(|entry| entry.file_name()));
        let names = names.collect::<io::Result<Vec<_>>>()?;
        Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok().map(JobId)).collect())
    };
    match listed() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(Error::record("list", dir)),
    }
}
