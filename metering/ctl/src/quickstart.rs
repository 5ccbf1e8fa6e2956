//! `tenantry quickstart`: from a node with Slurm and the packages to the first usage shown.
//!
//! ```text
//! machine --look--> Look --plan (pure)--> Plan: steps, and what is in the way --render--> shown
//!                                            | --yes
//!                                            act: each step in turn, then a job and its usage
//! ```

mod act;
mod first;
mod look;
mod plan;
mod render;
mod tenants;

use std::io::{self, Write};
use std::process::ExitCode;

use nix::unistd::geteuid;

use crate::error::Error;
use crate::format::Format;
use plan::{Plan, State};

/// Something is left to be done.
const LEFT: u8 = 1;
/// Something is in the way that only the site can change.
const IN_THE_WAY: u8 = 2;

/// Take a node with Slurm and the packages to its first usage
///
/// Looks at what this node lacks and says what it would do about it; with --yes it does that, says
/// how to undo each step, runs a job of one second as a user of Slurm's, and shows what it used.
/// What is there already is left as it is: it may be run again at any time. Slurm's own
/// configuration is not touched but for one line of plugstack.conf. slurmd is restarted only while no
/// job runs on the node.
///
/// Ends with 0 if nothing is missing (any longer), 1 if something is left to be done, 2 if something
/// is in the way that only the site can change.
#[derive(clap::Args)]
pub struct Args {
    /// Do what is shown without it
    #[arg(long)]
    yes: bool,
    /// The user whose job is run; by default the first of Slurm's that this node knows
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Run no job
    #[arg(long, conflicts_with = "user")]
    no_job: bool,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub fn run(args: &Args) -> Result<ExitCode, Error> {
    if !geteuid().is_root() {
        return Err(Error::QuickstartNotRoot);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::System)?;
    let look = runtime.block_on(look::look(args.user.as_deref()))?;
    let mut plan = plan::plan(&look, !args.no_job);
    let mut out = io::stdout().lock();
    let mut usage = None;
    if args.yes && plan.in_the_way.is_empty() {
        for step in &mut plan.steps {
            if args.format == Format::Text {
                writeln!(out, "{}", render::begins(step))?;
                out.flush()?;
            }
            act::act(step, &mut usage);
            if args.format == Format::Text {
                out.write_all(render::ended(step).as_bytes())?;
            }
            if matches!(step.state, State::Failed(_) | State::Waits(_)) {
                break;
            }
        }
    }
    match args.format {
        Format::Text if args.yes => out.write_all(render::after(&plan, usage.as_ref())?.as_bytes())?,
        Format::Text => out.write_all(render::before(&plan).as_bytes())?,
        Format::Json => out.write_all(render::json(&plan, usage.as_ref())?.as_bytes())?,
    }
    out.flush()?;
    Ok(ExitCode::from(code(&plan)))
}

fn code(plan: &Plan) -> u8 {
    if !plan.in_the_way.is_empty() {
        IN_THE_WAY
    } else if plan.steps.iter().any(|step| step.state != State::Done) {
        LEFT
    } else {
        0
    }
}
