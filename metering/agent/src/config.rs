//! `/etc/tenantry/tenantryd.toml`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tenantry_client::{Server, ServerError, Settings, Urls};
use tenantry_model::NodeName;
use tenantry_model::job::Paths;

use crate::gpu::places::Listed;

/// The smallest spool: SQLite's own pages and a few large blocks.
const LEAST_SPOOL_BYTES: u64 = 16 << 20;

/// The settings. Every one has a default, and the file may be missing.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// This node's name in blocks; by default the host's name up to its first dot.
    pub node_name: NodeName,
    /// Milliseconds between two readings of a job's group.
    pub sample_interval_ms: u64,
    /// Milliseconds between two looks into the outbox.
    pub outbox_interval_ms: u64,
    /// Milliseconds of readings in one block. A job that ends is not kept waiting by it.
    pub block_interval_ms: u64,
    /// Where the cgroup v2 file system is mounted.
    pub cgroup_root: PathBuf,
    /// Registrations, and the outbox that takes over from a full disk.
    pub run_dir: PathBuf,
    /// The outbox.
    pub state_dir: PathBuf,
    /// The tenants file's directory.
    pub config_dir: PathBuf,
    /// The spool, an SQLite file.
    pub spool: PathBuf,
    /// The most bytes the spool may have: beyond nine tenths of them no readings are kept, only ends.
    pub spool_max_bytes: u64,
    /// Hours for which the spool keeps a block that the ledger has.
    pub spool_keep_hours: u64,
    /// The key that blocks are signed with; made at the first start.
    pub node_key: PathBuf,
    /// Where Prometheus asks, where systemd hands no socket over.
    pub metrics_listen: Option<SocketAddr>,
    /// The most jobs that it is shown: the others are counted.
    pub metrics_max_jobs: usize,
    /// The GPUs in the order of `slurmd -G`, by device file or UUID, where NVML's order and the files' numbers
    /// differ, or with MIG. Without it a GPU counts where both are the same; an empty list counts none.
    pub gpus: Option<Vec<Listed>>,
    /// The server's ingest socket, where there is no `server_url`.
    pub server_socket: PathBuf,
    /// Servers on other machines, over one ledger: the next is tried where one does not answer.
    pub server_url: Option<Urls>,
    /// The authorities that a server's certificate may be from.
    pub ca: Option<PathBuf>,
    /// This node's certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    Read {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{}: {source}", file.display())]
    Parse {
        /// Which.
        file: PathBuf,
        /// Where, and why.
        source: Box<toml::de::Error>,
    },
    /// A spool that holds nothing.
    #[error("{}: spool_max_bytes = {value} is too small; write {LEAST_SPOOL_BYTES} bytes (16 MiB) or more", file.display())]
    SpoolSize {
        /// Which file.
        file: PathBuf,
        /// Its value.
        value: u64,
    },
    /// A server over the network without a certificate, or the other way round.
    #[error("{}: {source}", file.display())]
    Server {
        /// Which file.
        file: PathBuf,
        /// What is missing.
        source: ServerError,
    },
    /// An interval out of range.
    #[error("{}: {key} = {value} is out of range; write 100 to 600000 milliseconds", file.display())]
    Interval {
        /// Which file.
        file: PathBuf,
        /// Which setting.
        key: &'static str,
        /// Its value.
        value: u64,
    },
}

impl Default for Config {
    fn default() -> Self {
        let Paths { run, state, etc } = Paths::default();
        Self {
            node_name: host_name(),
            sample_interval_ms: 10_000,
            outbox_interval_ms: 1_000,
            block_interval_ms: 60_000,
            cgroup_root: "/sys/fs/cgroup".into(),
            spool: state.join("spool.sqlite"),
            spool_max_bytes: 4 << 30,
            spool_keep_hours: 72,
            node_key: state.join("node.key"),
            metrics_listen: None,
            metrics_max_jobs: 1_000,
            gpus: None,
            server_socket: "/run/tenantry-server/ingest.sock".into(),
            server_url: None,
            ca: None,
            certificate: None,
            key: None,
            run_dir: run,
            state_dir: state,
            config_dir: etc,
        }
    }
}

impl Config {
    /// Reads the settings; a missing file is all defaults.
    ///
    /// # Errors
    /// The first mistake, with its line.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Read { file: file.to_owned(), source }),
        };
        let config: Self = toml::from_str(&text)
            .map_err(|error| ConfigError::Parse { file: file.to_owned(), source: Box::new(error) })?;
        for (key, value) in [
            ("sample_interval_ms", config.sample_interval_ms),
            ("outbox_interval_ms", config.outbox_interval_ms),
            ("block_interval_ms", config.block_interval_ms),
        ] {
            if !(100..=600_000).contains(&value) {
                return Err(ConfigError::Interval { file: file.to_owned(), key, value });
            }
        }
        if config.spool_max_bytes < LEAST_SPOOL_BYTES {
            return Err(ConfigError::SpoolSize { file: file.to_owned(), value: config.spool_max_bytes });
        }
        config.server().map_err(|source| ConfigError::Server { file: file.to_owned(), source })?;
        Ok(config)
    }

    /// Where blocks are sent.
    ///
    /// # Errors
    /// Where a server over the network is named without a certificate, or the other way round.
    pub fn server(&self) -> Result<Server, ServerError> {
        let Self { server_url, ca, certificate, key, .. } = self.clone();
        Settings { server_url, ca, certificate, key }.server(self.server_socket.clone())
    }

    /// Where the records stand.
    #[must_use]
    pub fn paths(&self) -> Paths {
        Paths { run: self.run_dir.clone(), state: self.state_dir.clone(), etc: self.config_dir.clone() }
    }
}

fn host_name() -> NodeName {
    NodeName::of_this_host()
        .or_else(|| "localhost".parse().ok())
        .unwrap_or_else(|| unreachable!("localhost is a node name"))
}

#[cfg(test)]
#[path = "../../model/tests/support/settings_page.rs"]
mod settings_page;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_page_has_every_key_and_its_default() {
        let refusal = load("no-such-key = 1").unwrap_err().to_string();
        let default = format!("{:?}", Config::default());
        settings_page::holds("tenantryd.toml", &refusal, |text| {
            load(text).is_ok_and(|config| format!("{config:?}") == default)
        });
    }

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tenantryd.toml");
        std::fs::write(&file, text).unwrap();
        Config::load(&file)
    }

    #[test]
    fn a_missing_file_is_all_defaults() {
        let config = Config::load("/nonexistent/tenantryd.toml".as_ref()).unwrap();
        assert_eq!(config.sample_interval_ms, 10_000);
        assert_eq!(config.paths(), Paths::default());
    }

    #[test]
    fn mistakes_are_refused_with_the_file_and_the_key() {
        for (text, expected) in [
            ("sample_intervall_ms = 5", "sample_intervall_ms"),
            ("sample_interval_ms = 0", "100 to 600000"),
            ("outbox_interval_ms = 'x'", "line 1"),
            ("node_name = '../x'", "node name"),
            ("block_interval_ms = 1", "100 to 600000"),
            ("spool_max_bytes = 5", "16 MiB"),
            ("gpus = ['/dev/nvidia0', 'GPU 1']", "slurmd -G"),
            ("server_url = 'meter.example'", "https://"),
            ("server_url = 'https://meter.example'", "ca is missing"),
            ("key = '/k'", "server_url is missing"),
        ] {
            let said = load(text).unwrap_err().to_string();
            assert!(said.contains(expected) && said.contains("tenantryd.toml"), "{text}: {said}");
        }
    }
}
