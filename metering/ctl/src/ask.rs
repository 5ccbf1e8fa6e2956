//! Questions to the server, and its answers.

use clap::ValueEnum;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tenantry_client::{Reply, StatusCode};
use tenantry_model::window::GroupBy;
use tenantry_model::{JobId, TenantPath, WallTime};

use crate::error::Error;

/// Where the server is.
pub use crate::server::Way;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Csv,
}

/// Which usage is asked for. What is not there does not restrict.
#[derive(Clone, Debug, Default)]
pub struct Question {
    pub tenant: Option<TenantPath>,
    pub job: Option<JobId>,
    pub user: Option<String>,
    pub from: Option<WallTime>,
    pub to: Option<WallTime>,
    pub group_by: Vec<GroupBy>,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    next: String,
}

/// Asks once.
pub fn ask<T: DeserializeOwned>(way: &Way, question: &Question) -> Result<T, Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::System)?;
    runtime.block_on(ask_within(way, question))
}

/// The same where a runtime is there.
pub async fn ask_within<T: DeserializeOwned>(way: &Way, question: &Question) -> Result<T, Error> {
    let Reply { status, body, .. } = way.ask(&question.path_and_query(), &[]).await?;
    if status == StatusCode::OK {
        return serde_json::from_slice(&body).map_err(Error::Answer);
    }
    let Refusal { error, next } = serde_json::from_slice(&body).map_err(Error::Answer)?;
    Err(Error::Refused { status: status.as_u16(), error, next })
}

impl Question {
    fn path_and_query(&self) -> String {
        let groups: Vec<_> = self.group_by.iter().map(|by| by.as_str()).collect();
        // A tenant, a job id and a time hold no character that a query would take for its own.
        let parts = [
            self.tenant.as_ref().map(|tenant| format!("tenant={tenant}")),
            self.job.map(|job| format!("job={job}")),
            self.user.as_ref().map(|user| format!("user={}", encoded(user))),
            self.from.map(|from| format!("from={from}")),
            self.to.map(|to| format!("to={to}")),
            (!groups.is_empty()).then(|| format!("group_by={}", groups.join(","))),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "/v1/usage".to_owned() } else { format!("/v1/usage?{}", parts.join("&")) }
    }
}

/// A text as a part of a query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_not_in_the_query() {
        let tenant: Option<TenantPath> = Some("acme/physics".parse().unwrap());
        let asked = |question: Question| question.path_and_query();
        assert_eq!(asked(Question::default()), "/v1/usage");
        let job = Some(JobId(7));
        assert_eq!(asked(Question { job, ..Question::default() }), "/v1/usage?job=7");
        let both = Question { tenant, job, ..Question::default() };
        assert_eq!(asked(both), "/v1/usage?tenant=acme/physics&job=7");
        let rest = Question {
            user: Some("a b&c".to_owned()),
            from: Some("2026-11-22T10:00:00Z".parse().unwrap()),
            group_by: vec![GroupBy::Tenant, GroupBy::Day],
            ..Question::default()
        };
        let expected = "/v1/usage?user=a%20b%26c&from=2026-11-22T10:00:00.000000Z&group_by=tenant,day";
        assert_eq!(asked(rest), expected);
    }
}
