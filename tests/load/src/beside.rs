//! What the ledger is compared with: the same blocks by a bare insert, and their readings as rows with keys.
//! One commit a block in both, over as many connections as the server is asked by.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};
use tenantry_block::Sealed;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::corpus::{Corpus, Ready};

/// What goes into the database, and how.
#[derive(Clone, Copy, ValueEnum)]
enum Way {
    /// Opaque bytes by INSERT, without a key, an index or a look at them: the floor
    Floor,
    /// Each reading a row by COPY, with the key that makes it one of a kind
    Rows,
}

/// Where to, how, and how much.
#[derive(clap::Args)]
pub struct Options {
    /// floor or rows
    #[arg(value_enum)]
    way: Way,
    /// PostgreSQL's address
    #[arg(long)]
    host: String,
    /// The user, who may make tables; the password comes by PGPASSWORD
    #[arg(long)]
    user: String,
    /// The database
    #[arg(long)]
    database: String,
    /// Connections
    #[arg(long, default_value_t = 48)]
    connections: usize,
    /// Blocks
    #[arg(long, default_value_t = 10_000)]
    blocks: usize,
    /// Leave out so many blocks at the beginning
    #[arg(long, default_value_t = 0)]
    skip: usize,
    /// Stop after so long
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
}

const FLOOR: &str = "CREATE TABLE IF NOT EXISTS beside_floor (payload bytea NOT NULL);
ALTER TABLE beside_floor ALTER COLUMN payload SET STORAGE EXTERNAL";
const ROWS: &str = "CREATE TABLE IF NOT EXISTS beside_rows (
    node text NOT NULL, boot_id uuid NOT NULL, job_id bigint NOT NULL, boottime_usec bigint NOT NULL, unix_usec bigint NOT NULL,
    cpu_usage_usec bigint, cpu_user_usec bigint, cpu_system_usec bigint, memory_current_bytes bigint, memory_peak_bytes bigint,
    memory_anon_bytes bigint, memory_file_bytes bigint, pids_current bigint, cpu_pressure_some_usec bigint,
    network_transmit_bytes bigint, PRIMARY KEY (node, boot_id, job_id, boottime_usec))";

/// Until the blocks or the time are over.
pub fn run(corpus: &Path, options: &Options) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(put(corpus, options))
}

async fn put(corpus: &Path, options: &Options) -> Result<()> {
    let target = PgConnectOptions::new_without_pgpass()
        .host(&options.host)
        .username(&options.user)
        .database(&options.database);
    let way = options.way;
    let mut setup = PgConnection::connect_with(&target).await.context("cannot connect to PostgreSQL")?;
    setup
        .execute(match way {
            Way::Floor => FLOOR,
            Way::Rows => ROWS,
        })
        .await?;
    // Made ready before the clock starts: no client of rows would unpack blocks.
    let mut lanes: Vec<Vec<Vec<u8>>> = vec![Vec::new(); options.connections];
    for block in Corpus::open(corpus)?.skip(options.skip).take(options.blocks) {
        let block = block?;
        let lane = block.lane(lanes.len());
        lanes[lane].push(match way {
            Way::Floor => block.bytes,
            Way::Rows => rows(block)?,
        });
    }
    let mut open = Vec::new();
    for lane in lanes {
        open.push((PgConnection::connect_with(&target).await?, lane));
    }
    let start = Instant::now();
    let limit = Duration::from_secs_f64(options.seconds);
    let mut tasks: JoinSet<Result<Vec<u64>>> = JoinSet::new();
    for (mut connection, lane) in open {
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            for bytes in lane {
                if start.elapsed() >= limit {
                    break;
                }
                let began = Instant::now();
                match way {
                    Way::Floor => {
                        sqlx::query("INSERT INTO beside_floor VALUES ($1)")
                            .bind(bytes)
                            .execute(&mut connection)
                            .await?;
                    }
                    Way::Rows => {
                        let mut copy = connection.copy_in_raw("COPY beside_rows FROM STDIN").await?;
                        copy.send(bytes).await?;
                        copy.finish().await?;
                    }
                }
                latencies.push(began.elapsed().as_micros() as u64);
            }
            Ok(latencies)
        });
    }
    let mut latencies = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        latencies.extend(ended??);
    }
    let seconds = start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let quantile =
        |q: f64| latencies.get((latencies.len() as f64 * q) as usize).map(|usec| *usec as f64 / 1000.0);
    println!(
        "{}",
        serde_json::json!({
            "blocks": latencies.len(), "seconds": seconds, "blocks_per_s": latencies.len() as f64 / seconds,
            "p50_ms": quantile(0.5), "p99_ms": quantile(0.99),
        })
    );
    Ok(())
}

/// A block's readings as COPY takes them.
fn rows(block: Ready) -> Result<Vec<u8>> {
    let block = Sealed::open(block.bytes)?.block()?;
    let mut text = String::new();
    for series in &block.contents.series {
        let tenantry_model::block::Subject::Job(run) = &series.subject else { continue };
        for reading in &series.readings {
            let at = reading.at;
            write!(
                text,
                "{}\t{}\t{}\t{}\t{}",
                run.node.as_str(),
                run.boot_id.as_str(),
                run.job_id,
                at.boottime_usec.0,
                at.wall.unix_usec()
            )?;
            for metric in crate::fleet::COUNTERS {
                match reading.counters.get(metric) {
                    Some(value) => write!(text, "\t{value}")?,
                    None => text.push_str("\t\\N"),
                }
            }
            text.push('\n');
        }
    }
    Ok(text.into_bytes())
}
