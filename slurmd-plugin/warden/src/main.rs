//! `tenantry-warden`: the root helper of a node.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use tenantry_warden::{prolog, run};

/// Keeps every job in its tenant: mends what a crash left, and applies a changed tenants file to
/// running tenants.
///
/// Runs as root, in the node's own mount namespace, without network. No job depends on it.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    task: Option<Task>,
}

#[derive(Debug, Clone, Subcommand)]
enum Task {
    /// Watch and mend until told to stop (the default).
    Run(run::Args),
    /// Mend once, and end: exit code 0 where nothing is left to mend.
    Once(run::Args),
    /// The Prolog= of a site with PrologFlags=RunInJob: puts the job it runs in under its tenant.
    Prolog,
}

/// `EX_SOFTWARE` of sysexits.h.
const EX_SOFTWARE: u8 = 70;

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // systemd's journal, and slurmd's log, have the time.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.with_target(false).without_time().with_ansi(false).init();
    let ended = match args.task.unwrap_or_else(|| Task::Run(run::Args::default())) {
        Task::Run(args) => run::watch(&args),
        Task::Once(args) => run::once(&args),
        Task::Prolog => prolog::run(),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(EX_SOFTWARE)
        }
    }
}
