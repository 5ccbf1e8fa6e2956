//! Simulated nodes: makes their blocks, sends them as daemons do, and keeps what was acknowledged.
//! The failover drill and the ingest bench run it; nothing of it is shipped.
#![forbid(unsafe_code)]
#![allow(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::float_arithmetic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "it measures: it reads the clock, computes rates and prints them; a panic ends a bench"
)]

mod acknowledged;
mod beside;
mod corpus;
mod fleet;
mod open;
mod send;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::fleet::Shape;

/// Simulated nodes for the failover drill and the ingest bench.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes every node's blocks of some minutes, in the order in which they are sent, as one file.
    Prepare {
        /// The file
        corpus: PathBuf,
        #[command(flatten)]
        shape: Shape,
    },
    /// Sends a file's blocks, each until it is acknowledged, and prints the figures as JSON.
    Send {
        /// The file
        corpus: PathBuf,
        #[command(flatten)]
        options: send::Options,
    },
    /// Puts a file's blocks into PostgreSQL in another way, for comparison, and prints the figures as JSON.
    Beside {
        /// The file
        corpus: PathBuf,
        #[command(flatten)]
        options: beside::Options,
    },
    /// Checks, unpacks and makes a file's blocks, and prints what each takes of one as JSON.
    Open {
        /// The file
        corpus: PathBuf,
    },
}

fn main() -> Result<()> {
    match Args::parse().command {
        Command::Prepare { corpus, shape } => corpus::prepare(&corpus, &shape),
        Command::Send { corpus, options } => send::run(&corpus, options),
        Command::Beside { corpus, options } => beside::run(&corpus, &options),
        Command::Open { corpus } => open::run(&corpus),
    }
}
