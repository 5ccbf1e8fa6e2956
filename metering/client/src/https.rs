//! HTTP/2 over TLS, to the first of several servers that answers, on a connection that is kept.

use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Method, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tenantry_model::{WallTime, describe};
use tenantry_tls::{Certificate, Files, Kept, Material, Refresh, TlsError, client_config};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::server::{Url, Urls};
use crate::{ClientError, Reply, build, head};

/// How long a server has to be reached and to prove who it is.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long a server has for its first word; one that waits for ours is not waited for.
const FIRST_WORD_TIME: Duration = Duration::from_secs(2);
/// The most that is read of it ahead.
const FIRST_WORD_BYTES: usize = 1024;
/// What TLS calls the other end's refusal.
const ALERT: &str = "received fatal alert";
/// How often a quiet connection is asked whether it still is one, while a request waits.
const PING_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct Https {
    urls: Urls,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    kept: Kept<Loaded>,
    /// The server that is asked next.
    next: usize,
    open: Option<Open>,
}

#[derive(Debug)]
struct Loaded {
    tls: Arc<ClientConfig>,
    own: Certificate,
}

#[derive(Debug, Clone)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    url: Url,
}

fn load(material: &Material) -> Result<Loaded, TlsError> {
    Ok(Loaded { tls: Arc::new(client_config(material)?), own: material.own.clone() })
}

impl Https {
    pub fn open(urls: Urls, files: Files) -> Result<Self, TlsError> {
        let kept = Kept::open(files, load)?;
        Ok(Self { urls, state: Mutex::new(State { kept, next: 0, open: None }) })
    }

    pub async fn not_after(&self) -> WallTime {
        self.state.lock().await.kept.value().own.not_after
    }

    pub async fn exchange(
        &self,
        method: &Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: &Bytes,
    ) -> Result<Reply, ClientError> {
        let exchange = async |open: &mut Open| {
            let uri = format!("{}{path_and_query}", open.url);
            let request = build(method.clone(), &uri, headers, body.clone())?;
            let reply = async {
                open.sender.ready().await?;
                let reply = open.sender.send_request(request).await?;
                let (status, retry_after) = head(&reply);
                let body = reply.into_body().collect().await?.to_bytes().to_vec();
                Ok(Reply { status, retry_after, body })
            };
            reply.await.map_err(ClientError::Reply)
        };
        let kept = self.kept_connection().await;
        let reply = match kept {
            Some(mut open) => match exchange(&mut open).await {
                // It may have ended long ago: the server was started anew, or wants it renewed.
                Err(ClientError::Reply(_)) => exchange(&mut self.connect().await?).await,
                reply => reply,
            },
            None => exchange(&mut self.connect().await?).await,
        };
        match &reply {
            // Another server may be better off.
            Err(_) | Ok(Reply { status: StatusCode::SERVICE_UNAVAILABLE, .. }) => self.turn_away().await,
            Ok(_) => {}
        }
        reply
    }

    /// The open connection, unless the certificates changed since.
    async fn kept_connection(&self) -> Option<Open> {
        let mut state = self.state.lock().await;
        match state.kept.refresh() {
            Refresh::Same => {}
            Refresh::New => {
                let not_after = state.kept.value().own.not_after;
                tracing::info!(%not_after, "the certificate is a new one");
                state.open = None;
            }
            Refresh::Bad(error) => {
                tracing::error!("{}; the certificate in use stays", describe(&error));
            }
        }
        state.open.clone().filter(|open| !open.sender.is_closed())
    }

    /// A new connection, to the first server that takes it.
    async fn connect(&self) -> Result<Open, ClientError> {
        let mut state = self.state.lock().await;
        state.open = None;
        let loaded = state.kept.value();
        let mut failures = Vec::new();
        let order = self.urls.0.iter().enumerate().cycle().skip(state.next).take(self.urls.0.len());
        for (at, url) in order {
            let failure = match timeout(CONNECT_TIME, reach(&loaded.tls, url)).await {
                Ok(Ok(sender)) => {
                    let open = Open { sender, url: url.clone() };
                    state.next = at;
                    state.open = Some(open.clone());
                    return Ok(open);
                }
                Ok(Err(failure)) => failure,
                Err(_) => format!("no answer within {} s", CONNECT_TIME.as_secs()),
            };
            failures.push(format!("{url}: {failure}"));
        }
        let failures = failures.join("; ");
        Err(if failures.contains(ALERT) {
            ClientError::Refused(failures)
        } else {
            ClientError::NoServer(failures)
        })
    }

    /// The next request goes to the next server.
    async fn turn_away(&self) {
        let mut state = self.state.lock().await;
        state.open = None;
        state.next = state.next.saturating_add(1).checked_rem(self.urls.0.len()).unwrap_or(0);
    }
}

async fn reach(tls: &Arc<ClientConfig>, url: &Url) -> Result<SendRequest<Full<Bytes>>, String> {
    let text = |error: io::Error| error.to_string();
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(text)?;
    // A request is one small write: it shall not wait for another.
    stream.set_nodelay(true).map_err(text)?;
    let connector = TlsConnector::from(Arc::clone(tls));
    let mut stream = connector.connect(url.name.clone(), stream).await.map_err(text)?;
    // In TLS 1.3 the server looks at the certificate when the client believes that all is well. Its refusal comes
    // in the place of its first word, and would be lost if we wrote meanwhile.
    let mut first_word = Vec::with_capacity(FIRST_WORD_BYTES);
    if let Ok(read) = timeout(FIRST_WORD_TIME, stream.read_buf(&mut first_word)).await {
        read.map_err(text)?;
    }
    let (read, write) = tokio::io::split(stream);
    let stream = tokio::io::join(Cursor::new(first_word).chain(read), write);
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| describe(&error))?;
    // It ends with its last sender, or with the server; whoever waits for a reply then is told.
    tokio::spawn(connection);
    Ok(sender)
}
