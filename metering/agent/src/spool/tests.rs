use super::*;
use tenantry_model::reading::Reading;
use tenantry_model::{Moment, Usec, WallTime};

const BOOT: &str = "0b7e9a60-0000-4000-8000-000000000001";
const NEXT_BOOT: &str = "0b7e9a60-0000-4000-8000-000000000002";

async fn open(dir: &tempfile::TempDir, boot: &str) -> Spool {
    Spool::open(&dir.path().join("spool.sqlite"), "n1".parse().unwrap(), boot.parse().unwrap()).await.unwrap()
}

fn entry(usec: i64) -> Entry {
    let at = Moment { wall: WallTime::from_unix_usec(usec).unwrap(), boottime_usec: Usec(7) };
    let reading = Reading::empty(at);
    Entry::Tenant { node: "n1".parse().unwrap(), tenant: "acme".parse().unwrap(), reading }
}

fn decoded(spooled: &Spooled) -> Block {
    serde_json::from_slice(&spooled.payload).unwrap()
}

#[tokio::test]
async fn blocks_leave_in_the_order_they_came_and_only_when_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    for usec in [1, 2] {
        spool.append(vec![entry(usec)], &[]).await.unwrap();
    }
    let first = spool.next().await.unwrap().unwrap();
    assert_eq!(decoded(&first).key.sequence, 1);
    assert_eq!(spool.next().await.unwrap().unwrap(), first);
    spool.acknowledge(&first).await.unwrap();
    let second = spool.next().await.unwrap().unwrap();
    assert_eq!((decoded(&second).key.sequence, decoded(&second).entries), (2, vec![entry(2)]));
    spool.acknowledge(&second).await.unwrap();
    assert_eq!(spool.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_sequence_is_never_given_twice_not_even_after_a_restart_with_an_empty_spool() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    assert_eq!(spool.append(vec![entry(1)], &[]).await.unwrap().sequence, 1);
    spool.acknowledge(&spool.next().await.unwrap().unwrap()).await.unwrap();
    drop(spool);
    let spool = open(&dir, BOOT).await;
    assert_eq!(spool.append(vec![entry(2)], &[]).await.unwrap().sequence, 2);
    drop(spool);
    let spool = open(&dir, NEXT_BOOT).await;
    assert_eq!(spool.append(vec![entry(3)], &[]).await.unwrap().sequence, 1);
    assert_eq!(
        decoded(&spool.next().await.unwrap().unwrap()).key.sequence,
        2,
        "the older boot's block goes first"
    );
}

#[tokio::test]
async fn a_block_the_server_will_never_take_is_kept_aside_and_the_next_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    for usec in [1, 2] {
        spool.append(vec![entry(usec)], &[]).await.unwrap();
    }
    let first = spool.next().await.unwrap().unwrap();
    spool.reject(&first, "malformed").await.unwrap();
    assert_eq!(decoded(&spool.next().await.unwrap().unwrap()).key.sequence, 2);
    let kept: (String, Vec<u8>) =
        sqlx::query_as("SELECT reason, payload FROM rejected").fetch_one(&spool.pool).await.unwrap();
    assert_eq!(kept, ("malformed".to_owned(), first.payload));
}

#[tokio::test]
async fn an_outbox_file_is_taken_once_until_it_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    let file = "outbox/1.json".to_owned();
    assert!(!spool.has_taken(&file).await.unwrap());
    spool.append(vec![entry(1)], std::slice::from_ref(&file)).await.unwrap();
    drop(spool);
    let spool = open(&dir, BOOT).await;
    assert!(spool.has_taken(&file).await.unwrap());
    assert!(spool.append(vec![entry(1)], std::slice::from_ref(&file)).await.is_err(), "taken twice");
    assert_eq!(decoded(&spool.next().await.unwrap().unwrap()).key.sequence, 1);
    spool.forget(std::slice::from_ref(&file)).await.unwrap();
    assert!(!spool.has_taken(&file).await.unwrap());
}

#[tokio::test]
async fn a_spool_of_a_newer_version_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(&dir, BOOT).await;
    spool.append(vec![entry(1)], &[]).await.unwrap();
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'x', 1, x'00', 0)")
        .execute(&spool.pool)
        .await
        .unwrap();
    drop(spool);
    let file = dir.path().join("spool.sqlite");
    let refused = Spool::open(&file, "n1".parse().unwrap(), BOOT.parse().unwrap()).await;
    assert!(matches!(refused, Err(SpoolError::Schema(_))), "{refused:?}");
}
