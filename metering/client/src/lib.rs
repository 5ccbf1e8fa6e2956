//! One HTTP request over a Unix socket: what `tenantryd` and the `tenantry` command both ask the
//! server with.
//!
//! ```no_run
//! use std::time::Duration;
//! use tenantry_client::{Method, request};
//!
//! # async fn ask() -> Result<(), tenantry_client::ClientError> {
//! let socket = "/run/tenantry-server/api.sock".as_ref();
//! let (status, body) = request(socket, Method::GET, "/v1/usage", &[], Vec::new(), Duration::from_secs(30)).await?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
pub use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

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

/// Sends one request to the server that listens on `socket` and takes the whole reply, all within
/// `limit`. A cut request may or may not have been served.
///
/// # Errors
/// [`ClientError`]; a reply with an error's status is none.
pub async fn request(
    socket: &Path,
    method: Method,
    path_and_query: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
    limit: Duration,
) -> Result<(StatusCode, Vec<u8>), ClientError> {
    let exchange = exchange(socket, method, path_and_query, headers, body);
    tokio::time::timeout(limit, exchange).await.map_err(|_| ClientError::TimedOut(limit))?
}

async fn exchange(
    socket: &Path,
    method: Method,
    path_and_query: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<(StatusCode, Vec<u8>), ClientError> {
    let mut request = Request::builder().method(method).uri(path_and_query).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(ClientError::Request)?;
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ClientError::Connect { socket: socket.to_owned(), source })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::Reply)?;
    // The connection is driven only as long as the reply is awaited, and goes with this future.
    let reply = async {
        let reply = sender.send_request(request).await?;
        let status = reply.status();
        Ok((status, reply.into_body().collect().await?.to_bytes().to_vec()))
    };
    tokio::pin!(reply, connection);
    tokio::select! {
        reply = &mut reply => reply,
        // The connection may end before its last bytes were taken up.
        ended = &mut connection => match ended {
            Ok(()) => reply.await,
            Err(error) => Err(error),
        },
    }
    .map_err(ClientError::Reply)
}
