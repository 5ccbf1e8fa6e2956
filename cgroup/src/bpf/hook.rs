//! The places in the kernel where our programs run.

use std::fmt;

use super::insn::Insn;

/// What the kernel may offer of isolation and measurement beyond limits: each works or is refused as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Device nodes: an allow-list.
    Devices,
    /// New sockets are bound to an interface, marked, or refused.
    Sockets,
    /// Whom sockets may talk to.
    Acl,
    /// The interfaces that packets may leave by.
    EgressGuard,
    /// Bytes and packets of each group.
    Counters,
    /// The kernel's `rdma` controller: `rdma.max`. No program of ours.
    Rdma,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Devices, Self::Sockets, Self::Acl, Self::EgressGuard, Self::Counters, Self::Rdma];
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Devices => "device lists",
            Self::Sockets => "socket binding and marks",
            Self::Acl => "network ACLs",
            Self::EgressGuard => "the egress guard",
            Self::Counters => "traffic counters",
            Self::Rdma => "the rdma controller",
        })
    }
}

/// One program's place. Its number at the kernel is the attach type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    Device,
    SockCreate,
    Connect4,
    Connect6,
    Send4,
    Send6,
    Bind4,
    Bind6,
    Guard,
    CountIngress,
    CountEgress,
}

/// How the kernel names a [`Hook`]: numbers of `linux/bpf.h`.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    pub part: Part,
    /// Told by `bpftool`; ours are known by it. At most 15 characters.
    pub name: &'static str,
    pub program_type: u32,
    pub attach_type: u32,
}

const CGROUP_SKB: u32 = 8;
const CGROUP_SOCK: u32 = 9;
const CGROUP_DEVICE: u32 = 15;
const CGROUP_SOCK_ADDR: u32 = 18;

impl Hook {
    /// Those that a policy decides about.
    pub const POLICY: [Self; 9] = [
        Self::Device,
        Self::SockCreate,
        Self::Connect4,
        Self::Connect6,
        Self::Send4,
        Self::Send6,
        Self::Bind4,
        Self::Bind6,
        Self::Guard,
    ];

    /// Those that count.
    pub const COUNTERS: [Self; 2] = [Self::CountIngress, Self::CountEgress];

    pub const fn spec(self) -> Spec {
        let (part, name, program_type, attach_type) = match self {
            Self::Device => (Part::Devices, "tnty_device", CGROUP_DEVICE, 6),
            Self::SockCreate => (Part::Sockets, "tnty_socket", CGROUP_SOCK, 2),
            Self::Connect4 => (Part::Acl, "tnty_connect4", CGROUP_SOCK_ADDR, 10),
            Self::Connect6 => (Part::Acl, "tnty_connect6", CGROUP_SOCK_ADDR, 11),
            Self::Send4 => (Part::Acl, "tnty_sendmsg4", CGROUP_SOCK_ADDR, 14),
            Self::Send6 => (Part::Acl, "tnty_sendmsg6", CGROUP_SOCK_ADDR, 15),
            Self::Bind4 => (Part::Acl, "tnty_bind4", CGROUP_SOCK_ADDR, 8),
            Self::Bind6 => (Part::Acl, "tnty_bind6", CGROUP_SOCK_ADDR, 9),
            Self::Guard => (Part::EgressGuard, "tnty_guard", CGROUP_SKB, 1),
            Self::CountIngress => (Part::Counters, "tnty_ingress", CGROUP_SKB, 0),
            Self::CountEgress => (Part::Counters, "tnty_egress", CGROUP_SKB, 1),
        };
        Spec { part, name, program_type, attach_type }
    }

    pub const fn part(self) -> Part {
        self.spec().part
    }
}

/// A program and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub hook: Hook,
    pub code: Vec<Insn>,
}

/// A program's answers, to every hook that we use.
pub const REFUSE: u32 = 0;
pub const ALLOW: u32 = 1;
