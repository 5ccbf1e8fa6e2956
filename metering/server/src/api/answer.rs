//! Answers as JSON or CSV.

use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tenantry_model::usage::UsageReport;
use tenantry_model::window::{GroupBy, GroupReport, WindowReport};
use tenantry_usage::csv;

use crate::reply::Failure;

const CURSOR: &str = "x-next-cursor";

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    Json,
    Csv,
}

impl Form {
    /// The one named in the question, else the first in `Accept` that there is.
    pub fn of(asked: Option<Self>, headers: &HeaderMap) -> Self {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let known = |part: &str| match part.split(';').next().unwrap_or_default().trim() {
            "text/csv" => Some(Self::Csv),
            "application/json" | "application/*" | "*/*" => Some(Self::Json),
            _ => None,
        };
        asked.or_else(|| accept.split(',').find_map(known)).unwrap_or(Self::Json)
    }
}

/// The report of runs, with where the next page begins.
#[derive(Serialize)]
struct Runs {
    #[serde(flatten)]
    report: UsageReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

pub fn runs(form: Form, report: UsageReport, next_cursor: Option<String>) -> Result<Response, Failure> {
    match form {
        Form::Json => Ok(axum::Json(Runs { report, next_cursor }).into_response()),
        Form::Csv => table(next_cursor.as_deref(), |out| csv::runs(&report.usage, out)),
    }
}

pub fn windows(form: Form, report: &WindowReport) -> Result<Response, Failure> {
    match form {
        Form::Json => Ok(axum::Json(report).into_response()),
        Form::Csv => table(report.next_cursor.as_deref(), |out| csv::windows(&report.windows, out)),
    }
}

pub fn groups(form: Form, by: &[GroupBy], report: &GroupReport) -> Result<Response, Failure> {
    match form {
        Form::Json => Ok(axum::Json(report).into_response()),
        Form::Csv => table(None, |out| csv::groups(by, &report.groups, out)),
    }
}

fn table(
    next_cursor: Option<&str>,
    write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>,
) -> Result<Response, Failure> {
    let mut out = Vec::new();
    write(&mut out).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as CSV");
        Failure::unavailable()
    })?;
    let mut response = out.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    if let Some(cursor) = next_cursor.and_then(|cursor| HeaderValue::from_str(cursor).ok()) {
        headers.insert(CURSOR, cursor);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_questions_then_the_headers_and_json_else() {
        for (asked, accept, expected) in [
            (None, "", Form::Json),
            (None, "text/csv", Form::Csv),
            (None, "text/html, text/csv;q=0.9, application/json", Form::Csv),
            (None, "application/json, text/csv", Form::Json),
            (None, "*/*", Form::Json),
            (None, "image/png", Form::Json),
            (Some(Form::Json), "text/csv", Form::Json),
            (Some(Form::Csv), "application/json", Form::Csv),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(Form::of(asked, &headers), expected, "{accept}");
        }
    }
}
