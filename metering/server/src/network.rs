//! The door to the network: HTTP/2 and HTTP/1.1 over TLS 1.3, every caller with a certificate.

mod bounds;
mod connection;
mod doorkeeper;
mod places;
mod settings;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Router, middleware};
use tenantry_tls::TlsError;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use bounds::{Held, Rates};
pub use places::{Place, Places};
pub use settings::Network;
pub use tls::{Door, Keeper};

use crate::reply::{App, correlate, method_not_allowed, not_found};
use crate::stats::Refusal;
use crate::{api, ingest};

/// Connections that wait in the kernel to be taken up.
const BACKLOG: u32 = 4096;
/// Peers that have not yet shown a certificate.
const MOST_HANDSHAKES: usize = 1024;
/// After the system had no more descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// Why the network cannot be listened to.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// An address is taken, or is not this machine's.
    #[error(
        "cannot listen on {address}: stop what listens there, or write another address under [network] listen; \
             as a unit of systemd the server needs the drop-in network.conf (docs/network.md)"
    )]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// A signal cannot be waited for.
    #[error("the system refused what the server needs to start")]
    System(#[source] io::Error),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What the network is bound by.
#[derive(Debug)]
pub struct Bounds {
    /// The settings.
    pub settings: Network,
    /// Open connections.
    pub places: Places,
    /// Requests of each name.
    pub rates: Rates,
}

/// What may be asked at once, of a minute's requests.
const BURST: Duration = Duration::from_secs(10);

impl Bounds {
    /// The bounds that the settings name.
    pub fn new(settings: Network) -> Self {
        let places = Places::new(settings.max_connections.get(), settings.max_connections_of_a_name.get());
        let rates = Rates::new(settings.requests_per_minute.get(), BURST);
        Self { settings, places, rates }
    }
}

/// Everything that is asked over the network: each path knows what its callers may.
fn routes(app: &Arc<App>, bounds: &Arc<Bounds>) -> Router {
    Router::new()
        .merge(ingest::paths(app))
        .merge(api::paths(app))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(bounds), bounds::bounded))
        .layer(middleware::from_fn_with_state(Arc::clone(app), correlate))
        .with_state(Arc::clone(app))
}

/// Listens on each address.
///
/// # Errors
/// [`NetworkError::Listen`].
pub fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, NetworkError> {
    let one = |address: &SocketAddr| {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(*address)?;
        socket.listen(BACKLOG)
    };
    addresses
        .iter()
        .map(|address| one(address).map_err(|source| NetworkError::Listen { address: *address, source }))
        .collect()
}

/// Serves what comes in until told to stop, and ends with the last connection.
pub async fn serve(
    listeners: Vec<TcpListener>,
    door: watch::Receiver<Arc<Door>>,
    app: Arc<App>,
    bounds: Arc<Bounds>,
    stop: CancellationToken,
) -> io::Result<()> {
    let shared = Arc::new(connection::Shared {
        routes: routes(&app, &bounds),
        door,
        handshakes: Arc::new(Semaphore::new(MOST_HANDSHAKES)),
        stop: stop.clone(),
        app,
        bounds,
    });
    let connections = TaskTracker::new();
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(accept(listener, Arc::clone(&shared), connections.clone()));
    }
    while let Some(ended) = accepting.join_next().await {
        ended.map_err(io::Error::other)?;
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

async fn accept(listener: TcpListener, shared: Arc<connection::Shared>, connections: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => match Arc::clone(&shared.handshakes).try_acquire_owned() {
                Ok(permit) => {
                    connections.spawn(connection::serve(Arc::clone(&shared), stream, peer, permit));
                }
                // Closed at once, so that it can ask another server.
                Err(_) => shared.app.stats.refused(Refusal::Busy),
            },
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                sleep(PAUSE).await;
            }
        }
    }
}
