//! What the authority has made: `issued.json`.

use serde::{Deserialize, Serialize};
use tenantry_model::{ClusterName, Role, WallTime};

/// The authority's memory.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Whose certificates these are.
    pub cluster: ClusterName,
    /// Until when the authority's own holds.
    pub authority_not_after: WallTime,
    /// Of the latest list of revoked certificates.
    pub crl_number: u64,
    /// In the order in which they were made.
    pub certificates: Vec<Issued>,
}

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// Hexadecimal.
    pub serial: String,
    /// Whom it names.
    pub role: Role,
    /// Of a server: host names and addresses.
    pub alternative_names: Vec<String>,
    /// From when it holds.
    pub not_before: WallTime,
    /// Until when.
    pub not_after: WallTime,
    /// Since when it does not hold any more.
    pub revoked: Option<WallTime>,
}

/// What became of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It holds.
    Good,
    /// It holds, and less than a third of its life is left.
    Due,
    /// Its time is over.
    Expired,
    /// It was revoked.
    Revoked,
}

impl Issued {
    /// What became of it, at `now`.
    pub fn state(&self, now: WallTime) -> State {
        let left = self.not_after.unix_usec().saturating_sub(now.unix_usec());
        let life = self.not_after.unix_usec().saturating_sub(self.not_before.unix_usec());
        if self.revoked.is_some() {
            State::Revoked
        } else if left <= 0 {
            State::Expired
        } else if left.saturating_mul(3) < life {
            State::Due
        } else {
            State::Good
        }
    }

    /// Whether it is taken.
    pub fn holds(&self, now: WallTime) -> bool {
        matches!(self.state(now), State::Good | State::Due)
    }
}

impl Register {
    /// The latest certificate of a name that holds.
    pub fn latest(&self, role: &Role, now: WallTime) -> Option<&Issued> {
        self.certificates.iter().rev().find(|issued| issued.role == *role && issued.holds(now))
    }

    /// The latest certificate of a name, whatever became of it.
    pub fn last(&self, role: &Role) -> Option<&Issued> {
        self.certificates.iter().rev().find(|issued| issued.role == *role)
    }
}
