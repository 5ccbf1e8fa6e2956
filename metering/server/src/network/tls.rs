//! The certificates in use, made anew when their files change or at SIGHUP.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use tenantry_model::{Clock, ClusterName, SystemClock, describe};
use tenantry_tls::{Certificate, Kept, Material, Refresh, TlsError, server_config};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::NetworkError;
use super::doorkeeper::Doorkeeper;
use crate::stats::Stats;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How often a certificate that is due is spoken of: in looks.
const LOOKS_UNTIL_SAID_AGAIN: u32 = 6 * 3600 / 2;

/// How callers are received.
#[derive(Debug)]
pub struct Door {
    /// TLS.
    pub tls: Arc<ServerConfig>,
    /// Who looks at certificates: open connections are shown to a new one.
    pub keeper: Arc<dyn ClientCertVerifier>,
    /// The server's own certificate.
    pub own: Certificate,
}

fn load(material: &Material) -> Result<Door, TlsError> {
    let keeper: Arc<dyn ClientCertVerifier> = Arc::new(Doorkeeper::new(material)?);
    let tls = Arc::new(server_config(material, Arc::clone(&keeper))?);
    Ok(Door { tls, keeper, own: material.own.clone() })
}

/// Keeps the door's certificates those of the files.
#[derive(Debug)]
pub struct Keeper {
    kept: Kept<Door>,
    door: watch::Sender<Arc<Door>>,
    stats: Arc<Stats>,
    /// Awaited before anybody is told that the server is ready: until then SIGHUP would end it.
    hangup: Signal,
}

impl Keeper {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// [`NetworkError::Tls`], [`NetworkError::System`].
    pub fn open(settings: &super::Network, stats: Arc<Stats>) -> Result<Self, NetworkError> {
        let hangup = signal(SignalKind::hangup()).map_err(NetworkError::System)?;
        let kept = Kept::open(settings.files(), load)?;
        let door = watch::Sender::new(kept.value());
        stats.certificate(&kept.value().own);
        say_cluster(&kept.value().own, &settings.cluster);
        Ok(Self { kept, door, stats, hangup })
    }

    /// The door, as it is from now on.
    pub fn door(&self) -> watch::Receiver<Arc<Door>> {
        self.door.subscribe()
    }

    /// Until told to stop.
    pub async fn run(mut self, stop: CancellationToken) -> std::io::Result<()> {
        let mut looks = interval(LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut until_said = 0_u32;
        loop {
            let found = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = looks.tick() => self.kept.refresh(),
                _ = self.hangup.recv() => self.kept.reload(),
            };
            match found {
                Refresh::Same => {}
                Refresh::New => {
                    let own = &self.kept.value().own;
                    tracing::info!(serial = own.serial, not_after = %own.not_after, "certificates are read anew");
                    self.stats.reloaded(true);
                    self.stats.certificate(own);
                    self.door.send_replace(self.kept.value());
                    until_said = 0;
                }
                Refresh::Bad(error) => {
                    tracing::error!("{}; those in use stay", describe(&error));
                    self.stats.reloaded(false);
                }
            }
            until_said = if let Some(left) = until_said.checked_sub(1) {
                left
            } else {
                self.say_due();
                LOOKS_UNTIL_SAID_AGAIN
            };
        }
    }

    fn say_due(&self) {
        let own = &self.kept.value().own;
        let Ok(now) = SystemClock.now() else { return };
        if own.left(now.wall).is_zero() {
            tracing::error!(not_after = %own.not_after, "the server's certificate has expired, and nobody can connect: tenantry-server pki renew");
        } else if own.is_due(now.wall) {
            tracing::warn!(not_after = %own.not_after, "the server's certificate is due: tenantry-server pki renew");
        }
    }
}

/// A server may well have a certificate without a name of ours; one of another cluster is a slip.
fn say_cluster(own: &Certificate, cluster: &ClusterName) {
    if let Err(error @ tenantry_tls::Unnamed::OtherCluster { .. }) = own.identity(cluster) {
        tracing::warn!("the server's certificate: {error}");
    }
}
