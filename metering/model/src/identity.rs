//! Who a certificate names: `spiffe://CLUSTER/node/NAME`, `/reader/NAME`, `/tenant/PATH` or `/server/NAME`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::InvalidId;
use crate::{ClusterName, NodeName, TenantPath};

/// One of this system's parts or readers, as the site's certificates name it.
///
/// # Invariants
/// Its text names it alone: held by `tests::a_name_is_read_as_it_is_written`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The cluster it belongs to.
    pub cluster: ClusterName,
    /// What it is there.
    pub role: Role,
}

/// What a certificate's holder may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Role {
    /// Send this node's blocks.
    Node(NodeName),
    /// Read everybody's usage: billing, an administrator.
    Reader(NodeName),
    /// Read the usage of a tenant and of those that stand in it.
    Tenant(TenantPath),
    /// Be the server.
    Server(NodeName),
}

/// A text that names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// It has another form.
    #[error("it is no spiffe://CLUSTER/node/NAME, /reader/NAME, /tenant/PATH or /server/NAME")]
    Form,
    /// One of its parts is none.
    #[error(transparent)]
    Part(#[from] InvalidId),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node/{name}"),
            Self::Reader(name) => write!(f, "reader/{name}"),
            Self::Tenant(path) => write!(f, "tenant/{path}"),
            Self::Server(name) => write!(f, "server/{name}"),
        }
    }
}

impl TryFrom<String> for Role {
    type Error = InvalidIdentity;

    fn try_from(text: String) -> Result<Self, InvalidIdentity> {
        text.parse()
    }
}

impl From<Role> for String {
    fn from(role: Role) -> String {
        role.to_string()
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}", self.cluster, self.role)
    }
}

impl FromStr for Role {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let (kind, name) = text.split_once('/').ok_or(InvalidIdentity::Form)?;
        Ok(match kind {
            "node" => Self::Node(name.parse()?),
            "reader" => Self::Reader(name.parse()?),
            "tenant" => Self::Tenant(name.parse()?),
            "server" => Self::Server(name.parse()?),
            _ => return Err(InvalidIdentity::Form),
        })
    }
}

impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        let rest = text.strip_prefix("spiffe://").ok_or(InvalidIdentity::Form)?;
        let (cluster, role) = rest.split_once('/').ok_or(InvalidIdentity::Form)?;
        Ok(Self { cluster: cluster.parse()?, role: role.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written() {
        for text in [
            "spiffe://c1/node/n1",
            "spiffe://C_1.x/node/n-1.example",
            "spiffe://c1/reader/billing",
            "spiffe://c1/tenant/acme",
            "spiffe://c1/tenant/acme/physics",
            "spiffe://c1/server/meter.example",
        ] {
            assert_eq!(text.parse::<Identity>().map(|identity| identity.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_nearly_a_name_is_none() {
        for text in [
            "",
            "c1/node/n1",
            "https://c1/node/n1",
            "spiffe://c1/node",
            "spiffe://c1/node/",
            "spiffe://c1/node/n1/",
            "spiffe://c1/node/n1/x",
            "spiffe:///node/n1",
            "spiffe://c1//node/n1",
            "spiffe://c1/Node/n1",
            "spiffe://c1/root/n1",
            "spiffe://c1/node/n1?x",
            "spiffe://c1/node/n%31",
            "spiffe://c1/tenant/../x",
            "spiffe://c1:80/node/n1",
            "spiffe://u@c1/node/n1",
            "SPIFFE://c1/node/n1",
            "spiffe://c1/node/n1\0",
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text:?} was accepted");
        }
    }
}
