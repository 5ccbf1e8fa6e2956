//! One connection: its handshake, who is there, and its requests until either end has enough.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, UnixTime};
use tenantry_tls::{ALPN_H2, Certificate};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::Bounds;
use super::doorkeeper::{TURNED_AWAY, TurnedAway};
use super::tls::Door;
use crate::caller::Caller;
use crate::reply::App;
use crate::stats::Refusal;

/// How long a peer has to show its certificate.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a connection is kept, however busy: then the peer makes a new one.
const LONGEST: Duration = Duration::from_hours(1);
/// How often a quiet peer is asked whether it is still there, and how long it has to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIME: Duration = Duration::from_secs(20);
/// How long an HTTP/1.1 peer has for a request's head, and may be quiet.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// What a connection may have on its way before we read it: it bounds memory, times `max_connections`.
const WINDOW_BYTES: u32 = 64 << 10;
const MOST_HEADER_BYTES: u32 = 16 << 10;
const MOST_STREAMS: u32 = 16;
/// How long requests may go on once the connection is to end.
const GRACE: Duration = Duration::from_secs(10);

/// What all connections have in common.
pub struct Shared {
    /// What is asked.
    pub routes: Router,
    /// The certificates in use.
    pub door: watch::Receiver<Arc<Door>>,
    /// Peers that have not yet shown a certificate.
    pub handshakes: Arc<Semaphore>,
    /// The server's end.
    pub stop: CancellationToken,
    /// Ledger and figures.
    pub app: Arc<App>,
    /// What it is bound by.
    pub bounds: Arc<Bounds>,
}

/// Cuts the connection that a request came by; a request carries it.
#[derive(Debug, Clone)]
pub struct Cut(pub CancellationToken);

/// From the first byte to the last.
pub async fn serve(
    shared: Arc<Shared>,
    stream: TcpStream,
    address: SocketAddr,
    handshake_permit: OwnedSemaphorePermit,
) {
    let app = &shared.app;
    let mut door = shared.door.clone();
    let config = Arc::clone(&door.borrow_and_update().tls);
    // A reply is one small write: it shall not wait for another.
    let _ = stream.set_nodelay(true);
    let shaken = TURNED_AWAY
        .scope(OnceLock::new(), async {
            let shaken = timeout(HANDSHAKE_TIME, TlsAcceptor::from(config).accept(stream)).await;
            match shaken {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err((TURNED_AWAY.with(|slot| slot.get().cloned()), error.to_string())),
                Err(_) => Err((None, "it took too long".to_owned())),
            }
        })
        .await;
    drop(handshake_permit);
    let stream = match shaken {
        Ok(stream) => stream,
        Err((turned, reason)) => return turned_away(app, address, turned, reason).await,
    };
    let Some((caller, certificate, chain)) = who(&shared, &stream) else {
        return app.stats.refused(Refusal::Handshake);
    };
    let place = match shared.bounds.places.take(&caller.to_string()) {
        Ok(place) => place,
        Err(refusal) => {
            tracing::warn!(%address, %caller, bound = refusal.as_str(), "a connection is one too many");
            return app.stats.refused(refusal);
        }
    };
    app.stats.connected();
    let cut = Cut(CancellationToken::new());
    let now = app.clock.now().ok().map(|now| now.wall);
    let life = now.map_or(LONGEST, |now| certificate.left(now).min(LONGEST));
    let ended = async {
        let renewed = async {
            while door.changed().await.is_ok() {
                let keeper = Arc::clone(&door.borrow_and_update().keeper);
                if let Err(reason) = is_still_good(&keeper, &chain) {
                    return reason;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            () = shared.stop.cancelled() => End::Gently,
            () = sleep(life) => End::Gently,
            () = cut.0.cancelled() => End::AtOnce,
            reason = renewed => {
                let serial = certificate.serial.clone();
                let turned = TurnedAway { name: caller.to_string(), serial, reason: reason.clone() };
                turned_away(app, address, Some(turned), reason).await;
                End::AtOnce
            }
        }
    };
    requests(&shared.routes, stream, &caller, &cut, ended).await;
    drop(place);
}

enum End {
    Gently,
    AtOnce,
}

/// Serves requests until the peer goes or `ended` says how to end.
async fn requests(
    routes: &Router,
    stream: TlsStream<TcpStream>,
    caller: &Caller,
    cut: &Cut,
    ended: impl Future<Output = End>,
) {
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
    let service = service_fn(|request: Request<Incoming>| {
        let mut routes = routes.clone();
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(caller.clone()));
        request.extensions_mut().insert(cut.clone());
        async move { routes.call(request).await }
    });
    let io = TokioIo::new(stream);
    // The two kinds of connection have no type in common.
    macro_rules! until_ended {
        ($connection:expr) => {{
            let connection = $connection;
            tokio::pin!(connection, ended);
            tokio::select! {
                served = connection.as_mut() => served,
                end = ended.as_mut() => match end {
                    End::AtOnce => Ok(()),
                    End::Gently => {
                        connection.as_mut().graceful_shutdown();
                        timeout(GRACE, connection).await.unwrap_or(Ok(()))
                    }
                },
            }
        }};
    }
    let served = if is_h2 {
        until_ended!(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIME)
                .initial_stream_window_size(WINDOW_BYTES)
                .initial_connection_window_size(WINDOW_BYTES)
                .max_concurrent_streams(MOST_STREAMS)
                .max_header_list_size(MOST_HEADER_BYTES)
                .max_send_buf_size(64 << 10)
                .serve_connection(io, service)
        )
    } else {
        until_ended!(
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .max_buf_size(64 << 10)
                .serve_connection(io, service)
        )
    };
    if let Err(error) = served {
        tracing::debug!(%caller, %error, "a connection broke off");
    }
}

/// Who is there, by the certificate that the handshake was made with.
fn who(
    shared: &Shared,
    stream: &TlsStream<TcpStream>,
) -> Option<(Caller, Certificate, Vec<CertificateDer<'static>>)> {
    let chain = stream.get_ref().1.peer_certificates()?;
    let certificate = Certificate::read(chain.first()?)?;
    let caller = match certificate.identity(&shared.bounds.settings.cluster) {
        Ok(identity) => Caller::Certified(identity),
        Err(why) => {
            shared.app.stats.refused(Refusal::Name);
            Caller::Stranger(format!("{}, serial {}: {why}", certificate.subject, certificate.serial))
        }
    };
    let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
    Some((caller, certificate, chain))
}

fn is_still_good(
    keeper: &Arc<dyn rustls::server::danger::ClientCertVerifier>,
    chain: &[CertificateDer<'static>],
) -> Result<(), String> {
    let (end_entity, intermediates) = chain.split_first().ok_or("it is not there")?;
    let verified = keeper.verify_client_cert(end_entity, intermediates, UnixTime::now());
    verified.map(|_| ()).map_err(|error| error.to_string())
}

/// A handshake that failed: an audit event where it is known whose it was, a figure in any case.
async fn turned_away(app: &App, address: SocketAddr, turned: Option<TurnedAway>, reason: String) {
    let Some(TurnedAway { name, serial, reason }) = turned else {
        tracing::debug!(%address, reason, "a handshake failed");
        return app.stats.refused(Refusal::Handshake);
    };
    app.stats.refused(Refusal::Certificate);
    let detail = format!("from {address}, certificate {serial}: {reason}");
    tracing::warn!(name, detail, "a certificate was refused");
    let id = app.names.next();
    app.audit(&name.clone(), None, id, format!("connection of {name}"), detail).await;
}
