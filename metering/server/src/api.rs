//! The readers' socket: `GET /v1/usage`.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Extension, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::Deserialize;
use tenantry_model::usage::UsageReport;
use tenantry_model::{JobId, TenantPath};
use tenantry_store::Filter;

use crate::caller::{Caller, MayRead};
use crate::reply::{App, CorrelationId, Failure, correlate, method_not_allowed, not_found};

/// The socket's paths.
pub fn routes(app: Arc<App>) -> Router {
    Router::new()
        .route("/v1/usage", get(usage))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), correlate))
        .with_state(app)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    tenant: Option<TenantPath>,
    job: Option<JobId>,
}

/// Answers as far as the caller may read.
async fn usage(
    State(app): State<Arc<App>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Extension(correlation_id): Extension<CorrelationId>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Json<UsageReport>, Failure> {
    let Query(question) = question.map_err(|rejection| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            rejection.body_text(),
            "ask /v1/usage?tenant=acme/physics&job=42, or leave either out",
        )
    })?;
    let may_read = caller.may_read(&app.config);
    let Some(filter) = may_read.and_then(|may_read| filter(&may_read, &question)) else {
        let detail = match &question.tenant {
            Some(tenant) => format!("{caller} may not read the usage of tenant {tenant}"),
            None => format!("{caller} may not read usage"),
        };
        let next = "ask for a tenant of yours; a reader's certificate reads every tenant \
                    (tenantry-server pki issue reader NAME)";
        return Err(app.refuse(&caller, correlation_id, "GET /v1/usage".to_owned(), detail, next).await);
    };
    Ok(Json(app.ledger.usage(&filter).await?))
}

/// The question, narrowed to what may be read; `None` where nothing is left of it.
fn filter(may_read: &MayRead, question: &Question) -> Option<Filter> {
    let asked = Filter { tenant: question.tenant.clone(), job: question.job, uid: None };
    match (may_read, &question.tenant) {
        (MayRead::Everything, _) => Some(asked),
        (MayRead::JobsOf(uid), _) => Some(Filter { uid: Some(*uid), ..asked }),
        (MayRead::Tenant(own), None) => Some(Filter { tenant: Some(own.clone()), ..asked }),
        (MayRead::Tenant(own), Some(tenant)) => tenant.is_within(own).then_some(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_reads_itself_and_what_stands_in_it() {
        let path = |text: &str| text.parse::<TenantPath>().unwrap();
        let own = MayRead::Tenant(path("acme"));
        let of = |may_read: &MayRead, tenant: Option<&str>| {
            filter(may_read, &Question { tenant: tenant.map(path), job: None }).map(|filter| filter.tenant)
        };
        assert_eq!(of(&own, None), Some(Some(path("acme"))), "everything it asks for is its own");
        assert_eq!(of(&own, Some("acme/physics")), Some(Some(path("acme/physics"))));
        for other in ["acme2", "globex"] {
            assert_eq!(of(&own, Some(other)), None, "{other}");
            assert_eq!(of(&MayRead::Everything, Some(other)), Some(Some(path(other))));
        }
        assert_eq!(
            of(&MayRead::Tenant(path("acme/physics")), Some("acme")),
            None,
            "nor the one it stands in"
        );
    }

    #[test]
    fn a_user_reads_his_own_jobs_whatever_he_asks() {
        let question = Question { tenant: None, job: Some(JobId(7)) };
        let expected = Filter { tenant: None, job: Some(JobId(7)), uid: Some(1001) };
        assert_eq!(filter(&MayRead::JobsOf(1001), &question), Some(expected));
    }
}
