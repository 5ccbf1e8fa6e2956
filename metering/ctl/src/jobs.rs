//! `tenantry jobs`.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use tenantry_model::job::Quality;
use tenantry_model::usage::{UsageRecord, UsageReport, UsageState};
use tenantry_usage::{Sum, Totals};

use crate::ask::{Format, Way, ask};
use crate::error::Error;
use crate::table::{columns, core_hours, duration, figure, mib, printable, split, tenant_name, usec};
use crate::usage::{Which, json};

/// Show jobs, one line for each run
///
/// A run on several nodes is one line, its figures added up; a requeued job has a line for each
/// run. The latest stand last. You see your own jobs; the administrator's readers see all. Times
/// are UTC.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  tenantry jobs --since today
  tenantry jobs --user ada --since 7d --format csv
  tenantry jobs --job 1234")]
pub struct Args {
    #[command(flatten)]
    which: Which,
    /// table: units in the header. json and csv: the records, one for each run on each node
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    way: Way,
}

const HEAD: [&str; 16] = [
    "JOB",
    "RUN",
    "TENANT",
    "USER",
    "ACCOUNT",
    "STATE",
    "QUALITY",
    "BEGAN[UTC]",
    "NODES",
    "ELAPSED[D-HH:MM:SS]",
    "CPU-TIME[D-HH:MM:SS]",
    "ALLOCATED[core-h]",
    "USED[%]",
    "MEMORY-PEAK[MiB]",
    "READ[MiB]",
    "WRITTEN[MiB]",
];

pub fn run(args: &Args) -> Result<(), Error> {
    let report: UsageReport = ask(&args.way, &args.which.question()?)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match args.format {
        Format::Table => out.write_all(table(&report.usage).ok_or(Error::TooLarge)?.as_bytes())?,
        Format::Json => json(&report, &mut out)?,
        Format::Csv => tenantry_usage::csv::runs(&report.usage, &mut out)?,
    }
    Ok(out.flush()?)
}

/// One line for each run. `None` where a total does not fit.
fn table(records: &[UsageRecord]) -> Option<String> {
    if records.is_empty() {
        return Some("No job is recorded for this question.\n".to_owned());
    }
    let mut rows = vec![HEAD.map(str::to_owned)];
    for run in runs(records) {
        rows.push(row(&run)?);
    }
    Some(columns(&rows, 8))
}

/// The records of each run, in the order the runs began. Where Slurm told no restart count, what ran on
/// another node or at another time is taken for another run.
pub fn runs(records: &[UsageRecord]) -> Vec<Vec<&UsageRecord>> {
    let mut by_run: BTreeMap<_, Vec<&UsageRecord>> = BTreeMap::new();
    for record in records {
        let alone = record.restart_count.is_none().then_some((record.began, &record.node));
        let key = (&record.cluster, record.job_id, record.restart_count, alone);
        by_run.entry(key).or_default().push(record);
    }
    let mut runs: Vec<_> = by_run.into_values().collect();
    runs.sort_by_key(|run| {
        (run.iter().map(|record| record.began).min(), run.first().map(|record| record.job_id))
    });
    runs
}

fn row(run: &[&UsageRecord]) -> Option<[String; 16]> {
    let first = run.first()?;
    let totals = run.iter().try_fold(Totals::default(), |totals, record| totals.with(record))?;
    let began = run.iter().map(|record| record.began).min()?;
    let state =
        if run.iter().any(|record| record.state == UsageState::Running) { "running" } else { "final" };
    let quality = run.iter().map(|record| record.quality).max_by_key(|quality| match quality {
        Quality::Exact => 0,
        Quality::Estimated => 1,
        Quality::Gap => 2,
    })?;
    let sum = |sum: Sum, write: fn(u128) -> String| match sum.lacking {
        0 => write(sum.known),
        lacking if lacking == totals.records => "-".to_owned(),
        _ => format!(">={}", write(sum.known)),
    };
    let began = began.to_string();
    Some([
        first.job_id.to_string(),
        figure(first.restart_count.map(u128::from), |count| count.to_string()),
        tenant_name(first.tenant.as_ref()),
        first.user.as_deref().map_or_else(|| first.uid.to_string(), printable),
        first.account.as_ref().map_or_else(|| "-".to_owned(), |account| printable(account.as_str())),
        state.to_owned(),
        match quality {
            Quality::Exact => "exact",
            Quality::Estimated => "estimated",
            Quality::Gap => "gap",
        }
        .to_owned(),
        began.get(..19).unwrap_or(&began).to_owned(),
        run.len().to_string(),
        figure(run.iter().filter_map(|record| record.elapsed_usec).max().map(usec), duration),
        sum(totals.cpu_usage_usec, duration),
        sum(totals.allocated_cpu_usec, core_hours),
        used(&totals).unwrap_or_else(|| "-".to_owned()),
        figure(run.iter().filter_map(|record| record.memory_peak_bytes).max().map(|peak| peak.0.into()), mib),
        sum(totals.io_read_bytes, mib),
        sum(totals.io_write_bytes, mib),
    ])
}

/// How much of the CPU time that was allocated was used, in percent with one decimal, rounded down.
fn used(totals: &Totals) -> Option<String> {
    let (used, allocated) = (totals.cpu_usage_usec, totals.allocated_cpu_usec);
    if used.lacking > 0 || allocated.lacking > 0 {
        return None;
    }
    let thousandths = used.known.checked_mul(1000)?.checked_div(allocated.known)?;
    let (whole, tenth) = split(thousandths, 10);
    Some(format!("{whole}.{tenth}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::report;

    #[test]
    fn the_runs_are_the_golden_table() {
        let mut report = report();
        // A second node of the requeued job's second run.
        let mut other = report.usage[2].clone();
        other.node = "n3".parse().unwrap();
        other.cpu_usage_usec = None;
        report.usage.push(other);
        assert_eq!(table(&report.usage).unwrap(), include_str!("../tests/golden/jobs.table"));
        assert_eq!(table(&[]).unwrap(), "No job is recorded for this question.\n");
    }
}
