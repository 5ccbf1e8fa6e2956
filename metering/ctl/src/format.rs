//! How a command that is no question to the server writes what it found.

use clap::ValueEnum;

/// For a person, or for a program.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}
