//! Usage as CSV: the fields' names, base units, empty for what is absent.

use std::io::{self, Write};

use tenantry_model::usage::{UsageRecord, UsageState};
use tenantry_model::window::{GroupBy, Quantity, UsageGroup, UsageWindow};

/// The fields of a record, in its order.
const FIELDS: [&str; 42] = [
    "cluster",
    "job_id",
    "restart_count",
    "node",
    "tenant",
    "account",
    "partition",
    "uid",
    "user",
    "state",
    "quality",
    "began",
    "ended",
    "elapsed_usec",
    "cpu_usage_usec",
    "cpu_user_usec",
    "cpu_system_usec",
    "steps_cpu_usec",
    "slurm_overhead_usec",
    "memory_peak_bytes",
    "memory_mib_seconds",
    "memory_mib_seconds_bound",
    "interpolated_usec",
    "unmeasured_usec",
    "memory_oom_kills",
    "pids_peak",
    "io_read_bytes",
    "io_write_bytes",
    "network_receive_bytes",
    "network_transmit_bytes",
    "allocated_cpus",
    "allocated_cpu_usec",
    "allocated_memory_bytes",
    "allocated_memory_mib_seconds",
    "cpu_energy_mj",
    "gpu_energy_mj",
    "gpu_energy_known_usec",
    "gpu_busy_usec",
    "gpu_busy_known_usec",
    "gpu_memory_peak_bytes",
    "allocated_gpus",
    "allocated_gpu_usec",
];

/// Runs: a header and one row for each record.
///
/// # Errors
/// Those of `out`.
pub fn runs(records: &[UsageRecord], out: impl Write) -> io::Result<()> {
    let mut rows = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    for record in records {
        rows.serialize(record)?;
    }
    let rows = rows.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    let mut rows = csv::ReaderBuilder::new().has_headers(false).from_reader(rows.as_slice());

    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(FIELDS)?;
    for row in rows.records() {
        writer.write_record(row?.iter().map(defused))?;
    }
    writer.flush()
}

/// Windows: a header and one row for each.
///
/// # Errors
/// Those of `out`.
pub fn windows(windows: &[UsageWindow], out: impl Write) -> io::Result<()> {
    const FIELDS: [&str; 17] = [
        "cluster",
        "job_id",
        "restart_count",
        "node",
        "tenant",
        "account",
        "partition",
        "uid",
        "user",
        "began",
        "window_from",
        "window_to",
        "state",
        "correction",
        "quality",
        "first_sequence",
        "last_sequence",
    ];
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(FIELDS.into_iter().chain(Quantity::ALL.map(Quantity::key)))?;
    for window in windows {
        let texts = [
            optional(window.cluster.as_ref()),
            window.job_id.to_string(),
            optional(window.restart_count),
            window.node.to_string(),
            optional(window.tenant.as_ref()),
            optional(window.account.as_ref()),
            optional(window.partition.as_ref()),
            window.uid.to_string(),
            optional(window.user.as_ref()),
            window.began.to_string(),
            window.window_from.to_string(),
            window.window_to.to_string(),
            match window.state {
                UsageState::Running => "running",
                UsageState::Final => "final",
            }
            .to_owned(),
            window.correction.to_string(),
            window.quality.as_str().to_owned(),
            optional(window.first_sequence),
            optional(window.last_sequence),
        ];
        let texts = texts.iter().map(|text| defused(text));
        // A correction may be negative, and is a number all the same.
        let figures = window.figures.iter().map(|(_, figure)| optional(figure));
        writer.write_record(texts.chain(figures))?;
    }
    writer.flush()
}

/// Sums: the keys in the order of `by`, how many rows, and of each figure its sum and how many rows lack it.
///
/// # Errors
/// Those of `out`.
pub fn groups(by: &[GroupBy], groups: &[UsageGroup], out: impl Write) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(out);
    let keys = by.iter().map(|by| by.as_str().to_owned());
    let figures =
        Quantity::ALL.into_iter().flat_map(|of| [of.key().to_owned(), format!("{}_lacking", of.key())]);
    writer.write_record(keys.chain(["windows".to_owned()]).chain(figures))?;
    for group in groups {
        let keys = by
            .iter()
            .map(|by| group.key.get(by).and_then(Option::as_deref).map_or_else(String::new, defused));
        let figures = Quantity::ALL.into_iter().flat_map(|of| {
            [optional(group.figures.get(of)), group.lacking.get(of).unwrap_or_default().to_string()]
        });
        writer.write_record(keys.chain([group.windows.to_string()]).chain(figures))?;
    }
    writer.flush()
}

fn optional(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A spreadsheet takes a cell that begins so for a formula; no figure of a record does.
fn defused(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantry_model::usage::UsageReport;

    fn report() -> UsageReport {
        serde_json::from_str(include_str!("../../ctl/tests/golden/usage.json")).unwrap()
    }

    fn csv(records: &[UsageRecord]) -> String {
        let mut out = Vec::new();
        runs(records, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_report_is_the_golden_csv() {
        assert_eq!(csv(&report().usage), include_str!("../../ctl/tests/golden/usage.csv"));
    }

    #[test]
    fn the_header_is_the_records_fields_and_there_without_a_record() {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.serialize(&report().usage[0]).unwrap();
        let with_derived_header = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let derived = with_derived_header.lines().next().unwrap();
        assert_eq!(csv(&[]).trim_end(), derived);
    }

    #[test]
    fn no_cell_is_a_formula() {
        let mut record = report().usage.swap_remove(0);
        record.user = Some("=HYPERLINK(\"http://x\",\"y\")".into());
        record.partition = Some("@SUM(1),\n-2".into());
        record.account = Some("+1".parse().unwrap());
        let text = csv(&[record]);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let row = reader.records().next().unwrap().unwrap();
        assert_eq!(&row[5], "'+1");
        assert_eq!(&row[6], "'@SUM(1),\n-2");
        assert_eq!(&row[8], "'=HYPERLINK(\"http://x\",\"y\")");
    }

    #[test]
    fn windows_and_sums_are_rows_with_their_units_in_the_header() {
        let window: UsageWindow = serde_json::from_str(
            r#"{"cluster":null,"job_id":7,"restart_count":0,"node":"n1","tenant":"acme","account":"acme","partition":null,
                "uid":1001,"user":"=ada","began":"2026-11-22T10:00:00Z","window_from":"2026-11-22T10:00:00Z",
                "window_to":"2026-11-22T11:00:00Z","state":"final","correction":true,"quality":"exact",
                "first_sequence":3,"last_sequence":9,"elapsed_usec":-5,"cpu_usage_usec":7}"#,
        )
        .unwrap();
        let mut out = Vec::new();
        windows(&[window], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (head, row) = text.split_once('\n').unwrap();
        assert!(head.ends_with(",last_sequence,elapsed_usec,cpu_usage_usec,memory_byte_seconds,io_read_bytes,io_write_bytes,network_receive_bytes,network_transmit_bytes,allocated_cpu_usec,allocated_memory_byte_seconds"), "{head}");
        assert_eq!(
            row,
            ",7,0,n1,acme,acme,,1001,'=ada,2026-11-22T10:00:00.000000Z,2026-11-22T10:00:00.000000Z,\
             2026-11-22T11:00:00.000000Z,final,true,exact,3,9,-5,7,,,,,,,\n"
        );

        let group: UsageGroup = serde_json::from_str(
            r#"{"key":{"tenant":"acme","day":"2026-11-22"},"windows":3,"figures":{"cpu_usage_usec":36893488147419103232},
                "lacking":{"cpu_usage_usec":1}}"#,
        )
        .unwrap();
        let mut out = Vec::new();
        groups(&[GroupBy::Day, GroupBy::Tenant], &[group], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let (head, row) = text.split_once('\n').unwrap();
        assert!(
            head.starts_with("day,tenant,windows,elapsed_usec,elapsed_usec_lacking,cpu_usage_usec,"),
            "{head}"
        );
        assert!(row.starts_with("2026-11-22,acme,3,,0,36893488147419103232,1,"), "{row}");
    }
}
