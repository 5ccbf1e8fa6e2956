//! A figure over time as bars, in the width of a terminal.

use std::collections::BTreeMap;

use clap::ValueEnum;
use tenantry_model::WallTime;
use tenantry_model::window::{GroupBy, GroupReport, Quantity};

use crate::table::{core_hours, gib_hours, mib, signed};

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// Periods longer than this have a bar a day.
const LONGEST_IN_HOURS: i64 = 3 * DAY;

/// The most bars: what is longer is asked for in parts.
const MOST_BARS: usize = 1000;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Plot {
    /// CPU time used, in core-hours
    Cpu,
    /// CPUs allocated, in core-hours
    AllocatedCpu,
    /// Memory used over time, in GiB-hours
    Memory,
    /// Memory allocated over time, in GiB-hours
    AllocatedMemory,
    /// MiB read from disks
    Read,
    /// MiB written to disks
    Written,
    /// MiB received from other hosts
    Received,
    /// MiB sent to other hosts
    Sent,
}

/// How wide the bars' windows are.
pub fn bucket(from: WallTime, to: WallTime) -> GroupBy {
    let long = to.unix_usec().saturating_sub(from.unix_usec()) > LONGEST_IN_HOURS;
    if long { GroupBy::Day } else { GroupBy::Hour }
}

/// One bar for each hour or day of the period; in blocks of an eighth on a terminal, in plain characters elsewhere.
/// `None` where there would be more than a thousand.
pub fn draw(
    report: &GroupReport,
    figure: Plot,
    (from, to): (WallTime, WallTime),
    by: GroupBy,
    width: usize,
    terminal: bool,
) -> Option<String> {
    let quantity = figure.quantity();
    let sums: BTreeMap<&str, Option<i128>> = report
        .groups
        .iter()
        .filter_map(|group| Some((group.key.get(&by)?.as_deref()?, group.figures.get(quantity))))
        .collect();
    let step = if by == GroupBy::Day { DAY } else { HOUR };
    let mut at = from.unix_usec().checked_sub(from.unix_usec().checked_rem_euclid(step)?)?;
    let mut bars = Vec::new();
    while at < to.unix_usec() {
        if bars.len() >= MOST_BARS {
            return None;
        }
        let label = label(WallTime::from_unix_usec(at).ok()?, by);
        let sum = sums.get(label.as_str()).copied();
        bars.push((label, sum));
        at = at.checked_add(step)?;
    }
    let (unit, write): (&str, fn(u128) -> String) = match quantity {
        Quantity::CpuUsage | Quantity::AllocatedCpu => ("core-h", core_hours),
        Quantity::Memory | Quantity::AllocatedMemory => ("GiB-h", byte_hours),
        _ => ("MiB", mib),
    };
    let most = bars.iter().filter_map(|(_, sum)| sum.flatten()).max().unwrap_or_default().max(0);
    let text = |sum: &Option<Option<i128>>| match sum {
        // No row at all: nothing ran.
        None => "0".to_owned(),
        Some(None) => "-".to_owned(),
        Some(Some(sum)) => short(&signed(*sum, write)),
    };
    let figures = bars.iter().map(|(_, sum)| text(sum).chars().count()).max().unwrap_or_default();
    let labels = bars.iter().map(|(label, _)| label.chars().count()).max().unwrap_or_default();
    let room = width.saturating_sub(labels).saturating_sub(figures).saturating_sub(2).clamp(8, 200);

    let name = figure.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let each = if by == GroupBy::Day { "day" } else { "hour" };
    let scale = short(&signed(most, write));
    let mut drawn = format!("{name} in {unit} per {each}, UTC; a full bar is {scale} {unit}\n");
    for (label, sum) in &bars {
        let bar = bar(sum.flatten().unwrap_or_default(), most, room, terminal);
        let fill = room.saturating_sub(bar.chars().count());
        let line = format!("{label:<labels$} {bar}{:fill$} {:>figures$}", "", text(sum));
        drawn.push_str(line.trim_end());
        drawn.push('\n');
    }
    Some(drawn)
}

/// As the server names hours and days.
fn label(at: WallTime, by: GroupBy) -> String {
    let text = at.to_string();
    let cut = if by == GroupBy::Day { 10 } else { 13 };
    let label = text.get(..cut).unwrap_or(&text);
    if by == GroupBy::Day { label.to_owned() } else { format!("{label}:00Z") }
}

/// In eighths of a character, rounded down; what is more than nothing shows as something.
fn bar(sum: i128, most: i128, room: usize, terminal: bool) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let parts = if terminal { 8 } else { 1 };
    let whole = i128::try_from(room).unwrap_or_default().saturating_mul(parts);
    let length = sum.max(0).saturating_mul(whole).checked_div(most).unwrap_or_default();
    let length = if sum > 0 { length.max(1) } else { 0 };
    let full = usize::try_from(length.checked_div(parts).unwrap_or_default()).unwrap_or_default().min(room);
    let rest = usize::try_from(length.checked_rem(parts).unwrap_or_default()).unwrap_or_default();
    if terminal {
        "█".repeat(full) + EIGHTHS.get(rest).copied().unwrap_or_default()
    } else {
        "#".repeat(full)
    }
}

fn byte_hours(byte_seconds: u128) -> String {
    gib_hours(byte_seconds.wrapping_shr(20))
}

/// Three decimals are enough beside a bar; the rest is cut off.
fn short(figure: &str) -> String {
    match figure.split_once('.') {
        Some((whole, decimals)) => format!("{whole}.{}", decimals.get(..3).unwrap_or(decimals)),
        None => figure.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> GroupReport {
        serde_json::from_str(include_str!("../tests/golden/hours.json")).unwrap()
    }

    fn drawn(width: usize, terminal: bool) -> String {
        let at = |text: &str| text.parse::<WallTime>().unwrap();
        let period = (at("2026-11-22T08:30:00Z"), at("2026-11-22T14:00:00Z"));
        draw(&report(), Plot::Cpu, period, GroupBy::Hour, width, terminal).unwrap()
    }

    #[test]
    fn the_bars_are_the_golden_ones_and_as_wide_as_the_terminal() {
        assert_eq!(drawn(80, false), include_str!("../tests/golden/plot.txt"));
        assert_eq!(drawn(48, true), include_str!("../tests/golden/plot.terminal"));
        assert!(drawn(120, true).lines().skip(1).all(|line| line.chars().count() <= 120));
    }

    #[test]
    fn a_long_period_has_a_bar_a_day_and_one_too_long_has_none() {
        let at = |text: &str| text.parse::<WallTime>().unwrap();
        let (from, to) = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
        assert_eq!(
            (bucket(from, to), bucket(from, at("2026-11-04T00:00:00Z"))),
            (GroupBy::Day, GroupBy::Hour)
        );
        let none = GroupReport { groups: Vec::new() };
        let bars = draw(&none, Plot::Memory, (from, to), GroupBy::Day, 80, false).unwrap();
        assert_eq!(bars.lines().count(), 31);
        assert_eq!(
            draw(&none, Plot::Memory, (from, at("2036-12-01T00:00:00Z")), GroupBy::Day, 80, false),
            None
        );
    }
}
