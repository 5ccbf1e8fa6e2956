//! Who asks, what proved it, and what they may do.

use std::fmt;

use tenantry_model::{Identity, NodeName, Role, TenantPath};

use crate::config::Config;

/// The other end of a connection. Doors make it; handlers ask it what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A process on this machine, by the kernel's word (`SO_PEERCRED`); `None` where it gave none.
    Local(Option<u32>),
    /// Who a certificate names that the site's authority signed.
    Certified(Identity),
    /// A certificate of the site's authority that names nobody here.
    Stranger(String),
}

/// Whose usage a caller may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MayRead {
    /// Everybody's.
    Everything,
    /// This tenant's, and that of those that stand in it.
    Tenant(TenantPath),
    /// The jobs of one user.
    JobsOf(u32),
}

/// Whose blocks a caller may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaySend {
    /// Any node's: a daemon of this machine.
    Any,
    /// This node's.
    Node(NodeName),
}

impl Caller {
    /// Whose usage it may read; `None`: nobody's.
    pub fn may_read(&self, config: &Config) -> Option<MayRead> {
        match self {
            Self::Local(Some(uid)) if config.reader_uids.contains(uid) => Some(MayRead::Everything),
            Self::Local(Some(uid)) => Some(MayRead::JobsOf(*uid)),
            Self::Certified(Identity { role: Role::Reader(_), .. }) => Some(MayRead::Everything),
            Self::Certified(Identity { role: Role::Tenant(tenant), .. }) => {
                Some(MayRead::Tenant(tenant.clone()))
            }
            Self::Local(None) | Self::Certified(_) | Self::Stranger(_) => None,
        }
    }

    /// Whose blocks it may send; `None`: nobody's.
    pub fn may_send(&self, config: &Config) -> Option<MaySend> {
        match self {
            Self::Local(Some(uid)) if config.ingest_uids.contains(uid) => Some(MaySend::Any),
            Self::Certified(Identity { role: Role::Node(node), .. }) => Some(MaySend::Node(node.clone())),
            Self::Local(_) | Self::Certified(_) | Self::Stranger(_) => None,
        }
    }

    /// The user, of a process on this machine.
    pub fn uid(&self) -> Option<u32> {
        match self {
            Self::Local(uid) => *uid,
            Self::Certified(_) | Self::Stranger(_) => None,
        }
    }
}

impl MaySend {
    /// Whether a block of `node` is among what may be sent.
    pub fn covers(&self, node: &NodeName) -> bool {
        match self {
            Self::Any => true,
            Self::Node(own) => own == node,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(Some(uid)) => write!(f, "uid {uid}"),
            Self::Local(None) => f.write_str("a process that the kernel did not name"),
            Self::Certified(identity) => identity.fmt(f),
            Self::Stranger(why) => write!(f, "a certificate that names nobody here ({why})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_what_is_in_one_table() {
        let config = Config { ingest_uids: vec![0], reader_uids: vec![0, 7], ..Config::default() };
        let node = |name: &str| name.parse::<NodeName>().unwrap();
        let tenant: TenantPath = "acme/physics".parse().unwrap();
        let certified = |text: &str| Caller::Certified(text.parse().unwrap());
        for (caller, reads, sends) in [
            (Caller::Local(Some(0)), Some(MayRead::Everything), Some(MaySend::Any)),
            (Caller::Local(Some(7)), Some(MayRead::Everything), None),
            (Caller::Local(Some(1001)), Some(MayRead::JobsOf(1001)), None),
            (Caller::Local(None), None, None),
            (certified("spiffe://c1/node/n1"), None, Some(MaySend::Node(node("n1")))),
            (certified("spiffe://c1/reader/billing"), Some(MayRead::Everything), None),
            (certified("spiffe://c1/tenant/acme/physics"), Some(MayRead::Tenant(tenant)), None),
            (certified("spiffe://c1/server/meter"), None, None),
            (Caller::Stranger("another cluster's".to_owned()), None, None),
        ] {
            assert_eq!((caller.may_read(&config), caller.may_send(&config)), (reads, sends), "{caller}");
        }
        assert!(MaySend::Node(node("n1")).covers(&node("n1")));
        assert!(!MaySend::Node(node("n1")).covers(&node("n10")));
    }
}
