//! Differences for people, and for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use super::compare::{Cause, Comparison, Difference, Kind};
use crate::table::{columns, duration, figure, mib};

const HEAD: [&str; 7] = ["JOB", "RUN", "WHAT", "CAUSE", "OURS", "SLURM", "DIFFERENCE"];

/// A line for each difference, how often each cause was found, and what it comes to.
pub fn table(done: &Comparison) -> String {
    let mut text = String::new();
    if !done.differences.is_empty() {
        let mut rows = vec![HEAD.map(str::to_owned)];
        rows.extend(done.differences.iter().map(row));
        text.push_str(&columns(&rows, 4));
        text.push('\n');
        let mut causes: BTreeMap<Cause, usize> = BTreeMap::new();
        for difference in &done.differences {
            let count = causes.entry(difference.cause).or_default();
            *count = count.saturating_add(1);
        }
        for (cause, count) in causes {
            let word = if cause.is_explained() { "explained" } else { "UNEXPLAINED" };
            // A String takes whatever is written.
            let _ = writeln!(text, "{word}: {count} x {}: {}", name(&cause), cause.text());
        }
    }
    text + &format!(
        "{} runs compared: CPU time {} in their groups, {} in their steps' tasks, {} by Slurm; \
         {} differences explained, {} not\n",
        done.compared,
        duration(done.cpu_usage_usec),
        duration(done.steps_cpu_usec),
        duration(done.slurm_cpu_usec),
        done.explained,
        done.unexplained,
    )
}

fn row(difference: &Difference) -> [String; 7] {
    let (what, write): (&str, fn(u128) -> String) = match difference.kind {
        Kind::Run => ("run", |count| count.to_string()),
        Kind::CpuTimeUsec => ("cpu-time", duration),
        Kind::ElapsedUsec => ("elapsed", duration),
        Kind::MemoryPeakBytes => ("memory-peak", |bytes| format!("{} MiB", mib(bytes))),
        Kind::AllocatedCpus => ("allocated", |count| format!("{count} CPUs")),
    };
    let (ours, slurm) = (difference.ours, difference.slurm);
    let apart = ours.zip(slurm).map(|(ours, slurm)| {
        let sign = if ours < slurm { "-" } else { "+" };
        format!("{sign}{}", write(ours.abs_diff(slurm)))
    });
    [
        difference.job_id.to_string(),
        figure(difference.restart_count.map(u128::from), |count| count.to_string()),
        what.to_owned(),
        name(&difference.cause),
        figure(ours, write),
        figure(slurm, write),
        apart.unwrap_or_else(|| "-".to_owned()),
    ]
}

/// Every difference in base units.
pub fn csv(done: &Comparison, mut out: impl Write) -> io::Result<()> {
    writeln!(out, "job_id,restart_count,kind,ours,slurm,cause,explained")?;
    for difference in &done.differences {
        let optional = |value: Option<u128>| value.map_or_else(String::new, |value| value.to_string());
        writeln!(
            out,
            "{},{},{},{},{},{},{}",
            difference.job_id,
            optional(difference.restart_count.map(u128::from)),
            name(&difference.kind),
            optional(difference.ours),
            optional(difference.slurm),
            name(&difference.cause),
            difference.explained,
        )?;
    }
    Ok(())
}

/// As JSON names it.
fn name(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
