//! Looks at callers' certificates, and remembers whom it turned away.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use tenantry_tls::{Certificate, Material, TlsError, provider};
use webpki::{EndEntityCert, KeyUsage};

/// A certificate of the site's authority that is good no longer, or for something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnedAway {
    /// Who it names: its `spiffe://` name, or its subject.
    pub name: String,
    /// Its serial number.
    pub serial: String,
    /// Why it is not taken.
    pub reason: String,
}

tokio::task_local! {
    /// Of the handshake that runs in this task.
    pub static TURNED_AWAY: OnceLock<TurnedAway>;
}

/// TLS's own verifier, and what it refuses.
#[derive(Debug)]
pub struct Doorkeeper {
    inner: Arc<dyn ClientCertVerifier>,
    roots: Arc<RootCertStore>,
}

impl Doorkeeper {
    /// One who believes the authorities of `material`, but for what they revoked.
    pub fn new(material: &Material) -> Result<Self, TlsError> {
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&material.roots), provider());
        if let Some(crls) = &material.crls {
            // The lists of intermediate authorities, where there are such, need not be at hand. A list
            // that is out of date is used on: usage would be kept from its ledger for nothing.
            builder = builder
                .with_crls(crls.iter().cloned())
                .only_check_end_entity_revocation()
                .allow_unknown_revocation_status();
        }
        let inner = builder.build().map_err(|error| material.unusable(error))?;
        Ok(Self { inner, roots: Arc::clone(&material.roots) })
    }

    /// Whether an authority of ours signed it once, for whatever it was: of others nothing is worth writing down.
    fn is_ours(&self, end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> bool {
        let (Ok(parsed), Some(read)) = (EndEntityCert::try_from(end_entity), Certificate::read(end_entity))
        else {
            return false;
        };
        let algorithms = provider().signature_verification_algorithms.all;
        let at = read.begins();
        [KeyUsage::client_auth(), KeyUsage::server_auth()].into_iter().any(|usage| {
            let roots = &self.roots.roots;
            parsed.verify_for_usage(algorithms, roots, intermediates, at, usage, None, None).is_ok()
        })
    }
}

impl ClientCertVerifier for Doorkeeper {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.inner.verify_client_cert(end_entity, intermediates, now).inspect_err(|error| {
            if !self.is_ours(end_entity, intermediates) {
                return;
            }
            let Some(read) = Certificate::read(end_entity) else { return };
            let name = match read.names.as_slice() {
                [name] => name.clone(),
                _ => read.subject,
            };
            let turned = TurnedAway { name, serial: read.serial, reason: error.to_string() };
            // Outside a handshake, when an open connection is looked at again, the caller says it.
            let _ = TURNED_AWAY.try_with(|slot| slot.set(turned));
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
