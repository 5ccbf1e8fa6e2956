//! Why the command could not do its work.

use std::io;
use std::path::PathBuf;

use tenantry_model::TenantPath;
use tenantry_model::tenants::TenantsError;

use tenantry_client::{ClientError, ServerError, TlsError};

/// Why the command ended without doing its work. The text says what happened and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No reply.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The settings name no server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server refuses, and says why.
    #[error("{error}; {next}")]
    Refused { status: u16, error: String, next: String },
    /// What came is no answer.
    #[error("the server's answer cannot be read: server and command may be of different releases")]
    Answer(#[source] serde_json::Error),
    /// A total is beyond 128 bits.
    #[error("the totals do not fit: ask for one tenant or one job")]
    TooLarge,
    /// No calendar has the time.
    #[error("the period begins or ends at a time that no calendar has: name a later one")]
    NoSuchTime,
    /// The period holds nothing.
    #[error("the period ends before it begins: --until is later than --since")]
    EmptyPeriod,
    /// `sacct` cannot be run.
    #[error("cannot run sacct: run this where Slurm's commands are, or give its output with --sacct FILE")]
    NoSacct(#[source] io::Error),
    /// What came is not what `sacct` writes.
    #[error("sacct's output cannot be used: {0}")]
    Sacct(String),
    /// The records and Slurm's accounting differ without a known cause, and that was written out already.
    #[error("the records and Slurm's accounting differ")]
    Unexplained,
    /// The tenants file has an error.
    #[error(transparent)]
    Config(#[from] TenantsError),
    /// The same, and it was written out already.
    #[error("the tenants file has an error")]
    ConfigAlreadySaid,
    /// The cgroup tree cannot be read or written.
    #[error(transparent)]
    Cgroup(#[from] tenantry_cgroup::Error),
    /// What is shared with the plugin and the warden could not do its work.
    #[error(transparent)]
    Isolation(#[from] tenantry_isolation::Error),
    /// No slurmd runs here.
    #[error("no slurmstepd.scope in the cgroup tree: on a node, start slurmd with CgroupPlugin=cgroup/v2")]
    NoScope,
    /// The file has no such tenant.
    #[error("there is no tenant {0} in the file; `tenantry tenants check` lists them")]
    NoTenant(TenantPath),
    /// What was asked changes groups.
    #[error("only root may change limits and policies: run it as root")]
    NotRoot,
    /// What was asked changes what Slurm loads.
    #[error("only root may choose the plugin that Slurm loads: run it as root")]
    PluginNotRoot,
    /// What was asked changes the node.
    #[error("only root may look at and change all that a first day needs: run it as root")]
    QuickstartNotRoot,
    /// Nobody would pay for the job.
    #[error(
        "{0} is no user of both this machine and Slurm (sacctmgr list association), or is root: name another"
    )]
    NoPayer(String),
    /// The line for plugstack.conf could not be written.
    #[error("cannot write {}; Slurm loads what it loaded before: `tenantry plugin status`", file.display())]
    PluginLine {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Their epilog needs the plugin.
    #[error(
        "{} in a tenant here, and what they used is not recorded without the plugin; \
         drain the node, and try again when they have ended",
        jobs(.0)
    )]
    JobsInTenants(Vec<String>),
    /// Limits or policies differ, and that was written out already.
    #[error("limits or policies differ")]
    Differs,
    /// Limits or policies could not be put in force, and that was written out already.
    #[error("limits or policies could not be put in force")]
    NotApplied,
    /// The spool cannot be read or written.
    #[error(transparent)]
    Spool(#[from] tenantry_spool::SpoolError),
    /// Blocks of the spool have a problem, and that was written out already.
    #[error("blocks of the spool have a problem")]
    SpoolNotWhole,
    /// Nobody takes the output.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
    /// No runtime.
    #[error("the system refused what the command needs to start")]
    System(#[source] io::Error),
}

fn jobs(ids: &[String]) -> String {
    match ids {
        [one] => format!("job {one} runs"),
        many => format!("jobs {} run", many.join(", ")),
    }
}
