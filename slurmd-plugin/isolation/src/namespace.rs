//! The node's own mount namespace. slurmd may have one of its own (`PrivateTmp=` in its unit, and
//! the like), and what is mounted there is gone with it: a graft must stand in the node's, from which
//! slurmd's receives it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::sched::{CloneFlags, setns};
use nix::unistd::getppid;

use crate::Error;

const OURS: &str = "/proc/self/ns/mnt";
const THE_NODES: &str = "/proc/1/ns/mnt";

/// Moves this process, which must have one thread, into the node's mount namespace.
///
/// # Errors
/// Where the kernel refuses.
pub fn enter_the_nodes() -> Result<(), Error> {
    let enter = || {
        if fs::metadata(OURS)?.ino() != fs::metadata(THE_NODES)?.ino() {
            setns(File::open(THE_NODES)?, CloneFlags::CLONE_NEWNS)?;
        }
        io::Result::Ok(())
    };
    enter().map_err(Error::Namespace)
}

/// Whether the process that started this one, slurmd, sees all of these mount points.
///
/// # Errors
/// Where its mountinfo cannot be read.
pub fn parent_sees(mount_points: &[PathBuf]) -> Result<bool, Error> {
    let proc_error = |source| tenantry_cgroup::Error::Proc { file: "mountinfo of the parent", source };
    let mounts = procfs::process::Process::new(getppid().as_raw())
        .and_then(|process| process.mountinfo())
        .map_err(proc_error)?;
    let seen: Vec<_> = mounts.into_iter().map(|mount| mount.mount_point).collect();
    Ok(mount_points.iter().all(|point| seen.contains(point)))
}
