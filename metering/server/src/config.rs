//! `/etc/tenantry/server.toml`.

use std::fmt;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tenantry_model::window::WindowWidth;
use tenantry_store::postgres::PostgresSettings;

use crate::network::Network;

/// Where the settings stand if nobody says otherwise.
const DEFAULT_FILE: &str = "/etc/tenantry/server.toml";

/// The settings. Every one has a default, and the defaults are safe.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The ledger's file, where it is not in PostgreSQL.
    pub ledger: PathBuf,
    /// The ledger in PostgreSQL.
    pub postgres: Option<PostgresSettings>,
    /// Where daemons send blocks.
    pub ingest_socket: PathBuf,
    /// Where readers ask.
    pub api_socket: PathBuf,
    /// Who may send blocks.
    pub ingest_uids: Vec<u32>,
    /// Who sees everybody's usage; all others see their own.
    pub reader_uids: Vec<u32>,
    /// The largest block that is taken.
    pub max_block_bytes: NonZeroUsize,
    /// How wide usage windows are, in minutes that divide a day; of runs that begin from then on.
    pub window_minutes: WindowWidth,
    /// Bytes of blocks in memory at once, unpacked ones by what they say they have.
    pub max_bytes_in_flight: NonZeroUsize,
    /// Requests that are worked on at once.
    pub max_requests: NonZeroUsize,
    /// The network; without it only the sockets are served.
    pub network: Option<Network>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ledger: "/var/lib/tenantry-server/ledger.sqlite".into(),
            postgres: None,
            ingest_socket: "/run/tenantry-server/ingest.sock".into(),
            api_socket: "/run/tenantry-server/api.sock".into(),
            ingest_uids: vec![0],
            reader_uids: vec![0],
            max_block_bytes: const { NonZeroUsize::new(16 << 20).unwrap() },
            window_minutes: WindowWidth::HOUR,
            max_bytes_in_flight: const { NonZeroUsize::new(256 << 20).unwrap() },
            max_requests: const { NonZeroUsize::new(64).unwrap() },
            network: None,
        }
    }
}

/// What is wrong with the settings, where, and what to write instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}:{line}:{column}: {problem}; {fix}", file.display())]
pub struct ConfigError {
    file: PathBuf,
    line: usize,
    column: usize,
    problem: String,
    fix: &'static str,
}

impl Config {
    /// The settings in `file`, or in the default place, where no file means the defaults.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => Ok(Self::default()),
            Err(error) => Err(ConfigError {
                file: path.to_owned(),
                line: 1,
                column: 1,
                problem: error.to_string(),
                fix: "make it a UTF-8 text that this user may read",
            }),
        }
    }

    fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            ConfigError {
                file: file.to_owned(),
                line: before.matches('\n').count().saturating_add(1),
                column: before.chars().rev().take_while(|c| *c != '\n').count().saturating_add(1),
                problem: error.message().lines().collect::<Vec<_>>().join(" "),
                fix: "the settings are ledger, [postgres], ingest_socket, api_socket, ingest_uids, reader_uids, \
                      max_block_bytes, window_minutes, max_bytes_in_flight, max_requests and the table [network] \
                      (docs/network.md)",
            }
        })
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.postgres {
            Some(postgres) => write!(f, "the ledger is PostgreSQL's {postgres}")?,
            None => write!(f, "the ledger is {}", self.ledger.display())?,
        }
        write!(
            f,
            "; blocks come to {} from uids {:?}, up to {} bytes each; \
             readers ask {}, and uids {:?} see everything; ",
            self.ingest_socket.display(),
            self.ingest_uids,
            self.max_block_bytes,
            self.api_socket.display(),
            self.reader_uids,
        )?;
        match &self.network {
            Some(network) => network.fmt(f),
            None => f.write_str("the network is not listened to"),
        }
    }
}

#[cfg(test)]
#[path = "../../model/tests/support/settings_page.rs"]
mod settings_page;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_page_has_every_key_and_its_default() {
        let postgres = "[postgres]\nhosts = ['h']\n";
        let network =
            "[network]\nlisten = ['127.0.0.1:1']\ncluster = 'c'\nca = '/c'\ncertificate = '/d'\nkey = '/k'\n";
        for (section, table) in
            [("server.toml", ""), ("server.toml, [postgres]", postgres), ("server.toml, [network]", network)]
        {
            let parse = |line: &str| Config::parse(Path::new("server.toml"), &format!("{table}{line}\n"));
            let refusal = parse("no-such-key = 1").unwrap_err().problem;
            let default = parse("").unwrap();
            settings_page::holds(section, &refusal, |line| parse(line).as_ref() == Ok(&default));
        }
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(Config::parse(Path::new("server.toml"), ""), Ok(Config::default()));
    }

    #[test]
    fn a_ledger_in_postgresql_is_shown_without_its_secrets() {
        let text = "[postgres]\nhosts = [\"db1\", \"db2:5433\"]\nwriter_password_file = \"/w\"";
        let config = Config::parse(Path::new("server.toml"), text).unwrap();
        let shown = config.to_string();
        assert!(
            shown.contains("database tenantry at db1:5432, db2:5433 (TLS: VerifyFull, standby: Required)"),
            "{shown}"
        );
    }

    #[test]
    fn a_mistake_is_named_with_its_place() {
        for (text, place) in [
            ("\n  ledgr = \"/x\"", "server.toml:2:3: unknown field"),
            ("max_block_bytes = 0", "server.toml:1:19: "),
            ("window_minutes = 7", "server.toml:1:18: 7 minutes are no window"),
            ("ingest_uids = [-1]", "server.toml:1:16: "),
            ("ingest_uids = 0", "server.toml:1:15: "),
            ("ledger = ", "server.toml:1:10: "),
            ("[postgres]\nhosts = []", "server.toml:2:9: "),
            ("[postgres]\nhosts = [\"postgres://u:secret@h/d\"]", "server.toml:2:9: a host is no URL"),
            ("[postgres]\nhosts = [\"h\"]\npassword = \"secret\"", "server.toml:3:1: "),
        ] {
            let said = Config::parse(Path::new("server.toml"), text).unwrap_err().to_string();
            assert!(said.starts_with(place), "{text:?}: {said}");
            assert!(said.contains("; the settings are"), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
