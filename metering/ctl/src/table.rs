//! Usage as a table for people: integers all the way, rounded down where a decimal is cut.

use tenantry_model::job::Quality;
use tenantry_model::usage::{UsageRecord, UsageReport, UsageState};
use tenantry_model::{TenantPath, Usec};
use tenantry_usage::{Sum, Totals, totals_by_tenant};

const USEC_PER_HOUR: u128 = 3_600_000_000;
const MIB: u128 = 1 << 20;
const MIB_SECONDS_PER_GIB_HOUR: u128 = 1024 * 3600;

const COLUMNS: usize = 14;
const HEADER: [&str; COLUMNS] = [
    "TENANT",
    "JOB",
    "NODE",
    "USER",
    "STATE",
    "QUALITY",
    "ELAPSED[D-HH:MM:SS]",
    "CPU-TIME[D-HH:MM:SS]",
    "ALLOCATED[core-h]",
    "ALLOCATED[GiB-h]",
    "MEMORY-PEAK[MiB]",
    "READ[MiB]",
    "WRITTEN[MiB]",
    "OOM-KILLS",
];
/// Texts stand left, figures right.
const TEXT_COLUMNS: usize = 6;

type Row = [String; COLUMNS];

/// The report's usage as lines of text: each tenant's records, then its total. `None` where a total
/// does not fit.
pub fn table(report: &UsageReport) -> Option<String> {
    if report.usage.is_empty() {
        return Some("No usage is recorded for this question.\n".to_owned());
    }
    let mut rows = vec![HEADER.map(str::to_owned)];
    for (tenant, totals) in totals_by_tenant(&report.usage)? {
        rows.extend(report.usage.iter().filter(|record| record.tenant.as_ref() == tenant).map(row));
        rows.push(total_row(tenant, &totals));
    }
    Some(aligned(&rows, TEXT_COLUMNS))
}

fn row(record: &UsageRecord) -> Row {
    [
        tenant_name(record.tenant.as_ref()),
        record.job_id.to_string(),
        record.node.to_string(),
        record.user.as_deref().map_or_else(|| record.uid.to_string(), printable),
        match record.state {
            UsageState::Running => "running",
            UsageState::Final => "final",
        }
        .to_owned(),
        match record.quality {
            Quality::Exact => "exact",
            Quality::Estimated => "estimated",
            Quality::Gap => "gap",
        }
        .to_owned(),
        figure(record.elapsed_usec.map(usec), duration),
        figure(record.cpu_usage_usec.map(usec), duration),
        figure(record.allocated_cpu_usec.map(usec), core_hours),
        figure(record.allocated_memory_mib_seconds.map(u128::from), gib_hours),
        figure(record.memory_peak_bytes.map(|bytes| u128::from(bytes.0)), mib),
        figure(record.io_read_bytes.map(|bytes| u128::from(bytes.0)), mib),
        figure(record.io_write_bytes.map(|bytes| u128::from(bytes.0)), mib),
        figure(record.memory_oom_kills.map(u128::from), |count| count.to_string()),
    ]
}

fn total_row(tenant: Option<&TenantPath>, totals: &Totals) -> Row {
    let sum = |sum: Sum, write: fn(u128) -> String| match sum.lacking {
        0 => write(sum.known),
        lacking if lacking == totals.records => "-".to_owned(),
        _ => format!(">={}", write(sum.known)),
    };
    let records =
        if totals.records == 1 { "1 record".to_owned() } else { format!("{} records", totals.records) };
    let blank = String::new;
    [
        tenant_name(tenant),
        "total".to_owned(),
        records,
        blank(),
        blank(),
        blank(),
        blank(),
        sum(totals.cpu_usage_usec, duration),
        sum(totals.allocated_cpu_usec, core_hours),
        sum(totals.allocated_memory_mib_seconds, gib_hours),
        blank(),
        sum(totals.io_read_bytes, mib),
        sum(totals.io_write_bytes, mib),
        blank(),
    ]
}

pub fn tenant_name(tenant: Option<&TenantPath>) -> String {
    tenant.map_or_else(|| "-".to_owned(), ToString::to_string)
}

/// A name must not move a terminal's cursor.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c.is_whitespace() { '?' } else { c }).collect()
}

pub fn usec(time: Usec) -> u128 {
    u128::from(time.0)
}

pub fn figure(value: Option<u128>, write: impl Fn(u128) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), write)
}

/// The whole part and the rest. A divisor of 0, which no unit is, leaves all in the rest.
pub fn split(value: u128, unit: u128) -> (u128, u128) {
    (value.checked_div(unit).unwrap_or_default(), value.checked_rem(unit).unwrap_or(value))
}

/// `[D-]HH:MM:SS.mmm` of microseconds.
pub fn duration(usec: u128) -> String {
    let (milliseconds, _) = split(usec, 1_000);
    let (seconds, milliseconds) = split(milliseconds, 1_000);
    let (minutes, seconds) = split(seconds, 60);
    let (hours, minutes) = split(minutes, 60);
    let (days, hours) = split(hours, 24);
    let time = format!("{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}");
    if days == 0 { time } else { format!("{days}-{time}") }
}

/// `value / unit` with six decimals, the rest cut off.
fn decimal(value: u128, unit: u128) -> String {
    let (whole, mut rest) = split(value, unit);
    let mut text = format!("{whole}.");
    for _ in 0..6 {
        let (digit, next) = split(rest.saturating_mul(10), unit);
        text.push_str(&digit.to_string());
        rest = next;
    }
    text
}

/// Microseconds in core-hours.
pub fn core_hours(usec: u128) -> String {
    decimal(usec, USEC_PER_HOUR)
}

/// MiB x seconds in GiB x hours.
pub fn gib_hours(mib_seconds: u128) -> String {
    decimal(mib_seconds, MIB_SECONDS_PER_GIB_HOUR)
}

/// Bytes in MiB.
pub fn mib(bytes: u128) -> String {
    decimal(bytes, MIB)
}

/// A figure that a correction may have made negative.
pub fn signed(value: i128, write: impl Fn(u128) -> String) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", write(value.unsigned_abs()))
}

/// Rows in columns as wide as their widest cell; the first `text_columns` stand left, the rest right.
pub fn aligned<const N: usize>(rows: &[[String; N]], text_columns: usize) -> String {
    columns(rows, text_columns)
}

/// The same of rows whose length is not known before.
pub fn columns<R: AsRef<[String]>>(rows: &[R], text_columns: usize) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.as_ref().len()), 0);
        for (width, cell) in widths.iter_mut().zip(row.as_ref()) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.as_ref().iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column < text_columns { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Two tenants and a refused job: every kind of absence.
    pub fn report() -> UsageReport {
        serde_json::from_str(include_str!("../tests/golden/usage.json")).unwrap()
    }

    #[test]
    fn the_report_is_the_golden_table() {
        assert_eq!(table(&report()).unwrap(), include_str!("../tests/golden/usage.table"));
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let none = UsageReport { usage: vec![], tenants: vec![], gaps: vec![] };
        assert_eq!(table(&none).unwrap(), "No usage is recorded for this question.\n");
    }

    #[test]
    fn figures_are_exact_and_rounded_down() {
        assert_eq!(duration(999), "00:00:00.000");
        assert_eq!(duration(86_399_999_999), "23:59:59.999");
        assert_eq!(duration(90_061_001_000), "1-01:01:01.001");
        assert_eq!(core_hours(3_600_000_000), "1.000000");
        assert_eq!(core_hours(1_200_000_000), "0.333333");
        assert_eq!(core_hours(7_199_999_999), "1.999999");
        assert_eq!(gib_hours(1024 * 3600 / 2), "0.500000");
        assert_eq!(mib(1), "0.000000");
        assert_eq!(mib((1 << 20) + (1 << 19)), "1.500000");
        // 2^53 + 1 hours: a float would have lost the one.
        assert_eq!(core_hours(9_007_199_254_740_993 * USEC_PER_HOUR), "9007199254740993.000000");
    }

    #[test]
    fn a_name_moves_no_cursor() {
        let mut report = report();
        report.usage[0].user = Some("a\u{1b}[2J\nb".into());
        let text = table(&report).unwrap();
        assert!(text.contains("a?[2J?b") && !text.contains('\u{1b}'));
    }
}
