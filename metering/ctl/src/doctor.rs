//! `tenantry doctor`: what on this node, and in the site's configuration, weakens isolation or billing.
//!
//! ```text
//! machine (files, commands) --gather--> Facts --checks (pure)--> Findings --render--> text, JSON
//! ```

pub(crate) mod checks;
mod conf;
pub(crate) mod elf;
pub(crate) mod facts;
pub(crate) mod finding;
pub(crate) mod gather;
pub(crate) mod machine;
mod mounts;
mod pam;
pub(crate) mod plugstack;
mod render;
mod slurm;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::error::Error;
use crate::format::Format;
use machine::Machine;

/// Find what on this node and in Slurm's configuration weakens isolation or billing
///
/// Says for each finding what was found, what is wanted, why, and what to write where. What only
/// root can see is a finding too where somebody else asks.
///
/// Ends with 0 if all is good (notes included), 1 if something weakens isolation or billing or
/// could not be seen, 2 if something breaks them.
#[derive(clap::Args)]
pub struct Args {
    /// text: the worst last, coloured on a terminal. json: a list of findings
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// slurm.conf, or the directory it stands in; by default where Slurm itself would look
    #[arg(long, value_name = "DIR-or-FILE")]
    slurm_conf: Option<PathBuf>,
    /// A tree of files and recorded commands to examine in place of this machine
    #[arg(long, value_name = "DIR", hide = true)]
    root: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let machine = args.root.clone().map_or_else(Machine::here, Machine::recorded);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::System)?;
    let facts =
        runtime.block_on(gather::facts(&machine, args.slurm_conf.as_deref())).map_err(Error::System)?;
    let findings = checks::examine(&facts);
    let mut out = anstream::stdout().lock();
    match args.format {
        Format::Text => out.write_all(render::text(&findings).as_bytes())?,
        Format::Json => out.write_all(render::json(&findings)?.as_bytes())?,
    }
    out.flush()?;
    Ok(ExitCode::from(finding::exit_code(&findings)))
}
