//! Connections to the primary, whichever of the hosts that is.
//!
//! sqlx takes one host and does not ask whether it is a standby. So each host is asked here, a connection is held
//! against it when it is made and again when it has been idle, and after a failure all are asked anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Postgres};
use tenantry_model::describe;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::notice;
use super::settings::{Host, Login, PostgresSettings, Standby};
use crate::{StoreError, sql};

/// How long one host is asked.
const ASKED: Duration = Duration::from_secs(2);
/// How long a connection is waited for.
const ACQUIRED: Duration = Duration::from_secs(4);
/// A connection that was idle for longer is asked whether it is still the primary's.
const FRESH: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_mins(10);

/// What connections are for, and so what must be true of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Taking blocks.
    Write(Standby),
    /// Answering readers.
    Read,
}

#[derive(Debug, Clone)]
pub(super) struct Primary(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: PostgresSettings,
    login: Login,
    purpose: Purpose,
    most: u32,
    schema: i64,
    number: AtomicU64,
    current: Mutex<Option<Current>>,
}

/// The pool that is used now, and which one it is.
#[derive(Debug, Clone)]
struct Current {
    number: u64,
    pool: PgPool,
}

impl Primary {
    pub fn new(settings: &PostgresSettings, purpose: Purpose, most: u32, schema: i64) -> Self {
        let login = match purpose {
            Purpose::Write(_) => settings.as_writer(),
            Purpose::Read => settings.as_reader(),
        };
        let settings = settings.clone();
        Self(Arc::new(Shared {
            settings,
            login,
            purpose,
            most,
            schema,
            number: AtomicU64::default(),
            current: Mutex::default(),
        }))
    }

    /// A connection to the primary.
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        self.acquire_of().await.map(|(db, _)| db)
    }

    /// And a number that is another one each time that the primary was looked for.
    pub async fn acquire_of(&self) -> Result<(PoolConnection<Postgres>, u64), StoreError> {
        let current = self.current().await?;
        if let Ok(db) = current.pool.acquire().await {
            return Ok((db, current.number));
        }
        self.forget(current.number).await;
        let current = self.current().await?;
        let db = current.pool.acquire().await.map_err(sql("connect to the primary"))?;
        Ok((db, current.number))
    }

    /// The primary is somewhere else, or nowhere: the next connection looks for it.
    pub async fn lost(&self) {
        let current = self.0.current.lock().await.take();
        close_later(current);
    }

    pub async fn close(&self) {
        let current = self.0.current.lock().await.take();
        if let Some(Current { pool, .. }) = current {
            pool.close().await;
        }
    }

    /// Unless another one was found meanwhile.
    async fn forget(&self, number: u64) {
        let mut current = self.0.current.lock().await;
        if current.as_ref().is_some_and(|current| current.number == number) {
            close_later(current.take());
        }
    }

    async fn current(&self) -> Result<Current, StoreError> {
        let mut current = self.0.current.lock().await;
        if let Some(current) = &*current {
            return Ok(current.clone());
        }
        let Shared { settings, login, purpose, most, schema, .. } = &*self.0;
        let host = find(settings, login).await?;
        let options = settings.options(&host, login)?;
        let mut db = connect(settings, &host, login).await?;
        stand(&mut db, *purpose, &login.role, *schema).await?;
        let _ = db.close().await;
        let hears = matches!(purpose, Purpose::Write(_));
        let pool = PgPoolOptions::new()
            .max_connections(*most)
            .acquire_timeout(ACQUIRED)
            .idle_timeout(IDLE)
            // Asked below, where it costs something only after a pause.
            .test_before_acquire(false)
            .after_connect(move |db, _| {
                Box::pin(async move {
                    if is_standby(db).await? {
                        return Err(sqlx::Error::Configuration("this is a standby".into()));
                    }
                    if hears && !notice::hears(db).await? {
                        return Err(sqlx::Error::Configuration("its warnings are not heard".into()));
                    }
                    Ok(())
                })
            })
            .before_acquire(|db, state| {
                Box::pin(async move { Ok(state.idle_for < FRESH || !is_standby(db).await?) })
            })
            .connect_lazy_with(options);
        tracing::info!(%host, role = login.role, "the ledger's primary");
        let found = Current { number: self.0.number.fetch_add(1, Ordering::Relaxed), pool };
        *current = Some(found.clone());
        Ok(found)
    }
}

fn close_later(current: Option<Current>) {
    if let Some(Current { pool, .. }) = current {
        tokio::spawn(async move { pool.close().await });
    }
}

async fn is_standby(db: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar("SELECT pg_is_in_recovery()").fetch_one(db).await
}

pub(super) async fn connect(
    settings: &PostgresSettings,
    host: &Host,
    login: &Login,
) -> Result<PgConnection, StoreError> {
    let options = settings.options(host, login)?;
    match timeout(ASKED, PgConnection::connect_with(&options)).await {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(source)) => Err(sql("connect to a server")(source)),
        Err(_) => Err(StoreError::Patience { seconds: ASKED.as_secs() }),
    }
}

/// The primary among the hosts; of several, as after a failover whose loser came back, that of the latest timeline.
pub(super) async fn find(settings: &PostgresSettings, login: &Login) -> Result<Host, StoreError> {
    let mut asked = JoinSet::new();
    for host in settings.hosts.clone() {
        let (settings, login) = (settings.clone(), login.clone());
        asked.spawn(async move {
            let answer = timeout(ASKED, ask(&settings, &host, &login)).await;
            (host, answer.unwrap_or(Err(StoreError::Patience { seconds: ASKED.as_secs() })))
        });
    }
    let mut best: Option<(i32, Host)> = None;
    let mut tried = Vec::new();
    while let Some(answer) = asked.join_next().await {
        match answer.map_err(|source| StoreError::Task { source })? {
            (host, Ok((false, timeline))) => {
                if best.is_some() {
                    tracing::error!(%host, timeline, "a second primary: is the one that was replaced fenced off?");
                }
                if best.as_ref().is_none_or(|(known, _)| timeline > *known) {
                    best = Some((timeline, host));
                }
            }
            (host, Ok((true, _))) => tried.push(format!("{host} is a standby")),
            (host, Err(error)) => tried.push(format!("{host}: {}", describe(&error))),
        }
    }
    best.map(|(_, host)| host).ok_or_else(|| StoreError::NoPrimary { tried: tried.join("; ") })
}

/// Whether it is a standby, and its timeline.
async fn ask(settings: &PostgresSettings, host: &Host, login: &Login) -> Result<(bool, i32), StoreError> {
    let mut db = connect(settings, host, login).await?;
    let answer =
        sqlx::query_as("SELECT pg_is_in_recovery(), (SELECT timeline_id FROM pg_control_checkpoint())")
            .fetch_one(&mut db)
            .await
            .map_err(sql("ask a server whether it is the primary"))?;
    let _ = db.close().await;
    Ok(answer)
}

/// Whether a connection may be used for its purpose: the schema, the role, the standby.
async fn stand(db: &mut PgConnection, purpose: Purpose, role: &str, known: i64) -> Result<(), StoreError> {
    let found: i64 =
        match sqlx::query_scalar("SELECT coalesce(meter.schema_version(), 0)").fetch_one(&mut *db).await {
            Ok(version) => version,
            // No such schema, no such function: nothing was made there yet.
            Err(sqlx::Error::Database(error))
                if error.code().is_some_and(|code| ["3F000", "42883", "42P01"].contains(&&*code)) =>
            {
                0
            }
            Err(source) => return Err(sql("ask for the ledger's schema")(source)),
        };
    if found < known {
        return Err(StoreError::Refused(format!(
            "the database has the ledger's schema {found}, and this program needs {known}: \
             run tenantry-server migrate"
        )));
    }
    if found > known {
        return Err(StoreError::Refused(format!(
            "the database has the ledger's schema {found}, and this program knows {known}: \
             start the release that migrated it, or a later one"
        )));
    }
    let (owner, synchronous, names): (bool, String, String) = sqlx::query_as(
        "SELECT (SELECT rolsuper OR rolcreaterole OR pg_has_role('meter_owner', 'USAGE') OR pg_has_role('meter_owner', 'MEMBER') \
                 FROM pg_roles WHERE rolname = current_user), \
                current_setting('synchronous_commit'), current_setting('synchronous_standby_names')",
    )
    .fetch_one(&mut *db)
    .await
    .map_err(sql("ask for a role's rights"))?;
    if owner {
        return Err(StoreError::Refused(format!(
            "role {role} may change the ledger's tables: let the server be meter_writer and billing_reader, \
             which may not"
        )));
    }
    if purpose == Purpose::Write(Standby::Required) {
        if names.is_empty() {
            return Err(StoreError::Refused(
                "the database has no synchronous standby, so that what is acknowledged is on one disk only: \
                 set synchronous_standby_names (docs/ledger.md), or postgres.standby = \"optional\""
                    .to_owned(),
            ));
        }
        if !["on", "remote_apply"].contains(&&*synchronous) {
            return Err(StoreError::Refused(format!(
                "synchronous_commit is {synchronous}, so that a commit does not wait for the standby: \
                 set it to on, or postgres.standby = \"optional\""
            )));
        }
    }
    Ok(())
}
