//! A tenant's network policy: which interfaces its sockets use, what they are marked with, and
//! whom they may talk to.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What a tenant's processes may do on the network of the node. The default restricts nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPolicy {
    /// The VRF (or interface) every new socket is bound to.
    pub bind_to: Option<String>,
    /// The only interfaces packets may leave by, by name; `None`: any. Loopback counts: list `lo`.
    pub interfaces: Option<BTreeSet<String>>,
    /// `SO_MARK` of every new socket, for the site's own nftables rules or routes.
    pub mark: Option<u32>,
    /// Whom its sockets may talk to: the first rule that matches decides.
    pub acl: Vec<AclRule>,
    /// What is so where no rule matches.
    pub acl_default: AclVerdict,
}

/// One rule: `deny connect 10.0.0.0/8 port 25`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclRule {
    /// What it decides.
    pub verdict: AclVerdict,
    /// Which call it is about; `None` for all of them.
    pub operation: Option<AclOperation>,
    /// The peer's address, or for `bind` the own. An IPv4 prefix also holds for IPv4-mapped IPv6.
    pub prefix: IpNet,
    /// First and last port; `None` for all of them.
    pub ports: Option<(u16, u16)>,
}

/// Allowed or refused (`EPERM`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AclVerdict {
    /// The call goes on.
    #[default]
    Allow,
    /// The call fails with `EPERM`.
    Deny,
}

/// The socket calls that name an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AclOperation {
    /// `connect(2)`, TCP and UDP.
    Connect,
    /// `sendto(2)` and `sendmsg(2)` of an unconnected UDP socket.
    Send,
    /// `bind(2)`.
    Bind,
}
