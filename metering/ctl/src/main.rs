//! `tenantry`: asks the server about usage, shows and sets tenants' limits, examines the node.
#![forbid(unsafe_code)]

mod ask;
mod check_config;
mod doctor;
mod error;
mod format;
#[cfg(test)]
mod generated;
mod groups;
mod jobs;
mod period;
mod plot;
mod plugin;
mod quickstart;
mod reconcile;
mod server;
mod spool;
mod table;
mod tenants;
mod top;
mod usage;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::Error;
use tenantry_client::ClientError;

/// sysexits(3), and diff(1).
const EX_DIFFERS: u8 = 1;
const EX_USAGE: u8 = 64;
const EX_DATAERR: u8 = 65;
const EX_UNAVAILABLE: u8 = 69;
const EX_OSERR: u8 = 71;
const EX_IOERR: u8 = 74;
const EX_PROTOCOL: u8 = 76;
const EX_NOPERM: u8 = 77;
const EX_CONFIG: u8 = 78;

/// Usage of tenants and jobs, exact and in full.
#[derive(Parser)]
#[command(version, about, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Usage(usage::Args),
    Jobs(jobs::Args),
    Top(top::Args),
    Reconcile(reconcile::Args),
    CheckConfig(check_config::Args),
    Tenants(tenants::Args),
    Doctor(doctor::Args),
    Plugin(plugin::Args),
    Quickstart(quickstart::Args),
    Spool(spool::Args),
}

fn code(error: &Error) -> u8 {
    match error {
        Error::Client(ClientError::Refused(_))
        | Error::Refused { status: 401 | 403, .. }
        | Error::NotRoot
        | Error::PluginNotRoot
        | Error::QuickstartNotRoot => EX_NOPERM,
        Error::Client(error) if error.is_answer() => EX_PROTOCOL,
        Error::Client(_)
        | Error::Refused { status: 503, .. }
        | Error::NoScope
        | Error::NoSacct(_)
        | Error::JobsInTenants(_) => EX_UNAVAILABLE,
        Error::Refused { status: 400..=499, .. }
        | Error::TooLarge
        | Error::SpoolNotWhole
        | Error::Sacct(_) => EX_DATAERR,
        Error::Refused { .. } | Error::Answer(_) => EX_PROTOCOL,
        Error::Config(_) | Error::ConfigAlreadySaid | Error::Server(_) | Error::Tls(_) => EX_CONFIG,
        Error::NoTenant(_) | Error::NoPayer(_) | Error::NoSuchTime | Error::EmptyPeriod => EX_USAGE,
        Error::Cgroup(_) | Error::Isolation(_) | Error::NotApplied | Error::System(_) => EX_OSERR,
        Error::Differs | Error::Unexplained => EX_DIFFERS,
        Error::Output(_) | Error::Spool(_) | Error::PluginLine { .. } => EX_IOERR,
    }
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
    let done = match args.command {
        Command::Usage(args) => usage::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Jobs(args) => jobs::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Top(args) => top::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Reconcile(args) => reconcile::run(&args).map(|()| ExitCode::SUCCESS),
        Command::CheckConfig(args) => check_config::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Tenants(args) => tenants::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Doctor(args) => doctor::run(&args),
        Command::Plugin(args) => plugin::run(&args),
        Command::Quickstart(args) => quickstart::run(&args),
        Command::Spool(args) => spool::run(&args).map(|()| ExitCode::SUCCESS),
    };
    match done {
        Ok(code) => code,
        // The reader has seen enough: `tenantry usage | head`.
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(
                error,
                Error::ConfigAlreadySaid
                    | Error::Differs
                    | Error::Unexplained
                    | Error::NotApplied
                    | Error::SpoolNotWhole
            ) {
                say(&error);
            }
            ExitCode::from(code(&error))
        }
    }
}

/// The error and its causes in one line.
fn say(error: &Error) {
    let _ = writeln!(io::stderr(), "tenantry: {}", tenantry_model::describe(error));
}
