//! The late graft: a job that already runs is moved, group by group and process by process, into
//! its leaf, which is then mounted where its groups stood. For jobs whose prolog runs inside the job
//! (`PrologFlags=RunInJob`), and for a job whose mount was lost.

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::fcntl::{Flock, FlockArg};
use tenantry_cgroup::{Error, GroupPath, Result, Root, graft};

/// What Slurm writes to the groups of a job and its steps before their processes start.
const WRITTEN_BY_SLURM: [&str; 8] = [
    "cpuset.mems",
    "cpuset.cpus",
    "memory.low",
    "memory.high",
    "memory.max",
    "memory.swap.max",
    "memory.oom.group",
    "cpu.weight",
];

/// Moves what is in each mount point into the leaf and binds the leaf over it; whether any was not
/// bound already. A mount point that is not there is made. Can be repeated after a crash.
///
/// The counters of the moved processes begin anew with the leaf: what they used before stays with
/// Slurm's own groups. While a process can fork faster than it is moved, this goes on.
///
/// # Errors
/// Where the kernel refuses.
pub fn graft(root: &Root, scope: &GroupPath, leaf: &GroupPath, mount_points: &[GroupPath]) -> Result<bool> {
    let bound = graft::mounts(root)?;
    let is_bound =
        |point: &GroupPath| bound.iter().any(|mount| mount.point == *point && mount.group == *leaf);
    let missing: Vec<_> = mount_points.iter().filter(|point| !is_bound(point)).collect();
    if missing.is_empty() {
        return Ok(false);
    }
    // slurmstepd makes and removes a job's groups under this lock.
    let _slurm = lock(root.open_dir(scope)?)?;
    root.ensure(leaf)?;
    root.ensure(&leaf.child(graft::SENTINEL)?)?;
    for mount_point in missing {
        root.ensure(mount_point)?;
        mirror(root, mount_point, leaf)?;
        while !migrate(root, mount_point, leaf)? {}
        graft::bind(root, leaf, mount_point)?;
    }
    Ok(true)
}

fn lock(dir: OwnedFd) -> Result<Flock<File>> {
    Flock::lock(File::from(dir), FlockArg::LockExclusive).map_err(|(_, errno)| Error::Io {
        operation: "lock",
        path: "the scope".into(),
        source: errno.into(),
    })
}

/// Makes in `to` the groups there are in `from`, with the same controllers and limits.
fn mirror(root: &Root, from: &GroupPath, to: &GroupPath) -> Result<()> {
    root.ensure(to)?;
    for file in WRITTEN_BY_SLURM {
        let (Some(old), Some(new)) = (root.read(from, file)?, root.read(to, file)?) else { continue };
        if old != new {
            let text = String::from_utf8_lossy(&old);
            root.write(to, file, text.trim())?;
        }
    }
    for controller in
        tenantry_cgroup::parse::words(&root.read(from, "cgroup.subtree_control")?.unwrap_or_default())
    {
        root.write(to, "cgroup.subtree_control", &format!("+{}", String::from_utf8_lossy(controller)))?;
    }
    for child in root.children(from)? {
        mirror(root, &child, &to.child(child.name())?)?;
    }
    Ok(())
}

/// Moves every process once; whether there was none left to move.
fn migrate(root: &Root, from: &GroupPath, to: &GroupPath) -> Result<bool> {
    root.ensure(to)?;
    let mut done = true;
    for pid in root.processes(from)? {
        root.admit(to, pid)?;
        done = false;
    }
    for child in root.children(from)? {
        done &= migrate(root, &child, &to.child(child.name())?)?;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_mirror_has_the_groups_and_limits_of_what_it_mirrors() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open_fake(dir.path()).unwrap();
        for (group, text) in
            [("job_7", "100"), ("job_7/step_0", "50"), ("leaf", "max"), ("leaf/step_0", "max")]
        {
            fs::create_dir(dir.path().join(group)).unwrap();
            fs::write(dir.path().join(group).join("memory.max"), format!("{text}\n")).unwrap();
        }
        fs::create_dir(dir.path().join("job_7/step_0/user")).unwrap();
        let group = |path: &str| GroupPath::new(path).unwrap();
        mirror(&root, &group("job_7"), &group("leaf")).unwrap();
        let text = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
        assert!(
            text("leaf/memory.max").starts_with("100") && text("leaf/step_0/memory.max").starts_with("50")
        );
        assert!(dir.path().join("leaf/step_0/user").is_dir());
    }
}
