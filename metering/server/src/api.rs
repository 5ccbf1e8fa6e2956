//! The readers' socket: `GET /v1/usage`. docs/api.md says what may be asked.

mod answer;
mod question;

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Extension, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use axum::{Router, middleware};
use tenantry_model::window::{GroupReport, WindowReport};

use crate::caller::Caller;
use crate::reply::{App, CorrelationId, Failure, correlate, method_not_allowed, not_found};
use crate::room::one_of_many;
use crate::stats;
use answer::Form;
use question::{About, Question, Raw};

/// The socket's paths.
pub fn routes(app: Arc<App>) -> Router {
    paths(&app)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), correlate))
        .with_state(app)
}

/// What readers ask.
pub fn paths(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/v1/usage", get(usage))
        .route("/metrics", get(stats::show))
        .route_layer(middleware::from_fn_with_state(Arc::clone(app), one_of_many))
}

/// Answers as far as the caller may read.
async fn usage(
    State(app): State<Arc<App>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Extension(correlation_id): Extension<CorrelationId>,
    headers: HeaderMap,
    question: Result<Query<Raw>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(raw) = question.map_err(|rejection| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            rejection.body_text(),
            "ask /v1/usage?tenant=acme/physics&job=42, or leave either out; docs/api.md has the rest",
        )
    })?;
    let asked_for = raw.tenant.clone();
    let form = Form::of(raw.format, &headers);
    let Question { filter, about } = Question::of(raw)?;
    let may_read = caller.may_read(&app.config);
    let Some(filter) = may_read.and_then(|may_read| question::narrowed(&may_read, filter)) else {
        let detail = match &asked_for {
            Some(tenant) => format!("{caller} may not read the usage of tenant {tenant}"),
            None => format!("{caller} may not read usage"),
        };
        let next = "ask for a tenant of yours; a reader's certificate reads every tenant \
                    (tenantry-server pki issue reader NAME)";
        return Err(app.refuse(&caller, correlation_id, "GET /v1/usage".to_owned(), detail, next).await);
    };
    match about {
        About::Runs { after, limit } => {
            let mut report = app.ledger.usage(&filter).await?;
            let next = limit.and_then(|limit| question::cut(&mut report.usage, after.as_ref(), limit));
            answer::runs(form, report, next)
        }
        About::Windows { after, limit } => {
            let page = app.ledger.windows(&filter, after, limit).await?;
            let next_cursor = page.next.map(|after| after.to_string());
            answer::windows(form, &WindowReport { windows: page.windows, next_cursor })
        }
        About::Groups(by) => {
            let groups = app.ledger.groups(&filter, &by).await?;
            answer::groups(form, &by, &GroupReport { groups })
        }
    }
}
