//! The outbox: ends that the plugin's epilog left for us.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tenantry_model::durable;
use tenantry_model::job::{JobEnd, Paths};

/// An outbox file and what it says.
#[derive(Debug)]
pub struct Found {
    /// The file.
    pub file: PathBuf,
    /// The job's end.
    pub end: JobEnd,
}

/// How many entries one block takes: it bounds a block after a long time without a daemon.
const MOST: usize = 500;

/// The oldest entries, of both outboxes. A file that is no entry is put aside, whole.
///
/// # Errors
/// Where an outbox cannot be listed.
pub fn find(paths: &Paths) -> io::Result<Vec<Found>> {
    let mut files = Vec::new();
    for outbox in paths.outboxes() {
        match fs::read_dir(&outbox) {
            Ok(entries) => {
                for entry in entries {
                    files.push(entry?.path());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    // Names begin with the time of the job's prolog.
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort_by(|a, b| a.file_name().cmp(&b.file_name()));
    files.truncate(MOST);
    let mut found = Vec::with_capacity(files.len());
    for file in files {
        match durable::read_json(&file) {
            Ok(Some(end)) => found.push(Found { file, end }),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::InvalidData => put_aside(&file, &error)?,
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn put_aside(file: &Path, error: &io::Error) -> io::Result<()> {
    let aside = file.with_added_extension("rejected");
    tracing::error!(
        file = %file.display(), aside = %aside.display(), %error,
        "an outbox file is no job's end; it is kept aside, and its job shows as a gap: send it with a bug report"
    );
    fs::rename(file, aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_put_aside_and_unfinished_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let paths = Paths { run: at("run"), state: at("state"), etc: at("etc") };
        assert_eq!(find(&paths).unwrap().len(), 0);
        let outbox = at("state/outbox");
        fs::create_dir_all(&outbox).unwrap();
        fs::write(outbox.join("1.json"), "{").unwrap();
        fs::write(outbox.join("2.json.unfinished"), "{").unwrap();
        assert_eq!(find(&paths).unwrap().len(), 0);
        assert_eq!(fs::read(outbox.join("1.json.rejected")).unwrap(), b"{");
        assert!(outbox.join("2.json.unfinished").exists() && !outbox.join("1.json").exists());
    }
}
