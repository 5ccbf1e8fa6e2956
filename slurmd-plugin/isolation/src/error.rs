use std::io;
use std::path::PathBuf;

use tenantry_model::tenants::TenantsError;
use tenantry_model::{NodeName, TenantPath};

use crate::facts::MissingFact;
use crate::outbox::Lost;

/// Why something could not be done for a job.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Slurm did not say which job it is.
    #[error("Slurm does not tell the job: {0}")]
    Unidentified(String),
    /// Slurm did not say on which node the job is.
    #[error(transparent)]
    Facts(#[from] MissingFact),
    /// slurmd made no scope.
    #[error(
        "no slurmstepd.scope of {0} in the cgroup tree: Tenantry needs CgroupPlugin=cgroup/v2 and ProctrackType=proctrack/cgroup"
    )]
    NoScope(NodeName),
    /// There never was a good tenants file.
    #[error(transparent)]
    Tenants(#[from] TenantsError),
    /// The kernel refused.
    #[error(transparent)]
    Cgroup(#[from] tenantry_cgroup::Error),
    /// A limit that is the tenant's as a whole.
    #[error(
        "{what} of tenant {tenant} cannot be shared out over its jobs (placement = \"siblings\"): take it \
         out of the tenants file, or write placement = \"graft\""
    )]
    NotShared {
        /// Whose.
        tenant: TenantPath,
        /// Which.
        what: &'static str,
    },
    /// A record could not be read, written or removed.
    #[error("cannot {operation} {}", path.display())]
    Record {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No outbox took the final counters.
    #[error(transparent)]
    Lost(#[from] Lost),
    /// slurmd's mount namespace does not receive what is mounted in the node's.
    #[error(
        "slurmd does not see the job's mount; take PrivateMounts=, MountFlags= and the like out of slurmd's unit, or make its mounts slaves of the node's"
    )]
    Unseen,
    /// This process is in a mount namespace of its own and cannot leave it.
    #[error("cannot enter the node's mount namespace")]
    Namespace(#[source] io::Error),
}

impl Error {
    /// The error with its causes, for a log line or a person.
    #[must_use]
    pub fn describe(&self) -> String {
        tenantry_model::describe(self)
    }

    pub(crate) fn record(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Record { operation, path, source }
    }
}
