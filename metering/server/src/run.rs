//! Start, serve, stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use nix::sys::stat::{Mode, umask};
use sd_notify::NotifyState;
use tenantry_model::{Clock, NodeName, SystemClock};
use tenantry_store::{Ledger, PublicKey, StoreError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::caller::Caller;
use crate::config::Config;
use crate::reply::{App, RequestNames};
use crate::sockets::{Limited, ListenError, listen};
use crate::{api, ingest};

/// Open connections to each socket.
const MOST_DAEMONS: usize = 64;
const MOST_READERS: usize = 128;
/// How long requests may go on after SIGTERM.
const GRACE: Duration = Duration::from_secs(10);

/// Why the server ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A socket cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] StoreError),
    /// A socket broke while it was served.
    #[error("a socket failed while it was served")]
    Serve(#[source] io::Error),
    /// The runtime, the clock or a signal handler cannot be had.
    #[error("the system refused what the server needs to start")]
    System(#[source] io::Error),
    /// A defect of this program.
    #[error("a task of the server ended by a defect: please report it")]
    Task(#[source] JoinError),
}

/// Serves until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), Error> {
    // The ledger is nobody else's to read.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::System)?;
    runtime.block_on(serve(config))
}

/// Trusts a node with a key; a server that runs takes its blocks from then on.
pub fn trust_key(config: &Config, node: &NodeName, key: PublicKey) -> Result<(), Error> {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let now = SystemClock.now().map_err(Error::System)?.wall;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::System)?;
    runtime.block_on(async {
        let ledger = Ledger::open(&config.ledger).await?;
        ledger.trust_key(node, key, now).await?;
        ledger.close().await;
        tracing::info!(%node, %key, "trusted");
        Ok(())
    })
}

async fn serve(config: Config) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::System)?;
    let start = SystemClock.now().map_err(Error::System)?.wall;
    let ledger = Ledger::open(&config.ledger).await?.with_windows(config.window_minutes);
    let ingest_listener = listen(&config.ingest_socket, 0o660, MOST_DAEMONS)?;
    let api_listener = listen(&config.api_socket, 0o666, MOST_READERS)?;
    tracing::info!(%config, "ready");
    let app = Arc::new(App {
        config,
        ledger: ledger.clone(),
        clock: Box::new(SystemClock),
        names: RequestNames::new(start),
    });

    let stop = CancellationToken::new();
    let mut sockets = JoinSet::new();
    sockets.spawn(serve_socket(ingest_listener, ingest::routes(Arc::clone(&app)), stop.clone()));
    sockets.spawn(serve_socket(api_listener, api::routes(app), stop.clone()));
    tell(NotifyState::Ready);

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        Some(ended) = sockets.join_next() => ended.map_err(Error::Task)?.map_err(Error::Serve)?,
    }
    tell(NotifyState::Stopping);
    tracing::info!("stopping: requests under way are finished");
    stop.cancel();
    let finished = timeout(GRACE, async {
        while let Some(ended) = sockets.join_next().await {
            ended.map_err(Error::Task)?.map_err(Error::Serve)?;
        }
        Ok::<(), Error>(())
    });
    if let Ok(result) = finished.await {
        result?;
    } else {
        tracing::warn!(grace_seconds = GRACE.as_secs(), "some requests did not finish and are cut");
    }
    sockets.shutdown().await;
    ledger.close().await;
    Ok(())
}

async fn serve_socket(listener: Limited, routes: Router, stop: CancellationToken) -> io::Result<()> {
    axum::serve(listener, routes.into_make_service_with_connect_info::<Caller>())
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
