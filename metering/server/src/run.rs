//! Start, serve, stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use nix::sys::stat::{Mode, umask};
use sd_notify::NotifyState;
use tenantry_model::{Clock, NodeName, SystemClock, describe};
use tenantry_store::{Ledger, PublicKey, StoreError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::caller::Caller;
use crate::config::Config;
use crate::database::{self, Owner};
use crate::network::{self, Keeper, NetworkError};
use crate::reply::App;
use crate::sockets::{Limited, ListenError, listen};
use crate::stats::Stats;
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
    /// The network cannot be listened to.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The ledger cannot be opened.
    #[error(transparent)]
    Ledger(#[from] StoreError),
    /// A socket broke while it was served.
    #[error("a socket failed while it was served")]
    Serve(#[source] io::Error),
    /// The settings name no database.
    #[error("server.toml has no [postgres]: say there where the database is (docs/ledger.md)")]
    NoDatabase,
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
        let ledger = database::open(config).await?;
        ledger.trust_key(node, key, now).await?;
        ledger.close().await;
        tracing::info!(%node, %key, "trusted");
        Ok(())
    })
}

/// Makes or updates the database's tables.
pub fn migrate(config: &Config, owner: &Owner) -> Result<(), Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::System)?;
    runtime.block_on(database::migrate(config, owner))
}

/// Moves the embedded ledger into the database.
pub fn migrate_to_postgres(config: &Config, owner: &Owner) -> Result<(), Error> {
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::System)?;
    runtime.block_on(database::migrate_to_postgres(config, owner))
}

/// Makes days' partitions before the days come.
async fn make_days(ledger: Ledger) {
    let mut hourly = interval(Duration::from_hours(1));
    loop {
        hourly.tick().await;
        let Ok(now) = SystemClock.now() else { continue };
        match ledger.make_days(now.wall).await {
            Ok(0) => {}
            Ok(made) => tracing::info!(made, "days' partitions made ahead"),
            Err(error) => tracing::warn!(
                error = describe(&error),
                "no partitions are made ahead: blocks go into the default one"
            ),
        }
    }
}

async fn serve(config: Config) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::System)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::System)?;
    let start = SystemClock.now().map_err(Error::System)?.wall;
    let ledger = database::open(&config).await?.with_windows(config.window_minutes);
    let ingest_listener = listen(&config.ingest_socket, 0o660, MOST_DAEMONS)?;
    let api_listener = listen(&config.api_socket, 0o666, MOST_READERS)?;
    let stats = Arc::new(Stats::default());
    let network = network_door(&config, &stats)?;
    tracing::info!(%config, "ready");
    let app = Arc::new(App::new(config, ledger.clone(), Box::new(SystemClock), start, stats));

    let stop = CancellationToken::new();
    let mut sockets = JoinSet::new();
    if let (Some((listeners, keeper)), Some(bounds)) = (network, app.network.clone()) {
        let door = keeper.door();
        sockets.spawn(network::serve(listeners, door, Arc::clone(&app), bounds, stop.clone()));
        sockets.spawn(keeper.run(stop.clone()));
    }
    sockets.spawn(serve_socket(ingest_listener, ingest::routes(Arc::clone(&app)), stop.clone()));
    sockets.spawn(serve_socket(api_listener, api::routes(app), stop.clone()));
    let days = tokio::spawn(make_days(ledger.clone()));
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
    days.abort();
    ledger.close().await;
    Ok(())
}

/// The network's listeners and certificates, where the settings have a network.
fn network_door(
    config: &Config,
    stats: &Arc<Stats>,
) -> Result<Option<(Vec<TcpListener>, Keeper)>, NetworkError> {
    let open = |settings: &network::Network| {
        let keeper = Keeper::open(settings, Arc::clone(stats))?;
        Ok((network::listen(&settings.listen)?, keeper))
    };
    config.network.as_ref().map(open).transpose()
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
