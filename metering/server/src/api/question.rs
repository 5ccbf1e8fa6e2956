//! What is asked, and what of it the caller may know.

use axum::http::StatusCode;
use serde::Deserialize;
use tenantry_model::usage::UsageRecord;
use tenantry_model::window::GroupBy;
use tenantry_model::{JobId, TenantPath, WallTime};
use tenantry_store::Filter;

use super::answer::Form;
use crate::caller::MayRead;
use crate::reply::Failure;

/// The most rows of a page.
pub const LONGEST_PAGE: u32 = 10_000;
const USUAL_PAGE: u32 = 1000;

/// A query as it comes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    pub tenant: Option<TenantPath>,
    pub job: Option<JobId>,
    pub user: Option<String>,
    pub from: Option<WallTime>,
    pub to: Option<WallTime>,
    pub records: Option<Records>,
    pub group_by: Option<String>,
    pub limit: Option<u32>,
    pub cursor: Option<String>,
    pub format: Option<Form>,
}

/// Which rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Records {
    Runs,
    Windows,
}

/// A question that makes sense.
#[derive(Debug, PartialEq, Eq)]
pub struct Question {
    pub filter: Filter,
    pub about: About,
}

/// What the answer is made of.
#[derive(Debug, PartialEq, Eq)]
pub enum About {
    /// Runs of jobs. Without a limit: all of them, in one answer.
    Runs { after: Option<Place>, limit: Option<u32> },
    /// Windows, a page of them.
    Windows { after: i64, limit: u32 },
    /// Sums of windows.
    Groups(Vec<GroupBy>),
}

/// Where a run stands among all: neither its end nor other runs move it.
pub type Place = (JobId, WallTime, String);

impl Question {
    pub fn of(raw: Raw) -> Result<Self, Failure> {
        let wrong = |error: String, next| Failure::new(StatusCode::BAD_REQUEST, error, next);
        if let Some((from, to)) = raw.from.zip(raw.to).filter(|(from, to)| from >= to) {
            let error = format!("the period from {from} to {to} holds nothing");
            return Err(wrong(error, "`to` is exclusive and lies after `from`"));
        }
        let limit = match raw.limit {
            Some(0) => return Err(wrong("limit=0 asks for nothing".to_owned(), "ask for 1 to 10000 rows")),
            Some(limit) if limit > LONGEST_PAGE => {
                let error = format!("limit={limit} is more than a page holds");
                return Err(wrong(error, "ask for up to 10000 rows, and for the next page with cursor="));
            }
            limit => limit,
        };
        let filter = Filter {
            tenant: raw.tenant,
            job: raw.job,
            uid: None,
            user: raw.user,
            from: raw.from,
            to: raw.to,
        };
        let about = match (raw.group_by, raw.records) {
            (Some(_), Some(Records::Runs)) => {
                let error = "runs are not added up".to_owned();
                return Err(wrong(error, "leave records= out: group_by adds up windows"));
            }
            (Some(_), _) if limit.is_some() || raw.cursor.is_some() => {
                let error = "sums come in one answer".to_owned();
                return Err(wrong(error, "leave limit= and cursor= out, or narrow from= and to="));
            }
            (Some(by), _) => About::Groups(groups(&by).map_err(|error| {
                wrong(error, "name each once, separated by commas: tenant,user,account,job,node,day,hour")
            })?),
            (None, Some(Records::Windows)) => {
                let after = match raw.cursor {
                    None => 0,
                    Some(cursor) => cursor.parse().map_err(|_| bad_cursor())?,
                };
                About::Windows { after, limit: limit.unwrap_or(USUAL_PAGE) }
            }
            (None, _) => {
                let after = raw.cursor.map(|cursor| place(&cursor).ok_or_else(bad_cursor)).transpose()?;
                let limit = limit.or(after.as_ref().map(|_| USUAL_PAGE));
                About::Runs { after, limit }
            }
        };
        Ok(Self { filter, about })
    }
}

fn bad_cursor() -> Failure {
    Failure::new(
        StatusCode::BAD_REQUEST,
        "the cursor is none of this question's",
        "take next_cursor from the page before, and leave the rest of the question as it was",
    )
}

fn groups(text: &str) -> Result<Vec<GroupBy>, String> {
    let by: Vec<GroupBy> = text
        .split(',')
        .map(|word| word.parse().map_err(|error: tenantry_model::window::InvalidGroup| error.to_string()))
        .collect::<Result<_, _>>()?;
    let twice = by.iter().enumerate().any(|(place, one)| by.iter().take(place).any(|other| other == one));
    if twice { Err(format!("group_by={text} names one twice")) } else { Ok(by) }
}

/// `JOB.BEGAN.NODE`
fn place(cursor: &str) -> Option<Place> {
    let (job, rest) = cursor.split_once('.')?;
    let (began, node) = rest.split_once('.')?;
    let began = WallTime::from_unix_usec(began.parse().ok()?).ok()?;
    Some((job.parse().ok()?, began, node.to_owned()))
}

fn place_of(record: &UsageRecord) -> Place {
    (record.job_id, record.began, record.node.to_string())
}

/// Cuts runs to the page after a place; the next page's cursor.
pub fn cut(records: &mut Vec<UsageRecord>, after: Option<&Place>, limit: u32) -> Option<String> {
    records.retain(|record| after.is_none_or(|after| place_of(record) > *after));
    records.sort_by_cached_key(place_of);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if records.len() <= limit {
        return None;
    }
    records.truncate(limit);
    let last = records.last()?;
    Some(format!("{}.{}.{}", last.job_id, last.began.unix_usec(), last.node))
}

/// The question, narrowed to what may be read; `None` where nothing is left of it.
pub fn narrowed(may_read: &MayRead, asked: Filter) -> Option<Filter> {
    match (may_read, &asked.tenant) {
        (MayRead::Everything, _) => Some(asked),
        (MayRead::JobsOf(uid), _) => Some(Filter { uid: Some(*uid), ..asked }),
        (MayRead::Tenant(own), None) => Some(Filter { tenant: Some(own.clone()), ..asked }),
        (MayRead::Tenant(own), Some(tenant)) => tenant.is_within(own).then_some(asked),
    }
}

#[cfg(test)]
mod tests;
