//! Where the server is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use hyper::Uri;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tenantry_tls::Files;

/// Where the server is, and with what certificate it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// On this machine: who asks is known by the kernel's word.
    Socket(PathBuf),
    /// On another: who asks is known by a certificate.
    Https {
        /// Servers over one ledger, in the order in which they are tried.
        urls: Urls,
        /// The certificate.
        files: Files,
    },
}

/// A server's address, like `https://meter.example:9747`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// As the connection needs it: no brackets around an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) name: ServerName<'static>,
}

/// The port, where an address names none.
const PORT: u16 = 9747;

/// One address, or several.
///
/// # Invariants
/// There is at least one: held by `tests::what_is_no_address_is_refused`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "OneOrMany")]
pub struct Urls(pub(crate) Vec<Url>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// What is no server's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no server's address: write \"https://meter.example:9747\", or a list of such")]
pub struct InvalidUrl(String);

/// The settings of the way to the server, as they stand in a TOML file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Servers over one ledger; without it the socket is asked.
    pub server_url: Option<Urls>,
    /// The certificates of the authorities that the server's may be from.
    pub ca: Option<PathBuf>,
    /// One's own certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Why the settings name no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A certificate without a server, or a server without.
    #[error("server_url goes with ca, certificate and key: {0} is missing")]
    Incomplete(&'static str),
    /// The file cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{}", file.display())]
    Parse {
        /// Which.
        file: PathBuf,
        /// Where, and why.
        source: Box<toml::de::Error>,
    },
}

impl Settings {
    /// Reads `file`, `/etc/tenantry/client.toml` for people; where there is none, nothing is set.
    ///
    /// # Errors
    /// [`ServerError::Read`], [`ServerError::Parse`].
    pub fn load(file: &Path) -> Result<Self, ServerError> {
        match std::fs::read_to_string(file) {
            Ok(text) => toml::from_str(&text)
                .map_err(|source| ServerError::Parse { file: file.to_owned(), source: Box::new(source) }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ServerError::Read { file: file.to_owned(), source }),
        }
    }

    /// The server that is meant: over the network where `server_url` is set, else at `socket`.
    ///
    /// # Errors
    /// [`ServerError::Incomplete`].
    pub fn server(self, socket: PathBuf) -> Result<Server, ServerError> {
        match self {
            Self { server_url: None, ca: None, certificate: None, key: None } => Ok(Server::Socket(socket)),
            Self { server_url, ca, certificate, key } => Ok(Server::Https {
                urls: server_url.ok_or(ServerError::Incomplete("server_url"))?,
                files: Files {
                    ca: ca.ok_or(ServerError::Incomplete("ca"))?,
                    certificate: certificate.ok_or(ServerError::Incomplete("certificate"))?,
                    key: key.ok_or(ServerError::Incomplete("key"))?,
                    crl: None,
                },
            }),
        }
    }
}

impl FromStr for Url {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let invalid = || InvalidUrl(text.chars().take(100).collect());
        let uri: Uri = text.parse().map_err(|_| invalid())?;
        let authority = uri.authority().ok_or_else(invalid)?;
        if uri.scheme_str() != Some("https")
            || !matches!(uri.path(), "" | "/")
            || uri.query().is_some()
            || authority.as_str().contains('@')
        {
            return Err(invalid());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match authority.port() {
            Some(port) => port.as_str().parse().map_err(|_| invalid())?,
            // "host:" and a port beyond 65535 are no address.
            None if authority.as_str().len() == authority.host().len() => PORT,
            None => return Err(invalid()),
        };
        let name = ServerName::try_from(host.clone()).map_err(|_| invalid())?;
        Ok(Self { host, port, name })
    }
}

impl FromStr for Urls {
    type Err = InvalidUrl;

    /// Addresses with commas between.
    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        OneOrMany::Many(text.split(',').map(|url| url.trim().to_owned()).collect()).try_into()
    }
}

impl TryFrom<OneOrMany> for Urls {
    type Error = InvalidUrl;

    fn try_from(urls: OneOrMany) -> Result<Self, InvalidUrl> {
        let texts = match urls {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        };
        let urls: Vec<Url> = texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        if urls.is_empty() { Err(InvalidUrl("[]".to_owned())) } else { Ok(Self(urls)) }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            write!(f, "https://[{host}]:{port}")
        } else {
            write!(f, "https://{host}:{port}")
        }
    }
}

impl fmt::Display for Urls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(", "))
    }
}

#[cfg(test)]
#[path = "../../model/tests/support/settings_page.rs"]
mod settings_page;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_page_has_every_key() {
        let refusal = toml::from_str::<Settings>("no-such-key = 1").unwrap_err().to_string();
        settings_page::holds("client.toml", &refusal, |_| false);
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, expected) in [
            ("https://meter.example:9747", "https://meter.example:9747"),
            ("https://meter.example", "https://meter.example:9747"),
            ("https://192.0.2.7:1/", "https://192.0.2.7:1"),
            ("https://[2001:db8::1]:9", "https://[2001:db8::1]:9"),
            ("https://a:1, https://b:2", "https://a:1, https://b:2"),
        ] {
            assert_eq!(text.parse::<Urls>().unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "meter.example",
            "http://meter.example",
            "https://",
            "https://meter.example/v1",
            "https://meter.example?x=1",
            "https://u:p@meter.example",
            "https://meter.example:x",
            "https://meter.example:70000",
            "https://meter.example:",
            "https://a,",
        ] {
            assert!(text.parse::<Urls>().is_err(), "{text:?} was accepted");
        }
        assert!(toml::from_str::<Settings>("server_url = []").is_err());
    }

    #[test]
    fn a_server_over_the_network_needs_a_certificate_and_the_socket_none() {
        let server = |text: &str| toml::from_str::<Settings>(text).unwrap().server("/run/x.sock".into());
        assert_eq!(server("").unwrap(), Server::Socket("/run/x.sock".into()));
        let whole = "server_url = ['https://a', 'https://b']\nca = '/ca'\ncertificate = '/c'\nkey = '/k'\n";
        assert!(matches!(server(whole).unwrap(), Server::Https { urls, .. } if urls.0.len() == 2));
        for missing in ["server_url", "ca", "certificate", "key"] {
            let kept: Vec<_> = whole.lines().filter(|line| !line.starts_with(missing)).collect();
            let said = server(&kept.join("\n")).unwrap_err().to_string();
            assert!(said.contains(&format!("{missing} is missing")), "{said}");
        }
    }
}
