//! `tenantry plugin`: which build of the SPANK plugin Slurm loads here, if any.
//!
//! The packages' file in plugstack.conf.d includes one other, `/var/lib/tenantry-plugin/plugstack.conf`, and this
//! command alone writes that: a line that loads the build for this Slurm, or a comment that says why none is loaded.
//!
//! ```text
//! Slurm's version, builds, tenants file, running steps --look--> Found --choose (pure)--> Choice --line--> the file
//! ```

mod choice;
mod line;
mod look;
mod trial;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use nix::unistd::geteuid;
use serde_json::json;

use crate::EX_UNAVAILABLE;
use crate::error::Error;
use crate::format::Format;
pub use choice::{Build, Choice, Found, Reason, When, choose};
use line::Line;

/// Where the builds are, one for each Slurm.
const BUILDS: &str = "/usr/lib/tenantry";
/// What the packages' file in plugstack.conf.d includes.
pub const LINE: &str = "/var/lib/tenantry-plugin/plugstack.conf";

/// Choose the build of the SPANK plugin that Slurm loads on this machine
///
/// The packages call it: before slurmd starts, after an install, and when Slurm has been upgraded.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Have Slurm load the build for its version, once that has passed its trial
    ///
    /// The trial: the file is a plugin for this Slurm, and srun loads it in a process of its own. A
    /// plugin that does not pass is left out, so that jobs run as without Tenantry, and the reason is
    /// said. One that was off comes on only where a tenants file has a tenant, and while no step runs
    /// on the node: a job that began without a tenant would have its next steps refused.
    ///
    /// Ends with 0 if the plugin is on, or could be; with 69 if it stands aside.
    Select {
        /// Leave it off where it is off: it comes on when slurmd starts
        #[arg(long)]
        only_if_on: bool,
        /// The slurmd that is asked for its version
        #[arg(long, value_name = "FILE", default_value = "slurmd")]
        slurmd: PathBuf,
    },
    /// Say what is loaded, or why nothing is
    Status {
        /// How it is written
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Have Slurm load no plugin; refused while jobs run in their tenants here
    Off,
}

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    let mut out = io::stdout().lock();
    match &args.action {
        Action::Select { only_if_on, slurmd } => {
            as_root()?;
            let when = if *only_if_on { When::AnyTime } else { When::SlurmdStarts };
            select(slurmd, when, &mut out)
        }
        Action::Status { format } => status(*format, &mut out).map(|()| ExitCode::SUCCESS),
        Action::Off => {
            as_root()?;
            off(&mut out).map(|()| ExitCode::SUCCESS)
        }
    }
}

/// What there is to choose from, for the slurmd that is named.
pub async fn found(slurmd: &Path) -> Found {
    look::found(slurmd, Path::new(BUILDS), line::read(Path::new(LINE)).is_on()).await
}

/// Why Slurm loads no plugin; `None`: it loads one.
pub fn why_off() -> Option<String> {
    match line::read(Path::new(LINE)) {
        Line::On(_) => None,
        Line::Off(reason) => Some(reason),
    }
}

fn as_root() -> Result<(), Error> {
    if geteuid().is_root() { Ok(()) } else { Err(Error::PluginNotRoot) }
}

fn select(slurmd: &Path, when: When, out: &mut impl Write) -> Result<ExitCode, Error> {
    let file = Path::new(LINE);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::System)?;
    let found = runtime.block_on(found(slurmd));
    let choice = choose(&found, when);
    let line = match &choice {
        Choice::Load(build) => Line::On(build.clone()),
        Choice::Wait(_) => return Ok(writeln!(out, "{choice}").map(|()| ExitCode::SUCCESS)?),
        Choice::StandAside(reason) => Line::Off(reason.to_string()),
    };
    line::write(file, &line).map_err(|source| Error::PluginLine { file: file.to_owned(), source })?;
    writeln!(out, "{choice}")?;
    Ok(if line.is_on() { ExitCode::SUCCESS } else { ExitCode::from(EX_UNAVAILABLE) })
}

fn status(format: Format, out: &mut impl Write) -> Result<(), Error> {
    let line = line::read(Path::new(LINE));
    match (format, &line) {
        (Format::Json, Line::On(build)) => writeln!(out, "{}", json!({ "on": true, "file": build })),
        (Format::Json, Line::Off(reason)) => writeln!(out, "{}", json!({ "on": false, "reason": reason })),
        (Format::Text, Line::On(build)) => writeln!(out, "on: Slurm loads {}", build.display()),
        (Format::Text, Line::Off(reason)) => writeln!(out, "off: {reason}"),
    }?;
    Ok(())
}

/// Jobs that run in their tenants need the plugin until their epilog has read what they used.
fn off(out: &mut impl Write) -> Result<(), Error> {
    let file = Path::new(LINE);
    let jobs = look::jobs_here();
    if !jobs.is_empty() {
        return Err(Error::JobsInTenants(jobs));
    }
    let before = line::read(file);
    let write = |line: &Line| {
        line::write(file, line).map_err(|source| Error::PluginLine { file: file.to_owned(), source })
    };
    write(&Line::Off("switched off; `tenantry plugin select` before slurmd starts switches it on".into()))?;
    // One that began between the look and the line keeps its plugin.
    let jobs = look::jobs_here();
    if !jobs.is_empty() {
        write(&before)?;
        return Err(Error::JobsInTenants(jobs));
    }
    Ok(writeln!(out, "off: Slurm loads no plugin; jobs run as without Tenantry")?)
}
