//! Which ledger the settings mean, and the database's own commands.

use std::path::PathBuf;

use clap::Args;
use tenantry_model::{Clock, SystemClock};
use tenantry_store::postgres::{self, ClientCertificate, Login, PostgresSettings};
use tenantry_store::{Ledger, StoreError};

use crate::config::Config;
use crate::run::Error;

/// Who owns the database's tables: no server's role may.
#[derive(Debug, Args)]
pub struct Owner {
    /// The role that owns the ledger's tables
    #[arg(long = "owner", value_name = "ROLE", default_value = "meter_owner")]
    role: String,
    /// The file that its password is in; without one it proves itself another way
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Its certificate, where the database asks for one
    #[arg(long, value_name = "FILE", requires = "key_file")]
    certificate_file: Option<PathBuf>,
    /// The certificate's key
    #[arg(long, value_name = "FILE", requires = "certificate_file")]
    key_file: Option<PathBuf>,
}

impl Owner {
    fn login(&self) -> Login {
        let certificate = self.certificate_file.clone().zip(self.key_file.clone());
        Login {
            role: self.role.clone(),
            password_file: self.password_file.clone(),
            certificate: certificate.map(|(file, key_file)| ClientCertificate { file, key_file }),
        }
    }
}

/// The ledger that the settings name.
pub async fn open(config: &Config) -> Result<Ledger, StoreError> {
    match &config.postgres {
        Some(settings) => Ledger::connect(settings).await,
        None => Ledger::open(&config.ledger).await,
    }
}

/// Makes or updates the database's tables.
pub async fn migrate(config: &Config, owner: &Owner) -> Result<(), Error> {
    let now = SystemClock.now().map_err(Error::System)?.wall;
    let schema = postgres::migrate(settings(config)?, &owner.login(), now).await?;
    tracing::info!(schema, "the database has this program's schema");
    Ok(())
}

/// Moves the embedded ledger into the database.
pub async fn migrate_to_postgres(config: &Config, owner: &Owner) -> Result<(), Error> {
    let login = owner.login();
    let progress = |table: &str, done: i64, all: i64| tracing::info!(table, done, all, "moving");
    let moved = postgres::move_from(&config.ledger, settings(config)?, &login, progress).await?;
    tracing::info!(%moved, "moved, and the same to the byte: the file can be kept aside now");
    Ok(())
}

fn settings(config: &Config) -> Result<&PostgresSettings, Error> {
    config.postgres.as_ref().ok_or(Error::NoDatabase)
}
