//! Usage records as CSV: the record's field names, base units, empty for what is absent.

use std::io::{self, Write};

use tenantry_model::usage::UsageRecord;

/// The fields of a record, in its order.
const FIELDS: [&str; 34] = [
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
];

/// Writes a header and one row for each record.
///
/// # Errors
/// Those of `out`.
pub fn write(records: &[UsageRecord], out: impl Write) -> io::Result<()> {
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

/// A spreadsheet takes a cell that begins so for a formula; no figure of a record does.
fn defused(cell: &str) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::report;

    fn csv(records: &[UsageRecord]) -> String {
        let mut out = Vec::new();
        write(records, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_report_is_the_golden_csv() {
        assert_eq!(csv(&report().usage), include_str!("../tests/golden/usage.csv"));
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
}
