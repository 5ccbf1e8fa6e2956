use super::*;
use std::fs;
use std::path::Path;
use tenantry_model::{Moment, SystemClock, WallTime};

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
    let memory = reading.memory.unwrap();
    assert_eq!(reading.cpu_usage(), Some(Usec(10_995_123)));
    assert_eq!(memory.peak, Some(Bytes(115_560_448)));
    assert_eq!(memory.oom_kill, Some(1));
    assert_eq!(reading.pids.unwrap().peak, Some(68));
    let device = DeviceId("98:0".into());
    assert_eq!(reading.io.unwrap()[&device].wbytes, Bytes(16_384));
    assert_eq!(reading.pressure.cpu_some_usec, Some(Usec(10_633_298)));
}

#[test]
fn what_an_older_kernel_does_not_offer_is_absent() {
    let reading = read_fixture("reduced");
    let memory = reading.memory.unwrap();
    assert_eq!(memory.current, Some(Bytes(1_269_760)));
    assert_eq!((memory.peak, memory.swap_current), (None, None));
    assert_eq!(reading.pids.unwrap().peak, None);
    assert_eq!(reading.pressure, Pressure::default());
    assert_eq!(reading.cpu.unwrap().throttled_usec, None);
}

#[test]
fn a_group_without_any_file_reads_as_all_absent() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("gone")).unwrap();
    let root = Root::open_fake(dir.path()).unwrap();
    let reading =
        GroupReader::open(&root, &GroupPath::new("gone").unwrap()).unwrap().read(&SystemClock).unwrap();
    assert_eq!((reading.cpu, reading.memory, reading.pids, reading.io), (None, None, None, None));
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
    assert_eq!(reading.cpu, None);
}

#[test]
fn a_later_reading_sees_later_counters() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("g/cpu.stat");
    fs::create_dir(dir.path().join("g")).unwrap();
    fs::write(&file, "usage_usec 1\n").unwrap();
    let root = Root::open_fake(dir.path()).unwrap();
    let mut reader = GroupReader::open(&root, &GroupPath::new("g").unwrap()).unwrap();
    assert_eq!(reader.read(&Noon).unwrap().cpu_usage(), Some(Usec(1)));
    fs::write(&file, "usage_usec 2\n").unwrap();
    assert_eq!(reader.read(&Noon).unwrap().cpu_usage(), Some(Usec(2)));
}
