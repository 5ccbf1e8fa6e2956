//! The tenants file: `/etc/tenantry/tenants.toml` and, beside it, `tenants.d/*.toml`.
//!
//! A file with an error is refused whole, with its line and what to write instead.

mod choosers;
mod cores;
mod devices;
mod file;
mod limits;
mod network;
mod node;
mod policy;
mod raw;
mod resolve;
mod share_out;
mod source;

pub use devices::{
    DeviceAccess, DeviceKind, DeviceName, DeviceNumber, DeviceRule, DeviceSpec, InvalidDevice,
};
pub use file::in_force;
pub use limits::{HugePageSize, InvalidHugePageSize, IoMax, Limits, RdmaMax};
pub use network::{AclOperation, AclRule, AclVerdict, InvalidRule, NetworkPolicy};
pub use node::{DeviceNode, NodeLimits, NodeSize};
pub use policy::{
    IsolationFailure, Leftovers, MeteringFailure, PlacementMode, Policy, Unclaimed, Unenforceable,
};
pub use resolve::{Resolved, Warning};

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ids::{AccountName, TenantPath};
use crate::units::Amount;
use choosers::Choosers;

/// All tenants, the limits of each, and what happens when something fails.
///
/// # Invariants
/// The parent of every tenant is a tenant; no account is claimed exactly by two; the shares of cores
/// in one tenant, or at the top, are at most 100%. Held by [`Tenants::parse`] and [`Tenants::load`], its only constructors, and
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
    #[serde(default)]
    choosers: Choosers,
    /// What it may use on one node, all its jobs and tenants together.
    pub limits: Limits,
    /// Whom its processes may talk to, and how.
    #[serde(default)]
    pub network: NetworkPolicy,
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
    #[error("no tenant claims the account {account}; ask your site's administrator to add it to a tenant")]
    Unclaimed {
        /// The account.
        account: AccountName,
    },
    /// Two globs of equal weight claim it.
    #[error(
        "the account {account} is claimed by both {first} and {second}; \
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

    /// The devices that the file names; what they are is for the node to say.
    #[must_use]
    pub fn devices(&self) -> BTreeSet<DeviceName> {
        let of_tenant = |tenant: &Tenant| {
            let listed = tenant.limits.devices.iter().flatten().filter_map(DeviceSpec::path);
            let listed = listed.map(|path| DeviceName::Path(path.to_owned()));
            listed.chain(tenant.limits.io_max.keys().cloned()).collect::<Vec<_>>()
        };
        self.tenants.values().flat_map(of_tenant).collect()
    }

    /// Whether any tenant has a share of the cores, so that the node's cores matter.
    #[must_use]
    pub fn share_cores(&self) -> bool {
        self.tenants.values().any(|tenant| matches!(tenant.limits.cpus, Some(Amount::Share(_))))
    }

    /// Whether a user may choose a tenant with `--tenant`: the tenant names him, or one of his Unix
    /// groups. Being named by one tenant opens none that stands in it, and none that it stands in.
    #[must_use]
    pub fn may_choose(&self, tenant: &TenantPath, user: &str, groups: &[impl AsRef<str>]) -> bool {
        self.get(tenant).is_some_and(|tenant| tenant.choosers.include(user, groups))
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
