//! The schema, made and updated by its owner.

use sqlx::Connection;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnection;
use tenantry_model::WallTime;

use super::primary::find;
use super::settings::{Login, PostgresSettings};
use crate::{StoreError, sql};

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");

/// How many days' partitions are there ahead.
pub(super) const DAYS_AHEAD: i32 = 14;

/// The schema that this program knows.
pub(super) fn known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// A connection as the owner, that may change the schema.
pub(super) async fn connect_as_owner(
    settings: &PostgresSettings,
    owner: &Login,
) -> Result<PgConnection, StoreError> {
    let host = find(settings, owner).await?;
    let options = settings
        .options(&host, owner)?
        .application_name("tenantry-server migrate")
        // The guard's word (packaging/postgres/setup.sql), and where the list of migrations is.
        .options([("tenantry.migration", "on"), ("search_path", "meter")]);
    PgConnection::connect_with(&options).await.map_err(sql("connect as its owner"))
}

/// Brings the database to this program's schema, and says which that is.
///
/// # Errors
/// Where there is no primary, the role may not, or a migration fails: that one changed nothing then.
pub async fn migrate(settings: &PostgresSettings, owner: &Login, now: WallTime) -> Result<i64, StoreError> {
    let mut db = connect_as_owner(settings, owner).await?;
    MIGRATIONS.run(&mut db).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) if found > known() => StoreError::Refused(format!(
            "the database has the ledger's schema {found}, and this program knows {}: start the release that \
             migrated it, or a later one",
            known()
        )),
        source => StoreError::MigrateDatabase { source },
    })?;
    make_days(&mut db, now).await?;
    let _ = db.close().await;
    Ok(known())
}

pub(super) async fn make_days(db: &mut PgConnection, now: WallTime) -> Result<i32, StoreError> {
    sqlx::query_scalar("SELECT meter.make_partitions($1, $2)")
        .bind(now.unix_usec())
        .bind(DAYS_AHEAD)
        .fetch_one(db)
        .await
        .map_err(sql("make the days' partitions ahead"))
}
