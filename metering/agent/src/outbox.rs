//! The outbox: ends that the plugin's epilog left for us. A file that is in the spool waits beside
//! it, in `spooled`, until the ledger has it: a spool that is lost takes no end with it.

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

impl Found {
    /// The file's name, which is the end's.
    #[must_use]
    pub fn name(&self) -> String {
        self.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }
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

/// Moves files whose ends are in the spool out of the outbox, to wait there.
///
/// # Errors
/// Where one cannot be moved: it is found again, and known to be taken.
pub fn wait(paths: &Paths, files: &[PathBuf]) -> io::Result<()> {
    for file in files {
        let Some((outbox, name)) = file.parent().zip(file.file_name()) else { continue };
        let waiting = waiting_beside(paths, outbox);
        fs::create_dir_all(&waiting)?;
        fs::rename(file, waiting.join(name))?;
    }
    Ok(())
}

/// Removes files whose ends the ledger has.
///
/// # Errors
/// Where one cannot be removed.
pub fn remove(paths: &Paths, names: &[String]) -> io::Result<()> {
    for outbox in paths.outboxes() {
        for dir in [&outbox, &waiting_beside(paths, &outbox)] {
            for name in names {
                match fs::remove_file(dir.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
    }
    Ok(())
}

/// Puts the files that wait back into the outbox: the spool that had them may be another one now.
///
/// # Errors
/// Where one cannot be moved.
pub fn take_back(paths: &Paths) -> io::Result<()> {
    for outbox in paths.outboxes() {
        let waiting = match fs::read_dir(waiting_beside(paths, &outbox)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            waiting => waiting?,
        };
        for entry in waiting {
            let entry = entry?;
            fs::rename(entry.path(), outbox.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn waiting_beside(paths: &Paths, outbox: &Path) -> PathBuf {
    outbox.parent().unwrap_or(&paths.state).join("spooled")
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
    fn a_file_waits_beside_the_outbox_until_the_ledger_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let paths = Paths { run: at("run"), state: at("state"), etc: at("etc") };
        let file = at("state/outbox/1.json");
        fs::create_dir_all(at("state/outbox")).unwrap();
        fs::write(&file, "{").unwrap();
        wait(&paths, std::slice::from_ref(&file)).unwrap();
        assert!(!file.exists() && at("state/spooled/1.json").exists());
        take_back(&paths).unwrap();
        assert!(file.exists());
        wait(&paths, std::slice::from_ref(&file)).unwrap();
        remove(&paths, &["1.json".to_owned()]).unwrap();
        assert!(!file.exists() && !at("state/spooled/1.json").exists());
    }

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
