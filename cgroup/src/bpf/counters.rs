//! Bytes and packets of each group: two programs, loaded once a node, and a map.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use tenantry_model::Bytes;
use tenantry_model::reading::{NetworkStat, Traffic};

use super::attach::{Loaded, Target, explain, failed};
use super::hook::{Hook, Part, Program};
use super::network::{self, COUNTERS_SIZE, Direction};
use super::sys::{self, GroupStorage, PossibleCpus};
use crate::{Error, GroupPath, Result, Root};

/// Where the programs and their map are kept for every process of ours, until the node reboots.
pub const PINS: &str = "/sys/fs/bpf/tenantry";

const MAP: &str = "traffic";

/// The kernel's counters, for reading.
///
/// A group's counters begin when it is first counted and end with the group: read them before it
/// is removed. Counting it again later goes on where it was.
#[derive(Debug)]
pub struct Counters(GroupStorage<8>);

/// Where a group's counters are put together: one for any number of groups.
#[derive(Debug, Default)]
pub struct CountersBuffer(Vec<[u64; 8]>);

impl Counters {
    /// Opens what a [`Meter`] has pinned in `pins`. Who may read the file there needs no privilege.
    ///
    /// # Errors
    /// Where it is not there, or may not be read.
    pub fn open(pins: &Path) -> Result<Self> {
        let path = pins.join(MAP);
        let map = sys::open_pinned(&c_path(&path)?, true).map_err(|error| at("open", &path, error))?;
        Self::new(map, &path)
    }

    /// A group's traffic since it was first counted; `None` where it never was, or is gone.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn read(&self, group_id: u64) -> Result<Option<NetworkStat>> {
        self.read_in(&mut CountersBuffer::default(), group_id)
    }

    /// As [`Counters::read`]; nothing is allocated where the buffer was used before.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn read_in(&self, buffer: &mut CountersBuffer, group_id: u64) -> Result<Option<NetworkStat>> {
        match self.0.look_up(group_id, &mut buffer.0) {
            Ok(()) => Ok(Some(sum(&buffer.0))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", format!("the traffic of group {group_id}"), error)),
        }
    }

    fn new(map: OwnedFd, path: &Path) -> Result<Self> {
        let cpus = PossibleCpus::read()
            .map_err(|error| at("read", Path::new("/sys/devices/system/cpu/possible"), error))?;
        match GroupStorage::new(map, cpus) {
            Ok(Some(storage)) => Ok(Self(storage)),
            Ok(None) => Err(at("use", path, io::Error::from(io::ErrorKind::InvalidData))),
            Err(error) => Err(at("examine", path, error)),
        }
    }
}

/// All CPUs' counters together. They wrap at 2^64 bytes, which no node reaches.
fn sum(cpus: &[[u64; 8]]) -> NetworkStat {
    let total = cpus.iter().fold([0_u64; 8], |mut total, cpu| {
        total.iter_mut().zip(cpu).for_each(|(sum, n)| *sum = sum.wrapping_add(*n));
        total
    });
    let [wire @ .., _, _, _, _] = total;
    let [_, _, _, _, loopback @ ..] = total;
    NetworkStat { wire: traffic(wire), loopback: traffic(loopback) }
}

fn traffic([rx_bytes, rx_packets, tx_bytes, tx_packets]: [u64; 4]) -> Traffic {
    Traffic { rx_bytes: Bytes(rx_bytes), rx_packets, tx_bytes: Bytes(tx_bytes), tx_packets }
}

/// The counting programs, ready to be attached.
#[derive(Debug)]
pub struct Meter {
    counters: Counters,
    programs: [(Hook, Loaded); 2],
}

impl Meter {
    /// Opens what is pinned in `pins`, or loads and pins it: whoever comes first. Members of the
    /// group `readers` may then open [`Counters`]; the way to `pins` must be open to them too,
    /// and systemd mounts `/sys/fs/bpf` for root alone.
    ///
    /// # Errors
    /// [`Error::Unenforceable`] where the kernel does not count, or no BPF file system is there.
    pub fn open_or_load(pins: &Path, readers: Option<u32>) -> Result<Self> {
        make_dir(pins, readers)?;
        let path = pins.join(MAP);
        let map = pinned_or(&path, || {
            sys::make_group_storage("tnty_traffic", COUNTERS_SIZE)
                .map_err(|error| unenforceable(explain(&error, &[])))
        })?;
        permit(&path, readers, 0o640)?;
        let counters = Counters::new(map, &path)?;
        let program = |hook, direction| {
            let path = pins.join(if direction == Direction::Ingress { "ingress" } else { "egress" });
            program(&path, hook, direction, &counters).map(|loaded| (hook, loaded))
        };
        let programs = [
            program(Hook::CountIngress, Direction::Ingress)?,
            program(Hook::CountEgress, Direction::Egress)?,
        ];
        Ok(Self { counters, programs })
    }

    /// Counts a group's traffic from now on, and that of all groups in it. A group that is counted
    /// already is left alone.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn attach(&self, root: &Root, group: &GroupPath) -> Result<()> {
        let target = Target::open(root, group)?;
        for (hook, program) in &self.programs {
            target.put(*hook, program, |other| other.info.id == program.info.id)?;
        }
        Ok(())
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// The pinned program, unless it is another release's: then ours is pinned in its place.
fn program(path: &Path, hook: Hook, direction: Direction, counters: &Counters) -> Result<Loaded> {
    let code = network::counter(direction, counters.0.as_fd())
        .ok_or_else(|| unenforceable("the program is too long for its jumps".to_owned()))?;
    let ours = Loaded::new(&Program { hook, code })?;
    match sys::open_pinned(&c_path(path)?, false).and_then(Loaded::from_fd) {
        Ok(pinned) if pinned.info.tag == ours.info.tag && pinned.info.name == ours.info.name => {
            return Ok(pinned);
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(at("open", path, error)),
    }
    // A BPF file system takes no dots in names.
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!("-{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at("remove", &fresh, error)),
        _ => {}
    }
    sys::pin(ours.fd.as_fd(), &c_path(&fresh)?).map_err(|error| at("pin", &fresh, error))?;
    fs::rename(&fresh, path).map_err(|error| at("pin", path, error))?;
    Ok(ours)
}

fn pinned_or(path: &Path, make: impl Fn() -> Result<OwnedFd>) -> Result<OwnedFd> {
    let name = c_path(path)?;
    let open = || sys::open_pinned(&name, false);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return opened.map_err(|error| at("open", path, error)),
    }
    let fresh = make()?;
    match sys::pin(fresh.as_fd(), &name) {
        Ok(()) => Ok(fresh),
        // Somebody else came first: theirs is the one that all of us use.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            open().map_err(|error| at("open", path, error))
        }
        Err(error) => Err(at("pin", path, error)),
    }
}

fn make_dir(pins: &Path, readers: Option<u32>) -> Result<()> {
    check_file_system(pins).map_err(unenforceable)?;
    match fs::create_dir(pins) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(at("make", pins, error)),
        _ => {}
    }
    permit(pins, readers, 0o750)
}

/// Why nothing can be pinned at a path whose last part need not be there yet.
pub fn check_file_system(pins: &Path) -> std::result::Result<(), String> {
    let parent = pins.parent().unwrap_or(pins);
    let wanted = "mount one: mount -t bpf bpf /sys/fs/bpf";
    match statfs(parent) {
        Ok(found) if found.filesystem_type() == BPF_FS_MAGIC => Ok(()),
        Ok(_) => Err(format!("{} is no BPF file system; {wanted}", parent.display())),
        Err(errno) => Err(format!("{} cannot be examined ({errno}); {wanted}", parent.display())),
    }
}

fn permit(path: &Path, readers: Option<u32>, mode: u32) -> Result<()> {
    let mode = if readers.is_some() { mode } else { mode & 0o700 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .and_then(|()| chown(path, None, readers))
        .map_err(|error| at("set the permissions of", path, error))
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::InvalidPath(PathBuf::from(path)))
}

fn unenforceable(reason: String) -> Error {
    Error::Unenforceable { part: Part::Counters, reason }
}

fn at(operation: &'static str, path: &Path, source: io::Error) -> Error {
    failed(operation, path.display().to_string(), source)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cpu_is_added() {
        let stat = sum(&[[1, 2, 3, 4, 5, 6, 7, 8], [10, 20, 30, 40, 50, 60, 70, 80]]);
        assert_eq!((stat.wire.rx_bytes, stat.wire.rx_packets), (Bytes(11), 22));
        assert_eq!((stat.wire.tx_bytes, stat.wire.tx_packets), (Bytes(33), 44));
        assert_eq!((stat.loopback.rx_bytes, stat.loopback.tx_packets), (Bytes(55), 88));
    }

    #[test]
    fn counters_are_pinned_in_a_bpf_file_system_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let error = Meter::open_or_load(&dir.path().join("pins"), None).unwrap_err();
        assert!(matches!(error, Error::Unenforceable { part: Part::Counters, .. }), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
