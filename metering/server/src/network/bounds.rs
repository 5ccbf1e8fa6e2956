//! What a caller may ask in a time, and how long it may take.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{ConnectInfo, Extension, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::Frame;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::Bounds;
use super::connection::Cut;
use crate::caller::Caller;
use crate::reply::Failure;

/// So many requests a minute of each name, of which some may come at once.
#[derive(Debug)]
pub struct Rates {
    interval: Duration,
    burst: Duration,
    start: Instant,
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    /// When each name has used up what it asked for, were it served at its rate.
    paid_until: BTreeMap<String, Duration>,
    prune_at: usize,
}

/// From how many names on those are forgotten that have been quiet.
const LEAST_PRUNED: usize = 1024;

impl Rates {
    /// `per_minute` requests, and what comes in `burst` at once.
    pub fn new(per_minute: u32, burst: Duration) -> Self {
        let interval = Duration::from_mins(1).checked_div(per_minute).unwrap_or(Duration::from_mins(1));
        Self { interval, burst, start: Instant::now(), names: Mutex::default() }
    }

    /// Takes one request of `name`, or says how long it shall wait.
    pub fn take(&self, name: &str) -> Result<(), Duration> {
        self.take_at(name, self.start.elapsed())
    }

    fn take_at(&self, name: &str, now: Duration) -> Result<(), Duration> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.paid_until.len() >= names.prune_at.max(LEAST_PRUNED) {
            names.paid_until.retain(|_, until| *until > now);
            names.prune_at = names.paid_until.len().saturating_mul(2);
        }
        let until = names.paid_until.get(name).copied().unwrap_or(now).max(now);
        let ahead = until.saturating_sub(now);
        if ahead > self.burst {
            return Err(ahead.saturating_sub(self.burst));
        }
        names.paid_until.insert(name.to_owned(), until.saturating_add(self.interval));
        Ok(())
    }
}

/// Stands before every request from the network: its rate, and its time.
pub async fn bounded(
    State(bounds): State<Arc<Bounds>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Extension(Cut(cut)): Extension<Cut>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(wait) = bounds.rates.take(&caller.to_string()) {
        return Failure::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("{caller} asks more often than {} times a minute", bounds.settings.requests_per_minute),
            "wait as long as Retry-After says",
        )
        .after(wait)
        .into_response();
    }
    let limit = Duration::from_secs(bounds.settings.request_seconds.get().into());
    let done = CancellationToken::new();
    let guard = done.clone().drop_guard();
    tokio::spawn(async move {
        // A peer that neither sends nor takes is not waited for, whatever it holds up.
        tokio::select! {
            () = done.cancelled() => {}
            () = sleep(limit) => {
                tracing::warn!(%caller, "a request took too long, and its connection is cut");
                cut.cancel();
            }
        }
    });
    next.run(request).await.map(|body| Body::new(Held { body, _held: guard }))
}

/// A reply's body, with what is held until the last of it is sent.
pub struct Held<T> {
    /// The reply.
    pub body: Body,
    /// What goes with it.
    pub _held: T,
}

impl<T: Unpin> HttpBody for Held<T> {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_asked_too_often_is_told_how_long_to_wait() {
        let rates = Rates::new(60, 2 * SECOND);
        let at = |name: &str, seconds: u64| rates.take_at(name, Duration::from_secs(seconds));
        assert_eq!([at("a", 0), at("a", 0), at("a", 0)], [Ok(()); 3], "what may come at once");
        assert_eq!(at("a", 0), Err(SECOND));
        assert_eq!(at("b", 0), Ok(()), "another name has its own");
        assert_eq!(at("a", 1), Ok(()), "after the wait it is served");
        assert_eq!(at("a", 1), Err(SECOND), "a refusal costs nothing, the request before it does");
        assert_eq!([at("a", 60), at("a", 60), at("a", 60)], [Ok(()); 3]);
    }

    #[test]
    fn names_that_are_quiet_are_forgotten() {
        let rates = Rates::new(60, SECOND);
        for n in 0..LEAST_PRUNED * 4 {
            let _ = rates.take_at(&n.to_string(), Duration::from_secs(u64::try_from(n).unwrap()));
        }
        assert!(rates.names.lock().unwrap().paid_until.len() <= LEAST_PRUNED);
    }
}
