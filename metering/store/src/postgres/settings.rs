//! `[postgres]` of server.toml.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::StoreError;

const DEFAULT_PORT: u16 = 5432;

/// Where the ledger's PostgreSQL is, and as whom. Passwords stand in files of their own, never here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// The cluster's servers: `host`, `host:port`, or the directory of a Unix socket. The primary among them is
    /// found, and found again when it changes.
    #[serde(deserialize_with = "some_hosts")]
    pub hosts: Vec<Host>,
    /// The database.
    #[serde(default = "database")]
    pub database: String,
    /// The role that takes blocks.
    #[serde(default = "writer")]
    pub writer: String,
    /// Its password's file.
    #[serde(default)]
    pub writer_password_file: Option<PathBuf>,
    /// Its certificate, where the database asks for one.
    #[serde(default)]
    pub writer_certificate: Option<ClientCertificate>,
    /// The role that reads.
    #[serde(default = "reader")]
    pub reader: String,
    /// Its password's file.
    #[serde(default)]
    pub reader_password_file: Option<PathBuf>,
    /// Its certificate, where the database asks for one.
    #[serde(default)]
    pub reader_certificate: Option<ClientCertificate>,
    /// How the servers prove who they are.
    #[serde(default)]
    pub tls: Tls,
    /// Whom to believe beside those whom this system believes.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Whether a block is acknowledged without a synchronous standby.
    #[serde(default)]
    pub standby: Standby,
    /// How long a block may take until its sender is told to try again.
    #[serde(default = "acknowledge_timeout_ms")]
    pub acknowledge_timeout_ms: u64,
    /// Connections that take blocks.
    #[serde(default = "writers")]
    pub writers: u32,
}

fn some_hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Host>, D::Error> {
    let hosts = Vec::deserialize(deserializer)?;
    if hosts.is_empty() {
        return Err(D::Error::custom("no host: name the cluster's servers, as in [\"db1\", \"db2\"]"));
    }
    Ok(hosts)
}

fn database() -> String {
    "tenantry".to_owned()
}

fn writer() -> String {
    "meter_writer".to_owned()
}

fn reader() -> String {
    "billing_reader".to_owned()
}

fn acknowledge_timeout_ms() -> u64 {
    10_000
}

fn writers() -> u32 {
    8
}

/// What a role shows beside its password, or in its place: `hostssl ... clientcert=verify-full`, or `cert`, in `pg_hba.conf`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The certificate for the role's name, and those of the authorities between.
    pub file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

/// How the servers prove who they are. On a Unix socket nothing is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// By a certificate of a known authority for the host's name.
    #[default]
    VerifyFull,
    /// Not at all: for a network that nobody else is on.
    Off,
}

/// Whether a block is acknowledged without a synchronous standby.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standby {
    /// Never: the server refuses to start, and to take blocks, without one.
    #[default]
    Required,
    /// Yes: what was acknowledged last is lost with the primary.
    Optional,
}

/// A server of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Host {
    /// A name or an address, and a port.
    Tcp(String, u16),
    /// A Unix socket's directory, and the port in its name.
    Unix(String, u16),
}

impl TryFrom<String> for Host {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no host: write host, host:port, [address]:port or /directory");
        if text.contains("://") || text.contains('@') {
            return Err(
                "a host is no URL: database, roles and password files are settings of their own".to_owned()
            );
        }
        let (name, port) = match text.rsplit_once(':') {
            // An IPv6 address without brackets has no port.
            Some((name, _)) if name.contains(':') && !name.ends_with(']') => (text.as_str(), DEFAULT_PORT),
            Some((name, port)) => (name, port.parse().map_err(|_| wrong())?),
            None => (text.as_str(), DEFAULT_PORT),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        match name {
            "" => Err(wrong()),
            name if name.starts_with('/') => Ok(Self::Unix(name.to_owned(), port)),
            name => Ok(Self::Tcp(name.to_owned(), port)),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(name, port) if name.contains(':') => write!(f, "[{name}]:{port}"),
            Self::Tcp(name, port) | Self::Unix(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl fmt::Display for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts: Vec<_> = self.hosts.iter().map(ToString::to_string).collect();
        write!(
            f,
            "database {} at {} (TLS: {:?}, standby: {:?}), written as {}, read as {}",
            self.database,
            hosts.join(", "),
            self.tls,
            self.standby,
            self.writer,
            self.reader
        )
    }
}

/// As whom, and with what.
#[derive(Debug, Clone)]
pub struct Login {
    /// The role.
    pub role: String,
    /// Its password's file; without one it has another way to prove itself.
    pub password_file: Option<PathBuf>,
    /// Its certificate, where the database asks for one.
    pub certificate: Option<ClientCertificate>,
}

impl PostgresSettings {
    pub(crate) fn as_writer(&self) -> Login {
        Login {
            role: self.writer.clone(),
            password_file: self.writer_password_file.clone(),
            certificate: self.writer_certificate.clone(),
        }
    }

    pub(crate) fn as_reader(&self) -> Login {
        Login {
            role: self.reader.clone(),
            password_file: self.reader_password_file.clone(),
            certificate: self.reader_certificate.clone(),
        }
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(self.acknowledge_timeout_ms)
    }

    /// How to reach one of the hosts. The password is read anew each time: it may have been changed.
    pub(crate) fn options(&self, host: &Host, login: &Login) -> Result<PgConnectOptions, StoreError> {
        let mut options = PgConnectOptions::new_without_pgpass()
            .username(&login.role)
            .database(&self.database)
            .application_name("tenantry-server");
        options = match host {
            Host::Tcp(name, port) => options.host(name).port(*port).ssl_mode(match self.tls {
                Tls::VerifyFull => PgSslMode::VerifyFull,
                Tls::Off => PgSslMode::Disable,
            }),
            Host::Unix(directory, port) => options.socket(directory).port(*port).ssl_mode(PgSslMode::Disable),
        };
        if let Some(file) = &self.ca_file {
            options = options.ssl_root_cert(file);
        }
        if let Some(ClientCertificate { file, key_file }) = &login.certificate {
            options = options.ssl_client_cert(file).ssl_client_key(key_file);
        }
        if let Some(path) = &login.password_file {
            let password = fs::read_to_string(path)
                .map_err(|source| StoreError::Password { path: path.clone(), source })?;
            options = options.password(password.trim_end_matches(['\n', '\r']));
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_an_address_or_a_directory_and_never_a_url() {
        let host = |text: &str| Host::try_from(text.to_owned());
        assert_eq!(host("db1"), Ok(Host::Tcp("db1".into(), 5432)));
        assert_eq!(host("db1:5433"), Ok(Host::Tcp("db1".into(), 5433)));
        assert_eq!(host("::1"), Ok(Host::Tcp("::1".into(), 5432)));
        assert_eq!(host("[::1]:5433").unwrap().to_string(), "[::1]:5433");
        assert_eq!(host("/run/postgresql"), Ok(Host::Unix("/run/postgresql".into(), 5432)));
        assert_eq!(host("/run/postgresql:5433"), Ok(Host::Unix("/run/postgresql".into(), 5433)));
        for wrong in ["", ":5432", "db1:x", "postgres://u:secret@db1/x", "u:secret@db1"] {
            let said = host(wrong).unwrap_err();
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
