//! A policy as programs.

use std::collections::BTreeSet;

use nix::net::if_::if_nametoindex;
use tenantry_model::tenants::{DeviceRule, NetworkPolicy};

use super::hook::{Hook, Program};
use super::insn::Insn;
use super::{acl, device, network};
use crate::{Error, Result};

/// What a tenant's group is to be confined to. `None` restricts nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy<'a> {
    /// The only device nodes its processes may use; an empty list forbids all of them.
    pub devices: Option<&'a [DeviceRule]>,
    /// What its sockets may do.
    pub network: Option<&'a NetworkPolicy>,
}

/// The number of an interface in the caller's network namespace, now.
pub fn interface_index(name: &str) -> Result<u32> {
    if_nametoindex(name).map_err(|_| Error::NoInterface(name.to_owned()))
}

/// The programs that a policy asks for.
pub fn programs(policy: &Policy<'_>, index: impl Fn(&str) -> Result<u32>) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    let mut add = |hook: Hook, code: Option<Vec<Insn>>| {
        let code = code.ok_or_else(|| Error::Unenforceable {
            part: hook.part(),
            reason: "the program is too long for its jumps, make its list shorter".to_owned(),
        })?;
        programs.push(Program { hook, code });
        Ok::<_, Error>(())
    };
    if let Some(rules) = policy.devices {
        add(Hook::Device, device::program(rules))?;
    }
    if let Some(policy) = policy.network {
        if network::restricts_sockets(policy) {
            let bind_to = policy.bind_to.as_deref().map(&index).transpose()?;
            add(Hook::SockCreate, network::sockets(policy, bind_to))?;
        }
        for (hook, operation, family) in acl::HOOKS {
            if acl::restricts(policy, operation) {
                add(hook, acl::program(policy, operation, family))?;
            }
        }
        if let Some(interfaces) = &policy.interfaces {
            let interfaces: BTreeSet<u32> =
                interfaces.iter().map(|name| index(name)).collect::<Result<_>>()?;
            add(Hook::Guard, network::guard(&interfaces))?;
        }
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenantry_model::tenants::{AclOperation, AclRule, AclVerdict};

    fn hooks(policy: &NetworkPolicy) -> Vec<Hook> {
        let policy = Policy { devices: None, network: Some(policy) };
        programs(&policy, |_| Ok(3)).unwrap().into_iter().map(|program| program.hook).collect()
    }

    #[test]
    fn a_policy_gets_the_programs_it_needs_and_no_others() {
        assert_eq!(programs(&Policy::default(), |_| Ok(1)).unwrap(), []);
        assert_eq!(hooks(&NetworkPolicy::default()), []);
        let bound = NetworkPolicy { bind_to: Some("vrf".to_owned()), ..NetworkPolicy::default() };
        assert_eq!(hooks(&bound), [Hook::SockCreate]);
        let guarded = NetworkPolicy { interfaces: Some(BTreeSet::new()), ..NetworkPolicy::default() };
        assert_eq!(hooks(&guarded), [Hook::Guard]);
        let deny_bind = AclRule {
            verdict: AclVerdict::Deny,
            operation: Some(AclOperation::Bind),
            prefix: "0.0.0.0/0".parse().unwrap(),
            ports: None,
        };
        let no_bind = NetworkPolicy { acl: vec![deny_bind], ..NetworkPolicy::default() };
        assert_eq!(hooks(&no_bind), [Hook::Bind4, Hook::Bind6]);
        let closed = NetworkPolicy { acl_default: AclVerdict::Deny, ..NetworkPolicy::default() };
        assert_eq!(hooks(&closed), Hook::POLICY[1..8]);
    }

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let bound = NetworkPolicy { bind_to: Some("vrf-nowhere".to_owned()), ..NetworkPolicy::default() };
        let policy = Policy { devices: None, network: Some(&bound) };
        let error = programs(&policy, interface_index).unwrap_err();
        assert!(error.to_string().contains("vrf-nowhere"), "{error}");
    }
}
