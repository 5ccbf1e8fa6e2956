//! `tenantry usage`.

use std::io::{self, BufWriter, IsTerminal, Write};

use tenantry_model::usage::UsageReport;
use tenantry_model::window::{GroupBy, GroupReport, Quantity};
use tenantry_model::{Clock, JobId, SystemClock, TenantPath};

use crate::ask::{Format, Question, Way, ask};
use crate::error::Error;
use crate::period::Point;
use crate::plot::Plot;
use crate::{groups, plot, table};

/// Show what jobs used and were allocated
///
/// One line for each run of a job on each node, running jobs included, and a total for each
/// tenant. With --by: sums over a period, of what fell into it. You see your own jobs; the
/// administrator's readers see all. Times are UTC.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  tenantry usage                                         my jobs
  tenantry usage --since 2026-11 --until 2026-12 --by tenant
  tenantry usage --tenant acme --since 7d --by day,user --format csv
  tenantry usage --since 36h --plot cpu                  a bar for each hour")]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// Add up by these, separated by commas: tenant, user, account, job, node, day, hour. What is
    /// added up is what fell into the period, by windows that begin in it
    #[arg(long, value_delimiter = ',', value_name = "WHAT")]
    by: Vec<GroupBy>,
    /// Draw one figure over the period, a bar for each hour, or for each day of more than three
    #[arg(long, value_enum, value_name = "FIGURE", num_args = 0..=1, default_missing_value = "cpu",
          conflicts_with = "by")]
    plot: Option<Plot>,
    /// table: units in the header, figures rounded down, "-" for what was not measured, ">=" for
    /// a total over records of which some lack the figure. json: the server's report. csv: every
    /// figure in base units, empty for what was not measured; a text a spreadsheet would take for
    /// a formula begins with '
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    way: Way,
}

/// Which usage.
#[derive(clap::Args)]
pub struct Which {
    /// This tenant and those that stand in it, like acme or acme/physics
    #[arg(long)]
    tenant: Option<TenantPath>,
    /// This job: all its runs, on all nodes
    #[arg(long)]
    job: Option<JobId>,
    /// This user's jobs, by name or uid
    #[arg(long)]
    user: Option<String>,
    /// From then on: 2026-11-22T10:00:00Z, 2026-11-22, 2026-11, today, yesterday, or 36h, 7d ago.
    /// Without --by: runs that had not ended then
    #[arg(long, value_name = "TIME")]
    since: Option<Point>,
    /// Up to then, exclusively
    #[arg(long, value_name = "TIME")]
    until: Option<Point>,
}

impl Which {
    pub fn question(&self) -> Result<Question, Error> {
        let now = SystemClock.now().map_err(Error::System)?.wall;
        let at = |point: Option<Point>| point.map(|point| point.at(now).ok_or(Error::NoSuchTime)).transpose();
        let (from, to) = (at(self.since)?, at(self.until)?);
        if from.zip(to).is_some_and(|(from, to)| from >= to) {
            return Err(Error::EmptyPeriod);
        }
        Ok(Question {
            tenant: self.tenant.clone(),
            job: self.job,
            user: self.user.clone(),
            from,
            to,
            group_by: Vec::new(),
        })
    }
}

pub fn run(args: &Args) -> Result<(), Error> {
    let question = args.which.question()?;
    let mut out = BufWriter::new(io::stdout().lock());
    if let Some(figure) = args.plot {
        draw(args, question, figure, &mut out)?;
    } else if args.by.is_empty() {
        let report: UsageReport = ask(&args.way, &question)?;
        match args.format {
            Format::Table => out.write_all(table::table(&report).ok_or(Error::TooLarge)?.as_bytes())?,
            Format::Json => json(&report, &mut out)?,
            Format::Csv => tenantry_usage::csv::runs(&report.usage, &mut out)?,
        }
    } else {
        let report: GroupReport = ask(&args.way, &Question { group_by: args.by.clone(), ..question })?;
        match args.format {
            Format::Table => out.write_all(groups::table(&args.by, &report).as_bytes())?,
            Format::Json => json(&report, &mut out)?,
            Format::Csv => tenantry_usage::csv::groups(&args.by, &report.groups, &mut out)?,
        }
    }
    Ok(out.flush()?)
}

/// The report as the server has it, for programs.
pub fn json(report: &impl serde::Serialize, mut out: impl Write) -> Result<(), Error> {
    serde_json::to_writer_pretty(&mut out, report).map_err(io::Error::from)?;
    Ok(writeln!(out)?)
}

fn draw(args: &Args, mut question: Question, figure: Plot, out: &mut impl Write) -> Result<(), Error> {
    let now = SystemClock.now().map_err(Error::System)?.wall;
    let to = question.to.unwrap_or(now);
    let from = match question.from {
        Some(from) => from,
        None => Point::Ago(86_400_000_000).at(to).ok_or(Error::NoSuchTime)?,
    };
    (question.from, question.to) = (Some(from), Some(to));
    let by = plot::bucket(from, to);
    question.group_by = vec![by];
    let report: GroupReport = ask(&args.way, &question)?;
    match args.format {
        Format::Json => return json(&report, out),
        Format::Csv => return Ok(tenantry_usage::csv::groups(&[by], &report.groups, out)?),
        Format::Table => {}
    }
    let terminal = io::stdout().is_terminal();
    let width = terminal_size::terminal_size().filter(|_| terminal).map(|(width, _)| width.0);
    let drawn = plot::draw(&report, figure, (from, to), by, usize::from(width.unwrap_or(80)), terminal);
    Ok(out.write_all(drawn.ok_or(Error::TooLarge)?.as_bytes())?)
}

impl Plot {
    /// What is drawn.
    pub fn quantity(self) -> Quantity {
        match self {
            Self::Cpu => Quantity::CpuUsage,
            Self::AllocatedCpu => Quantity::AllocatedCpu,
            Self::Memory => Quantity::Memory,
            Self::AllocatedMemory => Quantity::AllocatedMemory,
            Self::Read => Quantity::IoRead,
            Self::Written => Quantity::IoWrite,
            Self::Received => Quantity::NetworkReceive,
            Self::Sent => Quantity::NetworkTransmit,
        }
    }
}
