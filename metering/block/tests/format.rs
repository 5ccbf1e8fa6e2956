//! Blocks go through their bytes unchanged, and no other bytes are a block.
// A test's helpers are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions)]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ed25519_dalek::{Signer, SigningKey};
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use tenantry_block::{EncodeError, Malformed, NodeKey, Sealed, claimed_weight};
use tenantry_model::block::{
    Block, BlockHash, BlockKey, Contents, Event, GapReason, Registered, Series, Subject,
};
use tenantry_model::catalogue::Metric;
use tenantry_model::job::{Incarnation, JobEnd, Placement, Quality, Registration};
use tenantry_model::reading::{DeviceId, DeviceIo, GpuReading, GpuStat, IoStat, Reading};
use tenantry_model::{JobId, Moment, Usec, WallTime};

const BOOT: &str = "0b0b0b0b-0000-4000-8000-000000000001";
const BOOT_USEC: u64 = 3_600_000_000;

fn moment(usec: u64, step: i64) -> Moment {
    let wall = 1_795_000_000_000_000 + i64::try_from(usec).unwrap() + step;
    Moment { wall: WallTime::from_unix_usec(wall).unwrap(), boottime_usec: Usec(usec) }
}

fn run(job: u32) -> Incarnation {
    Incarnation {
        cluster: job.is_multiple_of(2).then(|| "c1".parse().unwrap()),
        node: "n1".parse().unwrap(),
        boot_id: BOOT.parse().unwrap(),
        job_id: JobId(job),
        began: moment(u64::from(job), 0).wall,
    }
}

fn registration(job: u32) -> Registration {
    Registration {
        incarnation: run(job),
        restart_count: None,
        sluid: None,
        uid: 1000,
        gid: 1000,
        user: Some("ada".into()),
        account: Some("acme".parse().unwrap()),
        partition: None,
        allocated_cpus: Some(2),
        allocated_gpus: Vec::new(),
        scope: "system.slice/slurmstepd.scope".into(),
        began: moment(u64::from(job), 0),
        placement: Placement::Grafted {
            tenant: "acme".parse().unwrap(),
            leaf: "x".into(),
            mounts: Vec::new(),
        },
    }
}

fn block(contents: Contents) -> Block {
    Block {
        key: BlockKey { node: "n1".parse().unwrap(), boot_id: BOOT.parse().unwrap(), sequence: 7 },
        previous: BlockHash([9; 32]),
        closed: moment(BOOT_USEC, 0),
        contents,
    }
}

fn key() -> NodeKey {
    NodeKey::from_seed(&[5; 32])
}

fn gpus(all: &[(&str, [Option<u64>; 4])]) -> Vec<GpuReading> {
    let gpu = |(name, columns): &(&str, [Option<u64>; 4])| GpuReading {
        gpu: name.parse().unwrap(),
        stat: GpuStat::from_columns(*columns),
    };
    all.iter().map(gpu).filter(|gpu| !gpu.stat.is_empty()).collect()
}

/// What a node of three jobs and a tenant has in a minute.
fn full() -> Block {
    let reading = |job: u64, round: u64| {
        let at = moment(BOOT_USEC - 60_000_000 + round * 10_000_000 + job * 13, 0);
        let counters = [
            (Metric::CPU_USAGE, job * 1000 + round * 9_999_123),
            (Metric::MEMORY_CURRENT, (1 << 30) + round * 4096),
            (Metric::MEMORY_PEAK, 1 << 31),
            (Metric::MEMORY_OOM_KILLS, 0),
        ];
        let device = DeviceId { major: 8, minor: 0 };
        let io = vec![DeviceIo { device, stat: IoStat::from_columns([round * 4096, 0, round, 0]) }];
        // Two jobs have a GPU each, one of them a MIG device, of which less is known.
        let gpus = match job {
            1 => gpus(&[(
                "GPU-1",
                [Some(round * 700_000), Some(round * 9_000_000), Some(round * 10_000_000), Some(1 << 34)],
            )]),
            2 if round != 3 => gpus(&[("MIG-1", [None, None, None, Some(round << 30)])]),
            _ => Vec::new(),
        };
        Reading { at, counters: counters.into_iter().collect(), io: Some(io), gpus }
    };
    let series =
        |subject, job| Series { subject, readings: (0..6).map(|round| reading(job, round)).collect() };
    let tenant = Subject::Tenant { node: "n1".parse().unwrap(), tenant: "acme/physics".parse().unwrap() };
    block(Contents {
        registered: vec![Registered { registration: registration(1), allocation: None }],
        series: vec![
            series(Subject::Job(run(1)), 1),
            series(Subject::Job(run(2)), 2),
            series(Subject::Job(run(3)), 3),
            series(tenant, 6),
            series(Subject::Node { node: "n1".parse().unwrap() }, 1),
        ],
        ends: vec![JobEnd {
            registration: registration(4),
            allocation: None,
            reading: Some(reading(4, 1)),
            steps: None,
            ended: moment(BOOT_USEC, 0),
            quality: Quality::Exact,
            unmeasured_usec: None,
        }],
        events: vec![Event::Gap { from: moment(1, 0), to: moment(2, 0), reason: GapReason::SpoolFull }],
    })
}

#[test]
fn a_block_goes_through_its_bytes_unchanged() {
    let sealed = Sealed::new(&full(), &key()).unwrap();
    let opened = Sealed::open(sealed.bytes().to_vec()).unwrap();
    assert_eq!(opened, sealed);
    assert_eq!(opened.block().unwrap(), full());
    assert_eq!((opened.previous(), opened.closed()), (full().previous, full().closed));
}

#[test]
fn every_bit_that_flips_and_every_cut_is_found() {
    let bytes = Sealed::new(&full(), &key()).unwrap().bytes().to_vec();
    for cut in 0..bytes.len() {
        assert!(Sealed::open(bytes[..cut].to_vec()).is_err(), "cut to {cut} bytes");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(Sealed::open(flipped).is_err(), "bit {bit}");
    }
    let more = [&bytes[..], &[0]].concat();
    assert!(Sealed::open(more).is_err());
}

#[test]
fn a_block_whose_checksum_was_made_anew_has_a_wrong_signature() {
    let mut bytes = Sealed::new(&full(), &key()).unwrap().bytes().to_vec();
    let end = bytes.len() - 4;
    // The sequence's lowest byte: after magic, version, length and name of the node, and the boot.
    bytes[4 + 1 + 1 + 2 + 36] ^= 1;
    let checksum = crc32fast::hash(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&checksum);
    assert_eq!(Sealed::open(bytes), Err(Malformed::Signature));
}

#[test]
fn a_job_of_another_boot_and_a_group_twice_are_refused() {
    let mut other = full();
    other.key.boot_id = "0b0b0b0b-0000-4000-8000-000000000002".parse().unwrap();
    assert!(matches!(Sealed::new(&other, &key()), Err(EncodeError::OtherBoot(JobId(1)))));
    let mut twins = full();
    twins.contents.series.push(twins.contents.series[0].clone());
    assert!(matches!(Sealed::new(&twins, &key()), Err(EncodeError::Twins)));
}

/// The decoder in `tests/block/decode` shares nothing with this crate but docs/block-format.md.
fn other_decoder_agrees(block: &Block) {
    let sealed = Sealed::new(block, &key()).unwrap();
    let decode = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/block/decode");
    let mut child =
        Command::new("python3").arg(decode).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(sealed.bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let theirs: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(theirs["hash"], sealed.hash().to_string());
    assert_eq!(theirs["signer"], sealed.signer().to_string());
    assert_eq!(theirs["block"], serde_json::to_value(block).unwrap());
}

#[test]
fn another_decoder_reads_the_same() {
    other_decoder_agrees(&full());
    other_decoder_agrees(&block(Contents::default()));
}

/// Jobs of a node as they are: steady ones and idle ones, of which some counters are not always there.
#[test]
fn another_decoder_reads_a_busy_node() {
    let reading = |job: u64, round: u64| {
        let at = moment(BOOT_USEC - 300_000_000 + round * 10_000_000 + job * 40 + (job * round) % 29, 0);
        let usage = job * 7_000_000 + round * (39_200_000 >> (job % 3 * 8)) + (job * round * 7919) % 20_000;
        let counters = [
            (Metric::CPU_USAGE, usage),
            (Metric::CPU_SYSTEM, usage / 50 + round % 2),
            (Metric::CPU_USER, usage - usage / 50 - round % 2),
            (Metric::MEMORY_ANON, 4096 * (job * 1000 + (round * job) % 40)),
            (Metric::MEMORY_CURRENT, 4096 * (job * 1000 + (round * job) % 40 + 7)),
            (Metric::MEMORY_PEAK, 4096 * (job * 1000 + 38)),
            (Metric::PIDS_CURRENT, job + round % 3),
            (Metric::NETWORK_TX_BYTES, (job << 30) + round * 70_001 * (job % 4)),
        ];
        let there = counters.into_iter().filter(|(metric, _)| {
            *metric != Metric::PIDS_CURRENT
                || !(job.is_multiple_of(5) || job.is_multiple_of(7) && round % 4 == 1)
        });
        Reading { at, counters: there.collect(), io: None, gpus: Vec::new() }
    };
    let series = (1..=40).map(|job| Series {
        subject: Subject::Job(run(u32::try_from(job).unwrap())),
        readings: (0..30 - job % 6).map(|round| reading(job, round)).collect(),
    });
    other_decoder_agrees(&block(Contents { series: series.collect(), ..Contents::default() }));
}

// Payloads that no writer made, under a good signature.

/// Where the weight stands: after magic, version, the node's name, the boot, the sequence, the hash before it, two times.
const WEIGHT: usize = 4 + 1 + 3 + 36 + 8 + 32 + 16;

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value % 0x80).unwrap() | 0x80);
        value /= 0x80;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

fn payload(sealed: &Sealed) -> (u32, Vec<u8>) {
    let bytes = sealed.bytes();
    let weight = u32::from_le_bytes(bytes[WEIGHT..WEIGHT + 4].try_into().unwrap());
    let rest = &bytes[WEIGHT + 4..bytes.len() - 100];
    let length = (1..5).find(|length| varint(rest.len() - length).len() == *length).unwrap();
    (weight, rest[length..].to_vec())
}

fn forged(weight: u32, payload: &[u8]) -> Sealed {
    let head = &Sealed::new(&block(Contents::default()), &key()).unwrap().bytes()[..WEIGHT].to_vec();
    let mut bytes = [head, &weight.to_le_bytes()[..], &varint(payload.len()), payload].concat();
    let hash = Sha256::digest(&bytes);
    let signer = SigningKey::from_bytes(&[5; 32]);
    let signature = signer.sign(&[b"tenantry block 2\0", &hash[..]].concat());
    bytes.extend_from_slice(&signer.verifying_key().to_bytes());
    bytes.extend_from_slice(&signature.to_bytes());
    let checksum = crc32fast::hash(&bytes).to_le_bytes();
    bytes.extend_from_slice(&checksum);
    Sealed::open(bytes).unwrap()
}

/// Reads a block, and holds that this took no more memory than it weighs.
fn read_within_weight(sealed: &Sealed) -> Result<Block, Malformed> {
    let weight = usize::try_from(claimed_weight(sealed.bytes()).unwrap()).unwrap();
    let mut read = None;
    let taken = allocation_counter::measure(|| read = Some(sealed.block()));
    let most = 16 * weight + 100 * sealed.bytes().len() + (256 << 10);
    assert!(taken.bytes_max <= most as u64, "{} bytes for a block of weight {weight}", taken.bytes_max);
    read.unwrap()
}

#[test]
fn a_payload_with_a_bit_flipped_is_read_without_a_panic_and_within_its_weight() {
    let (weight, good) = payload(&Sealed::new(&full(), &key()).unwrap());
    assert_eq!(forged(weight, &good).block(), Ok(full()));
    for bit in (0..good.len() * 8).step_by(5) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // It may well be a block: another value, or the same foretold otherwise.
        let _ = read_within_weight(&forged(weight, &flipped));
    }
    for cut in 0..good.len() {
        assert!(read_within_weight(&forged(weight, &good[..cut])).is_err(), "cut to {cut} bytes");
    }
    assert!(forged(weight, &[&good[..], &[0]].concat()).block().is_err());
}

#[test]
fn a_weight_that_is_not_the_payloads_is_refused() {
    let (weight, good) = payload(&Sealed::new(&full(), &key()).unwrap());
    for wrong in [0, weight - 1, weight + 1, 64 << 20, (64 << 20) + 1, u32::MAX] {
        assert!(read_within_weight(&forged(wrong, &good)).is_err(), "{wrong}");
    }
}

/// So many readings that are all alike would be a few bits.
#[test]
fn a_few_bytes_are_not_many_readings() {
    let alike = Reading::empty(moment(BOOT_USEC, 0));
    let series = Series { subject: Subject::Job(run(1)), readings: vec![alike; 100_000] };
    let many = block(Contents { series: vec![series], ..Contents::default() });
    let sealed = Sealed::new(&many, &key()).unwrap();
    assert!(sealed.bytes().len() > 100_000 / 8);
    assert_eq!(read_within_weight(&sealed), Ok(many));
    let (weight, long) = payload(&sealed);
    let columns = [&varint(60)[..], &long[3..63]].concat();
    assert!(read_within_weight(&forged(weight, &columns)).is_err());
}

#[test]
fn the_format_before_is_refused_by_its_number() {
    let mut bytes = Sealed::new(&full(), &key()).unwrap().bytes().to_vec();
    bytes[4] = 1;
    assert_eq!(Sealed::open(bytes), Err(Malformed::Version(1)));
}

#[test]
fn the_block_that_the_escape_suite_forges_is_a_block() {
    let key = BlockKey { node: "forged".parse().unwrap(), boot_id: BOOT.parse().unwrap(), sequence: 1 };
    let block = Block { key, previous: BlockHash::default(), ..block(Contents::default()) };
    let sealed = Sealed::new(&block, &NodeKey::from_seed(&[9; 32])).unwrap();
    let digits = sealed.bytes().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let hex: String = digits.map(|digit| char::from_digit(digit.into(), 16).unwrap()).collect();
    assert_eq!(include_str!("../../../tests/escape/attempts/forged.hex").trim(), hex, "write this into it");
}

fn readings() -> impl Strategy<Value = Vec<Reading>> {
    let value = prop_oneof![Just(0_u64), 0_u64..1000, any::<u64>()];
    let counters = prop::collection::vec((0..Metric::COUNT, value), 0..8);
    let io = prop::option::of(prop::collection::btree_map((0_u32..3, any::<u32>()), any::<[u64; 4]>(), 0..3));
    let some_gpus = prop::collection::btree_map(0_u32..4, any::<[Option<u64>; 4]>(), 0..3).prop_map(|all| {
        let all: Vec<_> = all.iter().map(|(gpu, columns)| (format!("GPU-{gpu}"), *columns)).collect();
        gpus(&all.iter().map(|(gpu, columns)| (gpu.as_str(), *columns)).collect::<Vec<_>>())
    });
    let reading = (0_u64..1 << 50, -1_000_000_i64..1_000_000, counters, io, some_gpus).prop_map(
        |(at, step, counters, io, gpus)| {
            let device = |((major, minor), columns)| DeviceIo {
                device: DeviceId { major, minor },
                stat: IoStat::from_columns(columns),
            };
            Reading {
                at: moment(at, step),
                counters: counters.into_iter().map(|(metric, value)| (Metric::ALL[metric], value)).collect(),
                io: io.map(|io| io.into_iter().map(device).collect()),
                gpus,
            }
        },
    );
    prop::collection::vec(reading, 0..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn another_decoder_reads_any_readings(all in prop::collection::vec(readings(), 0..5)) {
        let series = all.into_iter().zip(1..).map(|(readings, job)| Series { subject: Subject::Job(run(job)), readings });
        other_decoder_agrees(&block(Contents { series: series.collect(), ..Contents::default() }));
    }
}

proptest! {
    #[test]
    fn any_readings_go_through_unchanged(all in prop::collection::vec(readings(), 0..5)) {
        let series = all.into_iter().zip(1..).map(|(readings, job)| Series { subject: Subject::Job(run(job)), readings });
        let block = block(Contents { series: series.collect(), ..Contents::default() });
        let sealed = Sealed::new(&block, &key()).unwrap();
        prop_assert_eq!(Sealed::open(sealed.bytes().to_vec()).unwrap().block().unwrap(), block);
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = Sealed::open(bytes.clone());
        let head = [b"TnBk\x02", &bytes[..]].concat();
        prop_assert!(Sealed::open(head).is_err());
    }
}

#[test]
fn a_block_says_beforehand_how_much_it_unpacks_to() {
    let sealed = Sealed::new(&block(Contents::default()), &NodeKey::from_seed(&[1; 32])).unwrap();
    assert_eq!(claimed_weight(sealed.bytes()), Some(0));
    assert_eq!(claimed_weight(&sealed.bytes()[..40]), None);
    assert_eq!(claimed_weight(b""), None);
}
