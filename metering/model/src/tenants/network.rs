//! A tenant's network policy: which interfaces its sockets use, what they are marked with, and
//! whom they may talk to.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

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

/// Why a text is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no rule: {problem}; write it like \"deny connect 10.0.0.0/8 port 1-1023\"")]
pub struct InvalidRule {
    text: String,
    problem: String,
}

impl NetworkPolicy {
    /// Whether it restricts nothing and marks nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether the kernel would take it as the name of an interface.
pub(super) fn is_interface_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':'))
}

impl FromStr for AclRule {
    type Err = InvalidRule;

    /// `VERDICT [OPERATION] PREFIX [port N | port N-M]`; a lone address is a prefix of all its bits.
    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let refused = |problem: String| InvalidRule { text: text.to_owned(), problem };
        let mut words = text.split_whitespace().peekable();
        let verdict = match words.next() {
            Some("allow") => AclVerdict::Allow,
            Some("deny") => AclVerdict::Deny,
            _ => return Err(refused("it starts with neither allow nor deny".into())),
        };
        let operation = words.peek().and_then(|word| match *word {
            "connect" => Some(AclOperation::Connect),
            "send" => Some(AclOperation::Send),
            "bind" => Some(AclOperation::Bind),
            _ => None,
        });
        if operation.is_some() {
            words.next();
        }
        let address = words.next().ok_or_else(|| refused("it names no address".into()))?;
        let prefix = prefix(address).map_err(refused)?;
        let ports = match (words.next(), words.next(), words.next()) {
            (None, ..) => None,
            (Some("port"), Some(range), None) => Some(ports(range).ok_or_else(|| {
                refused(format!("{range:?} is neither a port from 0 to 65535 nor a range of them"))
            })?),
            (Some(_), ..) => {
                return Err(refused("after the address it takes \"port N\" or \"port N-M\"".into()));
            }
        };
        Ok(Self { verdict, operation, prefix, ports })
    }
}

fn prefix(text: &str) -> Result<IpNet, String> {
    let not = || format!("{text:?} is neither connect, send or bind nor an address like 10.0.0.0/8 or ::/0");
    let prefix = match text.parse::<IpNet>() {
        Ok(prefix) => prefix,
        Err(_) => text.parse::<std::net::IpAddr>().map(IpNet::from).map_err(|_| not())?,
    };
    // 10.0.0.1/8 may be meant as the one address or as the net.
    if prefix == prefix.trunc() {
        Ok(prefix)
    } else {
        Err(format!("{text} is an address in the net {}: name one of the two", prefix.trunc()))
    }
}

fn ports(text: &str) -> Option<(u16, u16)> {
    let port =
        |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some((first, last))
}

impl fmt::Display for AclRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.verdict)?;
        match self.operation {
            Some(AclOperation::Connect) => f.write_str(" connect")?,
            Some(AclOperation::Send) => f.write_str(" send")?,
            Some(AclOperation::Bind) => f.write_str(" bind")?,
            None => {}
        }
        write!(f, " {}", self.prefix)?;
        match self.ports {
            None => Ok(()),
            Some((first, last)) if first == last => write!(f, " port {first}"),
            Some((first, last)) => write!(f, " port {first}-{last}"),
        }
    }
}

impl fmt::Display for AclVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AclVerdict::Allow => "allow",
            AclVerdict::Deny => "deny",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::IpAddr;

    #[test]
    fn rules_are_read_and_odd_ones_refused() {
        let read = |text: &str| text.parse::<AclRule>().map(|rule| rule.to_string());
        for text in [
            "allow connect 10.20.0.0/16 port 443",
            "deny connect 10.0.0.0/8",
            "deny bind 0.0.0.0/0 port 1-1023",
            "deny send ::/0",
            "deny 192.0.2.1/32",
        ] {
            assert_eq!(read(text).as_deref(), Ok(text));
        }
        assert_eq!(read("deny  2001:db8::1 port 53-53").as_deref(), Ok("deny 2001:db8::1/128 port 53"));
        for text in [
            "",
            "deny",
            "deny connect",
            "drop 10.0.0.0/8",
            "deny 10.0.0.1/8",
            "deny listen 10.0.0.0/8",
            "deny 10.0.0.0/33",
            "deny 10.0.0.0/8 443",
            "deny 10.0.0.0/8 port",
            "deny 10.0.0.0/8 port 2-1",
            "deny 10.0.0.0/8 port 65536",
            "deny 10.0.0.0/8 port +1",
            "deny 10.0.0.0/8 port 1 x",
            "deny example.org",
        ] {
            assert!(read(text).is_err(), "{text:?} was accepted");
        }
        assert!(read("deny 10.0.0.1/8").unwrap_err().to_string().contains("10.0.0.0/8"));
    }

    proptest! {
        #[test]
        fn a_rule_reads_back(
            deny: bool,
            operation in prop::option::of(prop::sample::select(vec![AclOperation::Connect, AclOperation::Send, AclOperation::Bind])),
            address: IpAddr,
            bits in 0..=128_u8,
            ports in prop::option::of((any::<u16>(), any::<u16>())),
        ) {
            let bits = bits.min(if address.is_ipv4() { 32 } else { 128 });
            let rule = AclRule {
                verdict: if deny { AclVerdict::Deny } else { AclVerdict::Allow },
                operation,
                prefix: IpNet::new(address, bits).unwrap().trunc(),
                ports: ports.map(|(a, b)| (a.min(b), a.max(b))),
            };
            prop_assert_eq!(rule.to_string().parse(), Ok(rule));
        }
    }
}
