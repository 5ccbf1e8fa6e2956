//! Records as rows of typed columns. Which column has which field follows from their names: nothing is listed twice.

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::PgRecordEncoder;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::{Encode, Postgres, Type};
use tenantry_model::WallTime;
use tenantry_model::usage::UsageRecord;
use tenantry_model::window::UsageWindow;

use crate::error::unreadable;
use crate::{StoreError, column};

/// A record that has a type of its own in the database.
pub(super) trait Record: Serialize + DeserializeOwned {
    /// The type, which its table is made of.
    const TYPE: &'static str;
    const TABLE: &'static str;
    /// The type's columns, in their order. Those of its key are the table's alone.
    const COLUMNS: &'static [(&'static str, Kind)];
}

/// What a column holds. One whose name ends with [`TIME`] has a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Bigint,
    Boolean,
    Text,
}

/// The end of a time's column: the field has a text, and no such end.
const TIME: &str = "_unix_usec";
/// Fields and columns with names of their own.
const RENAMED: [(&str, &str); 2] = [("user", "user_name"), ("window_from", "window")];

use Kind::{Bigint, Boolean, Text};

impl Record for UsageRecord {
    const TYPE: &'static str = "meter.usage_record";
    const TABLE: &'static str = "usage";
    const COLUMNS: &'static [(&'static str, Kind)] = &[
        ("restart_count", Bigint),
        ("uid", Bigint),
        ("ended_unix_usec", Bigint),
        ("elapsed_usec", Bigint),
        ("cpu_usage_usec", Bigint),
        ("cpu_user_usec", Bigint),
        ("cpu_system_usec", Bigint),
        ("steps_cpu_usec", Bigint),
        ("slurm_overhead_usec", Bigint),
        ("memory_peak_bytes", Bigint),
        ("memory_mib_seconds", Bigint),
        ("memory_mib_seconds_bound", Bigint),
        ("interpolated_usec", Bigint),
        ("unmeasured_usec", Bigint),
        ("memory_oom_kills", Bigint),
        ("pids_peak", Bigint),
        ("io_read_bytes", Bigint),
        ("io_write_bytes", Bigint),
        ("network_receive_bytes", Bigint),
        ("network_transmit_bytes", Bigint),
        ("allocated_cpus", Bigint),
        ("allocated_cpu_usec", Bigint),
        ("allocated_memory_bytes", Bigint),
        ("allocated_memory_mib_seconds", Bigint),
        ("cpu_energy_mj", Bigint),
        ("gpu_energy_mj", Bigint),
        ("gpu_energy_known_usec", Bigint),
        ("gpu_busy_usec", Bigint),
        ("gpu_busy_known_usec", Bigint),
        ("gpu_memory_peak_bytes", Bigint),
        ("allocated_gpus", Bigint),
        ("allocated_gpu_usec", Bigint),
        ("tenant", Text),
        ("account", Text),
        ("partition", Text),
        ("user_name", Text),
        ("quality", Text),
    ];
}

impl Record for UsageWindow {
    const TYPE: &'static str = "meter.window_record";
    const TABLE: &'static str = "usage_window";
    const COLUMNS: &'static [(&'static str, Kind)] = &[
        ("restart_count", Bigint),
        ("uid", Bigint),
        ("window_to_unix_usec", Bigint),
        ("first_sequence", Bigint),
        ("last_sequence", Bigint),
        ("elapsed_usec", Bigint),
        ("cpu_usage_usec", Bigint),
        ("memory_byte_seconds", Bigint),
        ("io_read_bytes", Bigint),
        ("io_write_bytes", Bigint),
        ("network_receive_bytes", Bigint),
        ("network_transmit_bytes", Bigint),
        ("allocated_cpu_usec", Bigint),
        ("allocated_memory_byte_seconds", Bigint),
        ("correction", Boolean),
        ("tenant", Text),
        ("account", Text),
        ("partition", Text),
        ("user_name", Text),
        ("quality", Text),
    ];
}

/// A record's columns.
#[derive(Debug)]
pub(super) struct Columns<R> {
    cells: Vec<Cell>,
    record: PhantomData<R>,
}

#[derive(Debug, PartialEq)]
enum Cell {
    Bigint(Option<i64>),
    Boolean(Option<bool>),
    Text(Option<String>),
}

impl<R: Record> Columns<R> {
    /// # Errors
    /// [`StoreError::OutOfRange`]: a number that no column holds.
    pub fn of(record: &R) -> Result<Self, StoreError> {
        let wrong =
            |what: &str| unreadable(R::TABLE, format!("the record has no {what} that a column holds"));
        let Ok(Value::Object(mut fields)) = serde_json::to_value(record) else { return Err(wrong("fields")) };
        let cells = R::COLUMNS.iter().map(|(name, kind)| {
            let value = fields.remove(field_of(name).as_str()).unwrap_or_default();
            Ok(match (kind, value) {
                (Bigint, Value::Null) => Cell::Bigint(None),
                (Bigint, Value::String(time)) => {
                    let time: WallTime = time.parse().map_err(|error| unreadable(R::TABLE, error))?;
                    Cell::Bigint(Some(time.unix_usec()))
                }
                (Bigint, Value::Number(number)) => Cell::Bigint(Some(match number.as_u64() {
                    Some(figure) => column(name, figure)?,
                    None => number.as_i64().ok_or_else(|| wrong(name))?,
                })),
                (Boolean, value) => Cell::Boolean(value.as_bool()),
                (Text, Value::String(text)) => Cell::Text(Some(text)),
                (Text, Value::Null) => Cell::Text(None),
                _ => return Err(wrong(name)),
            })
        });
        Ok(Self { cells: cells.collect::<Result<_, _>>()?, record: PhantomData })
    }
}

/// A record of its table's row, as `to_jsonb` gives that.
pub(super) fn record_of_row<R: Record>(row: Map<String, Value>) -> Result<R, StoreError> {
    let mut fields: Map<String, Value> = row
        .into_iter()
        .map(|(name, value)| {
            let value = match value.as_i64().filter(|_| name.ends_with(TIME)) {
                Some(usec) => WallTime::from_unix_usec(usec)
                    .map_err(|error| unreadable(R::TABLE, error))?
                    .to_string()
                    .into(),
                None => value,
            };
            Ok((field_of(&name), value))
        })
        .collect::<Result<_, StoreError>>()?;
    fields.insert("state".to_owned(), "final".into());
    serde_json::from_value(Value::Object(fields)).map_err(|error| unreadable(R::TABLE, error))
}

/// Of a column, the record's field.
fn field_of(column: &str) -> String {
    let name = column.strip_suffix(TIME).unwrap_or(column);
    let renamed = RENAMED.into_iter().find(|(_, column)| *column == name);
    renamed.map_or(name, |(field, _)| field).to_owned()
}

impl<R: Record> Type<Postgres> for Columns<R> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name(R::TYPE)
    }
}

impl<R: Record> PgHasArrayType for Columns<R> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::array_of(R::TYPE)
    }
}

impl<R: Record> Encode<'_, Postgres> for Columns<R> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let mut row = PgRecordEncoder::new(buffer);
        for cell in &self.cells {
            match cell {
                Cell::Bigint(value) => row.encode(*value)?,
                Cell::Boolean(value) => row.encode(*value)?,
                Cell::Text(value) => row.encode(value.as_deref())?,
            };
        }
        row.finish();
        Ok(IsNull::No)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SCHEMA: &str = include_str!("../../migrations/postgres/0001_ledger.sql");
    /// Of the run, or the same for each row.
    const OF_THE_KEY: [&str; 6] = ["cluster", "job_id", "node", "began", "window_from", "state"];

    fn run() -> Map<String, Value> {
        let Value::Object(run) = serde_json::json!({
            "cluster": "hpc", "job_id": 7, "node": "n1", "began": "2026-11-22T10:00:00.000001Z", "state": "final",
            "restart_count": 1, "tenant": "acme/physics", "account": "physics", "partition": "batch", "uid": 1000,
            "user": "ada", "quality": "exact",
        }) else {
            unreachable!()
        };
        run
    }

    /// The type's columns as they stand in the schema.
    fn in_schema<R: Record>() -> Vec<(&'static str, Kind)> {
        let (_, after) = SCHEMA.split_once(&format!("CREATE TYPE {} AS (\n", R::TYPE)).unwrap();
        let (columns, _) = after.split_once("\n);").unwrap();
        let column = |line: &'static str| {
            let (name, kind) = line.trim().split_once(' ').unwrap();
            let kind = match kind.trim().trim_end_matches(',') {
                "bigint" => Bigint,
                "boolean" => Boolean,
                text if text.starts_with("text") => Text,
                other => panic!("{other}"),
            };
            (name, kind)
        };
        columns.lines().map(column).collect()
    }

    /// Each column of a record, and each field of it, is the other's: with a figure of its own in each of them.
    fn is_whole<R: Record + PartialEq + std::fmt::Debug>(mut fields: Map<String, Value>) {
        assert_eq!(R::COLUMNS, in_schema::<R>(), "another order, and one figure is taken for another");
        let mut row = Map::new();
        for ((name, kind), figure) in R::COLUMNS.iter().zip(1_000_000..) {
            let field = field_of(name);
            let value = match kind {
                Bigint if name.ends_with(TIME) => "2026-11-22T11:00:00.000002Z".into(),
                Bigint => fields.get(&field).cloned().unwrap_or_else(|| figure.into()),
                Boolean => true.into(),
                Text => fields.get(&field).cloned().unwrap(),
            };
            fields.insert(field, value);
        }
        let record: R = serde_json::from_value(Value::Object(fields.clone())).unwrap();
        let known = serde_json::to_value(&record).unwrap();
        let known: BTreeSet<&str> = known.as_object().unwrap().keys().map(String::as_str).collect();
        let held: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
        assert_eq!(known, held, "a field without a column");
        for ((name, _), cell) in R::COLUMNS.iter().zip(Columns::of(&record).unwrap().cells) {
            let value = match cell {
                Cell::Bigint(value) => value.into(),
                Cell::Boolean(value) => value.into(),
                Cell::Text(value) => value.into(),
            };
            assert_ne!(value, Value::Null, "{name}");
            row.insert((*name).to_owned(), value);
        }
        for (field, value) in fields.iter().filter(|(field, _)| OF_THE_KEY.contains(&field.as_str())) {
            let time = value.as_str().and_then(|text| text.parse::<WallTime>().ok());
            match (field.as_str(), time) {
                ("window_from", Some(time)) => {
                    row.insert("window_unix_usec".to_owned(), time.unix_usec().into())
                }
                (_, Some(time)) => row.insert(format!("{field}{TIME}"), time.unix_usec().into()),
                ("state", None) => None,
                (_, None) => row.insert(field.clone(), value.clone()),
            };
        }
        assert_eq!(record_of_row::<R>(row).unwrap(), record);
    }

    #[test]
    fn each_field_of_a_record_has_a_column_of_its_own() {
        is_whole::<UsageRecord>(run());
        let mut window = run();
        window.insert("window_from".to_owned(), "2026-11-22T10:00:00.000000Z".into());
        is_whole::<UsageWindow>(window);
    }

    #[test]
    fn what_no_column_holds_is_refused() {
        let mut fields = run();
        fields.insert("ended".to_owned(), "2026-11-22T10:00:01.000000Z".into());
        fields.insert("cpu_usage_usec".to_owned(), u64::MAX.into());
        let record: UsageRecord = serde_json::from_value(Value::Object(fields)).unwrap();
        assert!(matches!(Columns::of(&record), Err(StoreError::OutOfRange { .. })));
    }
}
