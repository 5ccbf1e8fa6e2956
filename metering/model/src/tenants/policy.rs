//! What happens when something fails: design choices a site makes once.

use serde::{Deserialize, Serialize};

/// The file's `[policy]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// A job whose account no tenant claims.
    pub unclaimed_accounts: Unclaimed,
    /// A job that cannot be put under its tenant.
    pub isolation_failure: IsolationFailure,
    /// A job whose usage cannot be recorded.
    pub metering_failure: MeteringFailure,
    /// A limit, device list or network policy that this kernel cannot enforce.
    pub unenforceable: Unenforceable,
    /// How a job gets under its tenant.
    pub placement: PlacementMode,
    /// What a job's user leaves in shared memory when his last job on the node ends.
    pub shared_memory: Leftovers,
    /// What he leaves in `/tmp` and `/var/tmp`.
    pub tmp: Leftovers,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            unclaimed_accounts: Unclaimed::default(),
            isolation_failure: IsolationFailure::default(),
            metering_failure: MeteringFailure::default(),
            unenforceable: Unenforceable::default(),
            placement: PlacementMode::default(),
            // It stays charged to the tenant until it is gone; files on disk do not.
            shared_memory: Leftovers::Remove,
            tmp: Leftovers::Keep,
        }
    }
}

/// A job whose account no tenant claims.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unclaimed {
    /// Its steps are refused, and say why.
    #[default]
    Refuse,
    /// It runs under the tenant named `default`.
    Default,
}

/// A job that cannot be put under its tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IsolationFailure {
    /// The job fails; the node takes others.
    #[default]
    FailJob,
    /// The job fails and Slurm drains the node.
    DrainNode,
    /// The job runs outside its tenant, which is logged and recorded.
    RunUnisolated,
}

/// A job whose usage cannot be recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeteringFailure {
    /// The job runs; the gap is recorded.
    #[default]
    RecordGap,
    /// The job's steps are refused.
    RefuseJob,
}

/// A limit, device list or network policy that this kernel cannot enforce.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unenforceable {
    /// As [`IsolationFailure`] says.
    #[default]
    IsolationFailure,
    /// The job runs under its tenant without it, which is logged.
    RunWithout,
}

/// How a job gets under its tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacementMode {
    /// Its group stands in the tenant's, and is mounted where Slurm looks for it.
    #[default]
    Graft,
    /// No mounts: its group stays where Slurm puts it, and the tenant's CPU, pids and IO limits are
    /// shared out over the tenant's jobs.
    Siblings,
}

/// What is done with what a user's jobs left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leftovers {
    /// It is removed when his last job on the node ends.
    Remove,
    /// It stays.
    Keep,
}
