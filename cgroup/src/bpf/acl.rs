//! The programs that decide whom a socket may talk to: one for each call and address family.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use tenantry_model::tenants::{AclOperation, AclRule, AclVerdict, NetworkPolicy};

use super::hook::{ALLOW, Hook, REFUSE};
use super::insn::{Asm, Cmp, Insn, Label, R1, R2, R7, R8, Reg};

/// `struct bpf_sock_addr`: the address and port that the call names, in network order.
const IP4: i16 = 4;
const IP6: [i16; 4] = [8, 12, 16, 20];
/// Where an IPv4-mapped address has the IPv4 one.
const IP6_LAST: i16 = 20;
const PORT: i16 = 24;

/// The third word of `::ffff:0:0/96`, as it stands in memory.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

/// An address family, of a socket's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Each ACL hook with its call and family.
pub const HOOKS: [(Hook, AclOperation, Family); 6] = [
    (Hook::Connect4, AclOperation::Connect, Family::V4),
    (Hook::Connect6, AclOperation::Connect, Family::V6),
    (Hook::Send4, AclOperation::Send, Family::V4),
    (Hook::Send6, AclOperation::Send, Family::V6),
    (Hook::Bind4, AclOperation::Bind, Family::V4),
    (Hook::Bind6, AclOperation::Bind, Family::V6),
];

/// Whether the policy can refuse any call of this kind.
pub fn restricts(policy: &NetworkPolicy, operation: AclOperation) -> bool {
    policy.acl_default == AclVerdict::Deny
        || rules(policy, operation).any(|rule| rule.verdict == AclVerdict::Deny)
}

/// The first rule that matches decides.
///
/// The unspecified address (`0.0.0.0`, `::`) stands for any address of the node: every deny rule
/// of the family matches it, whatever its prefix. `::` is of both families, since a socket bound
/// to it also gets IPv4.
pub fn program(policy: &NetworkPolicy, operation: AclOperation, family: Family) -> Option<Vec<Insn>> {
    let mut asm = Asm::default();
    classify(&mut asm, family);
    for rule in rules(policy, operation) {
        let next = asm.label();
        let matched = asm.label();
        let words = match (family, rule.prefix.trunc()) {
            (Family::V4, IpNet::V6(_)) => continue,
            (Family::V4, IpNet::V4(prefix)) => vec![(IP4, v4(prefix.addr()), v4(prefix.netmask()))],
            (Family::V6, IpNet::V4(prefix)) => vec![(IP6_LAST, v4(prefix.addr()), v4(prefix.netmask()))],
            (Family::V6, IpNet::V6(prefix)) => v6(prefix.addr(), prefix.netmask()),
        };
        if rule.verdict == AclVerdict::Deny {
            match rule.prefix {
                IpNet::V4(_) => asm.jump_if(UNSPECIFIED, Cmp::NotEqual, 0, matched),
                IpNet::V6(_) => asm.jump_if(UNSPECIFIED, Cmp::Equal, ANY_V6, matched),
            }
        }
        if family == Family::V6 {
            let other = u32::from(matches!(rule.prefix, IpNet::V6(_)));
            asm.jump_if(IS_MAPPED, Cmp::Equal, other, next);
        }
        compare(&mut asm, &words, next);
        asm.bind(matched);
        if let Some((first, last)) = rule.ports {
            asm.load(R2, R1, PORT);
            asm.host_order16(R2);
            asm.jump_if(R2, Cmp::Less, u32::from(first), next);
            asm.jump_if(R2, Cmp::Greater, u32::from(last), next);
        }
        asm.ret(answer(rule.verdict));
        asm.bind(next);
    }
    asm.ret(answer(policy.acl_default));
    asm.finish()
}

fn rules(policy: &NetworkPolicy, operation: AclOperation) -> impl Iterator<Item = &AclRule> {
    policy.acl.iter().filter(move |rule| rule.operation.is_none_or(|of| of == operation))
}

const fn answer(verdict: AclVerdict) -> u32 {
    match verdict {
        AclVerdict::Allow => ALLOW,
        AclVerdict::Deny => REFUSE,
    }
}

/// Whether an IPv6 address is an IPv4 one in IPv6's clothes: 0 or 1.
const IS_MAPPED: Reg = R7;
/// Whether the address is the unspecified one: 0, [`ANY_V4`] or [`ANY_V6`].
const UNSPECIFIED: Reg = R8;
const ANY_V4: u32 = 1;
const ANY_V6: u32 = 2;

/// Sets [`IS_MAPPED`] and [`UNSPECIFIED`].
fn classify(asm: &mut Asm, family: Family) {
    let done = asm.label();
    let mapped = asm.label();
    asm.mov(IS_MAPPED, 0);
    asm.mov(UNSPECIFIED, 0);
    let [first, second, third, last] = IP6;
    match family {
        Family::V4 => {
            jump_unless_zero(asm, IP4, done);
            asm.mov(UNSPECIFIED, ANY_V4);
        }
        Family::V6 => {
            jump_unless_zero(asm, first, done);
            jump_unless_zero(asm, second, done);
            asm.load(R2, R1, third);
            asm.jump_if(R2, Cmp::Equal, MAPPED, mapped);
            asm.jump_if(R2, Cmp::NotEqual, 0, done);
            jump_unless_zero(asm, last, done);
            asm.mov(UNSPECIFIED, ANY_V6);
            asm.jump(done);
            asm.bind(mapped);
            asm.mov(IS_MAPPED, 1);
            jump_unless_zero(asm, last, done);
            asm.mov(UNSPECIFIED, ANY_V4);
        }
    }
    asm.bind(done);
}

fn jump_unless_zero(asm: &mut Asm, field: i16, to: Label) {
    asm.load(R2, R1, field);
    asm.jump_if(R2, Cmp::NotEqual, 0, to);
}

/// A field of the context, what it must be, and the bits that count.
type Word = (i16, u32, u32);

/// Goes on at `next` unless each word is as wanted. Words are loaded anew for each rule: the
/// verifier then has nothing to remember from one rule to the next.
fn compare(asm: &mut Asm, words: &[Word], next: Label) {
    for &(field, wanted, mask) in words.iter().filter(|(_, _, mask)| *mask != 0) {
        asm.load(R2, R1, field);
        if mask != u32::MAX {
            asm.and(R2, mask);
        }
        asm.jump_if(R2, Cmp::NotEqual, wanted, next);
    }
}

/// An address as it stands in memory.
const fn v4(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

fn v6(address: Ipv6Addr, mask: Ipv6Addr) -> Vec<Word> {
    let words = |address: Ipv6Addr| {
        let bits = address.to_bits();
        [96, 64, 32, 0].map(|shift| u32::try_from(bits >> shift & 0xffff_ffff).unwrap_or_default().to_be())
    };
    IP6.into_iter().zip(words(address)).zip(words(mask)).map(|((field, a), m)| (field, a, m)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::interpret::run;
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, SocketAddr};

    fn context(address: SocketAddr) -> Vec<u8> {
        let mut context = vec![0xa5; 64];
        match address.ip() {
            IpAddr::V4(ip) => context[4..8].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => context[8..24].copy_from_slice(&ip.octets()),
        }
        let port = u32::from(address.port().to_be());
        context[24..28].copy_from_slice(&port.to_ne_bytes());
        context
    }

    /// What the kernel is to answer, without a bit of assembly.
    fn reference(policy: &NetworkPolicy, operation: AclOperation, peer: SocketAddr) -> AclVerdict {
        let dual = peer.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let ip = peer.ip().to_canonical();
        let matches = |rule: &&AclRule| {
            let any = rule.verdict == AclVerdict::Deny
                && ip.is_unspecified()
                && (dual || rule.prefix.addr().is_ipv4() == ip.is_ipv4());
            rule.operation.is_none_or(|of| of == operation)
                && (any || rule.prefix.contains(&ip))
                && rule.ports.is_none_or(|(first, last)| (first..=last).contains(&peer.port()))
        };
        policy.acl.iter().find(matches).map_or(policy.acl_default, |rule| rule.verdict)
    }

    fn decide(policy: &NetworkPolicy, operation: AclOperation, peer: SocketAddr) -> AclVerdict {
        let family = if peer.is_ipv4() { Family::V4 } else { Family::V6 };
        let code = program(policy, operation, family).unwrap();
        match run(&code, &mut context(peer)).answer {
            ALLOW => AclVerdict::Allow,
            REFUSE => AclVerdict::Deny,
            other => panic!("answered {other}"),
        }
    }

    fn operations() -> impl Strategy<Value = AclOperation> {
        prop_oneof![Just(AclOperation::Connect), Just(AclOperation::Send), Just(AclOperation::Bind)]
    }

    fn verdicts() -> impl Strategy<Value = AclVerdict> {
        prop_oneof![Just(AclVerdict::Allow), Just(AclVerdict::Deny)]
    }

    /// Few addresses, so that rules meet them; their edges, so that masks are tried.
    fn v4_addresses() -> impl Strategy<Value = Ipv4Addr> {
        prop_oneof![
            Just(Ipv4Addr::UNSPECIFIED),
            Just(Ipv4Addr::LOCALHOST),
            (any::<bool>(), 0..4_u8).prop_map(|(high, n)| Ipv4Addr::new(
                10,
                if high { 128 } else { 0 },
                0,
                n
            )),
            any::<u32>().prop_map(Ipv4Addr::from_bits),
        ]
    }

    fn v6_addresses() -> impl Strategy<Value = Ipv6Addr> {
        prop_oneof![
            Just(Ipv6Addr::UNSPECIFIED),
            Just(Ipv6Addr::LOCALHOST),
            v4_addresses().prop_map(|ip| ip.to_ipv6_mapped()),
            v4_addresses().prop_map(|ip| ip.to_ipv6_compatible()),
            (any::<u16>(), 0..4_u16).prop_map(|(middle, n)| Ipv6Addr::new(0xfd00, 0, 0, middle, 0, 0, 0, n)),
            any::<u128>().prop_map(Ipv6Addr::from_bits),
        ]
    }

    fn addresses() -> impl Strategy<Value = IpAddr> {
        prop_oneof![v4_addresses().prop_map(IpAddr::V4), v6_addresses().prop_map(IpAddr::V6)]
    }

    fn policies() -> impl Strategy<Value = NetworkPolicy> {
        let ports = (0..6_u16, prop_oneof![0..6_u16, Just(u16::MAX)]).prop_map(|(a, b)| (a.min(b), a.max(b)));
        let prefix = (addresses(), prop_oneof![0..34_u8, 0..=128_u8])
            .prop_map(|(ip, length)| IpNet::new(ip, length.min(IpNet::from(ip).max_prefix_len())).unwrap());
        let rule = (verdicts(), prop::option::of(operations()), prefix, prop::option::of(ports))
            .prop_map(|(verdict, operation, prefix, ports)| AclRule { verdict, operation, prefix, ports });
        (prop::collection::vec(rule, 0..8), verdicts()).prop_map(|(acl, acl_default)| NetworkPolicy {
            acl,
            acl_default,
            ..NetworkPolicy::default()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn the_programs_decide_as_the_rules_say(
            policy in policies(),
            operation in operations(),
            ip in addresses(),
            port in prop_oneof![0..7_u16, any::<u16>()],
        ) {
            let peer = SocketAddr::new(ip, port);
            prop_assert_eq!(decide(&policy, operation, peer), reference(&policy, operation, peer));
        }
    }

    type Short = (AclVerdict, &'static str, Option<(u16, u16)>);

    fn policy(acl: &[Short]) -> NetworkPolicy {
        let rule = |&(verdict, prefix, ports): &Short| AclRule {
            verdict,
            operation: None,
            prefix: prefix.parse().unwrap(),
            ports,
        };
        NetworkPolicy { acl: acl.iter().map(rule).collect(), ..NetworkPolicy::default() }
    }

    #[test]
    fn one_allowed_port_behind_a_denied_network() {
        let acl = policy(&[
            (AclVerdict::Allow, "10.20.0.0/16", Some((443, 443))),
            (AclVerdict::Deny, "10.0.0.0/8", None),
        ]);
        for (peer, expected) in [
            ("10.20.1.1:443", AclVerdict::Allow),
            ("10.20.1.1:444", AclVerdict::Deny),
            ("10.21.1.1:443", AclVerdict::Deny),
            ("11.0.0.1:25", AclVerdict::Allow),
            ("[::ffff:10.20.1.1]:443", AclVerdict::Allow),
            ("[::ffff:10.20.1.1]:80", AclVerdict::Deny),
            ("[fd00::1]:80", AclVerdict::Allow),
            // Any address of this node, which may be one in 10.0.0.0/8.
            ("0.0.0.0:80", AclVerdict::Deny),
            ("[::]:80", AclVerdict::Deny),
            ("[::ffff:0.0.0.0]:80", AclVerdict::Deny),
        ] {
            let peer = peer.parse().unwrap();
            assert_eq!(decide(&acl, AclOperation::Connect, peer), expected, "{peer}");
        }
    }

    #[test]
    fn a_policy_without_a_refusal_restricts_nothing() {
        assert!(!restricts(&policy(&[(AclVerdict::Allow, "10.0.0.0/8", None)]), AclOperation::Bind));
        assert!(restricts(&policy(&[(AclVerdict::Deny, "10.0.0.0/8", None)]), AclOperation::Bind));
    }
}
