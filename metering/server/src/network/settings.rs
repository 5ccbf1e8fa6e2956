//! `[network]` of server.toml.

use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use serde::Deserialize;
use tenantry_model::ClusterName;
use tenantry_tls::Files;

/// What the server does on the network; without this table it does nothing there.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The addresses it listens on.
    pub listen: Vec<SocketAddr>,
    /// The cluster whose certificates are taken.
    pub cluster: ClusterName,
    /// The authorities that callers' certificates are from.
    pub ca: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authority's list of revoked certificates.
    #[serde(default)]
    pub crl: Option<PathBuf>,
    /// Open connections.
    #[serde(default = "max_connections")]
    pub max_connections: NonZeroUsize,
    /// Of them, those of one certificate's name.
    #[serde(default = "max_connections_of_a_name")]
    pub max_connections_of_a_name: NonZeroUsize,
    /// Requests a minute of one certificate's name; ten seconds' worth of them may come at once.
    #[serde(default = "requests_per_minute")]
    pub requests_per_minute: NonZeroU32,
    /// Seconds that a request may take in all: to come in, to be worked on, and to be answered.
    #[serde(default = "request_seconds")]
    pub request_seconds: NonZeroU32,
}

const fn max_connections() -> NonZeroUsize {
    const { NonZeroUsize::new(16_384).unwrap() }
}

const fn max_connections_of_a_name() -> NonZeroUsize {
    const { NonZeroUsize::new(8).unwrap() }
}

const fn requests_per_minute() -> NonZeroU32 {
    const { NonZeroU32::new(1_200).unwrap() }
}

const fn request_seconds() -> NonZeroU32 {
    const { NonZeroU32::new(60).unwrap() }
}

impl Network {
    /// Where the certificates stand.
    pub fn files(&self) -> Files {
        Files {
            ca: self.ca.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            crl: self.crl.clone(),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.listen.iter().map(ToString::to_string).collect();
        write!(
            f,
            "certificates of cluster {} are taken on {}{}",
            self.cluster,
            addresses.join(", "),
            if self.crl.is_some() { "" } else { " (without crl, a stolen key serves until it expires)" },
        )
    }
}
