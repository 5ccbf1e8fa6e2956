//! Takes blocks from the nodes' daemons, keeps the ledger, answers questions about usage.
#![forbid(unsafe_code)]

mod api;
mod caller;
mod config;
mod database;
mod ingest;
mod network;
mod pki;
mod reply;
mod room;
mod run;
mod sockets;
mod stats;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tenantry_model::block::BlockHash;
use tenantry_model::{NodeName, describe};
use tenantry_store::PublicKey;
use tracing_subscriber::EnvFilter;

use config::Config;
use database::Owner;
use network::NetworkError;

/// Each block is some hundred allocations of all sizes, made in one thread and given back in another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// sysexits(3).
const EX_USAGE: u8 = 64;
const EX_UNAVAILABLE: u8 = 69;
const EX_OSERR: u8 = 71;
const EX_IOERR: u8 = 74;
const EX_CONFIG: u8 = 78;

/// Takes usage from the nodes' daemons, keeps the ledger, answers readers.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The settings; without this option a missing file means the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Read the settings, say what is wrong with them, and end
    #[arg(long)]
    check_config: bool,
    /// How log lines on stderr are written; the environment's `RUST_LOG` sets what is logged
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Option<Action>,
}

/// Without one of these it serves.
#[derive(Subcommand)]
enum Action {
    /// Trust a node with a signing key beside those it has: a node whose disk was replaced has a new one
    TrustKey {
        /// The node's name, as its daemon calls it
        node: NodeName,
        /// 64 hexadecimal digits: tenantryd logs it when it starts
        key: BlockHash,
    },
    /// Make or update the tables of the ledger in PostgreSQL, as their owner
    Migrate(Owner),
    /// Move the embedded ledger into PostgreSQL, whole; what was interrupted goes on where it was
    MigrateToPostgres(Owner),
    Pki(pki::Pki),
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Nothing is left to do where even this cannot be written.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EX_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    if let Some(Action::Pki(args)) = &args.command {
        return match pki::run(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, EX_IOERR),
        };
    }
    let config = match Config::load(args.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return fail(&error, EX_CONFIG),
    };
    if args.check_config {
        return match writeln!(io::stdout(), "ok: {config}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error, EX_IOERR),
        };
    }
    start_log(args.log_format);
    let done = match args.command {
        Some(Action::TrustKey { node, key }) => run::trust_key(&config, &node, PublicKey(key.0)),
        Some(Action::Migrate(owner)) => run::migrate(&config, &owner),
        Some(Action::MigrateToPostgres(owner)) => run::migrate_to_postgres(&config, &owner),
        Some(Action::Pki(_)) | None => run::run(config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ (run::Error::Listen(_) | run::Error::Network(NetworkError::Listen { .. }))) => {
            fail(&error, EX_UNAVAILABLE)
        }
        Err(error @ (run::Error::NoDatabase | run::Error::Network(NetworkError::Tls(_)))) => {
            fail(&error, EX_CONFIG)
        }
        Err(error @ (run::Error::Ledger(_) | run::Error::Serve(_))) => fail(&error, EX_IOERR),
        Err(
            error @ (run::Error::Network(NetworkError::System(_))
            | run::Error::System(_)
            | run::Error::Task(_)),
        ) => fail(&error, EX_OSERR),
    }
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// The error and its causes in one line.
fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "tenantry-server: {}", describe(error));
    ExitCode::from(code)
}
