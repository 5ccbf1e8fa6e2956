//! `tenantry spool`: the node's spool, from outside.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;
use tenantry_model::{BootId, Bytes, WallTime};
use tenantry_spool::{Finding, Inspection, Range, Status};

use crate::error::Error;
use crate::format::Format;

/// Look at this node's spool: what waits for the ledger, whether it is whole, its blocks
///
/// As root, on a node. The daemon may run meanwhile.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// The spool
    #[arg(long, global = true, value_name = "FILE", default_value = "/var/lib/tenantry/spool.sqlite")]
    spool: PathBuf,
    /// How the answer is written
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Subcommand)]
enum Action {
    /// How much waits, since when, and what is kept
    Status,
    /// Read every block: checksum, signature, number, and the hash of the one before. Ends with 65 where something is wrong
    Verify,
    /// Write blocks as files NODE-BOOT-SEQUENCE.tnbk into a directory; docs/block-format.md has their format
    Export {
        #[command(flatten)]
        range: RangeArgs,
        /// The directory; it is made where it is not there
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Have the daemon send blocks again that the ledger has acknowledged: after a disaster there. It takes each once
    Replay {
        #[command(flatten)]
        range: RangeArgs,
    },
}

#[derive(clap::Args)]
struct RangeArgs {
    /// Of this boot only
    #[arg(long, value_name = "BOOT-ID")]
    boot: Option<BootId>,
    /// From this sequence on
    #[arg(long, value_name = "SEQUENCE")]
    first: Option<u64>,
    /// Up to this sequence
    #[arg(long, value_name = "SEQUENCE")]
    last: Option<u64>,
}

impl RangeArgs {
    fn range(&self) -> Range {
        Range { boot_id: self.boot.clone(), first: self.first, last: self.last }
    }
}

#[derive(Serialize)]
struct Verified {
    blocks: u64,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Done {
    blocks: u64,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::System)?;
    runtime.block_on(act(args))
}

async fn act(args: &Args) -> Result<(), Error> {
    let spool = Inspection::open(&args.spool).await?;
    match &args.action {
        Action::Status => {
            let status = spool.status().await?;
            write(args.format, &status, || text(&status))
        }
        Action::Verify => {
            let (blocks, findings) = spool.verify().await?;
            let found = !findings.is_empty();
            let verified = Verified { blocks, findings };
            write(args.format, &verified, || {
                let lines = verified.findings.iter().map(|Finding { boot_id, sequence, problem }| {
                    format!("{boot_id}/{sequence}: {problem}\n")
                });
                lines
                    .chain([format!("{blocks} blocks, {} with a problem\n", verified.findings.len())])
                    .collect()
            })?;
            if found { Err(Error::SpoolNotWhole) } else { Ok(()) }
        }
        Action::Export { range, to } => {
            fs::create_dir_all(to)?;
            let blocks = spool
                .export(&range.range(), |sealed| {
                    let key = sealed.key();
                    let name = format!("{}-{}-{:010}.tnbk", key.node, key.boot_id, key.sequence);
                    fs::write(to.join(name), sealed.bytes()).map_err(Error::Output)
                })
                .await?;
            write(args.format, &Done { blocks }, || format!("{blocks} blocks are in {}\n", to.display()))
        }
        Action::Replay { range } => {
            let blocks = spool.replay(&range.range()).await?;
            write(args.format, &Done { blocks }, || format!("{blocks} blocks are sent again\n"))
        }
    }
}

fn write(format: Format, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    match format {
        Format::Text => out.write_all(text().as_bytes())?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
            writeln!(out)?;
        }
    }
    Ok(out.flush()?)
}

fn text(status: &Status) -> String {
    let since =
        |time: Option<WallTime>| time.map(|time| format!(", the oldest of {time}")).unwrap_or_default();
    let last = status
        .last
        .as_ref()
        .map_or_else(|| "none".to_owned(), |last| format!("{} of boot {}", last.sequence, last.boot_id));
    format!(
        "waiting for the ledger:  {} blocks{}\n\
         kept for a replay:       {} blocks{}\n\
         put aside:               {} blocks\n\
         ends that wait:          {}\n\
         in use:                  {}\n\
         last block:              {last}\n",
        status.waiting,
        since(status.waiting_since),
        status.acknowledged,
        since(status.acknowledged_since),
        status.rejected,
        status.ends_waiting,
        Bytes(status.used_bytes).human(),
    )
}
