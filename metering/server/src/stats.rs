//! What the server says of itself: `GET /metrics`, for those who may read everything.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use axum::extract::{ConnectInfo, Extension, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use tenantry_tls::Certificate;

use crate::caller::{Caller, MayRead};
use crate::reply::{App, CorrelationId};

/// Why a connection was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There are as many as there may be.
    Busy,
    /// One name has as many as it may have.
    Share,
    /// No certificate, one of another authority, no TLS 1.3, or nothing in time.
    Handshake,
    /// A certificate of the site's authority that has expired, is revoked or is for something else.
    Certificate,
    /// A certificate that names nobody here: its requests are refused.
    Name,
}

impl Refusal {
    const ALL: [Self; 5] = [Self::Busy, Self::Share, Self::Handshake, Self::Certificate, Self::Name];

    /// Its label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Share => "share",
            Self::Handshake => "handshake",
            Self::Certificate => "certificate",
            Self::Name => "name",
        }
    }
}

/// Counted since the start.
#[derive(Debug, Default)]
pub struct Stats {
    connected: AtomicU64,
    busy: AtomicU64,
    share: AtomicU64,
    handshake: AtomicU64,
    certificate: AtomicU64,
    name: AtomicU64,
    served: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    reloads: AtomicU64,
    bad_reloads: AtomicU64,
    /// Seconds since 1970; 0: there is no certificate.
    not_after: AtomicI64,
}

impl Stats {
    /// A connection was made.
    pub fn connected(&self) {
        self.connected.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was turned away.
    pub fn refused(&self, why: Refusal) {
        self.refusals(why).fetch_add(1, Ordering::Relaxed);
    }

    /// A request was answered.
    pub fn answered(&self, status: StatusCode) {
        let count = match status.as_u16() {
            500.. => &self.failed,
            400.. => &self.refused,
            _ => &self.served,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Certificates' files changed, and could be used or not.
    pub fn reloaded(&self, good: bool) {
        (if good { &self.reloads } else { &self.bad_reloads }).fetch_add(1, Ordering::Relaxed);
    }

    /// The server's own certificate.
    pub fn certificate(&self, own: &Certificate) {
        self.not_after.store(own.not_after.unix_usec().div_euclid(1_000_000), Ordering::Relaxed);
    }

    fn refusals(&self, why: Refusal) -> &AtomicU64 {
        match why {
            Refusal::Busy => &self.busy,
            Refusal::Share => &self.share,
            Refusal::Handshake => &self.handshake,
            Refusal::Certificate => &self.certificate,
            Refusal::Name => &self.name,
        }
    }

    /// In Prometheus' text format.
    fn text(&self, held_bytes: u64, open: Option<usize>) -> String {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let results = [("served", &self.served), ("refused", &self.refused), ("failed", &self.failed)];
        let requests = results.map(|(result, n)| (format!("{{result=\"{result}\"}}"), count(n).to_string()));
        family(
            "tenantry_server_requests_total",
            "counter",
            "Requests at all doors, by what became of them.",
            &requests,
        );
        let held = [(String::new(), held_bytes.to_string())];
        family(
            "tenantry_server_held_bytes",
            "gauge",
            "Room that blocks take now, of max_bytes_in_flight.",
            &held,
        );
        let Some(open) = open else { return text };
        let open = [(String::new(), open.to_string())];
        family(
            "tenantry_server_connections",
            "gauge",
            "Connections from the network that are open now.",
            &open,
        );
        let connected = [(String::new(), count(&self.connected).to_string())];
        family(
            "tenantry_server_connections_total",
            "counter",
            "Connections from the network with a good certificate.",
            &connected,
        );
        let refusals = Refusal::ALL
            .map(|why| (format!("{{reason=\"{}\"}}", why.as_str()), count(self.refusals(why)).to_string()));
        family(
            "tenantry_server_connections_refused_total",
            "counter",
            "Connections from the network that were turned away, or whose certificate names nobody here.",
            &refusals,
        );
        let reloads = [("good", &self.reloads), ("bad", &self.bad_reloads)]
            .map(|(result, n)| (format!("{{result=\"{result}\"}}"), count(n).to_string()));
        family(
            "tenantry_server_certificate_reloads_total",
            "counter",
            "Times that certificates' files changed; bad: those in use stayed.",
            &reloads,
        );
        let not_after = self.not_after.load(Ordering::Relaxed);
        let not_after = [(String::new(), not_after.to_string())];
        family(
            "tenantry_server_certificate_expiry_timestamp_seconds",
            "gauge",
            "When the server's certificate expires, since 1970.",
            &not_after,
        );
        text
    }
}

/// Answers `GET /metrics`.
pub async fn show(
    State(app): State<Arc<App>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Extension(correlation_id): Extension<CorrelationId>,
) -> Response {
    if caller.may_read(&app.config) != Some(MayRead::Everything) {
        let detail = format!("{caller} may not read the server's metrics");
        let next = "ask as one of reader_uids, or with a reader's certificate";
        let subject = "GET /metrics".to_owned();
        return app.refuse(&caller, correlation_id, subject, detail, next).await.into_response();
    }
    let text = app.stats.text(app.room.held_bytes(), app.open_connections());
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
