//! Where the server is, and a question to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tenantry_client::{Client, Method, Reply, Server, Settings, Urls};

use crate::error::Error;

const TIME_LIMIT: Duration = Duration::from_mins(1);
const SETTINGS: &str = "/etc/tenantry/client.toml";
const SOCKET: &str = "/run/tenantry-server/api.sock";

/// On this machine the server's socket is asked. Over the network it takes a reader's or a tenant's certificate:
/// by these options, or by `server_url`, `ca`, `certificate` and `key` in /etc/tenantry/client.toml.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Way {
    /// The server's socket for readers [default: /run/tenantry-server/api.sock]
    #[arg(long, value_name = "PATH", conflicts_with_all = ["server", "ca", "certificate", "key"])]
    socket: Option<PathBuf>,
    /// A server on another machine, like `https://meter.example:9747`; several with commas between
    #[arg(long, value_name = "URL")]
    server: Option<Urls>,
    /// The authorities that the server's certificate may be from
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Your certificate
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Way {
    /// Asks `GET path_and_query`, with headers.
    ///
    /// # Errors
    /// Where there is no reply; one with an error's status is a reply.
    pub async fn ask(&self, path_and_query: &str, headers: &[(&str, &str)]) -> Result<Reply, Error> {
        let client = Client::new(self.place(Path::new(SETTINGS))?)?;
        Ok(client.request(Method::GET, path_and_query, headers, Vec::new(), TIME_LIMIT).await?)
    }

    /// Options before the file, the file before the socket.
    fn place(&self, file: &Path) -> Result<Server, Error> {
        if let Some(socket) = &self.socket {
            return Ok(Server::Socket(socket.clone()));
        }
        let written = Settings::load(file)?;
        let settings = Settings {
            server_url: self.server.clone().or(written.server_url),
            ca: self.ca.clone().or(written.ca),
            certificate: self.certificate.clone().or(written.certificate),
            key: self.key.clone().or(written.key),
        };
        Ok(settings.server(SOCKET.into())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_go_before_the_file_and_the_file_before_the_socket() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("client.toml");
        let none = Way { socket: None, server: None, ca: None, certificate: None, key: None };
        assert_eq!(none.place(&file).unwrap(), Server::Socket(SOCKET.into()));
        let text = "server_url = 'https://a'\nca = '/ca'\ncertificate = '/c'\nkey = '/k'\n";
        std::fs::write(&file, text).unwrap();
        let asked = |args: &Way| match args.place(&file).unwrap() {
            Server::Https { urls, files } => (urls.to_string(), files.key),
            Server::Socket(path) => (path.display().to_string(), PathBuf::new()),
        };
        assert_eq!(asked(&none), ("https://a:9747".to_owned(), "/k".into()));
        let other = Way { server: "https://b:1".parse().ok(), key: Some("/k2".into()), ..none.clone() };
        assert_eq!(asked(&other), ("https://b:1".to_owned(), "/k2".into()));
        let socket = Way { socket: Some("/s".into()), ..none };
        assert_eq!(asked(&socket), ("/s".to_owned(), PathBuf::new()));
    }
}
