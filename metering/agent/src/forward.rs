//! Out of the spool: one block after the other to the server, each until it is acknowledged.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;
use tenantry_client::{Method, StatusCode, request};
use tenantry_model::{Clock, describe};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::exporter::Shown;
use tenantry_spool::{Spool, Spooled};

/// How long the first wait after a failure is; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// How long the server may take for one block.
const PATIENCE: Duration = Duration::from_secs(30);

/// The task that empties the spool.
pub struct Forwarder {
    socket: PathBuf,
    clock: Box<dyn Clock>,
    spool: Spool,
    spooled: Arc<Notify>,
    shown: Shown,
}

/// What became of a block.
enum Sent {
    Acknowledged,
    /// The ledger has another block under its name, and blocks up to this one of the boot.
    Conflict {
        ledger_has: u64,
    },
    /// The server will never take it: a person must look, the others go on.
    Never(String),
    /// Try again later.
    NotNow(String),
}

/// What the server says of a conflict.
#[derive(Deserialize)]
struct Conflict {
    last_sequence: u64,
}

impl Forwarder {
    pub fn new(
        config: &Config,
        clock: Box<dyn Clock>,
        spool: Spool,
        spooled: Arc<Notify>,
        shown: Shown,
    ) -> Self {
        Self { socket: config.server_socket.clone(), clock, spool, spooled, shown }
    }

    /// Until told to stop.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let mut wait = FIRST_WAIT;
        let mut said = String::new();
        loop {
            let pause = match self.send_next().await? {
                Ok(true) => {
                    if !said.is_empty() {
                        tracing::info!("the server takes blocks again");
                        said.clear();
                    }
                    wait = FIRST_WAIT;
                    continue;
                }
                Ok(false) => None,
                Err(reason) => {
                    // Said once, not at every try.
                    if said != reason {
                        tracing::warn!("{reason}; blocks stay in the spool and are sent when it is back");
                        said = reason;
                    }
                    let pause = wait;
                    wait = wait.saturating_mul(2).min(LONGEST_WAIT);
                    Some(pause)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.spooled.notified(), if pause.is_none() => {}
                () = sleep(pause.unwrap_or(LONGEST_WAIT)) => {}
            }
        }
    }

    /// Whether there was a block to send, or why it was not sent.
    ///
    /// # Errors
    /// Where the spool is damaged: the next start puts it aside.
    async fn send_next(&self) -> Result<Result<bool, String>> {
        match self.spool.next().await {
            Ok(Some(block)) => Ok(self.send_block(&block).await.map(|()| true)),
            Ok(None) => Ok(Ok(false)),
            Err(error) if error.is_damage() => Err(error.into()),
            Err(error) => Ok(Err(describe(&error))),
        }
    }

    async fn send_block(&self, block: &Spooled) -> Result<(), String> {
        let now = self.clock.now().map_err(|error| describe(&error))?;
        match self.send(block).await {
            Sent::Acknowledged => {
                self.shown.update(|shown| shown.acknowledged_unix_usec = Some(now.wall.unix_usec()));
                self.spool.acknowledge(block, now.wall).await
            }
            Sent::Conflict { ledger_has } => self.spool.renumber(block, ledger_has, now).await.map(|key| {
                tracing::error!(
                    from = block.sequence,
                    to = key.sequence,
                    "the ledger has another block under this block's name: the spool was lost or replaced; \
                     it is sent under a new one, and the old bytes are in the spool's table `rejected`"
                );
            }),
            Sent::Never(reason) => {
                tracing::error!(
                    "{reason}; the block is put aside in the spool's table `rejected`: report it"
                );
                self.spool.reject(block, &reason).await
            }
            Sent::NotNow(reason) => return Err(reason),
        }
        .map_err(|error| describe(&error))
    }

    async fn send(&self, block: &Spooled) -> Sent {
        let headers = [("content-type", "application/vnd.tenantry.block")];
        match request(&self.socket, Method::POST, "/v1/blocks", &headers, block.bytes.clone(), PATIENCE).await
        {
            Ok((StatusCode::OK, _)) => Sent::Acknowledged,
            Ok((StatusCode::CONFLICT, text)) => match serde_json::from_slice::<Conflict>(&text) {
                Ok(Conflict { last_sequence }) => Sent::Conflict { ledger_has: last_sequence },
                Err(error) => Sent::NotNow(format!("the server's answer cannot be read: {error}")),
            },
            Ok((status, text)) => {
                let reason =
                    format!("the server answered {status}: {}", String::from_utf8_lossy(&text).trim_end());
                match status {
                    StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Sent::Never(reason),
                    _ => Sent::NotNow(reason),
                }
            }
            Err(error) => Sent::NotNow(describe(&error)),
        }
    }
}
