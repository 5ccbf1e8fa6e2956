//! The graft: a job's group stands in its tenant's, and is mounted where Slurm looks for it.
//!
//! ```text
//! scope/tenant_acme/job_7            the leaf: made first, with a sentinel group in it
//! scope/job_7                        the mount point: an empty group, over which the leaf is bound
//! ```
//! Whoever opens `scope/job_7` gets the leaf; whoever makes groups or moves processes there does
//! so in the tenant. The sentinel keeps the leaf, and with it the counters, until it is undone.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::{Error, GroupPath, Result, Root};

/// The group that keeps a leaf from being removed as empty.
pub const SENTINEL: &str = "tenantry";

/// A step of a graft that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The leaf is there.
    Leaf,
    /// And the sentinel in it.
    Sentinel,
    /// A mount point is there.
    MountPoint,
    /// And the leaf is bound over it.
    Bound,
}

/// Makes `leaf` and binds it over each of `mount_points`. On an error nothing is left of it.
/// `done` is told each step: whoever dies there leaves what [`undo`] removes.
///
/// # Errors
/// [`Error::Exists`] where the leaf is there already; any step's error.
pub fn graft(root: &Root, leaf: &GroupPath, mount_points: &[GroupPath], done: impl Fn(Step)) -> Result<()> {
    root.make(leaf)?;
    let made = make(root, leaf, mount_points, done);
    if made.is_err() {
        // The error to report is the first one; what this leaves, the next attempt finds and removes.
        let _ = undo(root, leaf, mount_points);
    }
    made
}

fn make(root: &Root, leaf: &GroupPath, mount_points: &[GroupPath], done: impl Fn(Step)) -> Result<()> {
    done(Step::Leaf);
    root.make(&leaf.child(SENTINEL)?)?;
    done(Step::Sentinel);
    for mount_point in mount_points {
        root.ensure(mount_point)?;
        done(Step::MountPoint);
        bind(root, leaf, mount_point)?;
        done(Step::Bound);
    }
    Ok(())
}

/// Unmounts and removes what [`graft`] made, and what stands in the leaf. Nothing to undo is no
/// error: it can be repeated after a crash at any step.
///
/// # Errors
/// Where the leaf still has processes, or the kernel refuses.
pub fn undo(root: &Root, leaf: &GroupPath, mount_points: &[GroupPath]) -> Result<()> {
    for mount_point in mount_points {
        unbind(root, mount_point)?;
        root.remove(mount_point)?;
    }
    root.remove(leaf)
}

/// Binds a leaf over a mount point, both of which are there.
///
/// # Errors
/// Where the kernel refuses.
pub fn bind(root: &Root, leaf: &GroupPath, mount_point: &GroupPath) -> Result<()> {
    let (from, to) = (root.open_dir(leaf)?, root.open_dir(mount_point)?);
    mount(Some(&of_fd(&from)), &of_fd(&to), None::<&Path>, MsFlags::MS_BIND, None::<&Path>).map_err(|errno| {
        Error::Io { operation: "mount on", path: mount_point.as_path().to_owned(), source: errno.into() }
    })
}

/// Takes off every mount on the mount point, should there be more than one.
fn unbind(root: &Root, mount_point: &GroupPath) -> Result<()> {
    let target = root.path().join(mount_point.as_path());
    for _ in mounts(root)?.iter().filter(|mount| mount.point == *mount_point) {
        umount2(&target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).map_err(|errno| Error::Io {
            operation: "unmount",
            path: mount_point.as_path().to_owned(),
            source: errno.into(),
        })?;
    }
    Ok(())
}

/// A descriptor as a path, so that what is mounted is what was opened.
fn of_fd(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// A group that is mounted over another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub group: GroupPath,
    /// Where.
    pub point: GroupPath,
}

/// The groups that are mounted below the root, in this process's mount namespace.
///
/// # Errors
/// Where `/proc/self/mountinfo` cannot be read.
pub fn mounts(root: &Root) -> Result<Vec<Mount>> {
    let proc_error = |source| Error::Proc { file: "/proc/self/mountinfo", source };
    let all =
        procfs::process::Process::myself().and_then(|process| process.mountinfo()).map_err(proc_error)?;
    let below = |mount: procfs::process::MountInfo| {
        let point = GroupPath::new(mount.mount_point.strip_prefix(root.path()).ok()?).ok()?;
        let group = GroupPath::new(mount.root.trim_start_matches('/')).ok()?;
        (mount.fs_type == "cgroup2").then_some(Mount { group, point })
    };
    Ok(all.into_iter().filter_map(below).collect())
}

/// The group this process is in.
///
/// # Errors
/// Where `/proc/self/cgroup` cannot be read, or names none.
pub fn own_group() -> Result<GroupPath> {
    let proc_error = |source| Error::Proc { file: "/proc/self/cgroup", source };
    let groups =
        procfs::process::Process::myself().and_then(|process| process.cgroups()).map_err(proc_error)?;
    let path = groups.into_iter().find(|group| group.hierarchy == 0).map(|group| group.pathname);
    GroupPath::new(path.as_deref().unwrap_or("").trim_start_matches('/'))
}
