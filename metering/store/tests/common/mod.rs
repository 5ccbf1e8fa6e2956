//! What the ledger's tests have in common.
// Not every test uses every helper, and a test's helpers are tests too.
#![allow(dead_code, missing_docs)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::print_stdout, clippy::print_stderr)]

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tenantry_block::{NodeKey, Sealed};
use tenantry_model::block::{
    Block, BlockHash, BlockKey, Contents, Event, Receipt, Registered, Series, Subject,
};
use tenantry_model::catalogue::Metric;
use tenantry_model::job::{Incarnation, JobEnd, Placement, Quality, Registration};
use tenantry_model::reading::Reading;
use tenantry_model::usage::UsageReport;
use tenantry_model::{JobId, Moment, Usec, WallTime};
use tenantry_store::postgres::{self, Host, Login, PostgresSettings, Standby, Tls};
use tenantry_store::{AuditKind, Filter, Ledger, SentBlock, StoreError, Taken};

pub const BOOT: &str = "0b0b0b0b-0000-4000-8000-000000000001";

/// A ledger for one test: in a file, or in a database of its own, where the tests run beside a PostgreSQL
/// (tests/postgres/run).
pub struct Fixture {
    pub place: Place,
    pub ledger: Ledger,
}

pub enum Place {
    File(tempfile::TempDir),
    Database(Box<Database>),
}

impl Place {
    async fn new() -> Self {
        match Cluster::of_this_run() {
            Some(cluster) => Self::Database(Box::new(Database::migrated(&cluster).await)),
            None => Self::File(tempfile::tempdir().unwrap()),
        }
    }

    pub async fn open(&self) -> Result<Ledger, StoreError> {
        match self {
            Self::File(dir) => Ledger::open(&dir.path().join("ledger.sqlite")).await,
            Self::Database(database) => Ledger::connect(&database.settings).await,
        }
    }
}

impl Fixture {
    pub async fn new() -> Self {
        let place = Place::new().await;
        let ledger = place.open().await.unwrap();
        Self { place, ledger }
    }

    /// As after a restart.
    pub async fn reopen(&mut self) {
        self.ledger = self.place.open().await.unwrap();
    }

    pub async fn take(&self, sequence: u64, entries: Vec<Entry>) -> Receipt {
        self.try_take(sequence, entries).await.unwrap()
    }

    pub async fn try_take(&self, sequence: u64, entries: Vec<Entry>) -> Result<Receipt, StoreError> {
        match self.ledger.ingest(&sent(sequence, entries), moment(60_000_000).wall, "test").await? {
            Taken::Receipt(receipt) => Ok(receipt),
            Taken::UnknownKey => panic!("the node's key is not trusted"),
        }
    }

    pub async fn report(&self) -> UsageReport {
        self.ledger.usage(&Filter::default()).await.unwrap()
    }

    /// What was audited, but for the first block's key, and for chains: most tests make blocks that name none.
    pub async fn audited(&self) -> Vec<AuditKind> {
        let events = self.ledger.audit_events(100).await.unwrap().into_iter().map(|event| event.kind);
        events.filter(|kind| ![AuditKind::KeyTrusted, AuditKind::ChainBroken].contains(kind)).collect()
    }

    /// As somebody who owns the tables: with the file and `sqlite3`, or as `meter_owner` with `psql`.
    pub async fn sql(&self, in_sqlite: &str, in_postgres: &str) -> Result<u64, sqlx::Error> {
        match &self.place {
            Place::File(dir) => {
                let file = SqliteConnectOptions::new().filename(dir.path().join("ledger.sqlite"));
                let mut db = SqliteConnection::connect_with(&file).await?;
                Ok(sqlx::query(in_sqlite).execute(&mut db).await?.rows_affected())
            }
            Place::Database(database) => {
                let mut db = database.connect("meter_owner").await?;
                Ok(sqlx::query(in_postgres).execute(&mut db).await?.rows_affected())
            }
        }
    }

    /// Every revision of the ledger's records: number, quality, CPU time.
    pub async fn revisions(&self) -> Vec<(i64, String, Option<i64>)> {
        let columns = "SELECT revision, quality, cpu_usage_usec FROM";
        match &self.place {
            Place::File(dir) => {
                let file = SqliteConnectOptions::new().filename(dir.path().join("ledger.sqlite"));
                let mut db = SqliteConnection::connect_with(&file).await.unwrap();
                let query = format!("{columns} usage ORDER BY revision");
                sqlx::query_as(&query).fetch_all(&mut db).await.unwrap()
            }
            Place::Database(database) => {
                let mut db = database.connect("billing_reader").await.unwrap();
                let query = format!("{columns} billing.usage_revision ORDER BY revision");
                sqlx::query_as(&query).fetch_all(&mut db).await.unwrap()
            }
        }
    }
}

/// The PostgreSQL beside which the tests run: a primary and its synchronous standby (tests/postgres/cluster.py).
pub struct Cluster {
    pub hosts: Vec<Host>,
    pub password: String,
}

impl Cluster {
    pub fn of_this_run() -> Option<Self> {
        let hosts = std::env::var("TENANTRY_TEST_POSTGRES_HOSTS").ok()?;
        let hosts = hosts.split(',').map(|host| Host::try_from(host.to_owned()).unwrap()).collect();
        Some(Self { hosts, password: std::env::var("TENANTRY_TEST_POSTGRES_PASSWORD").unwrap() })
    }

    /// As one of its roles, on one of its hosts.
    pub async fn connect(&self, host: &Host, role: &str, database: &str) -> sqlx::Result<PgConnection> {
        let Host::Tcp(name, port) = host else { panic!("a test's cluster listens on TCP") };
        let options = PgConnectOptions::new_without_pgpass()
            .host(name)
            .port(*port)
            .username(role)
            .password(&self.password)
            .database(database);
        PgConnection::connect_with(&options).await
    }

    pub async fn superuser(&self, database: &str) -> PgConnection {
        self.connect(&self.hosts[0], "postgres", database).await.unwrap()
    }
}

/// A ledger's database of a test's own.
pub struct Database {
    pub settings: PostgresSettings,
    pub owner: Login,
    cluster: Cluster,
    _password: tempfile::NamedTempFile,
}

impl Database {
    /// As the administrator's setup.sql left it.
    pub async fn empty(cluster: &Cluster) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut db = cluster.superuser("postgres").await;
        let made = format!("CREATE DATABASE {name} TEMPLATE tenantry");
        sqlx::query(&made).execute(&mut db).await.unwrap();
        let mut password = tempfile::NamedTempFile::new().unwrap();
        password.write_all(cluster.password.as_bytes()).unwrap();
        let file = Some(password.path().to_owned());
        let settings = PostgresSettings {
            hosts: cluster.hosts.clone(),
            database: name,
            writer: "meter_writer".into(),
            writer_password_file: file.clone(),
            writer_certificate: None,
            reader: "billing_reader".into(),
            reader_password_file: file.clone(),
            reader_certificate: None,
            tls: Tls::Off,
            ca_file: None,
            standby: Standby::Required,
            acknowledge_timeout_ms: 10_000,
            writers: 4,
        };
        let owner = Login { role: "meter_owner".into(), password_file: file, certificate: None };
        let cluster = Cluster { hosts: cluster.hosts.clone(), password: cluster.password.clone() };
        Self { settings, owner, cluster, _password: password }
    }

    /// With this program's schema.
    pub async fn migrated(cluster: &Cluster) -> Self {
        let database = Self::empty(cluster).await;
        postgres::migrate(&database.settings, &database.owner, moment(0).wall).await.unwrap();
        database
    }

    pub async fn connect(&self, role: &str) -> sqlx::Result<PgConnection> {
        self.cluster.connect(&self.settings.hosts[0], role, &self.settings.database).await
    }

    pub async fn superuser(&self) -> PgConnection {
        self.cluster.superuser(&self.settings.database).await
    }
}

pub fn moment(usec: u64) -> Moment {
    let wall = 1_795_000_000_000_000_i64.checked_add(i64::try_from(usec).unwrap()).unwrap();
    Moment { wall: WallTime::from_unix_usec(wall).unwrap(), boottime_usec: Usec(usec) }
}

pub fn registration(job: u32, tenant: &str, uid: u32) -> Registration {
    Registration {
        incarnation: Incarnation {
            cluster: None,
            node: "n1".parse().unwrap(),
            boot_id: BOOT.parse().unwrap(),
            job_id: JobId(job),
            began: moment(1_000).wall,
        },
        restart_count: None,
        sluid: None,
        uid,
        gid: uid,
        user: None,
        account: Some("acme".parse().unwrap()),
        partition: None,
        allocated_cpus: Some(2),
        allocated_gpus: Vec::new(),
        scope: "system.slice/slurmstepd.scope".into(),
        began: moment(1_000),
        placement: Placement::Grafted {
            tenant: tenant.parse().unwrap(),
            leaf: "x".into(),
            mounts: Vec::new(),
        },
    }
}

pub fn reading(at: u64, cpu: u64) -> Reading {
    Reading { counters: [(Metric::CPU_USAGE, cpu)].into_iter().collect(), ..Reading::empty(moment(at)) }
}

/// What a test puts into a block.
#[derive(Clone)]
pub enum Entry {
    Job(Box<Registration>, Reading),
    Tenant(Reading),
    End(Box<JobEnd>),
    Event(Event),
}

pub fn running(job: u32, at: u64, cpu: u64) -> Entry {
    Entry::Job(Box::new(registration(job, "acme", 1000)), reading(at, cpu))
}

pub fn end_of(registration: Registration, at: u64, cpu: u64, quality: Quality) -> Entry {
    let reading = (quality != Quality::Gap).then(|| reading(at, cpu));
    let ended = moment(at);
    let end = JobEnd {
        registration,
        allocation: None,
        reading,
        steps: None,
        ended,
        quality,
        unmeasured_usec: None,
    };
    Entry::End(Box::new(end))
}

pub fn end(job: u32, at: u64, cpu: u64) -> Entry {
    end_of(registration(job, "acme", 1000), at, cpu, Quality::Exact)
}

pub fn tenant(at: u64, cpu: u64) -> Entry {
    Entry::Tenant(reading(at, cpu))
}

pub fn contents(entries: Vec<Entry>) -> Contents {
    let mut contents = Contents::default();
    for entry in entries {
        let (subject, reading) = match entry {
            Entry::Job(registration, reading) => {
                let subject = Subject::Job(registration.incarnation.clone());
                contents.registered.push(Registered { registration: *registration, allocation: None });
                (subject, reading)
            }
            Entry::Tenant(reading) => {
                (Subject::Tenant { node: "n1".parse().unwrap(), tenant: "acme".parse().unwrap() }, reading)
            }
            Entry::End(end) => {
                contents.ends.push(*end);
                continue;
            }
            Entry::Event(event) => {
                contents.events.push(event);
                continue;
            }
        };
        match contents.series.iter_mut().find(|series| series.subject == subject) {
            Some(series) => series.readings.push(reading),
            None => contents.series.push(Series { subject, readings: vec![reading] }),
        }
    }
    contents
}

pub fn sealed(boot: &str, sequence: u64, previous: BlockHash, entries: Vec<Entry>) -> Sealed {
    let key = BlockKey { node: "n1".parse().unwrap(), boot_id: boot.parse().unwrap(), sequence };
    let block = Block { key, previous, closed: moment(60_000_000), contents: contents(entries) };
    Sealed::new(&block, &NodeKey::from_seed(&[1; 32])).unwrap()
}

pub fn parsed(sealed: &Sealed) -> SentBlock {
    SentBlock::parse(sealed.bytes().to_vec()).unwrap()
}

pub fn sent(sequence: u64, entries: Vec<Entry>) -> SentBlock {
    parsed(&sealed(BOOT, sequence, BlockHash::default(), entries))
}
