//! Questions about usage by windows: rows in pages, and sums. Both stores answer them from one text of SQL, with
//! each row as one JSON array, so that no type is decoded twice.

use std::collections::BTreeMap;

use serde_json::Value;
use tenantry_model::usage::UsageRecord;
use tenantry_model::window::{GroupBy, Quantities, Quantity, UsageGroup, UsageWindow};
use tenantry_model::{TenantPath, WallTime};

use crate::StoreError;
use crate::error::unreadable;
use crate::query::{Filter, MOST_RECORDS};

const TABLE: &str = "usage_window";
const DAY: i64 = 86_400_000_000;
const HOUR: i64 = 3_600_000_000;

/// Rows as texts of JSON, and windows of running jobs that have no row yet.
pub(crate) type Answer = (Vec<String>, Vec<UsageWindow>);
/// Rows of windows with their ids, and windows of running jobs that have no row yet.
pub(crate) type Windows = (Vec<(i64, UsageWindow)>, Vec<UsageWindow>);

/// Whose SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// A statement, and what its places are bound to.
#[derive(Debug)]
pub(crate) struct Statement {
    dialect: Dialect,
    pub text: String,
    pub values: Vec<Bound>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    Text(String),
    Int(i64),
}

impl Statement {
    pub fn new(dialect: Dialect, text: impl Into<String>) -> Self {
        Self { dialect, text: text.into(), values: Vec::new() }
    }

    fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    fn bind(&mut self, value: Bound) -> &mut Self {
        self.values.push(value);
        let place = match self.dialect {
            Dialect::Sqlite => "?".to_owned(),
            Dialect::Postgres => format!("${}", self.values.len()),
        };
        self.push(&place)
    }

    /// Tenant, job, owner: columns that every table of usage has.
    pub fn restrict(&mut self, filter: &Filter) {
        if let Some(tenant) = &filter.tenant {
            // A nested tenant's path goes on with '/', and '0' is the character after it.
            let collate = if self.dialect == Dialect::Postgres { " COLLATE \"C\"" } else { "" };
            self.push(" AND (tenant = ").bind(Bound::Text(tenant.to_string()));
            self.push(&format!(" OR (tenant{collate} >= ")).bind(Bound::Text(format!("{tenant}/")));
            self.push(&format!(" AND tenant{collate} < ")).bind(Bound::Text(format!("{tenant}0"))).push("))");
        }
        if let Some(job) = filter.job {
            self.push(" AND job_id = ").bind(Bound::Int(job.0.into()));
        }
        if let Some(uid) = filter.uid {
            self.push(" AND uid = ").bind(Bound::Int(uid.into()));
        }
    }

    fn restrict_windows(&mut self, filter: &Filter) {
        self.restrict(filter);
        if let Some(user) = &filter.user {
            match user.parse::<u32>() {
                Ok(uid) => self.push(" AND uid = ").bind(Bound::Int(uid.into())),
                Err(_) => self.push(" AND user_name = ").bind(Bound::Text(user.clone())),
            };
        }
        if let Some(from) = filter.from {
            self.push(" AND window_unix_usec >= ").bind(Bound::Int(from.unix_usec()));
        }
        if let Some(to) = filter.to {
            self.push(" AND window_unix_usec < ").bind(Bound::Int(to.unix_usec()));
        }
    }

    fn table(&self) -> &'static str {
        match self.dialect {
            Dialect::Sqlite => "usage_window",
            Dialect::Postgres => "billing.usage_window",
        }
    }
}

/// A page of rows after the row `after`, one more than `limit`: `[id, record]` each, in PostgreSQL `[id, row]`.
pub(crate) fn page(dialect: Dialect, filter: &Filter, after: i64, limit: u32) -> Statement {
    let row = match dialect {
        Dialect::Sqlite => "json_array(id, json(record))",
        Dialect::Postgres => "json_build_array(id, usage_window)::text",
    };
    let mut statement = Statement::new(dialect, "");
    let table = statement.table();
    statement.push(&format!("SELECT {row} FROM {table} WHERE id > ")).bind(Bound::Int(after));
    statement.restrict_windows(filter);
    statement.push(" ORDER BY id LIMIT ").bind(Bound::Int(i64::from(limit).saturating_add(1)));
    statement
}

/// Sums by `by`: its keys, how many rows, and of each quantity the sum's upper and lower half and how many rows have it.
/// A sum over a large cluster does not fit SQL's integers; its halves do.
pub(crate) fn sums(dialect: Dialect, filter: &Filter, by: &[GroupBy]) -> Statement {
    let keys: Vec<String> = by.iter().map(|by| key_column(*by)).collect();
    let figures = Quantity::ALL.iter().map(|quantity| {
        let column = quantity.key();
        format!(
            "CAST(sum({column} >> 32) AS BIGINT), CAST(sum({column} & 4294967295) AS BIGINT), count({column})"
        )
    });
    let columns: Vec<String> = keys.iter().cloned().chain(["count(*)".to_owned()]).chain(figures).collect();
    let columns = columns.join(", ");
    let row = match dialect {
        Dialect::Sqlite => format!("json_array({columns})"),
        Dialect::Postgres => format!("json_build_array({columns})::text"),
    };
    let mut statement = Statement::new(dialect, "");
    let table = statement.table();
    statement.push(&format!("SELECT {row} FROM {table} WHERE true"));
    statement.restrict_windows(filter);
    statement.push(&format!(" GROUP BY {} LIMIT ", keys.join(", ")));
    statement.bind(Bound::Int(i64::from(MOST_RECORDS).saturating_add(1)));
    statement
}

fn key_column(by: GroupBy) -> String {
    match by {
        GroupBy::Tenant => "tenant".to_owned(),
        GroupBy::User => "coalesce(user_name, CAST(uid AS TEXT))".to_owned(),
        GroupBy::Account => "account".to_owned(),
        GroupBy::Job => "job_id".to_owned(),
        GroupBy::Node => "node".to_owned(),
        GroupBy::Day => format!("window_unix_usec / {DAY}"),
        GroupBy::Hour => format!("window_unix_usec / {HOUR}"),
    }
}

type Key = BTreeMap<GroupBy, Option<String>>;

/// Sums in the order of their keys, those of rows and of windows that have no row yet together.
///
/// # Errors
/// [`StoreError::TooMany`].
pub(crate) fn groups(
    rows: &[String],
    pending: &[UsageWindow],
    by: &[GroupBy],
) -> Result<Vec<UsageGroup>, StoreError> {
    let mut groups: BTreeMap<Vec<Option<String>>, UsageGroup> = BTreeMap::new();
    for row in rows {
        let cells: Vec<Value> = serde_json::from_str(row).map_err(|error| unreadable(TABLE, error))?;
        let group = group(&cells, by).ok_or_else(|| unreadable(TABLE, "a sum cannot be read"))?;
        groups.insert(place(&group.key, by), group);
    }
    for window in pending {
        let key: Key = by.iter().map(|by| (*by, key_of(window, *by))).collect();
        let group = groups.entry(place(&key, by)).or_insert_with(|| UsageGroup {
            key,
            windows: 0,
            figures: Quantities::default(),
            lacking: Quantity::ALL.into_iter().map(|quantity| (quantity, Some(0))).collect(),
        });
        add(group, window);
    }
    if u32::try_from(groups.len()).map_or(true, |len| len > MOST_RECORDS) {
        return Err(StoreError::TooMany);
    }
    Ok(groups.into_values().collect())
}

/// Days and hours in their order, jobs in that of their numbers.
fn place(key: &Key, by: &[GroupBy]) -> Vec<Option<String>> {
    let part = |by: &GroupBy| {
        let text = key.get(by).cloned().flatten();
        if *by == GroupBy::Job { text.map(|text| format!("{text:0>10}")) } else { text }
    };
    by.iter().map(part).collect()
}

fn group(cells: &[Value], by: &[GroupBy]) -> Option<UsageGroup> {
    let (keys, cells) = cells.split_at_checked(by.len())?;
    let (windows, figures) = cells.split_first()?;
    let windows = windows.as_u64()?;
    let mut group = UsageGroup {
        key: Key::new(),
        windows,
        figures: Quantities::default(),
        lacking: Quantities::default(),
    };
    for (by, cell) in by.iter().zip(keys) {
        let text = if cell.is_null() { None } else { Some(key_text(*by, cell)?) };
        group.key.insert(*by, text);
    }
    for (quantity, cells) in Quantity::ALL.into_iter().zip(figures.chunks_exact(3)) {
        let [upper, lower, known] = cells else { return None };
        group.lacking.set(quantity, Some(windows.checked_sub(known.as_u64()?)?));
        if let (Some(upper), Some(lower)) = (upper.as_i64(), lower.as_i64()) {
            let sum = i128::from(upper).checked_mul(1 << 32)?.checked_add(lower.into())?;
            group.figures.set(quantity, Some(sum));
        }
    }
    Some(group)
}

fn add(group: &mut UsageGroup, window: &UsageWindow) {
    group.windows = group.windows.saturating_add(1);
    for (quantity, figure) in window.figures.iter() {
        if let Some(figure) = figure {
            let sum = group.figures.get(quantity).unwrap_or_default().saturating_add(figure.into());
            group.figures.set(quantity, Some(sum));
        } else {
            let lacking = group.lacking.get(quantity).unwrap_or_default().saturating_add(1);
            group.lacking.set(quantity, Some(lacking));
        }
    }
}

fn key_text(by: GroupBy, cell: &Value) -> Option<String> {
    match (by, cell) {
        (GroupBy::Day, cell) => day(cell.as_i64()?.checked_mul(DAY)?),
        (GroupBy::Hour, cell) => hour(cell.as_i64()?.checked_mul(HOUR)?),
        (_, Value::String(text)) => Some(text.clone()),
        (_, Value::Number(number)) => Some(number.to_string()),
        _ => None,
    }
}

fn key_of(window: &UsageWindow, by: GroupBy) -> Option<String> {
    match by {
        GroupBy::Tenant => window.tenant.as_ref().map(ToString::to_string),
        GroupBy::User => Some(window.user.clone().unwrap_or_else(|| window.uid.to_string())),
        GroupBy::Account => window.account.as_ref().map(ToString::to_string),
        GroupBy::Job => Some(window.job_id.to_string()),
        GroupBy::Node => Some(window.node.to_string()),
        GroupBy::Day => day(window.window_from.unix_usec()),
        GroupBy::Hour => hour(window.window_from.unix_usec()),
    }
}

/// `2026-11-22`
fn day(usec: i64) -> Option<String> {
    WallTime::from_unix_usec(usec).ok()?.to_string().get(..10).map(str::to_owned)
}

/// `2026-11-22T10:00Z`
fn hour(usec: i64) -> Option<String> {
    WallTime::from_unix_usec(usec).ok()?.to_string().get(..13).map(|hour| format!("{hour}:00Z"))
}

/// Whether a run's record is asked for.
pub(crate) fn asks_for_record(filter: &Filter, record: &UsageRecord) -> bool {
    let running = record.state == tenantry_model::usage::UsageState::Running;
    concerns(filter, record.tenant.as_ref(), record.job_id, record.uid, record.user.as_deref())
        && filter.from.is_none_or(|from| running || record.ended > from)
        && filter.to.is_none_or(|to| record.began < to)
}

/// Whether a window is asked for.
pub(crate) fn asks_for_window(filter: &Filter, window: &UsageWindow) -> bool {
    concerns(filter, window.tenant.as_ref(), window.job_id, window.uid, window.user.as_deref())
        && filter.from.is_none_or(|from| window.window_from >= from)
        && filter.to.is_none_or(|to| window.window_from < to)
}

fn concerns(
    filter: &Filter,
    tenant: Option<&TenantPath>,
    job: tenantry_model::JobId,
    uid: u32,
    user: Option<&str>,
) -> bool {
    let named = |name: &String| match name.parse::<u32>() {
        Ok(number) => number == uid,
        Err(_) => user == Some(name.as_str()),
    };
    filter.tenant.as_ref().is_none_or(|asked| tenant.is_some_and(|own| own.is_within(asked)))
        && filter.job.is_none_or(|asked| asked == job)
        && filter.uid.is_none_or(|asked| asked == uid)
        && filter.user.as_ref().is_none_or(named)
}
