//! Requests to the server, over its Unix socket or by HTTP/2 with certificates at both ends: what `tenantryd`
//! and the `tenantry` command both ask with.
//!
//! ```no_run
//! use std::time::Duration;
//! use tenantry_client::{Client, Method, Server};
//!
//! # async fn ask() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Server::Socket("/run/tenantry-server/api.sock".into()))?;
//! let reply = client.request(Method::GET, "/v1/usage", &[], Vec::new(), Duration::from_secs(30)).await?;
//! assert_eq!(reply.status, 200);
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod https;
mod server;
mod socket;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::RETRY_AFTER;
pub use hyper::{Method, StatusCode};
use hyper::{Request, Response};
pub use tenantry_tls::TlsError;

use https::Https;
pub use server::{InvalidUrl, Server, ServerError, Settings, Urls};

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error(
        "cannot reach the server at {}: see that it runs (systemctl status tenantry-server) \
         and that this is its socket", socket.display()
    )]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// None of the servers was reached.
    #[error("cannot reach a server: {0}")]
    NoServer(String),
    /// The server does not take this certificate.
    #[error(
        "this certificate is refused: {0}; see the server's log, and make a new one by tenantry-server pki renew"
    )]
    Refused(String),
    /// The request is none: a header or a path that HTTP does not take.
    #[error("the request cannot be made")]
    Request(#[source] hyper::http::Error),
    /// What came is no reply in HTTP, or it broke off.
    #[error("the server's reply broke off: look at its log")]
    Reply(#[source] hyper::Error),
    /// The time was over.
    #[error("the server did not reply within {} s: try again, or look at its log", .0.as_secs())]
    TimedOut(Duration),
}

impl ClientError {
    /// Whether somebody was there and did not speak as the server does.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Reply(_))
    }
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Whether it did what was asked.
    pub status: StatusCode,
    /// How long it wants to be left alone.
    pub retry_after: Option<Duration>,
    /// The rest.
    pub body: Vec<u8>,
}

/// A way to the server. Over the network one connection is kept and used again.
#[derive(Debug)]
pub struct Client {
    way: Way,
}

#[derive(Debug)]
enum Way {
    Socket(PathBuf),
    Https(Box<Https>),
}

impl Client {
    /// A way to `server`; nothing is asked yet.
    ///
    /// # Errors
    /// [`TlsError`]: the certificates cannot be used.
    pub fn new(server: Server) -> Result<Self, TlsError> {
        let way = match server {
            Server::Socket(path) => Way::Socket(path),
            Server::Https { urls, files } => Way::Https(Box::new(Https::open(urls, files)?)),
        };
        Ok(Self { way })
    }

    /// Sends one request and takes the whole reply, all within `limit`. A cut request may or may not have
    /// been served; it may be sent twice where a kept connection breaks, so that it must be one that may.
    ///
    /// # Errors
    /// [`ClientError`]; a reply with an error's status is none.
    pub async fn request(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
        limit: Duration,
    ) -> Result<Reply, ClientError> {
        let exchange = async {
            match &self.way {
                Way::Socket(path) => {
                    let request = build(method, path_and_query, headers, Bytes::from(body))?;
                    socket::exchange(path, request).await
                }
                Way::Https(https) => {
                    https.exchange(&method, path_and_query, headers, &Bytes::from(body)).await
                }
            }
        };
        tokio::time::timeout(limit, exchange).await.map_err(|_| ClientError::TimedOut(limit))?
    }

    /// How long one's own certificate holds yet, in microseconds since 1970; `None` on the socket.
    pub async fn certificate_not_after_unix_usec(&self) -> Option<i64> {
        match &self.way {
            Way::Socket(_) => None,
            Way::Https(https) => Some(https.not_after().await.unix_usec()),
        }
    }
}

fn build(
    method: Method,
    uri: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body)).map_err(ClientError::Request)
}

/// A reply but for its body. A date in `Retry-After`, which our server never sends, is not read.
fn head<B>(reply: &Response<B>) -> (StatusCode, Option<Duration>) {
    let after = reply.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    (reply.status(), after.map(Duration::from_secs))
}
