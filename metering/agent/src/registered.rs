//! The jobs the plugin has registered on this node.

use std::io;

use tenantry_model::durable;
use tenantry_model::job::{JobRecords, ListedJob, Paths, Registration};

/// A registered job and where its records stand.
#[derive(Debug)]
pub struct Registered {
    /// Its records.
    pub records: JobRecords,
    /// What the prolog decided.
    pub registration: Registration,
}

/// Every registered job. One whose record cannot be read is logged and passed over: it keeps its
/// counters, and its epilog does not need us.
///
/// # Errors
/// Where the directory of jobs cannot be listed.
pub fn find(paths: &Paths) -> io::Result<Vec<Registered>> {
    let mut found = Vec::new();
    for ListedJob { records, .. } in paths.all_jobs()? {
        match durable::read_json(&records.registration()) {
            Ok(Some(registration)) => found.push(Registered { records, registration }),
            // The prolog is about to write it, or the epilog has just removed it.
            Ok(None) => {}
            Err(error) => {
                tracing::error!(file = %records.registration().display(), %error, "cannot read a registration");
            }
        }
    }
    Ok(found)
}
