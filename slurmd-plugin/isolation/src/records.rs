//! The records under `/run/tenantry/jobs`, listed.

use std::fs;
use std::io;

use tenantry_cgroup::GroupPath;
use tenantry_model::JobId;
use tenantry_model::job::Paths;

use crate::Error;

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
