use super::*;
use std::fs;
use tenantry_model::block::Subject;
use tenantry_model::reading::Reading;
use tenantry_model::{Moment, Usec, WallTime};

const BOOT: &str = "0b7e9a60-0000-4000-8000-000000000001";
const NEXT_BOOT: &str = "0b7e9a60-0000-4000-8000-000000000002";
const BOUNDS: Bounds = Bounds { max_bytes: 64 << 20, keep: Duration::from_secs(100) };

fn moment(usec: u64) -> Moment {
    let wall = WallTime::from_unix_usec(i64::try_from(usec).unwrap()).unwrap();
    Moment { wall, boottime_usec: Usec(usec) }
}

async fn try_open(
    dir: &tempfile::TempDir,
    boot: &str,
    bounds: Bounds,
) -> Result<(Spool, Option<Event>), SpoolError> {
    let key = NodeKey::from_seed(&[1; 32]);
    let identity = Identity { node: "n1".parse().unwrap(), boot_id: boot.parse().unwrap(), key };
    Spool::open(&dir.path().join("spool.sqlite"), identity, bounds, moment(9)).await
}

async fn open(dir: &tempfile::TempDir, boot: &str) -> Spool {
    let (spool, lost) = try_open(dir, boot, BOUNDS).await.unwrap();
    assert_eq!(lost, None);
    spool
}

fn contents(usec: u64) -> Contents {
    let subject = Subject::Tenant { node: "n1".parse().unwrap(), tenant: "acme".parse().unwrap() };
    let series = tenantry_model::block::Series { subject, readings: vec![Reading::empty(moment(usec))] };
    Contents { series: vec![series], ..Contents::default() }
}

async fn append(spool: &Spool, usec: u64) -> u64 {
    let last = Some(moment(usec));
    spool.append(&contents(usec), last, &[], moment(usec)).await.unwrap().sequence
}

async fn next(spool: &Spool) -> Spooled {
    spool.next().await.unwrap().unwrap()
}

async fn acknowledge_next(spool: &Spool) {
    spool.acknowledge(&next(spool).await, moment(10).wall).await.unwrap();
}

fn sealed(spooled: &Spooled) -> Sealed {
    Sealed::open(spooled.bytes.clone()).unwrap()
}

fn decoded(spooled: &Spooled) -> Block {
    sealed(spooled).block().unwrap()
}

#[tokio::test]
async fn blocks_leave_in_the_order_they_came_and_only_when_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    for usec in [1, 2] {
        append(&spool, usec).await;
    }
    let first = next(&spool).await;
    assert_eq!(decoded(&first).key.sequence, 1);
    assert_eq!(next(&spool).await, first);
    spool.acknowledge(&first, moment(3).wall).await.unwrap();
    let second = next(&spool).await;
    assert_eq!((decoded(&second).key.sequence, decoded(&second).contents), (2, contents(2)));
    assert_eq!(sealed(&second).previous(), sealed(&first).hash());
    spool.acknowledge(&second, moment(4).wall).await.unwrap();
    assert_eq!(spool.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_sequence_is_never_given_twice_and_the_chain_goes_on_over_restarts_and_boots() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    assert_eq!(append(&spool, 1).await, 1);
    acknowledge_next(&spool).await;
    drop(spool);
    let spool = open(&dir, BOOT).await;
    assert_eq!(spool.tip().await.unwrap().unwrap().last_reading, Some(moment(1)));
    assert_eq!(append(&spool, 2).await, 2);
    let last = next(&spool).await;
    acknowledge_next(&spool).await;
    drop(spool);
    let spool = open(&dir, NEXT_BOOT).await;
    assert_eq!(append(&spool, 3).await, 1);
    let first = next(&spool).await;
    assert_eq!(sealed(&first).previous(), sealed(&last).hash());
    let ended = Event::BootEnded { boot_id: BOOT.parse().unwrap(), last_sequence: 2, last: moment(2) };
    assert_eq!(decoded(&first).contents.events, [ended]);
}

#[tokio::test]
async fn a_block_the_server_will_never_take_is_kept_aside_and_the_next_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    for usec in [1, 2] {
        append(&spool, usec).await;
    }
    let first = next(&spool).await;
    spool.reject(&first, "malformed").await.unwrap();
    assert_eq!(next(&spool).await.sequence, 2);
    let kept: (String, Vec<u8>) =
        sqlx::query_as("SELECT reason, payload FROM rejected").fetch_one(&spool.pool).await.unwrap();
    assert_eq!(kept, ("malformed".to_owned(), first.bytes));
}

#[tokio::test]
async fn a_block_whose_name_is_taken_gets_the_next_one_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    let file = "1.json".to_owned();
    spool.append(&contents(1), None, std::slice::from_ref(&file), moment(1)).await.unwrap();
    let first = next(&spool).await;
    // An older spool was put in this one's place: the ledger has 41 blocks of the boot.
    assert_eq!(spool.renumber(&first, 41, moment(2)).await.unwrap().sequence, 42);
    let again = next(&spool).await;
    let expected = Contents { events: vec![Event::Renumbered { from: 1 }], ..contents(1) };
    assert_eq!((decoded(&again).key.sequence, decoded(&again).contents), (42, expected));
    // Its outbox file waits with it.
    assert_eq!(spool.done_files().await.unwrap(), Vec::<String>::new());
    acknowledge_next(&spool).await;
    assert_eq!(spool.done_files().await.unwrap(), [file]);
    assert_eq!(append(&spool, 3).await, 43);
}

#[tokio::test]
async fn an_outbox_file_is_taken_once_and_done_when_the_ledger_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    let file = "1.json".to_owned();
    let take =
        async |spool: &Spool| spool.append(&contents(1), None, std::slice::from_ref(&file), moment(1)).await;
    assert!(!spool.has_taken(&file).await.unwrap());
    take(&spool).await.unwrap();
    drop(spool);
    let spool = open(&dir, BOOT).await;
    assert!(spool.has_taken(&file).await.unwrap());
    assert!(take(&spool).await.is_err(), "taken twice");
    assert_eq!(spool.done_files().await.unwrap(), Vec::<String>::new());
    acknowledge_next(&spool).await;
    assert_eq!(spool.done_files().await.unwrap(), std::slice::from_ref(&file));
    spool.forget(std::slice::from_ref(&file)).await.unwrap();
    assert!(!spool.has_taken(&file).await.unwrap());
}

#[tokio::test]
async fn acknowledged_blocks_stay_for_their_time_and_others_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    append(&spool, 1).await;
    append(&spool, 2).await;
    acknowledge_next(&spool).await;
    let count = async || -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM block").fetch_one(&spool.pool).await.unwrap()
    };
    let keep = 100_000_000;
    assert!(spool.prune(moment(10 + keep).wall).await.unwrap());
    assert_eq!(count().await, 2);
    assert!(spool.prune(moment(11 + keep).wall).await.unwrap());
    assert_eq!((count().await, next(&spool).await.sequence), (1, 2));
    assert!(spool.prune(moment(1 << 50).wall).await.unwrap());
    assert_eq!(count().await, 1);
}

#[tokio::test]
async fn a_full_spool_lets_acknowledged_blocks_go_and_then_says_that_it_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = Bounds { max_bytes: 400 << 10, ..BOUNDS };
    let (spool, _) = try_open(&dir, BOOT, bounds).await.unwrap();
    // Events do not compress away: each its own text.
    let big = |n: u64| {
        let problem: Vec<_> =
            (0..4000_u64).map(|k| (k + n * 4000).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_string()).collect();
        let problem = problem.concat();
        Contents { events: vec![Event::SpoolLost { at: moment(n), problem }], ..Contents::default() }
    };
    let mut blocks = 0;
    while spool.prune(moment(1).wall).await.unwrap() {
        spool.append(&big(blocks), None, &[], moment(1)).await.unwrap();
        blocks += 1;
        assert!(blocks < 100, "it is never full");
    }
    // Ends are taken all the same.
    append(&spool, 2).await;
    while spool.next().await.unwrap().is_some() {
        acknowledge_next(&spool).await;
    }
    assert!(spool.prune(moment(1).wall).await.unwrap());
    assert!(spool.used_bytes().await.unwrap() <= bounds.max_bytes);
}

#[tokio::test]
async fn a_spool_of_a_newer_version_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    append(&spool, 1).await;
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'x', 1, x'00', 0)")
        .execute(&spool.pool)
        .await
        .unwrap();
    drop(spool);
    let refused = try_open(&dir, BOOT, BOUNDS).await;
    assert!(matches!(refused, Err(SpoolError::Schema(_))), "{refused:?}");
}

/// The spool's file after a daemon has ended well: nothing beside it.
async fn closed_with(dir: &tempfile::TempDir, blocks: u64) -> PathBuf {
    let spool = open(dir, BOOT).await;
    for usec in 1..=blocks {
        append(&spool, usec).await;
    }
    // Connections that close at the same time may each leave the log to the other.
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&spool.pool).await.unwrap();
    spool.pool.close().await;
    dir.path().join("spool.sqlite")
}

#[tokio::test]
async fn a_damaged_spool_is_put_aside_and_what_is_whole_of_it_is_saved() {
    for damage in ["garbage", "cut", "page"] {
        let dir = tempfile::tempdir().unwrap();
        let file = closed_with(&dir, 40).await;
        let mut bytes = fs::read(&file).unwrap();
        match damage {
            "garbage" => bytes = b"this is no database at all".repeat(100),
            "cut" => bytes.truncate(bytes.len() - 5000),
            _ => {
                let middle = bytes.len() / 2 / 4096 * 4096;
                bytes[middle..middle + 4096].fill(0xa5);
            }
        }
        fs::write(&file, &bytes).unwrap();
        let (spool, lost) = try_open(&dir, BOOT, BOUNDS).await.unwrap();
        assert!(matches!(lost, Some(Event::SpoolLost { .. })), "{damage}");
        let aside = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside: Vec<_> = aside.filter(|path| path.to_string_lossy().contains("damaged-9")).collect();
        assert!(
            aside.iter().any(|path| fs::read(path).is_ok_and(|kept| kept == bytes)),
            "{damage}: it is not kept"
        );
        // What was saved is whole, and a new block does not take a name that is there.
        let mut sequences = Vec::new();
        while let Some(block) = spool.next().await.unwrap() {
            sequences.push(decoded(&block).key.sequence);
            spool.acknowledge(&block, moment(50).wall).await.unwrap();
        }
        if damage == "page" {
            assert!(!sequences.is_empty(), "nothing was saved");
        }
        let new = append(&spool, 60).await;
        assert!(!sequences.contains(&new) && sequences.iter().all(|saved| *saved < new), "{damage}");
    }
}

#[tokio::test]
async fn a_block_that_was_changed_in_a_sound_file_is_found_before_it_is_sent_and_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    let file = "1.json".to_owned();
    spool.append(&contents(1), None, std::slice::from_ref(&file), moment(1)).await.unwrap();
    append(&spool, 2).await;
    sqlx::query("UPDATE block SET bytes = zeroblob(300) WHERE sequence = 1")
        .execute(&spool.pool)
        .await
        .unwrap();
    assert!(spool.next().await.unwrap_err().is_damage());
    drop(spool);
    let (spool, lost) = try_open(&dir, BOOT, BOUNDS).await.unwrap();
    assert!(matches!(lost, Some(Event::SpoolLost { .. })));
    assert_eq!(next(&spool).await.sequence, 2);
    // The end that was in it is taken again.
    assert!(!spool.has_taken(&file).await.unwrap());
}

#[tokio::test]
async fn a_rejected_blocks_outbox_files_are_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    let file = "1.json".to_owned();
    spool.append(&contents(1), None, std::slice::from_ref(&file), moment(1)).await.unwrap();
    spool.reject(&next(&spool).await, "malformed").await.unwrap();
    assert_eq!(spool.done_files().await.unwrap(), Vec::<String>::new());
    assert!(!spool.has_taken(&file).await.unwrap());
}

#[tokio::test]
async fn a_changed_block_is_not_saved_from_a_damaged_spool() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    append(&spool, 1).await;
    append(&spool, 2).await;
    sqlx::query("UPDATE block SET bytes = zeroblob(300) WHERE sequence = 1")
        .execute(&spool.pool)
        .await
        .unwrap();
    let fresh = tempfile::tempdir().unwrap();
    let saved = open(&fresh, BOOT).await;
    assert_eq!(salvage::blocks(&dir.path().join("spool.sqlite"), &saved.pool).await.unwrap(), 1);
    assert_eq!(next(&saved).await.sequence, 2);
}

async fn inspect(dir: &tempfile::TempDir) -> Inspection {
    Inspection::open(&dir.path().join("spool.sqlite")).await.unwrap()
}

#[tokio::test]
async fn what_waits_and_what_is_kept_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    for usec in [1, 2, 3] {
        append(&spool, usec).await;
    }
    acknowledge_next(&spool).await;
    let status = inspect(&dir).await.status().await.unwrap();
    assert_eq!((status.waiting, status.acknowledged, status.rejected, status.ends_waiting), (2, 1, 0, 0));
    assert_eq!(
        (status.waiting_since, status.acknowledged_since),
        (Some(moment(2).wall), Some(moment(1).wall))
    );
    assert_eq!(status.last, Some(BlockKeyInBoot { boot_id: BOOT.parse().unwrap(), sequence: 3 }));
}

#[tokio::test]
async fn a_whole_spool_verifies_and_each_kind_of_damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    for usec in 1..=6 {
        append(&spool, usec).await;
    }
    drop(spool);
    let later = open(&dir, NEXT_BOOT).await;
    append(&later, 7).await;
    let seen = inspect(&dir).await;
    assert_eq!(seen.verify().await.unwrap(), (7, vec![]));
    for statement in [
        "UPDATE block SET bytes = (SELECT bytes FROM block WHERE spooled = 1) WHERE spooled = 2",
        "UPDATE block SET bytes = zeroblob(200) WHERE spooled = 4",
        "DELETE FROM block WHERE spooled = 6",
    ] {
        sqlx::query(statement).execute(&later.pool).await.unwrap();
    }
    let (blocks, findings) = seen.verify().await.unwrap();
    let found: Vec<_> = findings.iter().map(|finding| (finding.sequence, finding.problem.as_str())).collect();
    assert_eq!(blocks, 6);
    assert!(found[0].0 == 2 && found[0].1.contains("says that it is n1/"), "{found:?}");
    assert!(
        found.iter().any(|(sequence, problem)| *sequence == 4 && problem.contains("no block")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|(sequence, problem)| *sequence == 1 && problem.contains("the one before it")),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_range_is_exported_and_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    for usec in 1..=5 {
        append(&spool, usec).await;
    }
    while spool.next().await.unwrap().is_some() {
        acknowledge_next(&spool).await;
    }
    let seen = inspect(&dir).await;
    let range = Range { boot_id: Some(BOOT.parse().unwrap()), first: Some(2), last: Some(3) };
    let mut exported = Vec::new();
    let keep = |sealed: &Sealed| -> Result<(), SpoolError> {
        exported.push(sealed.key().sequence);
        Ok(())
    };
    assert_eq!(seen.export(&range, keep).await.unwrap(), 2);
    assert_eq!(exported, [2, 3]);
    assert_eq!(seen.replay(&range).await.unwrap(), 2);
    assert_eq!(next(&spool).await.sequence, 2);
    let other = Range { boot_id: Some(NEXT_BOOT.parse().unwrap()), ..Range::default() };
    assert_eq!(seen.replay(&other).await.unwrap(), 0);
}

#[tokio::test]
async fn a_disk_that_was_full_is_written_again_when_it_has_room() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    append(&spool, 1).await;
    let limit = async |pages: i64| {
        // Each connection has its own.
        let mut both = [spool.pool.acquire().await.unwrap(), spool.pool.acquire().await.unwrap()];
        for db in &mut both {
            sqlx::query(&format!("PRAGMA max_page_count = {pages}")).execute(&mut **db).await.unwrap();
        }
    };
    limit(1).await;
    let problem = "x"
        .repeat(1 << 16)
        .into_bytes()
        .iter()
        .enumerate()
        .map(|(n, _)| (n * 7919).to_string())
        .collect::<Vec<_>>()
        .concat();
    let big = Contents { events: vec![Event::SpoolLost { at: moment(2), problem }], ..Contents::default() };
    for _ in 0..5 {
        let full = spool.append(&big, None, &[], moment(2)).await.unwrap_err();
        assert!(!full.is_damage(), "{full}");
    }
    limit(1 << 30).await;
    assert_eq!(append(&spool, 3).await, 2);
}
