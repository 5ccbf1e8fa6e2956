//! What a certificate says of itself. Whether it may be believed is for TLS to find out.

use std::fmt::Write as _;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use tenantry_model::{ClusterName, Identity, InvalidIdentity, WallTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Hexadecimal, as `tenantry-server pki show` and openssl write it.
    pub serial: String,
    /// Its subject, as a person reads it.
    pub subject: String,
    /// Each `spiffe://` URI among its alternative names.
    pub names: Vec<String>,
    /// From when it holds.
    pub not_before: WallTime,
    /// Until when.
    pub not_after: WallTime,
}

/// Why a certificate names nobody here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unnamed {
    /// No `spiffe://` name.
    #[error("it has no spiffe:// name")]
    None,
    /// More than one: which would it be?
    #[error("it has several spiffe:// names")]
    Several,
    /// Not of this system's form.
    #[error("{name:?}: {source}")]
    Invalid {
        /// The name.
        name: String,
        /// Why.
        source: InvalidIdentity,
    },
    /// Of another cluster.
    #[error("{name} is of another cluster than {cluster}")]
    OtherCluster {
        /// The name.
        name: Identity,
        /// The cluster it should be of.
        cluster: ClusterName,
    },
}

/// As much of a name or a subject as a line should carry.
const QUOTED_CHARS: usize = 200;

impl Certificate {
    /// Reads DER; `None` where it is none.
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let time = |time: x509_parser::time::ASN1Time| {
            WallTime::from_unix_usec(time.timestamp().checked_mul(1_000_000)?).ok()
        };
        let names = match parsed.subject_alternative_name() {
            Ok(Some(extension)) => extension
                .value
                .general_names
                .iter()
                .filter_map(|name| match name {
                    GeneralName::URI(uri) if uri.starts_with("spiffe://") => Some(quoted(uri)),
                    _ => None,
                })
                .collect(),
            Ok(None) => Vec::new(),
            Err(_) => return None,
        };
        Some(Self {
            serial: hex(parsed.raw_serial()),
            subject: quoted(&parsed.subject().to_string()),
            names,
            not_before: time(parsed.validity().not_before)?,
            not_after: time(parsed.validity().not_after)?,
        })
    }

    /// Who it names, in `cluster`.
    ///
    /// # Errors
    /// [`Unnamed`].
    pub fn identity(&self, cluster: &ClusterName) -> Result<Identity, Unnamed> {
        let name = match self.names.as_slice() {
            [] => return Err(Unnamed::None),
            [name] => name,
            _ => return Err(Unnamed::Several),
        };
        let identity: Identity =
            name.parse().map_err(|source| Unnamed::Invalid { name: name.clone(), source })?;
        if identity.cluster == *cluster {
            Ok(identity)
        } else {
            Err(Unnamed::OtherCluster { name: identity, cluster: cluster.clone() })
        }
    }

    /// When it begins to hold, as TLS takes a time.
    #[must_use]
    pub fn begins(&self) -> UnixTime {
        let seconds = self.not_before.unix_usec().div_euclid(1_000_000);
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    /// How long it holds from `now` on; zero: no longer.
    #[must_use]
    pub fn left(&self, now: WallTime) -> Duration {
        let usec = self.not_after.unix_usec().saturating_sub(now.unix_usec());
        Duration::from_micros(u64::try_from(usec).unwrap_or(0))
    }

    /// Whether less than a third of its life is left at `now`: time for the next one.
    #[must_use]
    pub fn is_due(&self, now: WallTime) -> bool {
        let usec = self.not_after.unix_usec().saturating_sub(self.not_before.unix_usec());
        let life = Duration::from_micros(u64::try_from(usec).unwrap_or(0));
        self.left(now).saturating_mul(3) < life
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS).filter(|c| !c.is_control()).collect()
}
