//! `tenantry reconcile`.

mod compare;
mod render;
mod sacct;

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::Command;

use tenantry_model::usage::UsageReport;
use tenantry_model::{Clock, SystemClock, WallTime};

use crate::ask::{Format, Question, Way, ask};
use crate::error::Error;
use crate::period::Point;
use crate::usage::json;
use compare::{Bounds, compare};

/// What is asked for beyond the period on both sides, so that no run falls between them at its edges.
const MARGIN: i64 = 3_600_000_000;

/// Compare a period's records with Slurm's accounting, and name the cause of every difference
///
/// The runs that ended in the period, each with its CPU time, memory, elapsed time and CPUs. Ends
/// with 0 where every difference has a cause that Slurm's way of counting is known for, and with 1
/// where one has not. Ask as one who may see all jobs, on both sides.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  tenantry reconcile --sacct --since yesterday --until today
  tenantry reconcile --sacct --since 2026-11 --until 2026-12 --format json
  SLURM_TIME_FORMAT=%s sacct -PaD --noconvert -S 2026-11-01 -o JobIDRaw,State,Account,User,AllocCPUS,ElapsedRaw,Suspended,TotalCPU,MaxRSS,Start,End > november
  tenantry reconcile --sacct=november --since 2026-11 --until 2026-12")]
pub struct Args {
    /// Run `sacct`, or read its output from a file: with a header line, times in seconds since 1970
    #[arg(long, required = true, num_args = 0..=1, require_equals = true, value_name = "FILE")]
    #[expect(clippy::option_option, reason = "clap tells the bare flag from the flag with a file so")]
    sacct: Option<Option<PathBuf>>,
    /// Runs that ended from then on; a day ago
    #[arg(long, value_name = "TIME", default_value = "1d")]
    since: Point,
    /// Up to then, exclusively; now
    #[arg(long, value_name = "TIME", default_value = "now")]
    until: Point,
    /// By how much Slurm's CPU time may be more than the kernel's, in percent, for its clock ticks
    #[arg(long, value_name = "PERCENT", default_value_t = 5)]
    ticks: u64,
    /// Only differences without a known cause
    #[arg(long)]
    unexplained: bool,
    /// table, json, csv
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    way: Way,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let now = SystemClock.now().map_err(Error::System)?.wall;
    let at = |point: Point| point.at(now).ok_or(Error::NoSuchTime);
    let (from, to) = (at(args.since)?, at(args.until)?);
    if from >= to {
        return Err(Error::EmptyPeriod);
    }
    let wider = |at: WallTime, by: i64| {
        WallTime::from_unix_usec(at.unix_usec().saturating_add(by)).map_err(|_| Error::NoSuchTime)
    };
    let (wide_from, wide_to) = (wider(from, MARGIN.saturating_neg())?, wider(to, MARGIN)?);
    let output = match args.sacct.as_ref().and_then(Option::as_ref) {
        Some(file) => {
            fs::read_to_string(file).map_err(|error| Error::Sacct(format!("{}: {error}", file.display())))?
        }
        None => sacct_says(wide_from, wide_to)?,
    };
    let slurm = sacct::parse(&output).map_err(Error::Sacct)?;
    let question = Question { from: Some(wide_from), to: Some(wide_to), ..Question::default() };
    let report: UsageReport = ask(&args.way, &question)?;
    let bounds = Bounds { from: Some(from), to: Some(to), tick_percent: args.ticks };
    let mut done = compare(&report.usage, &slurm, bounds);
    if args.unexplained {
        done.differences.retain(|difference| !difference.explained);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    match args.format {
        Format::Table => out.write_all(render::table(&done).as_bytes())?,
        Format::Json => json(&done, &mut out)?,
        Format::Csv => render::csv(&done, &mut out)?,
    }
    out.flush()?;
    if done.unexplained == 0 { Ok(()) } else { Err(Error::Unexplained) }
}

/// Asks Slurm, in UTC and with a character between the fields that no name holds.
fn sacct_says(from: WallTime, to: WallTime) -> Result<String, Error> {
    let time = |at: WallTime| at.to_string().get(..19).unwrap_or_default().to_owned();
    let mut command = Command::new("sacct");
    command.env("TZ", "UTC").env("SLURM_TIME_FORMAT", "%s");
    command.args(["-a", "-D", "-P", "--noconvert", "--delimiter=\x1f", "-S"]).arg(time(from)).arg("-E");
    command.arg(time(to)).arg("-o").arg(OsString::from(sacct::FIELDS.join(",")));
    let done = command.output().map_err(Error::NoSacct)?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        return Err(Error::Sacct(format!("it ended with {}: {}", done.status, said.trim())));
    }
    String::from_utf8(done.stdout).map_err(|error| Error::Sacct(error.to_string()))
}
