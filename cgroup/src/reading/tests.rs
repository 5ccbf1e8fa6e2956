use super::*;
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use tenantry_model::{Bytes, Moment, SystemClock, Usec, WallTime};

struct Noon;

impl Clock for Noon {
    fn now(&self) -> std::io::Result<Moment> {
        Ok(Moment { wall: WallTime::from_unix_usec(12).unwrap(), boottime_usec: Usec(12) })
    }
}

fn read_fixture(kernel: &str) -> Reading {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let root = Root::open_fake(&fixtures).unwrap();
    GroupReader::open(&root, &GroupPath::new(kernel).unwrap()).unwrap().read(&Noon).unwrap()
}

#[test]
fn a_reading_holds_what_the_kernel_of_the_lab_wrote() {
    let reading = read_fixture("7.3-uml");
    assert_eq!(reading.cpu_usage(), Some(Usec(10_995_123)));
    assert_eq!(reading.bytes(Metric::MEMORY_PEAK), Some(Bytes(115_560_448)));
    assert_eq!(reading.get(Metric::MEMORY_OOM_KILLS), Some(1));
    assert_eq!(reading.get(Metric::PIDS_PEAK), Some(68));
    assert_eq!(reading.usec(Metric::CPU_PRESSURE_SOME), Some(Usec(10_633_298)));
    let io = reading.io.unwrap();
    let disk = io.iter().find(|io| io.device == DeviceId { major: 98, minor: 0 }).unwrap();
    assert_eq!(disk.stat.wbytes, Bytes(16_384));
}

#[test]
fn what_an_older_kernel_does_not_offer_is_absent() {
    let reading = read_fixture("reduced");
    assert_eq!(reading.get(Metric::MEMORY_CURRENT), Some(1_269_760));
    for absent in [
        Metric::MEMORY_PEAK,
        Metric::MEMORY_SWAP,
        Metric::PIDS_PEAK,
        Metric::CPU_PRESSURE_SOME,
        Metric::IO_PRESSURE_FULL,
        Metric::CPU_THROTTLED,
    ] {
        assert_eq!(reading.get(absent), None, "{}", absent.info().key);
    }
}

/// A file of a cgroup that was removed after it was opened; `None` where this machine has no cgroups to make.
fn file_of_a_removed_group() -> Option<File> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let trees = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let path = fields.next()?;
        fields.next()?.starts_with("cgroup").then_some(path)
    });
    trees.into_iter().find_map(|tree| {
        let group = Path::new(tree).join(format!("tenantry-test-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let file = File::open(group.join("cgroup.procs"));
        fs::remove_dir(&group).unwrap();
        file.ok()
    })
}

#[test]
fn a_group_that_goes_while_it_is_read_has_no_reading_rather_than_half_of_one() {
    let Some(gone) = file_of_a_removed_group() else {
        println!(
            "TENANTRY-SKIP a_group_that_goes_while_it_is_read: no cgroup can be made here; run it as root"
        );
        return;
    };
    let root = Root::open_fake(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")).unwrap();
    let mut reader = GroupReader::open(&root, &GroupPath::new("7.3-uml").unwrap()).unwrap();
    assert!(reader.read(&Noon).unwrap().cpu_usage().is_some());
    reader.files.memory_current = Some(gone);
    assert_eq!(reader.read(&Noon).unwrap(), Reading::empty(Noon.now().unwrap()));
}

#[test]
fn a_group_that_has_lost_a_controllers_files_is_going() {
    let dir = tempfile::tempdir().unwrap();
    let group = dir.path().join("job_1");
    fs::create_dir(&group).unwrap();
    for (file, text) in [("cpu.stat", "usage_usec 5\n"), ("cgroup.controllers", "cpu memory\n")] {
        fs::write(group.join(file), text).unwrap();
    }
    let root = Root::open_fake(dir.path()).unwrap();
    let open = || GroupReader::open(&root, &GroupPath::new("job_1").unwrap());
    assert!(open().unwrap_err().is_absent());
    fs::write(group.join("memory.current"), "7\n").unwrap();
    assert_eq!(open().unwrap().read(&Noon).unwrap().get(Metric::MEMORY_CURRENT), Some(7));
}

#[test]
fn a_group_without_any_file_reads_as_all_absent() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("gone")).unwrap();
    let root = Root::open_fake(dir.path()).unwrap();
    let reading =
        GroupReader::open(&root, &GroupPath::new("gone").unwrap()).unwrap().read(&SystemClock).unwrap();
    assert_eq!(reading, Reading::empty(reading.at));
}

#[test]
fn a_text_that_may_be_cut_short_is_absent() {
    let dir = tempfile::tempdir().unwrap();
    let group = dir.path().join("g");
    fs::create_dir(&group).unwrap();
    let mut long = b"usage_usec 1\n".to_vec();
    long.resize(BUFFER_BYTES + 1, b'x');
    fs::write(group.join("cpu.stat"), long).unwrap();
    let root = Root::open_fake(dir.path()).unwrap();
    let reading = GroupReader::open(&root, &GroupPath::new("g").unwrap()).unwrap().read(&Noon).unwrap();
    assert_eq!(reading.cpu_usage(), None);
}

#[test]
fn a_later_reading_sees_later_counters() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("g/cpu.stat");
    fs::create_dir(dir.path().join("g")).unwrap();
    fs::write(&file, "usage_usec 1\n").unwrap();
    let root = Root::open_fake(dir.path()).unwrap();
    let reader = GroupReader::open(&root, &GroupPath::new("g").unwrap()).unwrap();
    assert_eq!(reader.read(&Noon).unwrap().cpu_usage(), Some(Usec(1)));
    fs::write(&file, "usage_usec 2\n").unwrap();
    assert_eq!(reader.read(&Noon).unwrap().cpu_usage(), Some(Usec(2)));
}

#[test]
fn a_reading_that_is_filled_again_keeps_nothing_of_the_last_one() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let root = Root::open_fake(&fixtures).unwrap();
    let mut buffer = ReadBuffer::default();
    let mut reading = Reading::empty(Noon.now().unwrap());
    for kernel in ["7.3-uml", "reduced", "7.3-uml"] {
        let reader = GroupReader::open(&root, &GroupPath::new(kernel).unwrap()).unwrap();
        reader.read_into(reading.at, &mut buffer, &mut reading);
        assert_eq!(reading, read_fixture(kernel));
    }
}

proptest! {
    #[test]
    fn any_text_in_any_file_is_read_without_a_panic(
        file in prop::sample::select(GroupReader::FILES.to_vec()),
        text in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("g")).unwrap();
        fs::write(dir.path().join("g").join(file), &text).unwrap();
        let root = Root::open_fake(dir.path()).unwrap();
        let reading = GroupReader::open(&root, &GroupPath::new("g").unwrap()).unwrap().read(&Noon).unwrap();
        prop_assert!(text.iter().any(u8::is_ascii_digit) || reading.counters.is_empty());
    }

    #[test]
    fn devices_are_read_in_their_order(stats in prop::collection::btree_map((0_u32..300, 0_u32..300), any::<[u64; 4]>(), 0..30)) {
        let line = |((major, minor), [a, b, c, d]): (&(u32, u32), &[u64; 4])| {
            format!("{major}:{minor} rbytes={a} wbytes={b} rios={c} wios={d} dbytes=0 dios=0\n")
        };
        let text: String = stats.iter().rev().map(line).collect();
        let mut io = Vec::new();
        io_stat(text.as_bytes(), &mut io);
        let read: Vec<_> = io.iter().map(|io| ((io.device.major, io.device.minor), io.stat.columns())).collect();
        prop_assert_eq!(read, stats.into_iter().collect::<Vec<_>>());
    }
}
