//! What only the ledger in PostgreSQL has: a standby, several servers, roles; and the traps on the way there. Each
//! trap is shown first: the way that looks right, and what comes of it.
//!
//! They change the cluster's settings, so they run one after the other, by tests/postgres/run.
// A test's helpers are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::print_stdout, clippy::print_stderr)]

mod common;

use std::time::Duration;

use common::*;
use sqlx::postgres::PgConnection;
use tenantry_block::{NodeKey, Sealed};
use tenantry_model::block::{Block, BlockHash, BlockKey, Contents, Event, Receipt};
use tenantry_store::postgres::{self, Standby};
use tenantry_store::{AuditKind, Filter, Ledger, SentBlock, StoreError, Taken};
use tokio::time::{Instant, sleep, timeout};

fn cluster() -> Cluster {
    Cluster::of_this_run().expect("tests/postgres/run starts the cluster that these tests need")
}

fn heartbeat(node: &str, sequence: u64) -> SentBlock {
    let key = BlockKey { node: node.parse().unwrap(), boot_id: BOOT.parse().unwrap(), sequence };
    let block = Block {
        key,
        previous: BlockHash::default(),
        closed: moment(60_000_000),
        contents: Contents::default(),
    };
    let sealed = Sealed::new(&block, &NodeKey::from_seed(&[1; 32])).unwrap();
    SentBlock::parse(sealed.bytes().to_vec()).unwrap()
}

async fn execute(db: &mut PgConnection, statement: &str) {
    sqlx::query(statement).execute(db).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

/// From here on no commit is confirmed, as if the standby had gone; until [`standby_is_back`].
async fn standby_is_gone(cluster: &Cluster) {
    set_standbys(cluster, "nobody").await;
}

async fn standby_is_back(cluster: &Cluster) {
    set_standbys(cluster, "FIRST 1 (*)").await;
}

async fn set_standbys(cluster: &Cluster, names: &str) {
    let mut db = cluster.superuser("postgres").await;
    // This session must not wait for what it takes away.
    execute(&mut db, "SET synchronous_commit = local").await;
    execute(&mut db, &format!("ALTER SYSTEM SET synchronous_standby_names = '{names}'")).await;
    execute(&mut db, "SELECT pg_reload_conf()").await;
    loop {
        let mut other = cluster.superuser("postgres").await;
        let now: String =
            sqlx::query_scalar("SHOW synchronous_standby_names").fetch_one(&mut other).await.unwrap();
        if now == names {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    // Walsenders and those that wait read it at their own pace.
    sleep(Duration::from_millis(200)).await;
}

async fn impatient() -> (Database, Ledger) {
    let mut database = Database::migrated(&cluster()).await;
    database.settings.acknowledge_timeout_ms = 1_000;
    let ledger = Ledger::connect(&database.settings).await.unwrap();
    (database, ledger)
}

async fn take(ledger: &Ledger, block: &SentBlock) -> Result<Taken, StoreError> {
    ledger.ingest(block, moment(60_000_000).wall, "test").await
}

const NEW: Taken = Taken::Receipt(Receipt::New);
const DUPLICATE: Taken = Taken::Receipt(Receipt::Duplicate);

#[tokio::test]
#[ignore = "a part of other tests"]
async fn trap_1_a_duplicate_is_acknowledged_only_when_the_standby_has_what_it_repeats() {
    let cluster = cluster();
    let (database, ledger) = impatient().await;
    let mut naive = database.superuser().await;
    execute(&mut naive, "CREATE TABLE public.naive (name int PRIMARY KEY)").await;
    execute(&mut naive, "INSERT INTO public.naive VALUES (1)").await;
    assert_eq!(take(&ledger, &heartbeat("n1", 1)).await.unwrap(), NEW);
    standby_is_gone(&cluster).await;
    // The idempotent insert writes nothing, so it waits for nothing: the sender hears "duplicate" of a block that
    // may be on one disk only.
    let resent =
        sqlx::query("INSERT INTO public.naive VALUES (1) ON CONFLICT DO NOTHING").execute(&mut naive);
    timeout(Duration::from_secs(1), resent).await.expect("the naive way answers at once").unwrap();
    let resent = take(&ledger, &heartbeat("n1", 1)).await;
    assert!(matches!(resent, Err(StoreError::Patience { .. })), "{resent:?}");
    // Nor is one that is new.
    let new = take(&ledger, &heartbeat("n1", 2)).await;
    assert!(matches!(new, Err(StoreError::Patience { .. })), "{new:?}");
    standby_is_back(&cluster).await;
    // Those that gave up still wait at the primary, and hold the node's row until the standby has said how far it is.
    for sequence in [1, 2] {
        let mut answer = take(&ledger, &heartbeat("n1", sequence)).await;
        for _ in 0..20 {
            if answer.is_ok() {
                break;
            }
            answer = take(&ledger, &heartbeat("n1", sequence)).await;
        }
        // The second may have waited for the first one's row until its sender gave up, and was never written.
        let answer = answer.unwrap();
        assert!(answer == DUPLICATE || (sequence == 2 && answer == NEW), "{sequence}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of other tests"]
async fn trap_2_a_commit_whose_wait_was_cancelled_is_not_acknowledged() {
    let cluster = cluster();
    let (database, _) = impatient().await;
    let mut settings = database.settings.clone();
    settings.acknowledge_timeout_ms = 20_000;
    let ledger = Ledger::connect(&settings).await.unwrap();
    let mut naive = database.superuser().await;
    execute(&mut naive, "CREATE TABLE public.naive (name int)").await;
    execute(&mut naive, "SET statement_timeout = '200ms'").await;
    let mut admin = database.superuser().await;
    let cancel = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity \
                  WHERE wait_event = 'SyncRep' AND datname = current_database()";
    standby_is_gone(&cluster).await;

    let waiting =
        tokio::spawn(
            async move { sqlx::query("INSERT INTO public.naive VALUES (1)").execute(&mut naive).await },
        );
    // statement_timeout does not bound it.
    sleep(Duration::from_millis(800)).await;
    assert!(!waiting.is_finished(), "the commit did not wait");
    execute(&mut admin, cancel).await;
    assert!(waiting.await.unwrap().is_ok(), "the naive way takes a cancelled wait for a commit");

    let sent = ledger.clone();
    let waiting = tokio::spawn(async move { take(&sent, &heartbeat("n1", 1)).await });
    sleep(Duration::from_millis(800)).await;
    execute(&mut admin, cancel).await;
    let answer = waiting.await.unwrap();
    assert!(matches!(answer, Err(StoreError::NotConfirmed { .. })), "{answer:?}");
    standby_is_back(&cluster).await;
    // It was committed on the primary; sent again it is acknowledged, with a commit of its own.
    assert_eq!(take(&ledger, &heartbeat("n1", 1)).await.unwrap(), DUPLICATE);
}

#[tokio::test]
#[ignore = "a part of other tests"]
async fn trap_3_the_primary_is_found_among_the_hosts_and_a_standby_is_never_taken_for_it() {
    let cluster = cluster();
    let (database, ledger) = impatient().await;
    assert_eq!(take(&ledger, &heartbeat("n1", 1)).await.unwrap(), NEW);
    let [primary, standby] = &cluster.hosts[..] else { panic!("two hosts") };
    // sqlx connects to a standby, and reads from it, without a word.
    let mut naive = cluster.connect(standby, "postgres", "postgres").await.unwrap();
    let standing: bool =
        sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(&mut naive).await.unwrap();
    assert!(standing);
    let mut settings = database.settings.clone();
    settings.hosts = vec![standby.clone(), primary.clone()];
    let ledger = Ledger::connect(&settings).await.unwrap();
    assert_eq!(take(&ledger, &heartbeat("n1", 2)).await.unwrap(), NEW);
    settings.hosts = vec![standby.clone()];
    let refused = Ledger::connect(&settings).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::NoPrimary { tried } if tried.contains("is a standby")),
        "{refused}"
    );
}

#[tokio::test]
#[ignore = "a part of other tests"]
async fn trap_4_a_small_message_is_not_held_back() {
    let database = Database::migrated(&cluster()).await;
    let mut db = database.superuser().await;
    execute(&mut db, "CREATE TABLE public.small (n int)").await;
    execute(&mut db, "SET synchronous_commit = off").await;
    let mut times = Vec::new();
    for _ in 0..21 {
        let start = Instant::now();
        let mut copy = db.copy_in_raw("COPY public.small FROM STDIN").await.unwrap();
        copy.send(&b"1\n"[..]).await.unwrap();
        copy.finish().await.unwrap();
        times.push(start.elapsed());
    }
    times.sort();
    // Without TCP_NODELAY each waits for the other side's delayed acknowledgement: 40 ms.
    assert!(times[10] < Duration::from_millis(35), "{times:?}");
}

#[tokio::test]
#[ignore = "a part of other tests"]
async fn trap_6_the_writer_needs_no_right_on_any_table() {
    let database = Database::migrated(&cluster()).await;
    let mut db = database.superuser().await;
    for statement in [
        "CREATE TABLE public.naive (n int PRIMARY KEY)",
        "ALTER TABLE public.naive ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY all_rows ON public.naive USING (true) WITH CHECK (true)",
        "GRANT USAGE ON SCHEMA public TO meter_writer",
        "GRANT INSERT ON public.naive TO meter_writer",
    ] {
        execute(&mut db, statement).await;
    }
    let mut writer = database.connect("meter_writer").await.unwrap();
    // The naive way: a table with row level security takes no COPY, and naming a conflict's columns wants SELECT.
    let copied =
        writer.copy_in_raw("COPY public.naive FROM STDIN").await.map(|_| ()).unwrap_err().to_string();
    assert!(copied.contains("row-level security"), "{copied}");
    let mut writer = database.connect("meter_writer").await.unwrap();
    let inserted = sqlx::query("INSERT INTO public.naive VALUES (1) ON CONFLICT (n) DO NOTHING")
        .execute(&mut writer)
        .await;
    assert!(inserted.unwrap_err().to_string().contains("permission denied"));
    execute(&mut db, "DROP TABLE public.naive").await;
    // Ours: no right but to call functions.
    let rights: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace \
         WHERE nspname IN ('meter', 'billing') AND relkind IN ('r', 'p', 'v') \
           AND has_table_privilege('meter_writer', pg_class.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')",
    )
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert_eq!(rights, 0);
    let ledger = Ledger::connect(&database.settings).await.unwrap();
    assert_eq!(take(&ledger, &heartbeat("n1", 1)).await.unwrap(), NEW);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of other tests"]
async fn several_servers_share_a_ledger_and_each_block_counts_once() {
    let database = Database::migrated(&cluster()).await;
    let mut senders = tokio::task::JoinSet::new();
    for server in 0..3_u64 {
        let ledger = Ledger::connect(&database.settings).await.unwrap();
        for worker in 0..2_u64 {
            let ledger = ledger.clone();
            senders.spawn(async move {
                let mut taken = Vec::new();
                for step in 0..30_u64 {
                    // Each in an order of its own.
                    let sequence = 1 + (step * 7 + server * 11 + worker * 5) % 30;
                    let entries = vec![
                        running(1, 2_000 + sequence * 10, sequence),
                        end(u32::try_from(100 + sequence).unwrap(), 5_000, 42),
                    ];
                    loop {
                        match ledger
                            .ingest(&sent(sequence, entries.clone()), moment(60_000_000).wall, "test")
                            .await
                        {
                            Ok(receipt) => break taken.push(receipt),
                            Err(StoreError::Contended) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    }
                }
                taken
            });
        }
    }
    let taken: Vec<Taken> = senders.join_all().await.concat();
    assert_eq!(taken.iter().filter(|taken| **taken == NEW).count(), 30);
    assert_eq!(taken.iter().filter(|taken| **taken == DUPLICATE).count(), 150);
    let ledger = Ledger::connect(&database.settings).await.unwrap();
    let report = ledger.usage(&Filter::default()).await.unwrap();
    assert_eq!(report.usage.len(), 31);
    assert_eq!(report.gaps, []);
    // The latest reading, whoever took it last.
    let cpu = report.usage.iter().find(|record| record.job_id.0 == 1).unwrap().cpu_usage_usec.unwrap();
    assert_eq!(cpu.0, 30);
    let audited = ledger.audit_events(1_000).await.unwrap();
    assert!(
        audited.iter().all(|event| [AuditKind::KeyTrusted, AuditKind::ChainBroken].contains(&event.kind))
    );
}

#[tokio::test]
#[ignore = "a part of other tests"]
async fn what_runs_is_what_the_embedded_ledger_says_whoever_took_the_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Ledger::open(&dir.path().join("ledger.sqlite")).await.unwrap();
    let database = Database::migrated(&cluster()).await;
    let servers = [
        Ledger::connect(&database.settings).await.unwrap(),
        Ledger::connect(&database.settings).await.unwrap(),
    ];
    // Two come late; what a server remembers, and what is written down, is older than many blocks at a time.
    let mut order: Vec<u64> = (1..=75).collect();
    order[2..9].rotate_left(1);
    order[40..44].rotate_left(1);
    let mut blocks: Vec<SentBlock> =
        order.iter().map(|sequence| sent(*sequence, a_minute(*sequence))).collect();
    // The node goes down, and is there again.
    let ended =
        Event::BootEnded { boot_id: BOOT.parse().unwrap(), last_sequence: 75, last: moment(3_000_000) };
    let next_boot = "0b0b0b0b-0000-4000-8000-000000000002";
    blocks.push(parsed(&sealed(next_boot, 1, BlockHash::default(), vec![Entry::Event(ended)])));
    blocks.push(sent(76, a_minute(76)));
    for (step, block) in blocks.iter().enumerate() {
        // One server takes some blocks, then the other.
        let server = &servers[(step / 7) % 2];
        assert_eq!(take(server, block).await.unwrap(), take(&embedded, block).await.unwrap(), "{step}");
        let all = Filter::default();
        assert_eq!(server.usage(&all).await.unwrap(), embedded.usage(&all).await.unwrap(), "after {step}");
        assert_eq!(
            server.windows(&all, 0, 1_000).await.unwrap(),
            embedded.windows(&all, 0, 1_000).await.unwrap(),
            "after {step}"
        );
    }
    let mut db = database.superuser().await;
    let written: i64 =
        sqlx::query_scalar("SELECT sequence FROM meter.node_running").fetch_one(&mut db).await.unwrap();
    assert!(written > 0, "its state was never written");
}

/// One job that runs throughout; others for ten blocks each, and a word of each after its end.
fn a_minute(sequence: u64) -> Vec<Entry> {
    let at = 2_000 + sequence * 40_000_000;
    let job = |sequence: u64| u32::try_from(10 + sequence / 10).unwrap();
    let mut entries = vec![running(1, at, sequence), running(job(sequence), at + 1, sequence * 2)];
    match sequence % 10 {
        4 if sequence > 10 => entries.push(running(job(sequence) - 1, at + 2, sequence * 2)),
        9 => entries.push(end(job(sequence), at + 2, sequence * 2 + 1)),
        _ => {}
    }
    entries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of other tests"]
async fn blocks_that_share_a_transaction_are_judged_one_by_one() {
    let (database, ledger) = impatient().await;
    assert_eq!(take(&ledger, &heartbeat("n1", 1)).await.unwrap(), NEW);
    let mut other = heartbeat("n1", 1).block().clone();
    other.closed = moment(50_000_000);
    let other = parsed(&Sealed::new(&other, &NodeKey::from_seed(&[1; 32])).unwrap());
    let stranger = parsed(&Sealed::new(heartbeat("n1", 2).block(), &NodeKey::from_seed(&[2; 32])).unwrap());
    let mut too_large = heartbeat("n2", 1).block().clone();
    too_large.contents = contents(vec![running(1, 2_000, u64::MAX)]);
    let too_large = parsed(&Sealed::new(&too_large, &NodeKey::from_seed(&[1; 32])).unwrap());
    // All at once: more than there are transactions under way.
    for round in 1..=5_u64 {
        let mut senders = tokio::task::JoinSet::new();
        let good: Vec<SentBlock> = (10..50).map(|node| heartbeat(&format!("n{node}"), round)).collect();
        for block in [&heartbeat("n1", 1), &other, &stranger, &too_large].into_iter().chain(&good) {
            let (ledger, block) = (ledger.clone(), block.clone());
            senders
                .spawn(async move { (block.key().to_string(), block.signer(), take(&ledger, &block).await) });
        }
        let (mut new, mut rest) = (0, Vec::new());
        for (name, _, taken) in senders.join_all().await {
            match taken {
                Ok(NEW) => new += 1,
                taken => rest.push((name, format!("{taken:?}"))),
            }
        }
        rest.sort();
        assert_eq!(new, 40, "{rest:?}");
        let kinds = ["Conflict", "Duplicate", "UnknownKey", "OutOfRange"];
        assert!(kinds.iter().all(|kind| rest.iter().any(|(_, said)| said.contains(kind))), "{rest:?}");
    }
    let events = ledger.audit_events(1_000).await.unwrap();
    let of = |kind| events.iter().filter(|event| event.kind == kind).count();
    assert_eq!((of(AuditKind::BlockConflict), of(AuditKind::UnknownKey)), (5, 5));
    let mut db = database.superuser().await;
    let (blocks, commits): (i64, i64) =
        sqlx::query_as("SELECT count(*), count(DISTINCT xmin::text) FROM meter.block")
            .fetch_one(&mut db)
            .await
            .unwrap();
    assert_eq!(blocks, 201);
    assert!(commits < 150, "{commits} transactions: none was shared");
}

#[tokio::test]
#[ignore = "a part of other tests"]
async fn what_is_not_as_it_must_be_is_refused_at_the_start_with_what_to_do() {
    let cluster = cluster();
    let database = Database::empty(&cluster).await;
    let refused = async |settings| Ledger::connect(&settings).await.unwrap_err().to_string();
    let said = refused(database.settings.clone()).await;
    assert!(said.contains("run tenantry-server migrate"), "{said}");
    postgres::migrate(&database.settings, &database.owner, moment(0).wall).await.unwrap();
    // Again: nothing to do.
    postgres::migrate(&database.settings, &database.owner, moment(0).wall).await.unwrap();

    let mut as_owner = database.settings.clone();
    as_owner.writer = "meter_owner".into();
    let said = refused(as_owner).await;
    assert!(said.contains("may change the ledger's tables"), "{said}");

    let ledger = Ledger::connect(&database.settings).await.unwrap();
    set_standbys(&cluster, "").await;
    let said = refused(database.settings.clone()).await;
    // A server that runs already takes nothing more.
    let taken = take(&ledger, &heartbeat("n1", 1)).await;
    let mut allowed = database.settings.clone();
    allowed.standby = Standby::Optional;
    let optional = Ledger::connect(&allowed).await.unwrap();
    let optional = take(&optional, &heartbeat("n1", 1)).await;
    standby_is_back(&cluster).await;
    assert!(said.contains("no synchronous standby"), "{said}");
    assert!(matches!(&taken, Err(StoreError::Refused(_))), "{taken:?}");
    assert_eq!(optional.unwrap(), NEW);

    let mut local = database.superuser().await;
    let name = &database.settings.database;
    execute(
        &mut local,
        &format!("ALTER ROLE meter_writer IN DATABASE {name} SET synchronous_commit = local"),
    )
    .await;
    let said = refused(database.settings.clone()).await;
    assert!(said.contains("synchronous_commit is local"), "{said}");
    let mut nowhere = database.settings.clone();
    nowhere.hosts = vec!["127.0.0.1:1".to_owned().try_into().unwrap()];
    let said = refused(nowhere).await;
    assert!(said.contains("127.0.0.1:1"), "{said}");
}

#[tokio::test]
#[ignore = "a part of other tests"]
async fn days_have_partitions_of_their_own_that_are_there_before_the_day() {
    let database = Database::migrated(&cluster()).await;
    let ledger = Ledger::connect(&database.settings).await.unwrap();
    assert_eq!(ledger.make_days(moment(0).wall).await.unwrap(), 0, "migrate made them");
    let day = 86_400_000_000;
    assert_eq!(ledger.make_days(moment(day).wall).await.unwrap(), 3, "of three tables");
    assert_eq!(take(&ledger, &heartbeat("n1", 1)).await.unwrap(), NEW);
    // A day that nobody made has room all the same.
    let late = moment(400 * day).wall;
    assert_eq!(ledger.ingest(&heartbeat("n1", 2), late, "test").await.unwrap(), NEW);
    assert_eq!(ledger.ingest(&heartbeat("n1", 2), late, "test").await.unwrap(), DUPLICATE);
    let mut db = database.superuser().await;
    let places: Vec<(String, i64)> =
        sqlx::query_as("SELECT tableoid::regclass::text, sequence FROM meter.block ORDER BY sequence")
            .fetch_all(&mut db)
            .await
            .unwrap();
    assert_eq!(places, [("meter.block_20261118".to_owned(), 1), ("meter.block_default".to_owned(), 2)]);
    // A partition is guarded as its table is.
    let mut owner = database.connect("meter_owner").await.unwrap();
    for statement in ["TRUNCATE meter.block_20261118", "UPDATE meter.block_20261118 SET sequence = 9"] {
        let refused = sqlx::query(statement).execute(&mut owner).await.unwrap_err().to_string();
        assert!(refused.contains("is never changed"), "{statement}: {refused}");
    }
}

#[tokio::test]
#[ignore = "a part of other tests"]
async fn a_tenants_login_sees_its_tenants_usage_and_nothing_else() {
    let database = Database::migrated(&cluster()).await;
    let ledger = Ledger::connect(&database.settings).await.unwrap();
    let entries = ["acme", "acme/physics", "acme-2", "other"].iter().zip(1..).map(|(tenant, job)| {
        end_of(registration(job, tenant, 1_000 + job), 5_000, 1, tenantry_model::job::Quality::Exact)
    });
    ledger.ingest(&sent(1, entries.collect()), moment(60_000_000).wall, "test").await.unwrap();
    let mut db = database.superuser().await;
    let name = &database.settings.database;
    for statement in [
        format!("CREATE ROLE {name}_acme LOGIN IN ROLE meter_tenant"),
        format!("INSERT INTO meter.tenant_login VALUES ('{name}_acme', 'acme')"),
        format!("ALTER ROLE {name}_acme INHERIT"),
    ] {
        execute(&mut db, &statement).await;
    }
    execute(&mut db, &format!("SET SESSION AUTHORIZATION {name}_acme")).await;
    let seen: Vec<(String,)> = sqlx::query_as("SELECT tenant FROM billing.my_usage ORDER BY tenant")
        .fetch_all(&mut db)
        .await
        .unwrap();
    let seen: Vec<_> = seen.iter().map(|(tenant,)| tenant.as_str()).collect();
    assert_eq!(seen, ["acme", "acme/physics"]);
    let refused = sqlx::query("SELECT cpu_usage_usec FROM billing.usage").execute(&mut db).await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
    execute(&mut db, "RESET SESSION AUTHORIZATION").await;
    execute(&mut db, "DELETE FROM meter.tenant_login").await;
    execute(&mut db, &format!("DROP ROLE {name}_acme")).await;
}

#[tokio::test]
#[ignore = "a part of other tests"]
async fn names_in_an_index_are_compared_byte_by_byte() {
    let database = Database::migrated(&cluster()).await;
    let mut db = database.superuser().await;
    let (keys, by_language): (i64, Vec<String>) = sqlx::query_as(
        "SELECT count(*), coalesce(array_agg(format('%s: %s', i.indexrelid::regclass, a.attname)) \
                              FILTER (WHERE a.attcollation <> '\"C\"'::regcollation), '{}') \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_attribute a ON a.attrelid = i.indexrelid \
         WHERE c.relnamespace = 'meter'::regnamespace AND a.attcollation <> 0",
    )
    .fetch_one(&mut db)
    .await
    .unwrap();
    assert!(keys > 20, "{keys}");
    assert_eq!(by_language, Vec::<String>::new(), "another C library may order them otherwise");
}

#[tokio::test]
#[ignore = "a part of other tests"]
async fn every_column_says_what_it_is_and_in_which_unit() {
    let database = Database::migrated(&cluster()).await;
    let mut db = database.superuser().await;
    let silent: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.table_schema || '.' || c.table_name, c.column_name::text FROM information_schema.columns c \
         WHERE c.table_schema IN ('meter', 'billing') \
           AND c.table_name !~ '_(default|[0-9]{8})$' AND c.table_name <> '_sqlx_migrations' \
           AND col_description(format('%I.%I', c.table_schema, c.table_name)::regclass, c.ordinal_position) IS NULL",
    )
    .fetch_all(&mut db)
    .await
    .unwrap();
    assert_eq!(silent, []);
}

#[tokio::test]
#[ignore = "a part of other tests"]
async fn a_pool_that_was_cut_off_finds_its_way_back() {
    let (database, ledger) = impatient().await;
    assert_eq!(take(&ledger, &heartbeat("n1", 1)).await.unwrap(), NEW);
    let mut db = database.superuser().await;
    execute(
        &mut db,
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
         WHERE datname = current_database() AND usename IN ('meter_writer', 'billing_reader')",
    )
    .await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(take(&ledger, &heartbeat("n1", 2)).await);
        if answers.last().unwrap().is_ok() {
            break;
        }
    }
    assert!(answers.last().unwrap().is_ok(), "{answers:?}");
    assert_eq!(ledger.usage(&Filter::default()).await.unwrap().usage, []);
}

#[tokio::test]
#[ignore = "a part of other tests"]
async fn an_embedded_ledger_is_moved_whole_and_goes_on_where_it_was_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ledger.sqlite");
    let embedded = Ledger::open(&file).await.unwrap();
    for sequence in (1..=450_u64).filter(|sequence| sequence % 50 != 0) {
        let job = u32::try_from(sequence).unwrap();
        let entries = vec![
            running(9_999, 2_000 + sequence, sequence),
            tenant(2_000 + sequence, sequence),
            end(job, 5_000, 42),
        ];
        embedded.ingest(&sent(sequence, entries), moment(60_000_000).wall, "test").await.unwrap();
    }
    let report = embedded.usage(&Filter::default()).await.unwrap();
    let audited = embedded.audit_events(10_000).await.unwrap();
    embedded.close().await;
    let database = Database::migrated(&cluster()).await;
    // It stops in the middle, as a process that is killed does.
    let (from, settings, owner) = (file.clone(), database.settings.clone(), database.owner.clone());
    let interrupted = tokio::spawn(async move {
        let stop = |table: &str, done, _| assert!(table != "usage" || done < 400, "stop");
        postgres::move_from(&from, &settings, &owner, stop).await
    });
    assert!(interrupted.await.is_err(), "it was not interrupted");
    let moved = postgres::move_from(&file, &database.settings, &database.owner, |_, _, _| {}).await.unwrap();
    assert_eq!((moved.0["block"], moved.0["usage"]), (441, 441));
    // And once more: nothing is left to do.
    assert_eq!(
        postgres::move_from(&file, &database.settings, &database.owner, |_, _, _| {}).await.unwrap(),
        moved
    );
    let ledger = Ledger::connect(&database.settings).await.unwrap();
    assert_eq!(ledger.usage(&Filter::default()).await.unwrap(), report);
    assert_eq!(ledger.audit_events(10_000).await.unwrap(), audited);
    // It goes on from there.
    assert_eq!(
        take(&ledger, &sent(441, vec![running(9_999, 2_441, 441), tenant(2_441, 441), end(441, 5_000, 42)]))
            .await
            .unwrap(),
        DUPLICATE
    );
    assert_eq!(take(&ledger, &sent(451, vec![end(9_999, 9_000, 500)])).await.unwrap(), NEW);
    // One row that is not the file's is found.
    let mut db = database.superuser().await;
    execute(&mut db, "SET session_replication_role = replica").await;
    execute(&mut db, "UPDATE meter.usage SET cpu_usage_usec = 43 WHERE job_id = 7").await;
    let other =
        postgres::move_from(&file, &database.settings, &database.owner, |_, _, _| {}).await.unwrap_err();
    assert!(
        other.to_string().contains("table block") || other.to_string().contains("table usage"),
        "{other}"
    );
}
