//! Sums as a table for people.

use tenantry_model::window::{GroupBy, GroupReport, Quantity, UsageGroup};

use crate::table::{columns, core_hours, duration, gib_hours, mib, printable, signed};

/// A column's head, its figure, and how that is written.
type Column = (&'static str, Quantity, fn(u128) -> String);

const FIGURES: [Column; 8] = [
    ("CPU-TIME[D-HH:MM:SS]", Quantity::CpuUsage, duration),
    ("ALLOCATED[core-h]", Quantity::AllocatedCpu, core_hours),
    ("MEMORY[GiB-h]", Quantity::Memory, byte_hours),
    ("ALLOCATED[GiB-h]", Quantity::AllocatedMemory, byte_hours),
    ("READ[MiB]", Quantity::IoRead, mib),
    ("WRITTEN[MiB]", Quantity::IoWrite, mib),
    ("RECEIVED[MiB]", Quantity::NetworkReceive, mib),
    ("SENT[MiB]", Quantity::NetworkTransmit, mib),
];

/// One line for each group, its keys in the order asked for.
pub fn table(by: &[GroupBy], report: &GroupReport) -> String {
    if report.groups.is_empty() {
        return "No usage is recorded for this question.\n".to_owned();
    }
    let head = by.iter().map(|by| by.as_str().to_uppercase());
    let head = head.chain(FIGURES.iter().map(|(name, ..)| (*name).to_owned())).collect();
    let rows = report.groups.iter().map(|group| row(by, group));
    columns(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), by.len())
}

fn row(by: &[GroupBy], group: &UsageGroup) -> Vec<String> {
    let key = |by: &GroupBy| group.key.get(by).and_then(Option::as_deref).map_or("-".to_owned(), printable);
    let figure = |(_, quantity, write): &Column| {
        let lacks = group.lacking.get(*quantity).is_some_and(|lacking| lacking > 0);
        match group.figures.get(*quantity) {
            None => "-".to_owned(),
            Some(sum) if lacks => format!(">={}", signed(sum, write)),
            Some(sum) => signed(sum, write),
        }
    };
    by.iter().map(key).chain(FIGURES.iter().map(figure)).collect()
}

/// Bytes x seconds in GiB x hours.
fn byte_hours(byte_seconds: u128) -> String {
    gib_hours(byte_seconds.wrapping_shr(20))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn report() -> GroupReport {
        serde_json::from_str(include_str!("../tests/golden/groups.json")).unwrap()
    }

    #[test]
    fn the_sums_are_the_golden_table() {
        let by = [GroupBy::Day, GroupBy::Tenant];
        assert_eq!(table(&by, &report()), include_str!("../tests/golden/groups.table"));
        assert_eq!(
            table(&by, &GroupReport { groups: Vec::new() }),
            "No usage is recorded for this question.\n"
        );
    }
}
