//! The programs for new sockets, for packets that leave, and for counting.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

use tenantry_model::tenants::{AclOperation, NetworkPolicy};

use super::acl;
use super::hook::{ALLOW, REFUSE};
use super::insn::{Asm, Cmp, Helper, Insn, R0, R1, R2, R3, R6};

/// `struct bpf_sock`.
const BOUND_DEV_IF: i16 = 0;
const PROTOCOL: i16 = 12;
const MARK: i16 = 16;

/// `struct __sk_buff`: `len` counts from the IP header on.
const LEN: i16 = 0;
const IFINDEX: i16 = 40;

/// Protocols whose every connect and send to an address the kernel asks the ACL about: TCP, UDP,
/// MPTCP. Not UDP-Lite: Linux 6.18 lets it connect unasked.
const ASKED_ABOUT: [u32; 3] = [6, 17, 262];

/// Loopback has this number in each network namespace.
const LOOPBACK_IFINDEX: u32 = 1;

/// Whether a policy has anything for new sockets.
pub fn restricts_sockets(policy: &NetworkPolicy) -> bool {
    policy.bind_to.is_some() || policy.mark.is_some() || restricts_peers(policy)
}

fn restricts_peers(policy: &NetworkPolicy) -> bool {
    [AclOperation::Connect, AclOperation::Send].into_iter().any(|call| acl::restricts(policy, call))
}

/// The program for new sockets; `bind_to` is the number of the interface of that name.
///
/// Where the ACL may refuse a connect or a send, protocols that would not be asked about (ICMP,
/// UDP-Lite, SCTP, DCCP, raw) are refused: they would go around it.
///
/// What root makes is neither bound nor marked: in a job that is its scheduler, which talks to the
/// node's own network. The real user counts: a set-uid program's is the user's.
pub fn sockets(policy: &NetworkPolicy, bind_to: Option<u32>) -> Option<Vec<Insn>> {
    let mut asm = Asm::default();
    if restricts_peers(policy) {
        let covered = asm.label();
        asm.load(R2, R1, PROTOCOL);
        for protocol in ASKED_ABOUT {
            asm.jump_if(R2, Cmp::Equal, protocol, covered);
        }
        asm.ret(REFUSE);
        asm.bind(covered);
    }
    if bind_to.is_some() || policy.mark.is_some() {
        let roots = asm.label();
        asm.mov_pointer(R6, R1);
        asm.call(Helper::GetCurrentUidGid);
        asm.jump_if(R0, Cmp::Equal, 0, roots);
        for (field, value) in [(BOUND_DEV_IF, bind_to), (MARK, policy.mark)] {
            if let Some(value) = value {
                asm.mov(R2, value);
                asm.store(R6, field, R2);
            }
        }
        asm.bind(roots);
    }
    asm.ret(ALLOW);
    asm.finish()
}

/// A packet leaves by one of these interfaces, or not at all: whatever the socket is bound to, and
/// whatever `IP_PKTINFO` says.
pub fn guard(interfaces: &BTreeSet<u32>) -> Option<Vec<Insn>> {
    let mut asm = Asm::default();
    let allowed = asm.label();
    asm.load(R2, R1, IFINDEX);
    for index in interfaces {
        asm.jump_if(R2, Cmp::Equal, *index, allowed);
    }
    asm.ret(REFUSE);
    asm.bind(allowed);
    asm.ret(ALLOW);
    asm.finish()
}

/// Which way packets go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Ingress,
    Egress,
}

/// Bytes of one group's counters: wire, then loopback; each has bytes in, packets in, bytes out,
/// packets out.
pub const COUNTERS_SIZE: u32 = 64;
const LOOPBACK_AT: u32 = 32;
const EGRESS_AT: i16 = 16;
const PACKETS_AT: i16 = 8;

/// Adds a packet to the counters of the group that the program is attached to.
///
/// The additions are atomic although each CPU has counters of its own: a packet that is sent may
/// be interrupted by one that arrives.
pub fn counter(direction: Direction, map: BorrowedFd<'_>) -> Option<Vec<Insn>> {
    let bytes_at = if direction == Direction::Egress { EGRESS_AT } else { 0 };
    let mut asm = Asm::default();
    asm.mov_pointer(R6, R1);
    asm.load_map(R1, map);
    asm.mov(R2, 0);
    asm.call(Helper::GetLocalStorage);
    let wire = asm.label();
    asm.load(R2, R6, IFINDEX);
    asm.jump_if(R2, Cmp::NotEqual, LOOPBACK_IFINDEX, wire);
    asm.advance(R0, LOOPBACK_AT);
    asm.bind(wire);
    asm.load(R2, R6, LEN);
    asm.atomic_add(R0, bytes_at, R2);
    asm.mov(R3, 1);
    asm.atomic_add(R0, bytes_at.saturating_add(PACKETS_AT), R3);
    asm.ret(ALLOW);
    asm.finish()
}

#[cfg(test)]
mod tests {
    use super::super::interpret::{run, run_as};
    use super::*;
    use std::os::fd::AsFd;
    use tenantry_model::tenants::AclVerdict;

    fn field(context: &mut [u8], at: i16) -> &mut [u8] {
        context.get_mut(usize::try_from(at).unwrap()..).unwrap().first_chunk_mut::<4>().unwrap()
    }

    fn word(context: &mut [u8], at: i16) -> u32 {
        u32::from_ne_bytes(field(context, at).try_into().unwrap())
    }

    fn with(len: usize, fields: &[(i16, u32)]) -> Vec<u8> {
        let mut context = vec![0; len];
        for (at, value) in fields {
            field(&mut context, *at).copy_from_slice(&value.to_ne_bytes());
        }
        context
    }

    #[test]
    fn a_new_socket_is_bound_and_marked() {
        let policy = NetworkPolicy { mark: Some(17), ..NetworkPolicy::default() };
        let code = sockets(&policy, Some(5)).unwrap();
        let mut socket = with(80, &[(PROTOCOL, 1)]);
        assert_eq!(run(&code, &mut socket).answer, ALLOW);
        assert_eq!((word(&mut socket, BOUND_DEV_IF), word(&mut socket, MARK)), (5, 17));
    }

    #[test]
    fn roots_sockets_are_neither_bound_nor_marked() {
        let policy = NetworkPolicy { mark: Some(17), ..NetworkPolicy::default() };
        let code = sockets(&policy, Some(5)).unwrap();
        let mut socket = with(80, &[(PROTOCOL, 6)]);
        assert_eq!(run_as(0, &code, &mut socket).answer, ALLOW);
        assert_eq!((word(&mut socket, BOUND_DEV_IF), word(&mut socket, MARK)), (0, 0));
    }

    #[test]
    fn protocols_that_go_around_the_acl_are_refused_where_there_is_one() {
        let policy = NetworkPolicy { acl_default: AclVerdict::Deny, ..NetworkPolicy::default() };
        let code = sockets(&policy, None).unwrap();
        for (protocol, expected) in
            [(6, ALLOW), (17, ALLOW), (262, ALLOW), (1, REFUSE), (58, REFUSE), (132, REFUSE), (136, REFUSE)]
        {
            let mut socket = with(80, &[(PROTOCOL, protocol), (MARK, 3)]);
            assert_eq!(run(&code, &mut socket).answer, expected, "{protocol}");
            assert_eq!(word(&mut socket, MARK), 3);
        }
    }

    #[test]
    fn a_packet_leaves_by_a_listed_interface_only() {
        let code = guard(&BTreeSet::from([1, 7])).unwrap();
        for (index, expected) in [(1, ALLOW), (7, ALLOW), (2, REFUSE), (0, REFUSE)] {
            assert_eq!(run(&code, &mut with(192, &[(IFINDEX, index)])).answer, expected, "{index}");
        }
        assert_eq!(run(&guard(&BTreeSet::new()).unwrap(), &mut with(192, &[(IFINDEX, 1)])).answer, REFUSE);
    }

    #[test]
    fn packets_are_counted_by_direction_and_by_whether_they_leave_the_node() {
        let stdin = std::io::stdin();
        let count = |direction, index| {
            let code = counter(direction, stdin.as_fd()).unwrap();
            let outcome = run(&code, &mut with(192, &[(LEN, 1500), (IFINDEX, index)]));
            assert_eq!(outcome.answer, ALLOW);
            outcome.storage
        };
        assert_eq!(count(Direction::Ingress, 2), [1500, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(count(Direction::Egress, 2), [0, 0, 1500, 1, 0, 0, 0, 0]);
        assert_eq!(count(Direction::Ingress, 1), [0, 0, 0, 0, 1500, 1, 0, 0]);
        assert_eq!(count(Direction::Egress, 1), [0, 0, 0, 0, 0, 0, 1500, 1]);
    }
}
