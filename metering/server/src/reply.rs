//! What both sockets' replies have in common: errors that say what to do, and the name of the
//! request in the log and in the reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tenantry_model::{Clock, WallTime};
use tenantry_store::{AuditEvent, AuditKind, Ledger, StoreError};
use tracing::Instrument;

use crate::caller::Caller;
use crate::config::Config;
use crate::network::{Bounds, Rates};
use crate::room::Room;
use crate::stats::Stats;

/// What a request is answered with.
pub struct App {
    /// The settings.
    pub config: Config,
    /// The ledger.
    pub ledger: Ledger,
    /// The time.
    pub clock: Box<dyn Clock>,
    /// Names requests that come without one.
    pub names: RequestNames,
    /// Bounds on memory and work.
    pub room: Room,
    /// What is counted.
    pub stats: Arc<Stats>,
    /// The network's bounds, where it is listened to.
    pub network: Option<Arc<Bounds>>,
    /// How often one who is refused is written down.
    pub audits: Rates,
}

/// How many refusals of one name are written down in a minute, and at once: each is in the log.
const AUDITS_PER_MINUTE: u32 = 60;
const AUDITS_AT_ONCE: Duration = Duration::from_mins(1);

impl App {
    /// What requests are answered with.
    pub fn new(
        config: Config,
        ledger: Ledger,
        clock: Box<dyn Clock>,
        start: WallTime,
        stats: Arc<Stats>,
    ) -> Self {
        Self {
            room: Room::new(config.max_bytes_in_flight.get(), config.max_requests.get()),
            network: config.network.clone().map(|network| Arc::new(Bounds::new(network))),
            audits: Rates::new(AUDITS_PER_MINUTE, AUDITS_AT_ONCE),
            names: RequestNames::new(start),
            config,
            ledger,
            clock,
            stats,
        }
    }

    /// Connections from the network, where it is listened to.
    pub fn open_connections(&self) -> Option<usize> {
        self.network.as_ref().map(|bounds| bounds.places.taken())
    }

    /// The time, for rows of the ledger.
    pub fn now(&self) -> Result<WallTime, Failure> {
        self.clock.now().map(|now| now.wall).map_err(|error| {
            tracing::error!(%error, "the clock cannot be read");
            Failure::unavailable()
        })
    }

    /// Refuses a caller: an audit event of what he wanted (`subject`), and the reply that says why.
    pub async fn refuse(
        &self,
        caller: &Caller,
        CorrelationId(correlation_id): CorrelationId,
        subject: String,
        detail: String,
        next: &'static str,
    ) -> Failure {
        self.audit(&caller.to_string(), caller.uid(), correlation_id, subject, detail.clone()).await;
        Failure::new(StatusCode::FORBIDDEN, detail, next)
    }

    /// Writes a refusal down, unless `name` has had its share of the ledger.
    pub async fn audit(
        &self,
        name: &str,
        uid: Option<u32>,
        correlation_id: String,
        subject: String,
        detail: String,
    ) {
        if self.audits.take(name).is_err() {
            return;
        }
        let Ok(at) = self.now() else { return };
        let event = AuditEvent { at, kind: AuditKind::Refused, uid, correlation_id, subject, detail };
        if let Err(error) = self.ledger.audit(&event).await {
            tracing::error!(%error, ?event, "an audit event could not be written");
        }
    }
}

/// Requests' names: the server's start and a count, so that no two are the same.
pub struct RequestNames {
    start: WallTime,
    count: AtomicU64,
}

impl RequestNames {
    /// Names for the server that started at `start`.
    pub fn new(start: WallTime) -> Self {
        Self { start, count: AtomicU64::new(0) }
    }

    /// The next name.
    pub fn next(&self) -> String {
        format!("{:x}-{}", self.start.unix_usec(), self.count.fetch_add(1, Ordering::Relaxed))
    }
}

/// The request's name: the caller's, or one of ours.
#[derive(Debug, Clone)]
pub struct CorrelationId(pub String);

const HEADER: &str = "x-correlation-id";

fn is_correlation_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// As much of a path as a line should carry.
pub fn quoted_path(request: &Request) -> String {
    request.uri().path().chars().take(128).collect()
}

/// Gives the request its name, and the log a line about it. Whoever would change something where nothing can be
/// changed is written down.
pub async fn correlate(
    State(app): State<Arc<App>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    mut request: Request,
    next: Next,
) -> Response {
    let offered = request.headers().get(HEADER).and_then(|value| value.to_str().ok());
    let id = match offered {
        Some(text) if is_correlation_id(text) => text.to_owned(),
        _ => app.names.next(),
    };
    let path = quoted_path(&request);
    let span = tracing::info_span!("request", correlation_id = id, %caller, method = %request.method(), path);
    let change = (!request.method().is_safe()).then(|| format!("{} {path}", request.method()));
    request.extensions_mut().insert(CorrelationId(id.clone()));
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    app.stats.answered(status);
    if let (Some(subject), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) = (change, status) {
        let detail = format!("{caller} would change what cannot be changed");
        app.audit(&caller.to_string(), caller.uid(), id.clone(), subject, detail).await;
    }
    span.in_scope(|| match status.as_u16() {
        500.. => tracing::error!(%status, "not served"),
        400.. => tracing::warn!(%status, "refused"),
        _ => tracing::debug!(%status, "served"),
    });
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HEADER, value);
    }
    response
}

/// An error as the caller gets it: `{"error": what happened, "next": what to do}`.
#[derive(Debug, Serialize)]
pub struct Failure {
    #[serde(skip)]
    status: StatusCode,
    error: String,
    next: &'static str,
    #[serde(skip)]
    after: Option<Duration>,
}

impl Failure {
    /// An error with a status.
    pub fn new(status: StatusCode, error: impl Into<String>, next: &'static str) -> Self {
        Self { status, error: error.into(), next, after: None }
    }

    /// With how long the caller shall wait: whole seconds, at least one.
    pub fn after(self, wait: Duration) -> Self {
        Self { after: Some(wait), ..self }
    }

    /// Its status.
    #[cfg(test)]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The ledger cannot be used now.
    pub fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the ledger cannot be used now, and nothing was changed",
            "try again later; if it stays, the administrator looks at tenantry-server's log",
        )
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let after = self.after.map(|wait| wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)));
        let mut response = (self.status, Json(self)).into_response();
        if let Some(seconds) = after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::OutOfRange { .. } => Self::new(
                StatusCode::BAD_REQUEST,
                error.to_string(),
                "set the block aside and report it: no kernel counts so far",
            ),
            StoreError::TooMany => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string(), "add ?tenant= or ?job=")
            }
            error => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(%error, cause, "the ledger failed");
                Self::unavailable()
            }
        }
    }
}

/// For paths there are not.
pub async fn not_found() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "there is no such path here",
        "readers ask GET /v1/usage on the api socket; daemons POST /v1/blocks to the ingest socket",
    )
}

/// For methods a path does not have.
pub async fn method_not_allowed() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path does not take this method",
        "it is GET /v1/usage, and POST /v1/blocks",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_name_for_a_request_is_short_and_plain_or_not_taken() {
        for text in ["a", "0190-ab_c.D", &"x".repeat(64)] {
            assert!(is_correlation_id(text), "{text:?} was refused");
        }
        for text in ["", "a b", "a\nb", "a\"b", "ä", &"x".repeat(65)] {
            assert!(!is_correlation_id(text), "{text:?} was accepted");
        }
    }

    #[test]
    fn no_two_requests_have_one_name() {
        let names = RequestNames::new(WallTime::from_unix_usec(1_795_000_000_000_000).unwrap());
        let (first, second) = (names.next(), names.next());
        assert_ne!(first, second);
        assert!(is_correlation_id(&first));
    }
}
