//! Whose processes are in a group.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use tenantry_cgroup::{Error, GroupPath, GroupReader, Result, Root};
use tenantry_model::Clock;

/// The processes in a group and below it; none where it is not there, or goes meanwhile.
pub fn below(root: &Root, group: &GroupPath) -> Result<Vec<u32>> {
    let mut pids = root.processes(group)?;
    let children = match root.children(group) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
        children => children?,
    };
    for child in children {
        pids.extend(below(root, &child)?);
    }
    Ok(pids)
}

/// Whether a slurmstepd is in a group: then Slurm runs a step of the job.
pub fn has_slurmstepd(root: &Root, group: &GroupPath) -> Result<bool> {
    Ok(below(root, group)?.into_iter().any(is_slurmstepd))
}

/// Whether anything is in a group, or was.
pub fn were_in(root: &Root, group: &GroupPath, clock: &dyn Clock) -> Result<bool> {
    let reading = GroupReader::open(root, group)?.read(clock)?;
    let is_populated = root.is_populated(group)? == Some(true);
    Ok(is_populated || reading.cpu_usage().is_some_and(|usage| usage.0 > 0))
}

/// User and group of the first process in a group that is not root's.
pub fn owner(root: &Root, group: &GroupPath) -> Result<Option<(u32, u32)>> {
    let owner =
        |pid: u32| fs::metadata(format!("/proc/{pid}")).ok().map(|process| (process.uid(), process.gid()));
    Ok(below(root, group)?.into_iter().filter_map(owner).find(|(uid, _)| *uid != 0))
}

/// slurmstepd is root's, by its real user: neither a user's program of that name is taken for it,
/// nor a set-uid one that he started under it. Its effective user may be the job's for moments.
fn is_slurmstepd(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let real_user = field("Uid:").and_then(|ids| ids.split_ascii_whitespace().next());
    field("Name:").is_some_and(|name| name.trim() == "slurmstepd") && real_user == Some("0")
}
