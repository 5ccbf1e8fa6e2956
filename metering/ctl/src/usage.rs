//! `tenantry usage`.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use hyper::{Method, StatusCode};
use serde::Deserialize;
use tenantry_model::usage::UsageReport;
use tenantry_model::{JobId, TenantPath};

use crate::error::Error;
use crate::{csv_report, table};

const TIME_LIMIT: Duration = Duration::from_mins(1);

/// Show what jobs used and were allocated, by tenant
///
/// One line for each run of a job on each node, running jobs included, and a total for each
/// tenant. You see your own jobs; the administrator's readers see all.
#[derive(clap::Args)]
pub struct Args {
    /// This tenant and those that stand in it, like acme or acme/physics
    #[arg(long)]
    tenant: Option<TenantPath>,
    /// This job: all its runs, on all nodes
    #[arg(long)]
    job: Option<JobId>,
    /// table: units in the header, figures rounded down, "-" for what was not measured, ">=" for
    /// a total over records of which some lack the figure. json: the server's report. csv: every
    /// figure in base units, empty for what was not measured; a text a spreadsheet would take for
    /// a formula begins with '
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// The server's socket for readers
    #[arg(long, value_name = "PATH", default_value = "/run/tenantry-server/api.sock")]
    socket: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

#[derive(Deserialize)]
struct Refusal {
    error: String,
    next: String,
}

pub fn run(args: &Args) -> Result<(), Error> {
    let report = ask(args)?;
    let mut out = BufWriter::new(io::stdout().lock());
    match args.format {
        Format::Table => out.write_all(table::table(&report).ok_or(Error::TooLarge)?.as_bytes())?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from)?;
            writeln!(out)?;
        }
        Format::Csv => csv_report::write(&report.usage, &mut out)?,
    }
    Ok(out.flush()?)
}

fn ask(args: &Args) -> Result<UsageReport, Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::System)?;
    let (status, body) = runtime.block_on(tenantry_client::request(
        &args.socket,
        Method::GET,
        &path_and_query(args.tenant.as_ref(), args.job),
        &[],
        Vec::new(),
        TIME_LIMIT,
    ))?;
    if status == StatusCode::OK {
        return serde_json::from_slice(&body).map_err(Error::Answer);
    }
    let Refusal { error, next } = serde_json::from_slice(&body).map_err(Error::Answer)?;
    Err(Error::Refused { status: status.as_u16(), error, next })
}

/// A tenant and a job id hold no character that a query would take for its own.
fn path_and_query(tenant: Option<&TenantPath>, job: Option<JobId>) -> String {
    let tenant = tenant.map(|tenant| format!("tenant={tenant}"));
    let job = job.map(|job| format!("job={job}"));
    let question: Vec<_> = tenant.into_iter().chain(job).collect();
    if question.is_empty() { "/v1/usage".to_owned() } else { format!("/v1/usage?{}", question.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_not_in_the_query() {
        let tenant: TenantPath = "acme/physics".parse().unwrap();
        assert_eq!(path_and_query(None, None), "/v1/usage");
        assert_eq!(path_and_query(None, Some(JobId(7))), "/v1/usage?job=7");
        assert_eq!(path_and_query(Some(&tenant), Some(JobId(7))), "/v1/usage?tenant=acme/physics&job=7");
    }
}
