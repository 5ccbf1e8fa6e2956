//! The outbox: a job's final counters, durable before its group is gone.

use std::fs;
use std::io;
use std::path::Path;

use tenantry_model::JobId;
use tenantry_model::durable;
use tenantry_model::job::{JobEnd, Paths};

use crate::Site;

/// Puts an entry where the daemon finds it: on the disk or, where that takes none, in memory.
///
/// # Errors
/// [`Lost`], where neither takes it.
pub fn put(site: &Site, end: &JobEnd) -> Result<(), Lost> {
    let [disk, memory] = site.paths.outboxes();
    let first = match put_in(&disk, end) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    // The disk is full or broken: in memory the entry survives all but the node.
    match put_in(&memory, end) {
        Ok(()) => {
            site.error(&format!(
                "cannot write to {}: {first}; the final counters of job {} are kept in {} until the disk takes \
                 them: make room on it",
                disk.display(),
                end.registration.incarnation.job_id,
                memory.display()
            ));
            Ok(())
        }
        Err(second) => Err(Lost { first, second }),
    }
}

/// Whether the outbox takes entries now: a file of the size of one is written and removed.
///
/// # Errors
/// What kept it from that.
pub fn probe(paths: &Paths, job: JobId) -> io::Result<()> {
    const ENTRY_BYTES: usize = 4 << 10;
    let [disk, _] = paths.outboxes();
    fs::create_dir_all(&disk)?;
    let file = disk.join(format!("{job}.probe"));
    durable::write(&file, &[0; ENTRY_BYTES]).and_then(|()| fs::remove_file(&file))
}

/// Neither place took the entry.
#[derive(Debug, thiserror::Error)]
#[error("no outbox takes the final counters: {first}; {second}; make room on the disk")]
pub struct Lost {
    first: io::Error,
    second: io::Error,
}

fn put_in(dir: &Path, end: &JobEnd) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    durable::write_json(&dir.join(end.file_name()), end)
}
