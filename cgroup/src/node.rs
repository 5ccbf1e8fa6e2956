//! What this node has: the figures that tenants' limits are measured by.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::sys::stat::{major, minor};
use procfs::Current;
use tenantry_model::tenants::{
    DeviceKind, DeviceName, DeviceNode, DeviceNumber, HugePageSize, NodeSize, Tenants,
};
use tenantry_model::{Bytes, CpuList};

use crate::{Error, Result, Root};

/// The node's size, as far as the tenants file asks for it: devices at the paths that it names, and
/// cores where it shares them out.
///
/// # Errors
/// Where the kernel does not say; what it need not have (swap, huge pages, RDMA) is none.
pub fn size(root: &Root, tenants: &Tenants) -> Result<NodeSize> {
    let memory =
        procfs::Meminfo::current().map_err(|source| Error::Proc { file: "/proc/meminfo", source })?;
    let cpus = cpus(root)?;
    Ok(NodeSize {
        cores: tenants
            .share_cores()
            .then(|| cores(Path::new("/sys/devices/system/cpu"), &cpus))
            .transpose()?,
        cpus,
        memory: Bytes(memory.mem_total),
        swap: Bytes(memory.swap_total),
        page: Bytes(procfs::page_size()),
        pid_max: number(Path::new("/proc/sys/kernel/pid_max"))?,
        huge_pages: huge_pages(Path::new("/sys/kernel/mm/hugepages"))?,
        rdma: names(Path::new("/sys/class/infiniband"))?.into_iter().collect(),
        devices: devices(tenants.devices())?,
    })
}

/// The CPUs that groups may use: those online that no isolated partition took away.
fn cpus(root: &Root) -> Result<CpuList> {
    const EFFECTIVE: &str = "cpuset.cpus.effective";
    let online = Path::new("/sys/devices/system/cpu/online");
    match root.read_top(EFFECTIVE)? {
        Some(text) => list(&text).map_err(|error| failed("understand", Path::new(EFFECTIVE), error)),
        // Without the cpuset controller nothing is taken away.
        None => read_list(online),
    }
}

/// The CPUs by core: the threads of a core are one entry.
fn cores(cpu_dir: &Path, cpus: &CpuList) -> Result<Vec<CpuList>> {
    let mut cores = BTreeMap::new();
    for cpu in cpus.iter() {
        let threads = read_list(&cpu_dir.join(format!("cpu{cpu}/topology/thread_siblings_list")));
        let core = match threads {
            Ok(threads) => threads.intersection(cpus),
            // A kernel without topology: each CPU is a core.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                CpuList::one(cpu).unwrap_or_default()
            }
            Err(error) => return Err(error),
        };
        let first = core.iter().next();
        cores.entry(first).or_insert(core);
    }
    Ok(cores.into_values().collect())
}

fn huge_pages(dir: &Path) -> Result<BTreeSet<HugePageSize>> {
    let size = |name: &String| {
        let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        HugePageSize::of(Bytes(kib.checked_mul(1024)?))
    };
    Ok(names(dir)?.iter().filter_map(size).collect())
}

fn devices(names: BTreeSet<DeviceName>) -> Result<BTreeMap<DeviceName, DeviceNode>> {
    let mut devices = BTreeMap::new();
    for name in names {
        if let Some(device) = device(&name)? {
            devices.insert(name, device);
        }
    }
    Ok(devices)
}

/// A device, symbolic links of its path followed; `None` where there is none.
///
/// # Errors
/// Where it cannot be examined.
pub fn device(name: &DeviceName) -> Result<Option<DeviceNode>> {
    let sys = |number: &DeviceNumber| Path::new("/sys/dev/block").join(number.to_string());
    let (kind, number) = match name {
        DeviceName::Number(number) if sys(number).exists() => (DeviceKind::Block, *number),
        DeviceName::Number(_) => return Ok(None),
        DeviceName::Path(path) => match at(path)? {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    let is_partition = kind == DeviceKind::Block && sys(&number).join("partition").exists();
    Ok(Some(DeviceNode { kind, number, is_partition }))
}

/// The device that stands at a path.
fn at(path: &Path) -> Result<Option<(DeviceKind, DeviceNumber)>> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("examine", path, error)),
    };
    let kind = match found.file_type() {
        kind if kind.is_char_device() => DeviceKind::Char,
        kind if kind.is_block_device() => DeviceKind::Block,
        _ => return Ok(None),
    };
    let part =
        |number: u64| u32::try_from(number).map_err(|error| failed("examine", path, io::Error::other(error)));
    let number = DeviceNumber { major: part(major(found.rdev()))?, minor: part(minor(found.rdev()))? };
    Ok(Some((kind, number)))
}

fn read_list(path: &Path) -> Result<CpuList> {
    fs::read(path).and_then(|text| list(&text)).map_err(|error| failed("read", path, error))
}

fn list(text: &[u8]) -> io::Result<CpuList> {
    let text = str::from_utf8(text.trim_ascii()).map_err(io::Error::other)?;
    text.parse().map_err(io::Error::other)
}

fn number(path: &Path) -> Result<u64> {
    let read = || fs::read_to_string(path)?.trim_ascii().parse().map_err(io::Error::other);
    read().map_err(|error| failed("read", path, error))
}

/// The names in a directory; none where there is no directory.
fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", dir, error)),
    };
    let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<io::Result<_>>().map_err(|error| failed("list", dir, error))
}

fn failed(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { operation, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_what_the_kernel_says() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cpuset.cpus.effective"), "0-1,4\n").unwrap();
        let root = Root::open_fake(dir.path()).unwrap();
        let file = "[tenants.a]\ndevices = ['/dev/null rw', '/dev/absent r', '/dev/fd r']\nio_max = { '4095:0' = {} }\n";
        let tenants = Tenants::parse("tenants.toml".as_ref(), file).unwrap();
        let size = size(&root, &tenants).unwrap();
        assert_eq!((size.cpus.to_string().as_str(), size.cores), ("0-1,4", None));
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
        let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
        let kib: u64 = total.trim().strip_suffix(" kB").unwrap().parse().unwrap();
        assert_eq!(size.memory, Bytes(kib.checked_mul(1024).unwrap()));
        assert!(size.page.0.is_power_of_two() && size.pid_max > 0);
        let null = size.devices[&"/dev/null".parse().unwrap()];
        assert_eq!((null.kind, null.number.to_string().as_str()), (DeviceKind::Char, "1:3"));
        assert_eq!(size.devices.len(), 1, "{:?}", size.devices);
    }

    #[test]
    fn threads_of_a_core_are_one_core_as_far_as_they_may_be_used() {
        let dir = tempfile::tempdir().unwrap();
        for (cpu, threads) in [(0, "0,4"), (1, "1,5"), (4, "0,4"), (5, "1,5")] {
            let topology = dir.path().join(format!("cpu{cpu}/topology"));
            fs::create_dir_all(&topology).unwrap();
            fs::write(topology.join("thread_siblings_list"), format!("{threads}\n")).unwrap();
        }
        let cores = cores(dir.path(), &"0-1,4,9".parse().unwrap()).unwrap();
        let cores: Vec<_> = cores.iter().map(ToString::to_string).collect();
        assert_eq!(cores, ["0,4", "1", "9"]);
    }

    #[test]
    fn huge_pages_are_those_the_kernel_lists() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["hugepages-2048kB", "hugepages-1048576kB", "hugepages-xkB", "other"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let sizes: Vec<_> = huge_pages(dir.path()).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(sizes, ["2MB", "1GB"]);
        assert!(huge_pages(&dir.path().join("absent")).unwrap().is_empty());
    }
}
