//! TLS made of certificates: 1.3 only, and no session is taken up again, since that would not look at the
//! certificate anew.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig};

use crate::{Material, TlsError};

/// HTTP/2 in ALPN.
pub const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1 in ALPN.
pub const ALPN_HTTP_1_1: &[u8] = b"http/1.1";

/// The one provider of cryptography.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The asking end.
///
/// # Errors
/// [`TlsError::Unusable`].
pub fn client_config(material: &Material) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .and_then(|builder| {
            builder
                .with_root_certificates(Arc::clone(&material.roots))
                .with_client_auth_cert(material.chain.clone(), material.key.clone_key())
        })
        .map_err(|error| unusable(material, error))?;
    config.alpn_protocols = vec![ALPN_H2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The answering end; `verifier` looks at the other's certificate.
///
/// # Errors
/// [`TlsError::Unusable`].
pub fn server_config(
    material: &Material,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(verifier)
                .with_single_cert(material.chain.clone(), material.key.clone_key())
        })
        .map_err(|error| unusable(material, error))?;
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP_1_1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

impl Material {
    /// Why TLS cannot be made of it.
    pub fn unusable(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TlsError {
        TlsError::Unusable { files: Box::new(self.files.clone()), source: source.into() }
    }
}

fn unusable(material: &Material, error: rustls::Error) -> TlsError {
    material.unusable(error)
}
