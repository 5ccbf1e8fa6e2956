//! The authority's directory, and what is made in it.

use std::fs::{self, File, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, SerialNumber,
};
use tenantry_model::{ClusterName, Role, WallTime, durable};
use tenantry_tls::Certificate;
use time::OffsetDateTime;

use super::register::{Issued, Register, State};
use super::{PkiError, identity};

/// Its files.
pub const KEY: &str = "ca.key";
pub const CERTIFICATE: &str = "ca.pem";
pub const CRL: &str = "crl.pem";
const REGISTER: &str = "issued.json";
const LOCK: &str = "lock";

/// Clocks differ: what is made holds from a little before.
const SLACK: Duration = Duration::from_mins(5);
/// When the next list of revoked certificates is due; a later one is used all the same.
const CRL_LIFE: Duration = Duration::from_hours(24 * 30);

/// The authority, open: nobody else changes it meanwhile.
pub struct Authority {
    dir: PathBuf,
    register: Register,
    issuer: Issuer<'static, KeyPair>,
    _lock: File,
}

impl Authority {
    /// Makes one in `dir`.
    pub fn init(dir: &Path, cluster: &ClusterName, life: Duration, now: WallTime) -> Result<(), PkiError> {
        fs::create_dir_all(dir).map_err(at("make", dir))?;
        let lock = lock(dir)?;
        for name in [KEY, CERTIFICATE, REGISTER] {
            if dir.join(name).try_exists().map_err(at("look for", &dir.join(name)))? {
                return Err(PkiError::AuthorityExists(dir.join(name)));
            }
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = called(&format!("Tenantry authority of cluster {cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = span(now, life)?;
        let certificate = params.self_signed(&key)?;
        let read = Certificate::read(certificate.der()).ok_or(PkiError::ReadBack)?;
        let register = Register {
            cluster: cluster.clone(),
            authority_not_after: read.not_after,
            crl_number: 0,
            certificates: Vec::new(),
        };
        write(&dir.join(KEY), key.serialize_pem().as_bytes(), 0o600)?;
        write(&dir.join(CERTIFICATE), certificate.pem().as_bytes(), 0o644)?;
        let issuer = Issuer::new(params, key);
        let mut made = Self { dir: dir.to_owned(), register, issuer, _lock: lock };
        made.write_down(now)
    }

    /// Opens the one in `dir`.
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        let file = dir.join(REGISTER);
        if !file.try_exists().map_err(at("look for", &file))? {
            return Err(PkiError::NoAuthority(dir.to_owned()));
        }
        let lock = lock(dir)?;
        let register: Option<Register> = durable::read_json(&file).map_err(at("read", &file))?;
        let text = |name| {
            let file = dir.join(name);
            fs::read_to_string(&file).map_err(at("read", &file))
        };
        let issuer = Issuer::from_ca_cert_pem(&text(CERTIFICATE)?, KeyPair::from_pem(&text(KEY)?)?)?;
        let register = register.ok_or_else(|| PkiError::NoAuthority(dir.to_owned()))?;
        Ok(Self { dir: dir.to_owned(), register, issuer, _lock: lock })
    }

    /// What was made.
    pub fn register(&self) -> &Register {
        &self.register
    }

    /// A key and a certificate for a name that has none.
    pub fn issue(
        &mut self,
        role: &Role,
        names: Vec<String>,
        life: Duration,
        now: WallTime,
    ) -> Result<Issued, PkiError> {
        if let Some(holding) = self.register.latest(role, now) {
            return Err(PkiError::NameTaken(role.clone(), holding.not_after));
        }
        self.make(role, names, life, now)
    }

    /// A new key and certificate for a name that has had one.
    pub fn renew(&mut self, role: &Role, life: Duration, now: WallTime) -> Result<Issued, PkiError> {
        let last = self.register.last(role).ok_or_else(|| PkiError::Unknown(role.to_string()))?;
        if last.state(now) == State::Revoked {
            // Whoever revoked it shall say that the name is to be trusted again: by issuing it.
            return Err(PkiError::Unknown(role.to_string()));
        }
        let names = last.alternative_names.clone();
        self.make(role, names, life, now)
    }

    /// The names whose latest certificate is due or has expired.
    pub fn due(&self, now: WallTime) -> Vec<Role> {
        let latest = |issued: &&Issued| {
            self.register.last(&issued.role).map(|last| &last.serial) == Some(&issued.serial)
        };
        let is_due = |issued: &&Issued| matches!(issued.state(now), State::Due | State::Expired);
        let due = self.register.certificates.iter().filter(latest).filter(is_due);
        due.map(|issued| issued.role.clone()).collect()
    }

    /// Revokes the certificates of a name, or the one of a serial number.
    pub fn revoke(&mut self, which: &str, now: WallTime) -> Result<Vec<Issued>, PkiError> {
        let mut revoked = Vec::new();
        for issued in &mut self.register.certificates {
            if issued.holds(now) && (issued.serial == which || issued.role.to_string() == which) {
                issued.revoked = Some(now);
                revoked.push(issued.clone());
            }
        }
        if revoked.is_empty() {
            return Err(PkiError::Unknown(which.to_owned()));
        }
        self.write_down(now)?;
        Ok(revoked)
    }

    fn make(
        &mut self,
        role: &Role,
        names: Vec<String>,
        life: Duration,
        now: WallTime,
    ) -> Result<Issued, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = called(&role.to_string());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match role {
            Role::Server(_) => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Node(_) | Role::Reader(_) | Role::Tenant(_) => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let own = identity(&self.register.cluster, role).to_string();
        params.subject_alt_names.push(SanType::URI(ia5(&own)?));
        for name in &names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host(name)?),
            });
        }
        (params.not_before, params.not_after) = span(now, life)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let read = Certificate::read(certificate.der()).ok_or(PkiError::ReadBack)?;
        let issued = Issued {
            serial: read.serial,
            role: role.clone(),
            alternative_names: names,
            not_before: read.not_before,
            not_after: read.not_after,
            revoked: None,
        };
        // Known before it is there: nothing that was ever made is missing in the register.
        self.register.certificates.push(issued.clone());
        self.write_down(now)?;
        let (certificate_file, key_file) = files_of(&self.dir, role);
        write(&key_file, key.serialize_pem().as_bytes(), 0o600)?;
        write(&certificate_file, certificate.pem().as_bytes(), 0o644)?;
        Ok(issued)
    }

    /// The register, and a list of what is revoked in it.
    fn write_down(&mut self, now: WallTime) -> Result<(), PkiError> {
        self.register.crl_number = self.register.crl_number.saturating_add(1);
        let file = self.dir.join(REGISTER);
        durable::write_json(&file, &self.register).map_err(at("write", &file))?;
        let (this_update, next_update) = span(now, CRL_LIFE)?;
        // One that has expired is refused as that.
        let revoked = self.register.certificates.iter().filter(|issued| issued.not_after > now);
        let revoked_certs = revoked
            .filter_map(|issued| Some((issued, issued.revoked?)))
            .map(|(issued, since)| {
                Ok(RevokedCertParams {
                    serial_number: SerialNumber::from(unhex(&issued.serial).ok_or(PkiError::ReadBack)?),
                    revocation_time: moment(since)?,
                    reason_code: Some(RevocationReason::Unspecified),
                    invalidity_date: None,
                })
            })
            .collect::<Result<_, PkiError>>()?;
        let list = CertificateRevocationListParams {
            this_update,
            next_update,
            crl_number: SerialNumber::from(self.register.crl_number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        write(&self.dir.join(CRL), list.signed_by(&self.issuer)?.pem()?.as_bytes(), 0o644)
    }
}

/// Where a name's certificate and key are put.
pub fn files_of(dir: &Path, role: &Role) -> (PathBuf, PathBuf) {
    // A tenant's segments have no dots, the others no slashes behind the first.
    let name = role.to_string().replacen('/', "-", 1).replace('/', ".");
    (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")))
}

fn lock(dir: &Path) -> Result<File, PkiError> {
    let path = dir.join(LOCK);
    let file = File::create(&path).map_err(at("make", &path))?;
    file.lock().map_err(at("lock", &path))?;
    Ok(file)
}

fn write(file: &Path, text: &[u8], mode: u32) -> Result<(), PkiError> {
    durable::write(file, text)
        .and_then(|()| fs::set_permissions(file, Permissions::from_mode(mode)))
        .map_err(at("write", file))
}

fn at(what: &'static str, file: &Path) -> impl FnOnce(io::Error) -> PkiError {
    let file = file.to_owned();
    move |source| PkiError::File { what, file, source }
}

fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

fn span(now: WallTime, life: Duration) -> Result<(OffsetDateTime, OffsetDateTime), PkiError> {
    let now = moment(now)?;
    let out_of_range = || PkiError::Make(rcgen::Error::Time);
    Ok((
        now.checked_sub(SLACK.try_into().map_err(|_| out_of_range())?).ok_or_else(out_of_range)?,
        now.checked_add(life.try_into().map_err(|_| out_of_range())?).ok_or_else(out_of_range)?,
    ))
}

fn moment(time: WallTime) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp(time.unix_usec().div_euclid(1_000_000))
        .map_err(|_| PkiError::Make(rcgen::Error::Time))
}

fn ia5(text: &str) -> Result<Ia5String, PkiError> {
    text.try_into()
        .map_err(|source: rcgen::Error| PkiError::Name { name: text.to_owned(), source: source.into() })
}

/// A host's name as DNS has them.
fn host(name: &str) -> Result<Ia5String, PkiError> {
    match rustls::pki_types::DnsName::try_from(name) {
        Ok(_) => ia5(name),
        Err(source) => Err(PkiError::Name { name: name.to_owned(), source: source.into() }),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let bytes: Option<Vec<u8>> = (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(text.get(at..at.saturating_add(2))?, 16).ok())
        .collect();
    // A zero that says that the number is positive is not of the number.
    bytes.map(|bytes| bytes.into_iter().skip_while(|byte| *byte == 0).collect())
}
