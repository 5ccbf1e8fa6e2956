//! The files, read whole or not at all.

use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use serde::Deserialize;

use crate::TlsError;
use crate::certificate::Certificate;

/// Where certificates stand. A path `credential:NAME` is the file NAME among systemd's credentials.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The certificates of the authorities that are believed.
    pub ca: PathBuf,
    /// One's own certificate, and those between it and the authority, if any.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority's list of revoked certificates.
    #[serde(default)]
    pub crl: Option<PathBuf>,
}

/// What tells that a file is not the one that was read.
pub type Stamp = Vec<Option<(u64, u64, i64, i64, u64)>>;

/// What the files hold.
#[derive(Debug)]
pub struct Material {
    /// Where it is from.
    pub files: Files,
    /// The authorities.
    pub roots: Arc<RootCertStore>,
    /// One's own chain.
    pub chain: Vec<CertificateDer<'static>>,
    /// What one's own certificate says.
    pub own: Certificate,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
    /// The lists of revoked certificates; `None`: there is no file for them.
    pub crls: Option<Vec<CertificateRevocationListDer<'static>>>,
}

const CREDENTIAL: &str = "credential:";

impl Files {
    /// What the files are now.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let stamp = |path: &PathBuf| {
            let metadata = fs::metadata(place(path).ok()?).ok()?;
            Some((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec(), metadata.len()))
        };
        [&self.ca, &self.certificate, &self.key].into_iter().chain(&self.crl).map(stamp).collect()
    }

    /// Reads them all.
    ///
    /// # Errors
    /// [`TlsError`]: the first file that cannot be used.
    pub fn read(&self) -> Result<Material, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(&self.ca)? {
            roots.add(authority).map_err(|error| content(&self.ca, "authority's certificate", error))?;
        }
        let chain = certificates(&self.certificate)?;
        let own = chain.first().and_then(|der| Certificate::read(der));
        let own = own.ok_or_else(|| content(&self.certificate, "certificate", pem::Error::NoItemsFound))?;
        let key_file = place(&self.key)?;
        let mode = fs::metadata(&key_file).map_err(read(&key_file))?.permissions().mode();
        if mode & 0o007 != 0 {
            return Err(TlsError::OpenKey(key_file));
        }
        let key = PrivateKeyDer::from_pem_slice(&fs::read(&key_file).map_err(read(&key_file))?)
            .map_err(|error| content(&key_file, "private key", error))?;
        let crls = self.crl.as_deref().map(revocations).transpose()?;
        Ok(Material { files: self.clone(), roots: Arc::new(roots), chain, own, key, crls })
    }
}

/// Where a path of the settings is.
fn place(path: &Path) -> Result<PathBuf, TlsError> {
    let Some(name) = path.to_str().and_then(|text| text.strip_prefix(CREDENTIAL)) else {
        return Ok(path.to_owned());
    };
    let directory = env::var_os("CREDENTIALS_DIRECTORY");
    let directory = directory.ok_or_else(|| TlsError::NoCredentials { path: path.display().to_string() })?;
    Ok(PathBuf::from(directory).join(name))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = place(file)?;
    let bytes = fs::read(&file).map_err(read(&file))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| content(&file, "certificate", error))?;
    if found.is_empty() { Err(content(&file, "certificate", pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn revocations(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let file = place(file)?;
    let bytes = fs::read(&file).map_err(read(&file))?;
    let found: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| content(&file, "list of revoked certificates", error))?;
    if found.is_empty() {
        return Err(content(&file, "list of revoked certificates", pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn read(file: &Path) -> impl FnOnce(io::Error) -> TlsError {
    let file = file.to_owned();
    move |source| TlsError::Read { file, source }
}

fn content(
    file: &Path,
    what: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> TlsError {
    TlsError::Content { file: file.to_owned(), what, source: source.into() }
}
