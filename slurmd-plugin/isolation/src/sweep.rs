//! Removes what a user owns below a directory that everybody may write to. Every name in there may
//! be his, and as deep as he likes: no link is followed, no file system left, nothing of anybody
//! else's removed, and neither the stack nor the open files grow with the tree.

use std::collections::VecDeque;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// So many directories are open at once. A tree of the user's own that is deeper is taken apart:
/// what is below comes up to the top, and is removed from there.
const DEPTH: usize = 64;

/// Whose directories are looked into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Within {
    /// His own.
    Own,
    /// Everybody's: he may have left something in another's that all may write to.
    Any,
}

struct Sweep {
    top: Dir,
    place: PathBuf,
    uid: u32,
    within: Within,
    /// Names in the top that are still to be looked into.
    brought_up: VecDeque<CString>,
    /// The last number in the name of one that was brought up.
    number: u64,
    failed: Option<(PathBuf, io::Error)>,
}

/// Removes what `uid` owns below `place`. A directory of his that holds what is another's stays,
/// and so does that. What cannot be removed is left, and the rest is removed.
///
/// # Errors
/// The first thing that could not be removed.
pub fn sweep(place: &Path, uid: u32, within: Within) -> Result<(), (PathBuf, io::Error)> {
    let top = match open(AT_FDCWD, &cstring(place)) {
        Err(Errno::ENOENT) => return Ok(()),
        top => top.map_err(|errno| (place.to_owned(), errno.into()))?,
    };
    let mut sweep = Sweep {
        top,
        place: place.to_owned(),
        uid,
        within,
        brought_up: VecDeque::new(),
        number: 0,
        failed: None,
    };
    let names = open(&sweep.top, c".").and_then(|mut top| names(&mut top));
    match names {
        Ok(names) => sweep.brought_up.extend(names),
        Err(errno) => sweep.fail(c".", errno),
    }
    while let Some(name) = sweep.brought_up.pop_front() {
        let at_top = open(&sweep.top, c".");
        match at_top {
            Ok(top) => sweep.entry(&top, &name, 0),
            Err(errno) => sweep.fail(&name, errno),
        }
    }
    sweep.failed.map_or(Ok(()), Err)
}

impl Sweep {
    fn fail(&mut self, name: &CStr, errno: Errno) {
        // It went by itself, or another's is in it.
        if !matches!(errno, Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST) && self.failed.is_none() {
            self.failed = Some((self.place.join(OsStr::from_bytes(name.to_bytes())), errno.into()));
        }
    }

    /// Removes an entry if it is the user's, with what is his below it.
    fn entry(&mut self, parent: &Dir, name: &CStr, depth: usize) {
        let status = match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(status) => status,
            Err(errno) => return self.fail(name, errno),
        };
        let his = status.st_uid == self.uid;
        let removed = match (is_directory(&status), his) {
            (false, false) => return,
            (false, true) => unlinkat(parent, name, UnlinkatFlags::NoRemoveDir),
            (true, false) if self.within == Within::Own => return,
            (true, _) => {
                self.below(parent, name, his, depth);
                if !his {
                    return;
                }
                unlinkat(parent, name, UnlinkatFlags::RemoveDir)
            }
        };
        if let Err(errno) = removed {
            self.fail(name, errno);
        }
    }

    /// What is in a directory.
    fn below(&mut self, parent: &Dir, name: &CStr, his: bool, depth: usize) {
        if depth >= DEPTH {
            if his {
                self.bring_up(parent, name);
            }
            return;
        }
        let opened = open(parent, name).and_then(|mut dir| {
            let same = fstat(&dir)?.st_dev == fstat(&self.top)?.st_dev;
            // What is mounted there is another file system's business.
            let names = if same { names(&mut dir)? } else { Vec::new() };
            Ok((dir, names))
        });
        match opened {
            Err(errno) => self.fail(name, errno),
            Ok((dir, names)) => {
                for name in names {
                    self.entry(&dir, &name, depth.saturating_add(1));
                }
            }
        }
    }

    /// Moves a directory to the top, under a name that is free there.
    fn bring_up(&mut self, parent: &Dir, name: &CStr) {
        loop {
            self.number = self.number.saturating_add(1);
            let Ok(free) = CString::new(format!(".tenantry-{}-{}", self.uid, self.number)) else { return };
            match renameat2(parent, name, &self.top, free.as_c_str(), RenameFlags::RENAME_NOREPLACE) {
                Err(Errno::EEXIST) => {}
                Err(errno) => return self.fail(name, errno),
                Ok(()) => return self.brought_up.push_back(free),
            }
        }
    }
}

fn open(parent: impl std::os::fd::AsFd, name: &CStr) -> nix::Result<Dir> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
    Dir::from_fd(openat(parent, name, flags, Mode::empty())?)
}

fn names(dir: &mut Dir) -> nix::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in dir.iter() {
        let name = entry?.file_name().to_owned();
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            names.push(name);
        }
    }
    Ok(names)
}

fn is_directory(status: &FileStat) -> bool {
    SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

fn cstring(path: &Path) -> CString {
    // A path of the kernel's, or one of the constants: there is no NUL in it.
    CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn own(place: &Path) -> u32 {
        fs::metadata(place).unwrap().uid()
    }

    #[test]
    fn whole_trees_go_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, place) = (dir.path().join("kept"), dir.path().join("place"));
        fs::create_dir_all(place.join("tree/deep")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&kept, place.join("tree/link")).unwrap();
        std::os::unix::fs::symlink(&kept, place.join("link")).unwrap();
        let uid = own(&place);
        sweep(&place, uid.wrapping_add(1), Within::Any).unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 2);
        sweep(&place, uid, Within::Own).unwrap();
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
        assert!(kept.join("file").exists());
        sweep(&dir.path().join("absent"), uid, Within::Own).unwrap();
    }

    #[test]
    fn a_tree_deeper_than_any_stack_goes() {
        let dir = tempfile::tempdir().unwrap();
        let mut at = openat(AT_FDCWD, dir.path(), OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..1500 {
            nix::sys::stat::mkdirat(&at, "deep", Mode::S_IRWXU).unwrap();
            nix::sys::stat::mkdirat(&at, "beside", Mode::S_IRWXU).unwrap();
            at = openat(&at, "deep", OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        }
        sweep(dir.path(), own(dir.path()), Within::Own).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_anothers_stays_and_what_is_his_in_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path();
        let uid = own(place);
        if uid != 0 {
            // Only root can make files of two users.
            return;
        }
        fs::create_dir_all(place.join("his/others")).unwrap();
        fs::create_dir_all(place.join("others")).unwrap();
        for file in ["his/file", "his/others/precious", "others/file", "others/precious"] {
            fs::write(place.join(file), "").unwrap();
        }
        for file in ["his", "his/file", "others/file"] {
            std::os::unix::fs::chown(place.join(file), Some(4242), None).unwrap();
        }
        sweep(place, 4242, Within::Any).unwrap();
        let left = ["his", "his/file", "his/others/precious", "others/file", "others/precious"];
        let left = left.map(|file| place.join(file).exists());
        assert_eq!(left, [true, false, true, false, true]);
    }
}
