//! The readers' socket: `GET /v1/usage`.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router, middleware};
use serde::Deserialize;
use tenantry_model::usage::UsageReport;
use tenantry_model::{JobId, TenantPath};
use tenantry_store::Filter;

use crate::reply::{App, Failure, correlate, method_not_allowed, not_found};
use crate::sockets::Peer;

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

/// Whoever is not among `reader_uids` gets the jobs that are his own.
async fn usage(
    State(app): State<Arc<App>>,
    ConnectInfo(Peer(uid)): ConnectInfo<Peer>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Json<UsageReport>, Failure> {
    let Query(question) = question.map_err(|rejection| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            rejection.body_text(),
            "ask /v1/usage?tenant=acme/physics&job=42, or leave either out",
        )
    })?;
    let Some(uid) = uid else {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "the kernel did not say who asks",
            "ask from a process on this machine",
        ));
    };
    let only_own = (!app.config.reader_uids.contains(&uid)).then_some(uid);
    let filter = Filter { tenant: question.tenant, job: question.job, uid: only_own };
    Ok(Json(app.ledger.usage(&filter).await?))
}
