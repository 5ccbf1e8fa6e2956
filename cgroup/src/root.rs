use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::dir::Dir;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, mkdirat};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, fstatfs};
use nix::unistd::{UnlinkatFlags, unlinkat};

use xattr::FileExt as _;

use crate::{Error, GroupPath, Result, parse};

/// The attribute a note is kept in.
const NOTE: &str = "trusted.tenantry";

/// The cgroup root: a directory descriptor below which every access is resolved by the kernel
/// itself (`openat2` with `RESOLVE_BENEATH`), without symbolic links.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens a mounted cgroup v2 file system.
    ///
    /// # Errors
    /// [`Error::NotCgroup2`] where something else is there.
    pub fn open(path: &Path) -> Result<Self> {
        let root = Self::open_fake(path)?;
        let kind = fstatfs(&root.dir).map_err(|errno| failed("examine", Path::new(""), errno.into()))?;
        if kind.filesystem_type() == CGROUP2_SUPER_MAGIC {
            Ok(root)
        } else {
            Err(Error::NotCgroup2(path.to_owned()))
        }
    }

    /// Opens an ordinary directory laid out like one, for tests and benches.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open_fake(path: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = nix::fcntl::open(path, flags, Mode::empty())
            .map_err(|errno| failed("open", path, errno.into()))?;
        Ok(Self { dir, path: path.to_owned() })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a group is there.
    ///
    /// # Errors
    /// Any answer of the kernel but yes and no.
    pub fn exists(&self, group: &GroupPath) -> Result<bool> {
        absent(self.open_dir(group)).map(|found| found.is_some())
    }

    /// Makes a group.
    ///
    /// # Errors
    /// [`Error::Exists`] where it is there already.
    pub fn make(&self, group: &GroupPath) -> Result<()> {
        let mode = Mode::from_bits_truncate(0o755);
        match self.in_parent(group, |parent| mkdirat(parent, group.name(), mode)) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::Exists(group.as_path().to_owned()))
            }
            other => other,
        }
    }

    /// Makes a group unless it is there.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn ensure(&self, group: &GroupPath) -> Result<()> {
        match self.make(group) {
            Err(Error::Exists(_)) => Ok(()),
            made => made,
        }
    }

    /// Removes a group and all groups in it; one that is not there counts as removed.
    ///
    /// A group whose last process has just ended may be busy for a moment: it is tried for up to
    /// a second.
    ///
    /// # Errors
    /// Where a group still has processes, or the kernel refuses.
    pub fn remove(&self, group: &GroupPath) -> Result<()> {
        const TRIES: u32 = 200;
        let Some(children) = absent(self.children(group))? else { return Ok(()) };
        for child in children {
            self.remove(&child)?;
        }
        for _ in 1..TRIES {
            match self.remove_empty(group) {
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::ResourceBusy => {
                    thread::sleep(Duration::from_millis(5));
                }
                removed => return removed,
            }
        }
        self.remove_empty(group)
    }

    fn remove_empty(&self, group: &GroupPath) -> Result<()> {
        let removed =
            self.in_parent(group, |parent| unlinkat(parent, group.name(), UnlinkatFlags::RemoveDir));
        absent(removed).map(|_| ())
    }

    /// The groups directly in a group.
    ///
    /// # Errors
    /// Where it cannot be listed.
    pub fn children(&self, group: &GroupPath) -> Result<Vec<GroupPath>> {
        subdirectories(self.open_dir(group)?, group.as_path())?
            .into_iter()
            .map(|name| group.child(name))
            .collect()
    }

    /// The groups at the top.
    ///
    /// # Errors
    /// Where the root cannot be listed.
    pub fn top(&self) -> Result<Vec<GroupPath>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = nix::fcntl::openat(&self.dir, ".", flags, Mode::empty())
            .map_err(|errno| failed("list", Path::new(""), errno.into()))?;
        subdirectories(dir, Path::new(""))?.into_iter().map(GroupPath::new).collect()
    }

    /// Opens one of a group's files for reading; `None` where the kernel does not offer it.
    ///
    /// # Errors
    /// Any other answer of the kernel.
    pub fn open_file(&self, group: &GroupPath, file: &str) -> Result<Option<File>> {
        absent(self.open_at(&group.as_path().join(file), OFlag::O_RDONLY, "read"))
            .map(|found| found.map(File::from))
    }

    /// Reads one of a group's files whole; `None` where the kernel does not offer it.
    ///
    /// # Errors
    /// Any other answer of the kernel.
    pub fn read(&self, group: &GroupPath, file: &str) -> Result<Option<Vec<u8>>> {
        self.read_at(&group.as_path().join(file))
    }

    /// Reads one of the root's own files whole; `None` where the kernel does not offer it.
    ///
    /// # Errors
    /// Any other answer of the kernel.
    pub fn read_top(&self, file: &str) -> Result<Option<Vec<u8>>> {
        self.read_at(Path::new(file))
    }

    fn read_at(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        let Some(opened) = absent(self.open_at(path, OFlag::O_RDONLY, "read"))? else { return Ok(None) };
        let mut text = Vec::new();
        match File::from(opened).read_to_end(&mut text) {
            Ok(_) => Ok(Some(text)),
            // The group was removed while it was read.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
            Err(error) => Err(failed("read", path, error)),
        }
    }

    /// Writes to one of a group's files.
    ///
    /// # Errors
    /// Where the kernel refuses, "no such file" included.
    pub fn write(&self, group: &GroupPath, file: &str, text: &str) -> Result<()> {
        self.write_at(&group.as_path().join(file), text)
    }

    /// Writes to one of the root's own files.
    ///
    /// # Errors
    /// Where the kernel refuses, "no such file" included.
    pub fn write_top(&self, file: &str, text: &str) -> Result<()> {
        self.write_at(Path::new(file), text)
    }

    fn write_at(&self, path: &Path, text: &str) -> Result<()> {
        let opened = self.open_at(path, OFlag::O_WRONLY, "write")?;
        File::from(opened).write_all(text.as_bytes()).map_err(|error| failed("write", path, error))
    }

    /// The processes directly in the group; none where it is not there.
    ///
    /// # Errors
    /// Where `cgroup.procs` cannot be read.
    pub fn processes(&self, group: &GroupPath) -> Result<Vec<u32>> {
        let text = self.read(group, "cgroup.procs")?.unwrap_or_default();
        Ok(parse::words(&text).filter_map(parse::number).filter_map(|pid| u32::try_from(pid).ok()).collect())
    }

    /// Moves a process, all its threads, into the group. One that has ended counts as moved.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn admit(&self, group: &GroupPath, pid: u32) -> Result<()> {
        match self.write(group, "cgroup.procs", &pid.to_string()) {
            Err(Error::Io { source, .. }) if source.raw_os_error() == Some(nix::libc::ESRCH) => Ok(()),
            admitted => admitted,
        }
    }

    /// Whether any process is in the group or below it; `None` where the group is not there.
    ///
    /// # Errors
    /// Where `cgroup.events` cannot be read.
    pub fn is_populated(&self, group: &GroupPath) -> Result<Option<bool>> {
        let events = self.read(group, "cgroup.events")?;
        Ok(events.and_then(|text| {
            parse::flat_keyed(&text).find(|(key, _)| *key == b"populated").map(|(_, n)| n != 0)
        }))
    }

    /// Kills every process in the group and below it, and waits until none is left.
    ///
    /// # Errors
    /// [`Error::StillPopulated`] after `patience`.
    pub fn kill(&self, group: &GroupPath, patience: Duration) -> Result<()> {
        const PAUSE: Duration = Duration::from_millis(2);
        let mut waited = Duration::ZERO;
        while self.is_populated(group)? == Some(true) {
            if waited >= patience {
                let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
                return Err(Error::StillPopulated { group: group.as_path().to_owned(), waited_ms });
            }
            // Each time: a process that was being moved in when the first was written is reached by the next.
            self.write(group, "cgroup.kill", "1")?;
            thread::sleep(PAUSE);
            waited = waited.saturating_add(PAUSE);
        }
        Ok(())
    }

    /// Writes a note on a group, which goes with it: an extended attribute that root alone sees.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn set_note(&self, group: &GroupPath, text: &[u8]) -> Result<()> {
        let dir = File::from(self.open_dir(group)?);
        dir.set_xattr(NOTE, text).map_err(|error| failed("write a note on", group.as_path(), error))
    }

    /// The note on a group, if there is one.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn note(&self, group: &GroupPath) -> Result<Option<Vec<u8>>> {
        let dir = File::from(self.open_dir(group)?);
        dir.get_xattr(NOTE).map_err(|error| failed("read the note on", group.as_path(), error))
    }

    /// A descriptor of a group's directory, by which it can be mounted or watched.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open_dir(&self, group: &GroupPath) -> Result<OwnedFd> {
        self.open_at(group.as_path(), OFlag::O_RDONLY | OFlag::O_DIRECTORY, "open")
    }

    fn in_parent(&self, group: &GroupPath, act: impl FnOnce(&OwnedFd) -> nix::Result<()>) -> Result<()> {
        let parent = match group.parent() {
            Some(parent) => self.open_dir(&parent)?,
            None => {
                self.dir.as_fd().try_clone_to_owned().map_err(|error| failed("open", Path::new(""), error))?
            }
        };
        act(&parent).map_err(|errno| failed("make or remove", group.as_path(), errno.into()))
    }

    fn open_at(&self, path: &Path, flags: OFlag, operation: &'static str) -> Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        openat2(&self.dir, path, how).map_err(|errno| failed(operation, path, errno.into()))
    }
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { operation, path: path.to_owned(), source }
}

fn subdirectories(dir: OwnedFd, path: &Path) -> Result<Vec<OsString>> {
    let failed = |errno: nix::Error| failed("list", path, errno.into());
    let mut names = Vec::new();
    for entry in Dir::from_fd(dir).map_err(failed)?.iter() {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if entry.file_type() == Some(nix::dir::Type::Directory) && name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    }
    names.sort();
    Ok(names)
}

/// Turns "not there" into `None`.
fn absent<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn fake() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open_fake(dir.path()).unwrap();
        (dir, root)
    }

    fn group(path: &str) -> GroupPath {
        GroupPath::new(path).unwrap()
    }

    #[test]
    fn a_directory_that_is_no_cgroup_file_system_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Root::open(dir.path()), Err(Error::NotCgroup2(_))));
    }

    #[test]
    fn groups_are_made_listed_and_removed_with_all_in_them() {
        let (_dir, root) = fake();
        for path in ["a", "a/b", "a/b/c"] {
            root.make(&group(path)).unwrap();
        }
        assert!(matches!(root.make(&group("a")), Err(Error::Exists(_))));
        root.ensure(&group("a")).unwrap();
        assert_eq!(root.children(&group("a")).unwrap(), [group("a/b")]);
        root.remove(&group("a")).unwrap();
        assert!(!root.exists(&group("a")).unwrap());
        root.remove(&group("a")).unwrap();
    }

    #[test]
    fn a_missing_file_is_absent_and_is_not_made_by_writing() {
        let (dir, root) = fake();
        root.make(&group("a")).unwrap();
        assert_eq!(root.read(&group("a"), "memory.peak").unwrap(), None);
        assert!(root.write(&group("a"), "memory.max", "1").is_err());
        assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 0);
    }

    #[test]
    fn a_symbolic_link_is_not_followed() {
        let (dir, root) = fake();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("cpu.stat"), "usage_usec 1\n").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("link")).unwrap();
        assert!(root.read(&group("link"), "cpu.stat").is_err());
        assert!(root.make(&group("link/x")).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_group_that_stays_populated_is_an_error_and_was_told_to_die() {
        let (dir, root) = fake();
        root.make(&group("a")).unwrap();
        fs::write(dir.path().join("a/cgroup.events"), "populated 1\nfrozen 0\n").unwrap();
        fs::write(dir.path().join("a/cgroup.kill"), "").unwrap();
        let error = root.kill(&group("a"), Duration::from_millis(4)).unwrap_err();
        assert!(matches!(error, Error::StillPopulated { .. }), "{error}");
        assert_eq!(fs::read_to_string(dir.path().join("a/cgroup.kill")).unwrap(), "1");
        fs::write(dir.path().join("a/cgroup.events"), "populated 0\nfrozen 0\n").unwrap();
        root.kill(&group("a"), Duration::ZERO).unwrap();
    }
}
