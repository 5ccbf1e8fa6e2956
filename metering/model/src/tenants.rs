//! The tenants file: `/etc/tenantry/tenants.toml` and, beside it, `tenants.d/*.toml`.
//!
//! A file with an error is refused whole, with its line and what to write instead.

mod devices;
mod file;
mod network;

pub use devices::{DeviceAccess, DeviceKind, DeviceRule};
pub use file::in_force;
pub use network::{AclOperation, AclRule, AclVerdict, NetworkPolicy};

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ids::{AccountName, TenantPath};
use crate::units::{Bytes, CpuBandwidth, Limit};

/// All tenants, the limits of each, and what happens when something fails.
///
/// # Invariants
/// The parent of every tenant is a tenant; no account is claimed exactly by two. Held by
/// [`Tenants::parse`] and [`Tenants::load`], its only constructors, and
/// `tests::whatever_parses_is_a_tree_without_double_claims`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenants {
    policy: Policy,
    tenants: BTreeMap<TenantPath, Tenant>,
}

/// One tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    accounts: Vec<AccountPattern>,
    /// Who may choose it with `--tenant`: names of users.
    users: BTreeSet<String>,
    /// And of Unix groups.
    groups: BTreeSet<String>,
    /// What it may use on one node, all its jobs and tenants together.
    pub limits: Limits,
}

/// What a group may use. What is absent stands at the kernel's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `cpu.weight`, 1 to 10000; the kernel's default is 100.
    pub cpu_weight: Option<u64>,
    /// `cpu.max`.
    pub cpu_max: Option<Limit<CpuBandwidth>>,
    /// `memory.low`: kept for it as long as others have some to give.
    pub memory_low: Option<Limit<Bytes>>,
    /// `memory.high`: above it the group is slowed and made to give back.
    pub memory_high: Option<Limit<Bytes>>,
    /// `memory.max`: above it a process of the group is killed.
    pub memory_max: Option<Limit<Bytes>>,
    /// `memory.swap.max`.
    pub memory_swap_max: Option<Limit<Bytes>>,
    /// `pids.max`: processes and threads.
    pub pids_max: Option<Limit<u64>>,
}

/// What happens when something fails: design choices a site makes once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Policy {
    /// A job whose account no tenant claims.
    #[serde(rename = "unclaimed_accounts")]
    pub unclaimed_accounts: Unclaimed,
    /// A job that cannot be put under its tenant.
    #[serde(rename = "isolation_failure")]
    pub isolation_failure: IsolationFailure,
    /// A job whose usage cannot be recorded.
    #[serde(rename = "metering_failure")]
    pub metering_failure: MeteringFailure,
    /// A limit, device list or network policy that the kernel here cannot enforce.
    #[serde(rename = "unenforceable")]
    pub unenforceable: Unenforceable,
    /// How a job gets into its tenant.
    #[serde(rename = "placement")]
    pub placement: PlacementMode,
    /// What a user's last job on a node leaves in shared memory and System V IPC.
    #[serde(rename = "shared_memory")]
    pub shared_memory: Residue,
    /// The same for `/tmp` and `/var/tmp`.
    #[serde(rename = "tmp")]
    pub tmp: Residue,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            unclaimed_accounts: Unclaimed::Refuse,
            isolation_failure: IsolationFailure::FailJob,
            metering_failure: MeteringFailure::RecordGap,
            unenforceable: Unenforceable::IsolationFailure,
            placement: PlacementMode::Graft,
            shared_memory: Residue::Remove,
            tmp: Residue::Keep,
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

/// What the kernel here cannot enforce.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unenforceable {
    /// As if the job could not be put under its tenant.
    #[default]
    IsolationFailure,
    /// The job runs without it, which is logged.
    RunWithout,
}

/// How a job gets into its tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacementMode {
    /// Its group stands in the tenant's, and is mounted where Slurm looks for it.
    #[default]
    Graft,
    /// Its group stays where Slurm makes it; the tenant's CPU, pids and IO limits are shared out
    /// over its jobs.
    Siblings,
}

/// What a user's jobs leave behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Residue {
    /// It goes with the last job the user has on the node.
    Remove,
    /// It stays.
    Keep,
}

/// An account a tenant claims: a name, or a glob of `*` (any characters) and `?` (one).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
struct AccountPattern(String);

impl AccountPattern {
    fn is_glob(&self) -> bool {
        self.0.contains(['*', '?'])
    }

    /// How many characters it fixes: of two globs that match, the one that fixes more wins.
    fn fixed_chars(&self) -> usize {
        self.0.chars().filter(|c| !matches!(c, '*' | '?')).count()
    }

    fn matches(&self, account: &AccountName) -> bool {
        glob_matches(self.0.as_bytes(), account.as_str().as_bytes())
    }
}

/// Iterative, with one point to go back to: linear in practice, never exponential.
fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    let mut after_star: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), text.split_first()) {
            (Some((b'*', rest)), _) => {
                after_star = Some((rest, text));
                pattern = rest;
            }
            (Some((b'?', rest)), Some((_, text_rest))) => (pattern, text) = (rest, text_rest),
            (Some((p, rest)), Some((t, text_rest))) if p == t => (pattern, text) = (rest, text_rest),
            (None, None) => return true,
            _ => match after_star.and_then(|(rest, tried)| Some((rest, tried.split_first()?.1))) {
                Some((rest, retry)) => {
                    after_star = Some((rest, retry));
                    (pattern, text) = (rest, retry);
                }
                None => return false,
            },
        }
    }
}

/// Why an account has no tenant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTenant {
    /// Nobody claims it.
    #[error("no tenant claims the account {account:?}; ask your site's administrator to add it to a tenant")]
    Unclaimed {
        /// The account.
        account: AccountName,
    },
    /// Two globs of equal weight claim it.
    #[error(
        "the account {account:?} is claimed by both {first} and {second}; \
         the administrator must name it exactly in one of them"
    )]
    Ambiguous {
        /// The account.
        account: AccountName,
        /// One claimant.
        first: TenantPath,
        /// The other.
        second: TenantPath,
    },
}

/// What is wrong with a tenants file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{}:{line}:{column}: {problem}; {fix}", file.display())]
pub struct TenantsError {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1.
    pub line: usize,
    /// Its column, from 1.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    /// What to write or do instead.
    pub fix: String,
}

impl Tenants {
    /// The name unclaimed accounts go to under [`Unclaimed::Default`].
    pub const DEFAULT: &'static str = "default";

    /// What happens when something fails.
    #[must_use]
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// A tenant by name.
    #[must_use]
    pub fn get(&self, path: &TenantPath) -> Option<&Tenant> {
        self.tenants.get(path)
    }

    /// All tenants, parents before their children.
    pub fn iter(&self) -> impl Iterator<Item = (&TenantPath, &Tenant)> {
        self.tenants.iter()
    }

    /// The tenant that claims an account: by its exact name first, else by the glob that fixes
    /// most characters; else `default` where the policy says so.
    ///
    /// # Errors
    /// [`NoTenant`]; its text is for the job's owner.
    pub fn claimant(&self, account: &AccountName) -> Result<&TenantPath, NoTenant> {
        let weight = |pattern: &AccountPattern| (!pattern.is_glob(), pattern.fixed_chars());
        let mut best: Option<((bool, usize), &TenantPath)> = None;
        let mut rival = None;
        for (path, tenant) in &self.tenants {
            let Some(claim) = tenant.accounts.iter().filter(|p| p.matches(account)).map(weight).max() else {
                continue;
            };
            match best {
                Some((held, _)) if claim < held => {}
                Some((held, _)) if claim == held => rival = Some(path),
                _ => (best, rival) = (Some((claim, path)), None),
            }
        }
        match (best, rival) {
            (Some((_, first)), Some(second)) => Err(NoTenant::Ambiguous {
                account: account.clone(),
                first: first.clone(),
                second: second.clone(),
            }),
            (Some((_, path)), None) => Ok(path),
            (None, _) => {
                self.default_tenant().ok_or_else(|| NoTenant::Unclaimed { account: account.clone() })
            }
        }
    }

    /// Whether a user may choose a tenant with `--tenant`: exactly this one, not those in it.
    #[must_use]
    pub fn may_choose(&self, tenant: &TenantPath, user: &str, groups: &[String]) -> bool {
        self.tenants.get(tenant).is_some_and(|tenant| {
            tenant.users.contains(user) || groups.iter().any(|group| tenant.groups.contains(group))
        })
    }

    /// Where unclaimed accounts go, if the policy lets them go anywhere.
    #[must_use]
    pub fn default_tenant(&self) -> Option<&TenantPath> {
        match self.policy.unclaimed_accounts {
            Unclaimed::Refuse => None,
            Unclaimed::Default => self.tenants.keys().find(|path| path.as_str() == Self::DEFAULT),
        }
    }
}

#[cfg(test)]
mod tests;
