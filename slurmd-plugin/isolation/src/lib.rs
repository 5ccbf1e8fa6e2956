//! A Slurm job's life in its tenant, on one node: [`place`] decides whose it is and puts it there,
//! [`close`] ends it, [`reconcile`] mends what a crash left between the two. The plugin, the warden
//! and the command all act through this crate, so that each does the same.
#![forbid(unsafe_code)]

pub mod close;
pub mod enforce;
mod error;
pub mod facts;
mod late;
mod lock;
mod namespace;
mod outbox;
pub mod place;
mod placement;
mod processes;
pub mod reconcile;
mod records;
pub mod renamed;
mod residue;
pub mod scope;
mod settle;
pub mod siblings;
mod site;
pub mod steps;
mod sweep;
pub mod unisolated;

pub use error::Error;
pub use facts::Facts;
pub use site::{Severity, Site};
