//! `tenantryd`: the node daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tracing_subscriber::EnvFilter;

use tenantryd::config::Config;

/// Samples every job and tenant on this node, spools what it read, and sends it to tenantry-server.
///
/// Runs as root. No job depends on it: while it is down the kernel keeps the counters and the
/// plugin's epilog keeps the final ones; all of it is taken when it is back.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Settings, in TOML.
    #[arg(long, value_name = "FILE", default_value = "/etc/tenantry/tenantryd.toml")]
    config: PathBuf,
    /// Check the settings and end.
    #[arg(long)]
    check_config: bool,
    /// How log lines are written to standard error.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// `EX_CONFIG` and `EX_SOFTWARE` of sysexits.h.
const EX_CONFIG: u8 = 78;
const EX_SOFTWARE: u8 = 70;

fn main() -> ExitCode {
    let args = Args::parse();
    log_to_stderr(args.log_format);
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!("{error}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    if args.check_config {
        tracing::info!(file = %args.config.display(), "the settings are good");
        return ExitCode::SUCCESS;
    }
    match tenantryd::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::from(EX_SOFTWARE)
        }
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        // systemd's journal has the time.
        LogFormat::Text => log.without_time().with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
}
