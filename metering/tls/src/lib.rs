//! Certificates of a site: the files they stand in, who they name, and TLS made of them. TLS 1.3 only, both ends
//! with a certificate, one provider of cryptography (ring).
//!
//! ```no_run
//! use tenantry_tls::{Files, Kept, client_config};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let files = Files {
//!     ca: "/etc/tenantry/pki/ca.pem".into(),
//!     certificate: "/etc/tenantry/pki/node.pem".into(),
//!     key: "credential:node.key".into(),
//!     crl: None,
//! };
//! let mut kept = Kept::open(files, client_config)?;
//! let config = kept.value(); // and after each `kept.refresh()` what the files hold by then
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

mod certificate;
mod config;
mod files;
mod kept;

use std::io;
use std::path::PathBuf;

pub use certificate::{Certificate, Unnamed};
pub use config::{ALPN_H2, ALPN_HTTP_1_1, client_config, provider, server_config};
pub use files::{Files, Material, Stamp};
pub use kept::{Kept, Refresh};

/// Why certificates cannot be used. The text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: it must be there, and readable to this user", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// `credential:NAME` without systemd.
    #[error(
        "{path:?} is a credential of systemd's, and $CREDENTIALS_DIRECTORY is not set: add LoadCredential= to the unit, or write a path"
    )]
    NoCredentials {
        /// As it is written.
        path: String,
    },
    /// A key that everybody may read.
    #[error("everybody may read the key {}: chmod o-rwx it, and think of it as known to everybody", .0.display())]
    OpenKey(PathBuf),
    /// A file with other contents.
    #[error("{} holds no {what} in PEM that this program can use", file.display())]
    Content {
        /// Which.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The parts do not fit each other, or TLS cannot be made of them.
    #[error("certificate {} and key {} cannot be used together with {}", files.certificate.display(), files.key.display(), files.ca.display())]
    Unusable {
        /// The files.
        files: Box<Files>,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
