//! Locks that the kernel releases when their holder ends, however it ends: directories under
//! `/run/tenantry`, locked by flock(2).

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Held until dropped.
pub struct Lock {
    _dir: Flock<File>,
}

/// Makes the directory unless it is there, and waits for its lock.
pub fn take(dir: &Path) -> io::Result<Lock> {
    loop {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        if let Some(lock) = lock(dir, FlockArg::LockExclusive)? {
            return Ok(lock);
        }
    }
}

/// Waits for the lock of a directory that is there; `None` where it is not, or goes meanwhile.
pub fn take_if_there(dir: &Path) -> io::Result<Option<Lock>> {
    while dir.exists() {
        if let Some(lock) = lock(dir, FlockArg::LockExclusive)? {
            return Ok(Some(lock));
        }
    }
    Ok(None)
}

/// The lock of a directory that is there, unless somebody holds it.
pub fn take_if_free(dir: &Path) -> io::Result<Option<Lock>> {
    lock(dir, FlockArg::LockExclusiveNonblock)
}

/// `None` where another holds it, if not to be waited for, or where the directory is gone: its
/// holder may have removed it meanwhile.
fn lock(dir: &Path, how: FlockArg) -> io::Result<Option<Lock>> {
    let opened = match File::open(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match Flock::lock(opened, how) {
        Ok(locked) => Ok(is_still(&locked, dir).then_some(Lock { _dir: locked })),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Whether the name still leads to what was locked.
fn is_still(locked: &File, dir: &Path) -> bool {
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((locked.metadata(), fs::metadata(dir)), (Ok(locked), Ok(named)) if same(&locked, &named))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_one_holders_and_a_removed_directory_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("scope/7");
        assert!(take_if_free(&dir).unwrap().is_none(), "no directory, no lock");
        assert!(take_if_there(&dir).unwrap().is_none() && !dir.exists(), "none is made, either");
        let held = take(&dir).unwrap();
        assert!(take_if_free(&dir).unwrap().is_none(), "it is held");
        drop(held);
        let held = take_if_free(&dir).unwrap().unwrap();
        fs::remove_dir(&dir).unwrap();
        // The directory is another one by now, and so is its lock.
        let again = take(&dir).unwrap();
        drop((held, again));
        assert!(dir.exists());
    }
}
