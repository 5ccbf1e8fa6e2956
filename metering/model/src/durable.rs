//! Small JSON files that are whole or not there: the records under `/run/tenantry`, the outbox,
//! the last good tenants file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a half-written file is called until it is whole.
pub const UNFINISHED: &str = "unfinished";

/// Writes `value` to `path` so that after a crash at any moment the file holds the old text, the
/// new text, or was never there; when this returns it is on the disk. Mode 0600.
///
/// # Errors
/// Any step's error; `path` is then as it was.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    write(path, &text)
}

/// As [`write_json`], with the text as it is.
///
/// # Errors
/// Any step's error; `path` is then as it was.
pub fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    replace(path, text, 0o600)
}

/// As [`write`], for everybody to read: mode 0644.
///
/// # Errors
/// Any step's error; `path` is then as it was.
pub fn write_public(path: &Path, text: &[u8]) -> io::Result<()> {
    replace(path, text, 0o644)
}

fn replace(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let unfinished = path.with_added_extension(UNFINISHED);
    let written = write_synced(&unfinished, text, mode).and_then(|()| fs::rename(&unfinished, path));
    if written.is_err() {
        // The first error is the one to report; a leftover is overwritten by the next attempt.
        let _ = fs::remove_file(&unfinished);
    }
    written?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

fn write_synced(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Reads what [`write_json`] wrote; `None` where there is no such file.
///
/// # Errors
/// Any error but "not found"; a text that is no `T` is [`io::ErrorKind::InvalidData`].
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => match serde_json::from_slice(&text) {
            Ok(value) => Ok(Some(value)),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_whole_private_and_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        write_json(&path, &vec![1, 2]).unwrap();
        write_json(&path, &vec![3]).unwrap();
        assert_eq!(read_json::<Vec<u32>>(&path).unwrap(), Some(vec![3]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_everybody_reads_is_whole_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plugstack.conf");
        write_public(&path, b"one").unwrap();
        write_public(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        write(&path, b"old").unwrap();
        fs::create_dir(dir.path().join("record.json.unfinished")).unwrap();
        assert!(write(&path, b"new").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn a_missing_file_is_none_and_a_garbled_one_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("record.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        fs::write(&path, "{").unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
