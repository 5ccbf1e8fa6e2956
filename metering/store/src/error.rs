//! Why the ledger did not do what it was asked.

use std::path::PathBuf;

use sqlx::migrate::MigrateError;
use tenantry_sqlite::CommitError;

use crate::MOST_RECORDS;

/// Why the ledger did not do what it was asked. The text says what failed; the cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or made.
    #[error("cannot open the ledger {}: its directory must be there, writable to this user", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The database's word.
        source: sqlx::Error,
    },
    /// The file is of a later release.
    #[error(
        "the ledger {} has schema {found}, and this program knows schemas up to {known}: \
         start the release that wrote it, or a later one", path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The latest this program knows.
        known: i64,
    },
    /// The file is no ledger, or an unfinished one.
    #[error("cannot bring the ledger {} to this program's schema", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: MigrateError,
    },
    /// A migration of the database failed.
    #[error(
        "cannot bring the database to this program's schema: a superuser runs packaging/postgres/setup.sql first"
    )]
    MigrateDatabase {
        /// What is wrong.
        source: MigrateError,
    },
    /// A statement failed: busy, full, broken. Nothing was changed; asking again is safe.
    #[error("the ledger failed to {what}")]
    Sql {
        /// What it was to do.
        what: &'static str,
        /// The database's word.
        source: sqlx::Error,
    },
    /// A number larger than the ledger's 64-bit signed integers. Nothing was changed.
    #[error("{what} = {value} does not fit the ledger: it takes up to 9223372036854775807")]
    OutOfRange {
        /// Which figure.
        what: String,
        /// The number.
        value: String,
    },
    /// What stands in the ledger cannot be read back.
    #[error("a row of the ledger's table {table} cannot be read: check the file with PRAGMA integrity_check")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A defect of this program, or its end. Whether the block was taken is not known; asking again is safe.
    #[error("the ledger's work was cut off")]
    Task {
        /// What ended it.
        source: tokio::task::JoinError,
    },
    /// The same, without its cause.
    #[error("the ledger's work was cut off")]
    CutOff,
    /// A password cannot be read.
    #[error("cannot read the password in {}: make it a file that this user may read", path.display())]
    Password {
        /// Its file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// None of the hosts is a primary that answers.
    #[error("none of the ledger's servers is a primary now ({tried})")]
    NoPrimary {
        /// What each said.
        tried: String,
    },
    /// The database is not as the ledger needs it. The text says what to do.
    #[error("{0}")]
    Refused(String),
    /// The database did not answer in time. Whether the block was taken is not known; asking again is safe.
    #[error("the ledger did not answer within {seconds} s")]
    Patience {
        /// How long it was waited for.
        seconds: u64,
    },
    /// The commit may be on the primary only. Asking again is safe, and then waits for the standby.
    #[error("the ledger's commit is not confirmed by its standby: {warning}")]
    NotConfirmed {
        /// The database's word.
        warning: String,
    },
    /// More of the same node's blocks came than could be planned. Asking again is safe.
    #[error("the ledger was changed by others again and again while this block was planned")]
    Contended,
    /// More records match than one answer holds.
    #[error("more than {MOST_RECORDS} records match: ask for one tenant or one job")]
    TooMany,
}

pub(crate) fn sql(what: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Sql { what, source }
}

/// A number on its way into a column.
pub(crate) fn column(what: &str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value)
        .map_err(|_| StoreError::OutOfRange { what: what.to_owned(), value: value.to_string() })
}

impl From<CommitError> for StoreError {
    fn from(CommitError(source): CommitError) -> Self {
        sql("commit a transaction")(source)
    }
}

pub(crate) fn unreadable(
    table: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::Unreadable { table, source: source.into() }
}
