//! What a user's jobs leave outside their processes: shared memory, System V IPC, POSIX queues and,
//! if the site wants that, temporary files. It would be charged to a tenant whose job is over, and
//! be there for whoever comes next. It goes with the last job the user has on the node.

use std::fs;
use std::io;
use std::path::Path;

use tenantry_cgroup::ipc::{self, Kind};
use tenantry_model::tenants::{self, Leftovers};

use crate::sweep::{Within, sweep};
use crate::{Error, Site, close, lock};

/// Where shared memory has names: tmpfs, and POSIX queues.
const SHARED_MEMORY: [&str; 2] = ["/dev/shm", "/dev/mqueue"];
/// Temporary files.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

/// The lock that keeps a user's next job from beginning while his last one is swept up.
///
/// # Errors
/// Where it cannot be had.
pub fn lock_user(site: &Site, uid: u32) -> Result<lock::Lock, Error> {
    let dir = site.paths.run.join("users").join(uid.to_string());
    lock::take(&dir).map_err(Error::record("lock", dir))
}

/// Takes a job off the record by `remove` and, if it was the user's last here, sweeps up.
///
/// # Errors
/// Those of `remove`. What cannot be swept up is reported, and left.
pub fn leave(site: &Site, uid: u32, remove: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
    let _user = lock_user(site, uid)?;
    remove()?;
    if uid == 0 || has_jobs(site, uid) {
        return Ok(());
    }
    let policy = tenants::in_force(&site.paths).map(|(tenants, _)| tenants.policy()).unwrap_or_default();
    let mut places: Vec<(&str, Within)> = Vec::new();
    if policy.shared_memory == Leftovers::Remove {
        // It is charged to his tenant wherever it is.
        places.extend(SHARED_MEMORY.map(|place| (place, Within::Any)));
        remove_system_v(site, uid);
    }
    if policy.tmp == Leftovers::Remove {
        places.extend(TEMPORARY.map(|place| (place, Within::Own)));
    }
    for (place, within) in places {
        if let Err((path, error)) = sweep(Path::new(place), uid, within) {
            site.error(&format!("cannot remove what user {uid} left in {}: {error}", path.display()));
        }
    }
    // Nobody else can be at it: the lock is on it.
    let _ = fs::remove_dir(site.paths.run.join("users").join(uid.to_string()));
    Ok(())
}

/// Whether a user has a registered job on this machine. A record that cannot be read may be his;
/// one that goes while it is looked for is another job's that ends.
fn has_jobs(site: &Site, uid: u32) -> bool {
    let Ok(all) = site.paths.all_jobs() else { return true };
    all.iter().any(|listed| {
        close::registration(&listed.records).map_or(true, |job| job.is_some_and(|job| job.uid == uid))
    })
}

/// Removes a user's System V objects.
fn remove_system_v(site: &Site, uid: u32) {
    for kind in Kind::ALL {
        let table = kind.table();
        let text = match fs::read_to_string(table) {
            Ok(text) => text,
            // A kernel without System V IPC.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                site.error(&format!("cannot read {table}: {error}"));
                continue;
            }
        };
        for id in ids_of(&text, uid) {
            match ipc::remove(kind, id) {
                // Its user was faster.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                Err(error) => site.error(&format!("cannot remove {kind:?} {id} of user {uid}: {error}")),
                Ok(()) => {}
            }
        }
    }
}

/// The ids whose owner or creator is `uid`, from a table of `/proc/sysvipc`: the columns are named
/// in its first line.
fn ids_of(table: &str, uid: u32) -> Vec<i32> {
    let uid = uid.to_string();
    let mut lines = table.lines().map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let Some(header) = lines.next() else { return Vec::new() };
    let column = |name: &str| header.iter().position(|word| *word == name);
    let id = column("shmid").or_else(|| column("semid")).or_else(|| column("msqid"));
    let (owner, creator) = (column("uid"), column("cuid"));
    let at = |line: &[&str], column: Option<usize>| {
        column.and_then(|column| line.get(column).map(ToString::to_string))
    };
    lines
        .filter(|line| [owner, creator].iter().any(|column| at(line, *column).as_deref() == Some(&uid)))
        .filter_map(|line| at(&line, id)?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_objects_of_one_user_are_found_by_owner_and_by_creator() {
        let table = "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid\n\
                            0         11  1600                  4096     1     1      0  2001  2001  2001  2001\n\
                            0         12  1600                  4096     1     1      0  2002  2001  2001  2001\n\
                            0         13  1600                  4096     1     1      0  2002  2001  2002  2001\n";
        assert_eq!(ids_of(table, 2001), [11, 12]);
        assert!(ids_of(table, 200).is_empty());
        assert!(ids_of("", 2001).is_empty());
    }
}
