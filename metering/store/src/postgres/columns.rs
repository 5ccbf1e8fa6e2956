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
