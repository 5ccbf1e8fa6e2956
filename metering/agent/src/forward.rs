//! Out of the spool: one block after the other to the server, each until it is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::Deserialize;
use tenantry_client::{Client, Method, Reply, Server, StatusCode};
use tenantry_model::{Clock, describe};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::exporter::Shown;
use tenantry_spool::{Spool, Spooled};

/// How long the first wait after a failure is; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The most that a server may tell a sender to wait.
const LONGEST_TOLD: Duration = Duration::from_mins(5);

/// How long the server may take for one block.
const PATIENCE: Duration = Duration::from_secs(30);

/// The task that empties the spool.
pub struct Forwarder {
    server: Server,
    /// Made at the first block: a certificate that cannot be used yet keeps nothing from being read and spooled.
    client: Option<Client>,
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
    NotNow(NotNow),
}

/// Why a block was not taken, and how long the server wants to be left alone.
struct NotNow {
    reason: String,
    after: Option<Duration>,
}

impl From<String> for NotNow {
    fn from(reason: String) -> Self {
        Self { reason, after: None }
    }
}

/// What the server says of a conflict.
#[derive(Deserialize)]
struct Conflict {
    last_sequence: u64,
}

impl Forwarder {
    /// From `spool` to `server`, each time that `spooled` tells of a block.
    pub fn new(
        server: Server,
        clock: Box<dyn Clock>,
        spool: Spool,
        spooled: Arc<Notify>,
        shown: Shown,
    ) -> Self {
        Self { server, client: None, clock, spool, spooled, shown }
    }

    /// Until told to stop.
    ///
    /// # Errors
    /// Where the spool is damaged: the next start puts it aside.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
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
                Err(NotNow { reason, after }) => {
                    // Said once, not at every try.
                    if said != reason {
                        tracing::warn!("{reason}; blocks stay in the spool and are sent when it is back");
                        said = reason;
                    }
                    let pause = after.map_or(wait, |after| after.clamp(wait, LONGEST_TOLD));
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
    async fn send_next(&mut self) -> Result<Result<bool, NotNow>> {
        match self.spool.next().await {
            Ok(Some(block)) => Ok(self.send_block(&block).await.map(|()| true)),
            Ok(None) => Ok(Ok(false)),
            Err(error) if error.is_damage() => Err(error.into()),
            Err(error) => Ok(Err(describe(&error).into())),
        }
    }

    async fn send_block(&mut self, block: &Spooled) -> Result<(), NotNow> {
        let now = self.clock.now().map_err(|error| NotNow::from(describe(&error)))?;
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
            Sent::NotNow(not_now) => return Err(not_now),
        }
        .map_err(|error| describe(&error).into())
    }

    async fn send(&mut self, block: &Spooled) -> Sent {
        let client = match &self.client {
            Some(client) => client,
            None => match Client::new(self.server.clone()) {
                Ok(client) => self.client.insert(client),
                Err(error) => return Sent::NotNow(describe(&error).into()),
            },
        };
        let headers = [("content-type", "application/vnd.tenantry.block")];
        let sent = client.request(Method::POST, "/v1/blocks", &headers, block.bytes.clone(), PATIENCE).await;
        let not_after = client.certificate_not_after_unix_usec().await;
        self.shown.update(|shown| shown.certificate_not_after_unix_usec = not_after);
        match sent {
            Ok(Reply { status: StatusCode::OK, .. }) => Sent::Acknowledged,
            Ok(Reply { status: StatusCode::CONFLICT, body, .. }) => {
                match serde_json::from_slice::<Conflict>(&body) {
                    Ok(Conflict { last_sequence }) => Sent::Conflict { ledger_has: last_sequence },
                    Err(error) => Sent::NotNow(format!("the server's answer cannot be read: {error}").into()),
                }
            }
            Ok(Reply { status, retry_after, body }) => {
                let text = String::from_utf8_lossy(&body);
                let reason = format!("the server answered {status}: {}", text.trim_end());
                match status {
                    StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => Sent::Never(reason),
                    _ => Sent::NotNow(NotNow { reason, after: retry_after }),
                }
            }
            Err(error) => Sent::NotNow(describe(&error).into()),
        }
    }
}
