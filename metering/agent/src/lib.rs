//! The node daemon: finds the registered jobs, samples their groups and their tenants', takes the
//! outbox, spools all of it durably and sends it to `tenantry-server`.
//!
//! ```text
//! /run/tenantry/jobs --> registered --> sampler --+
//!                                                 +--> spool (SQLite, FULL) --> forward --> server
//! outbox files ------------------------> outbox --+
//! ```
//! An entry is in the spool before its source is let go, and in the ledger before the spool lets
//! it go. What is sent twice is counted once: the server knows blocks and ends by name.
#![forbid(unsafe_code)]

mod collect;
pub mod config;
pub mod exporter;
pub mod forward;
pub mod gpu;
pub mod key;
mod machine;
pub mod outbox;
mod pending;
pub mod powercap;
pub mod registered;
pub mod sampler;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use sd_notify::NotifyState;
use tenantry_cgroup::Root;
use tenantry_model::block::Event;
use tenantry_model::tenants;
use tenantry_model::{BootId, Clock, Moment, SystemClock};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::collect::Collector;
use crate::config::Config;
use crate::exporter::Shown;
use crate::forward::Forwarder;
use crate::machine::Machine;
use crate::sampler::Sampler;
use tenantry_spool::{Bounds, Identity, Spool, SpoolError};

/// Where the kernel tells the machine's energy.
const POWERCAP: &str = "/sys/class/powercap";

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps the daemon from starting, or the end of a task that should not end.
pub fn run(config: Config) -> Result<()> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?
        .block_on(daemon(config))
}

async fn daemon(config: Config) -> Result<()> {
    let boot_id = BootId::current().context("cannot read the boot id")?;
    let root = Root::open(&config.cgroup_root).context("cannot open the cgroup tree")?;
    let key = key::load_or_make(&config.node_key)
        .with_context(|| format!("cannot use the node's key {}", config.node_key.display()))?;
    tracing::info!(key = %key.public(), "blocks are signed with this node's key");
    let now = SystemClock.now().context("cannot read the clock")?;
    let identity = Identity { node: config.node_name.clone(), boot_id, key };
    let (spool, start) = open_spool(&config, identity, now).await.with_context(|| {
        format!("cannot open the spool {}, whose records stay as they are", config.spool.display())
    })?;
    say_tenants(&config);

    let stop = CancellationToken::new();
    let woken = Arc::new(tokio::sync::Notify::new());
    let sampler = Sampler::new(root, Box::new(SystemClock));
    let shown = Shown::default();
    shown.update(|shown| {
        (shown.most_jobs, shown.spool_max_bytes, shown.has_room) =
            (config.metrics_max_jobs, config.spool_max_bytes, true);
    });
    let machine = Machine::new(POWERCAP.as_ref(), config.gpus.clone());
    let collector = Collector::new(
        &config,
        Box::new(SystemClock),
        sampler,
        machine,
        spool.clone(),
        woken.clone(),
        shown.clone(),
    );
    let server = config.server().context("cannot tell where the server is")?;
    let forwarder = Forwarder::new(server, Box::new(SystemClock), spool, woken, shown.clone());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(collector.run(start, stop.clone()));
    tasks.spawn(forwarder.run(stop.clone()));
    if let Some(listener) = metrics_listener(&config)? {
        tasks.spawn(exporter::serve(listener, shown, stop.clone()));
    }

    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    tracing::info!(node = %config.node_name, interval_ms = config.sample_interval_ms, "tenantryd has started");
    // No systemd, no socket to tell: not an error.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = tasks.join_next() => {
            // Neither task ends by itself but by a panic or a broken spool: the process ends, and systemd starts it anew.
            ended.context("no task")?.context("a task of the daemon has panicked")??;
            anyhow::bail!("a task of the daemon has ended");
        }
    }
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task of the daemon has panicked")??;
    }
    tracing::info!("tenantryd has stopped");
    Ok(())
}

/// Where metrics are asked for: the socket that systemd hands over, or else the address in the settings.
fn metrics_listener(config: &Config) -> Result<Option<TcpListener>> {
    let handed_over = listenfd::ListenFd::from_env().take_tcp_listener(0);
    if let Some(listener) = handed_over.context("systemd handed over something else than a TCP listener")? {
        return Ok(Some(listener));
    }
    let bind = |address| {
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address} for metrics"))
    };
    config.metrics_listen.map(bind).transpose()
}

/// The spool, and what the first block has to say: since when nothing was read, and what was wrong.
async fn open_spool(
    config: &Config,
    identity: Identity,
    now: Moment,
) -> Result<(Spool, Vec<Event>), SpoolError> {
    let boot_id = identity.boot_id.clone();
    let bounds = Bounds {
        max_bytes: config.spool_max_bytes,
        keep: Duration::from_secs(config.spool_keep_hours.saturating_mul(3600)),
    };
    let (spool, damage) = Spool::open(&config.spool, identity, bounds, now).await?;
    let last = spool.tip().await?.filter(|tip| tip.boot_id == boot_id).and_then(|tip| tip.last_reading);
    let started = Event::Started { at: now, version: env!("CARGO_PKG_VERSION").to_owned(), last };
    Ok((spool, damage.into_iter().chain([started]).collect()))
}

fn say_tenants(config: &Config) {
    match tenants::in_force(&config.paths()) {
        Ok((tenants, None)) => tracing::info!(tenants = tenants.iter().count(), "tenants file is good"),
        Ok((_, Some(stale))) => tracing::error!("{stale}; the last good tenants file stays in force"),
        Err(error) => tracing::error!("{error}; jobs are refused until there is a good tenants file"),
    }
}
