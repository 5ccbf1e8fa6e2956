//! `bpf(2)`: the only unsafe code of this crate. Structures are the leading parts of the kernel's
//! `union bpf_attr` and of its info structures; the kernel takes what is missing as zero.

use std::ffi::{CStr, c_long};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::insn::Insn;

const MAP_CREATE: i32 = 0;
const MAP_LOOKUP_ELEM: i32 = 1;
const PROG_LOAD: i32 = 5;
const OBJ_PIN: i32 = 6;
const OBJ_GET: i32 = 7;
const PROG_ATTACH: i32 = 8;
const PROG_DETACH: i32 = 9;
const PROG_GET_FD_BY_ID: i32 = 13;
const OBJ_GET_INFO_BY_FD: i32 = 15;
const PROG_QUERY: i32 = 16;

const ALLOW_MULTI: u32 = 1 << 1;
const REPLACE: u32 = 1 << 2;
const READ_ONLY: u32 = 1 << 3;

const PERCPU_CGROUP_STORAGE: u32 = 21;

/// Programs per hook and group: the kernel's `BPF_CGROUP_MAX_PROGS`.
const MAX_PROGRAMS: usize = 64;

/// A plain structure of the kernel's, laid out without padding.
trait Plain {}

macro_rules! plain {
    ($($name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {$(
        #[derive(Debug, Default)]
        #[repr(C)]
        #[allow(dead_code, clippy::struct_field_names, reason = "the kernel reads them, and named them")]
        struct $name { $($field: $kind),* }
        impl Plain for $name {}
        // No padding: each byte that the kernel reads was written.
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$kind>())*);
    )*};
}

plain! {
    MapCreate {
        map_type: u32, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32,
        inner_map_fd: u32, numa_node: u32, map_name: [u8; 16],
    }
    MapElement { map_fd: u32, padding: u32, key: u64, value: u64, flags: u64 }
    ProgLoad {
        prog_type: u32, insn_cnt: u32, insns: u64, license: u64, log_level: u32, log_size: u32,
        log_buf: u64, kern_version: u32, prog_flags: u32, prog_name: [u8; 16], prog_ifindex: u32,
        expected_attach_type: u32,
    }
    Obj { pathname: u64, bpf_fd: u32, file_flags: u32 }
    Attach { target_fd: u32, attach_bpf_fd: u32, attach_type: u32, attach_flags: u32, replace_bpf_fd: u32 }
    ById { id: u32, next_id: u32, open_flags: u32 }
    Info { bpf_fd: u32, info_len: u32, info: u64 }
    Query {
        target_fd: u32, attach_type: u32, query_flags: u32, attach_flags: u32, prog_ids: u64,
        prog_cnt: u32, padding: u32,
    }
    RawProgramInfo {
        kind: u32, id: u32, tag: [u8; 8], jited_len: u32, xlated_len: u32, jited: u64, xlated: u64,
        load_time: u64, created_by_uid: u32, nr_map_ids: u32, map_ids: u64, name: [u8; 16],
    }
    RawMapInfo {
        kind: u32, id: u32, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32,
    }
}

/// A loaded program, as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramInfo {
    /// The kernel's number of it, until it is unloaded.
    pub id: u32,
    /// A hash of its instructions, without the numbers of maps.
    pub tag: [u8; 8],
    /// What it was called when it was loaded.
    pub name: Vec<u8>,
}

/// Calls `bpf(2)`.
///
/// # Safety
/// Every address in `attr` must be valid for what `command` does there.
unsafe fn bpf<T: Plain>(command: i32, attr: &mut T) -> io::Result<c_long> {
    // SAFETY: `attr` is a structure without padding of the size told, which the kernel reads and
    // may write; what it points to is the caller's promise.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

/// Calls a command that answers with a new descriptor.
///
/// # Safety
/// As [`bpf`]; `command` must be one of those.
unsafe fn bpf_fd<T: Plain>(command: i32, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise.
    let answer = unsafe { bpf(command, attr) }?;
    let fd = RawFd::try_from(answer).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address<T: ?Sized>(of: &T) -> u64 {
    u64::try_from(std::ptr::from_ref(of).cast::<u8>().expose_provenance()).unwrap_or_default()
}

fn address_mut<T: ?Sized>(of: &mut T) -> u64 {
    u64::try_from(std::ptr::from_mut(of).cast::<u8>().expose_provenance()).unwrap_or_default()
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn short_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    // The last byte stays zero.
    bytes.iter_mut().take(15).zip(name.bytes()).for_each(|(to, from)| *to = from);
    bytes
}

/// Loads a program. Where the kernel refuses, the verifier's words are in `log`.
pub fn load(
    name: &str,
    program_type: u32,
    attach_type: u32,
    code: &[Insn],
    mut log: Option<&mut [u8]>,
) -> io::Result<OwnedFd> {
    const LICENCE: &CStr = c"MIT";
    let mut attr = ProgLoad {
        prog_type: program_type,
        insn_cnt: length(code.len()),
        insns: address(code),
        license: address(LICENCE),
        prog_name: short_name(name),
        expected_attach_type: attach_type,
        ..ProgLoad::default()
    };
    if let Some(log) = &mut log {
        attr.log_level = 1;
        attr.log_size = length(log.len());
        attr.log_buf = address_mut(*log);
    }
    // SAFETY: the instructions, the licence and the log outlive the call, and have the sizes told.
    unsafe { bpf_fd(PROG_LOAD, &mut attr) }
}

/// Makes a map of which each group that a program with it is attached to has a value of its own,
/// for each CPU, zero at first. Keys are the groups' ids.
pub fn make_group_storage(name: &str, value_size: u32) -> io::Result<OwnedFd> {
    let mut attr = MapCreate {
        map_type: PERCPU_CGROUP_STORAGE,
        key_size: length(size_of::<u64>()),
        value_size,
        map_name: short_name(name),
        ..MapCreate::default()
    };
    // SAFETY: there is no address in it.
    unsafe { bpf_fd(MAP_CREATE, &mut attr) }
}

/// Whether a map is one that [`make_group_storage`] makes.
fn is_group_storage(map: BorrowedFd<'_>, value_size: u32) -> io::Result<bool> {
    let mut info = RawMapInfo::default();
    let mut attr =
        Info { bpf_fd: number(map), info_len: length(size_of::<RawMapInfo>()), info: address_mut(&mut info) };
    // SAFETY: `info` outlives the call and has the size told; any bits are valid in it.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(info.kind == PERCPU_CGROUP_STORAGE && info.key_size == 8 && info.value_size == value_size)
}

/// How many CPUs the kernel may ever have here: for so many it keeps values.
#[derive(Debug, Clone, Copy)]
pub struct PossibleCpus(usize);

impl PossibleCpus {
    /// Asks the kernel.
    pub fn read() -> io::Result<Self> {
        let text = fs::read_to_string("/sys/devices/system/cpu/possible")?;
        Self::parse(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Counts `0-3,8`.
    fn parse(cpus: &str) -> Option<Self> {
        let count = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            last.checked_sub(first)?.checked_add(1)
        };
        cpus.trim_end().split(',').map(count).sum::<Option<usize>>().map(Self)
    }
}

/// A map that [`make_group_storage`] makes, of `N` numbers for each group and CPU.
#[derive(Debug)]
pub struct GroupStorage<const N: usize> {
    map: OwnedFd,
    cpus: PossibleCpus,
}

impl<const N: usize> GroupStorage<N> {
    /// `None` where it is another kind of map, or holds another number of numbers.
    pub fn new(map: OwnedFd, cpus: PossibleCpus) -> io::Result<Option<Self>> {
        let size = u32::try_from(N.saturating_mul(8)).map_err(io::Error::other)?;
        Ok(is_group_storage(map.as_fd(), size)?.then_some(Self { map, cpus }))
    }

    /// A group's value, for each CPU. "Not found" where no program with the map was ever attached
    /// to the group. Nothing is allocated where `values` has held a value before.
    pub fn look_up(&self, group_id: u64, values: &mut Vec<[u64; N]>) -> io::Result<()> {
        values.clear();
        values.resize(self.cpus.0, [0; N]);
        let mut attr = MapElement {
            map_fd: number(self.map.as_fd()),
            key: address(&group_id),
            value: address_mut(values.as_mut_slice()),
            ..MapElement::default()
        };
        // SAFETY: the key has the map's 8 bytes; the kernel writes the map's value size, N * 8 bytes as
        // `new` saw, for each possible CPU, and `cpus` is their number.
        unsafe { bpf(MAP_LOOKUP_ELEM, &mut attr) }.map(drop)
    }
}

impl<const N: usize> AsFd for GroupStorage<N> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// Gives a map or program a name in a BPF file system. An existing name is an error.
pub fn pin(object: BorrowedFd<'_>, path: &CStr) -> io::Result<()> {
    let mut attr = Obj { pathname: address(path), bpf_fd: number(object), ..Obj::default() };
    // SAFETY: the path outlives the call and ends with a zero.
    unsafe { bpf(OBJ_PIN, &mut attr) }.map(drop)
}

/// Opens a pinned map or program; a map that is only to be read may belong to somebody else.
pub fn open_pinned(path: &CStr, read_only: bool) -> io::Result<OwnedFd> {
    let file_flags = if read_only { READ_ONLY } else { 0 };
    let mut attr = Obj { pathname: address(path), file_flags, ..Obj::default() };
    // SAFETY: the path outlives the call and ends with a zero.
    unsafe { bpf_fd(OBJ_GET, &mut attr) }
}

/// Attaches a program to a group beside others, or in the place of `old`.
pub fn attach(
    group: BorrowedFd<'_>,
    attach_type: u32,
    program: BorrowedFd<'_>,
    old: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut attr = Attach {
        target_fd: number(group),
        attach_bpf_fd: number(program),
        attach_type,
        attach_flags: ALLOW_MULTI | if old.is_some() { REPLACE } else { 0 },
        replace_bpf_fd: old.map_or(0, number),
    };
    // SAFETY: there is no address in it.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

/// Attaches a program as Slurm and others do: nobody may attach one beside it.
#[cfg(test)]
pub fn attach_alone(group: BorrowedFd<'_>, attach_type: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr =
        Attach { target_fd: number(group), attach_bpf_fd: number(program), attach_type, ..Attach::default() };
    // SAFETY: there is no address in it.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

/// Detaches one program from a group.
pub fn detach(group: BorrowedFd<'_>, attach_type: u32, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr =
        Attach { target_fd: number(group), attach_bpf_fd: number(program), attach_type, ..Attach::default() };
    // SAFETY: there is no address in it.
    unsafe { bpf(PROG_DETACH, &mut attr) }.map(drop)
}

/// The ids of the programs attached to a group itself, in the order in which they run.
pub fn query(group: BorrowedFd<'_>, attach_type: u32) -> io::Result<Vec<u32>> {
    let mut ids = vec![0_u32; MAX_PROGRAMS];
    let mut attr = Query {
        target_fd: number(group),
        attach_type,
        prog_ids: address_mut(ids.as_mut_slice()),
        prog_cnt: length(ids.len()),
        ..Query::default()
    };
    // SAFETY: the kernel writes `prog_cnt` ids at most, and `ids` outlives the call.
    unsafe { bpf(PROG_QUERY, &mut attr) }?;
    ids.truncate(usize::try_from(attr.prog_cnt).map_err(io::Error::other)?);
    Ok(ids)
}

/// Opens a program by its id.
pub fn open_program(id: u32) -> io::Result<OwnedFd> {
    let mut attr = ById { id, ..ById::default() };
    // SAFETY: there is no address in it.
    unsafe { bpf_fd(PROG_GET_FD_BY_ID, &mut attr) }
}

/// What the kernel knows of a program.
pub fn program_info(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    let mut info = RawProgramInfo::default();
    let mut attr = Info {
        bpf_fd: number(program),
        info_len: length(size_of::<RawProgramInfo>()),
        info: address_mut(&mut info),
    };
    // SAFETY: `info` outlives the call and has the size told; any bits are valid in it; its
    // addresses are null and its lengths zero, so that the kernel writes nowhere else.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    let name = info.name.into_iter().take_while(|byte| *byte != 0).collect();
    Ok(ProgramInfo { id: info.id, tag: info.tag, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn possible_cpus_are_counted() {
        for (text, count) in [
            ("0\n", Some(1)),
            ("0-127\n", Some(128)),
            ("0-3,8,16-17\n", Some(7)),
            ("\n", None),
            ("3-1", None),
        ] {
            assert_eq!(PossibleCpus::parse(text).map(|cpus| cpus.0), count, "{text:?}");
        }
    }
}
