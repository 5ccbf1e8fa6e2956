//! A job on one node: who it is, the root-only record of it under `/run/tenantry`, and the entry
//! its epilog leaves in the outbox.
//!
//! ```text
//! /run/tenantry/jobs/<scope>/<job id>/registration.json   by the prolog, before the job's first step
//! /run/tenantry/jobs/<scope>/<job id>/allocation.json     by the job's first step
//! /run/tenantry/jobs/<scope>/<job id>/steps/<step>.json   by each step, when it begins and when it ends
//! /run/tenantry/jobs/<scope>/<job id>/end.json            by the epilog, until it is through
//! /var/lib/tenantry/outbox/<began>-<scope>-<job id>.json  by the epilog, durable before the group goes
//! ```
//! `<scope>` is the name of slurmd's own scope (`slurmstepd.scope`, `n1_slurmstepd.scope`), which
//! tells the nodes of several slurmds on one machine apart.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::{Moment, WallTime};
use crate::ids::{AccountName, BootId, ClusterName, JobId, NodeName, Sluid, TenantPath};
use crate::reading::Reading;
use crate::units::{Bytes, Usec};

/// One run of a job on one node: a requeued job is two of them under one id.
// Compared in this order: numbers tell nearly all of a node's runs apart, without a look at the texts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// Slurm's job id: of the component, in a heterogeneous job.
    pub job_id: JobId,
    /// When its prolog began.
    pub began: WallTime,
    /// The boot it ran in.
    pub boot_id: BootId,
    /// Slurm's node.
    pub node: NodeName,
    /// Slurm's cluster; `None` where slurmd did not say.
    pub cluster: Option<ClusterName>,
}

/// What the prolog decided, from signed facts only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Which run of which job.
    pub incarnation: Incarnation,
    /// Slurm's restart count, where it told.
    pub restart_count: Option<u32>,
    /// Slurm's sortable id, where it told (25.11 and later).
    pub sluid: Option<Sluid>,
    /// The job's owner.
    pub uid: u32,
    /// The owner's group.
    pub gid: u32,
    /// The owner's name, where Slurm told.
    pub user: Option<String>,
    /// The signed account; `None` where Slurm named none, or none this system accepts.
    pub account: Option<AccountName>,
    /// The partition, where Slurm told.
    pub partition: Option<String>,
    /// CPUs on this node, where the prolog's environment tells; else the first step does.
    pub allocated_cpus: Option<u32>,
    /// GPUs on this node, by Slurm's own numbers: places in the node's GRES. Empty where Slurm told none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allocated_gpus: Vec<u32>,
    /// slurmd's scope, relative to the cgroup root: `system.slice/n1_slurmstepd.scope`.
    pub scope: PathBuf,
    /// The same instant as `incarnation.began`, by both clocks.
    pub began: Moment,
    /// Where the job runs.
    pub placement: Placement,
}

/// Where a job's processes belong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Placement {
    /// In its tenant's group.
    Grafted {
        /// The tenant that pays.
        tenant: TenantPath,
        /// The job's group, relative to the cgroup root.
        leaf: PathBuf,
        /// Where Slurm looks for it, relative to the cgroup root: mount points of `leaf`.
        mounts: Vec<PathBuf>,
    },
    /// Outside any tenant, because the site chose `isolation_failure = "run-unisolated"`.
    Unisolated {
        /// The tenant that would pay.
        tenant: Option<TenantPath>,
        /// What could not be done.
        reason: String,
    },
    /// Nowhere: its steps are refused.
    Refused {
        /// What the user is told.
        reason: String,
    },
}

impl Placement {
    /// The tenant that pays, if one was found.
    #[must_use]
    pub fn tenant(&self) -> Option<&TenantPath> {
        match self {
            Self::Grafted { tenant, .. } => Some(tenant),
            Self::Unisolated { tenant, .. } => tenant.as_ref(),
            Self::Refused { .. } => None,
        }
    }
}

/// What Slurm allocated to the job on this node, as its first step was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// CPUs.
    pub cpus: Option<u32>,
    /// Memory.
    pub memory: Option<Bytes>,
}

/// A job's end on this node: the outbox entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobEnd {
    /// What the prolog decided.
    pub registration: Registration,
    /// What Slurm allocated, if a step ever started.
    pub allocation: Option<Allocation>,
    /// The last counters of the job's group; `None` where there was no group to read.
    pub reading: Option<Reading>,
    /// What its steps used, where Slurm's groups tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,
    /// When the job had ended here.
    pub ended: Moment,
    /// How much the figures are worth.
    pub quality: Quality,
    /// For how long at most it ran on after `ended`, unmeasured; `None` where that is not the case
    /// or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmeasured_usec: Option<Usec>,
}

/// What a job's steps used, without Slurm's own processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps {
    /// How many there were.
    pub count: u64,
    /// CPU time of all their tasks; `None` where some step's is unknown.
    pub cpu_usage_usec: Option<Usec>,
    /// The first of them, one by one.
    pub ends: Vec<StepEnd>,
}

impl Steps {
    /// The most steps that are told one by one.
    pub const MOST_ENDS: usize = 256;
}

/// One step's tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEnd {
    /// Slurm's step: `batch`, `extern`, `interactive`, or its number.
    pub step: String,
    /// When it was read; `None` where it never was.
    pub ended: Option<Moment>,
    /// The counters of its tasks' group when no process was left in it.
    pub reading: Option<Reading>,
}

/// How much a figure is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// The kernel's final counters, read when no process was left.
    Exact,
    /// The last reading that was kept; the job ran on after it.
    Estimated,
    /// No counters at all: only times and allocation.
    Gap,
}

/// Where the records stand. The defaults are the system's; tests use directories of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `/run/tenantry`: gone with the boot.
    pub run: PathBuf,
    /// `/var/lib/tenantry`: kept.
    pub state: PathBuf,
    /// `/etc/tenantry`.
    pub etc: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self { run: "/run/tenantry".into(), state: "/var/lib/tenantry".into(), etc: "/etc/tenantry".into() }
    }
}

impl Paths {
    /// Where registrations stand.
    #[must_use]
    pub fn jobs(&self) -> PathBuf {
        self.run.join("jobs")
    }

    /// One job's records.
    #[must_use]
    pub fn job(&self, scope: &Path, job: JobId) -> JobRecords {
        let scope = scope.file_name().unwrap_or(scope.as_os_str());
        JobRecords { dir: self.jobs().join(scope).join(job.to_string()) }
    }

    /// The records of every job that has a directory: registered, or about to be.
    ///
    /// # Errors
    /// Where a directory cannot be listed.
    pub fn all_jobs(&self) -> io::Result<Vec<ListedJob>> {
        let mut found = Vec::new();
        for scope in names(&self.jobs())? {
            for name in names(&self.jobs().join(&scope))? {
                if let Some(job) = name.to_str().and_then(|name| name.parse().ok()).map(JobId) {
                    let records = self.job(Path::new(&scope), job);
                    found.push(ListedJob { scope: scope.clone(), job, records });
                }
            }
        }
        Ok(found)
    }

    /// The outbox, and the one that takes its place where the disk is full.
    #[must_use]
    pub fn outboxes(&self) -> [PathBuf; 2] {
        [self.state.join("outbox"), self.run.join("outbox")]
    }

    /// The tenants file last found without an error.
    #[must_use]
    pub fn last_good_tenants(&self) -> PathBuf {
        self.state.join("tenants.last-good.json")
    }
}

/// What is in a directory; nothing where there is none.
fn names(dir: &Path) -> io::Result<Vec<OsString>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.file_name())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", dir.display()))),
    }
}

/// A job that has a directory under `/run/tenantry/jobs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedJob {
    /// The name of its slurmd's scope.
    pub scope: OsString,
    /// Slurm's job id.
    pub job: JobId,
    /// Its records.
    pub records: JobRecords,
}

/// One job's records under `/run/tenantry/jobs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRecords {
    /// Their directory.
    pub dir: PathBuf,
}

impl JobRecords {
    /// Written by the prolog, removed last.
    #[must_use]
    pub fn registration(&self) -> PathBuf {
        self.dir.join("registration.json")
    }

    /// Written by the first step.
    #[must_use]
    pub fn allocation(&self) -> PathBuf {
        self.dir.join("allocation.json")
    }

    /// Written by each step, in a file of its own.
    #[must_use]
    pub fn steps(&self) -> PathBuf {
        self.dir.join("steps")
    }

    /// One step's file.
    #[must_use]
    pub fn step(&self, step: &str) -> PathBuf {
        self.steps().join(format!("{step}.json"))
    }

    /// Written by whoever closes the job, before the outbox: a close that is cut off and done again
    /// tells the same.
    #[must_use]
    pub fn end(&self) -> PathBuf {
        self.dir.join("end.json")
    }
}

impl JobEnd {
    /// What its file in the outbox is called: unique to the incarnation on this machine.
    #[must_use]
    pub fn file_name(&self) -> String {
        let incarnation = &self.registration.incarnation;
        let scope = self.registration.scope.file_name().map(|name| name.to_string_lossy());
        format!(
            "{}-{}-{}.json",
            incarnation.began.unix_usec(),
            scope.as_deref().unwrap_or("no-scope"),
            incarnation.job_id
        )
    }
}
