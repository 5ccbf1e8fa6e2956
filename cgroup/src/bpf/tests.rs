//! On the running kernel, where it lets us: the verifier's word on each program, and what happens
//! to a process in the group.

use std::cell::Cell;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tenantry_model::reading::Traffic;
use tenantry_model::tenants::{
    AclOperation, AclRule, AclVerdict, DeviceAccess, DeviceKind, DeviceRule, NetworkPolicy,
};

use super::hook::ALLOW;
use super::insn::{Asm, Insn};
use super::*;

fn trivial() -> Vec<Insn> {
    let mut asm = Asm::default();
    asm.ret(ALLOW);
    asm.finish().unwrap()
}

/// A group of our own in the running kernel, removed at the end.
struct Kernel {
    root: Root,
    group: GroupPath,
}

impl Kernel {
    /// Skips where not even a program of two instructions may be loaded; ours are no reason to.
    fn find(test: &str) -> Option<Self> {
        let skip = |why: String| {
            println!("TENANTRY-SKIP {test}: {why}");
            None
        };
        let spec = Hook::Device.spec();
        if let Err(error) = sys::load("trivial", spec.program_type, spec.attach_type, &trivial(), None) {
            return skip(format!("bpf(2) answers {error}"));
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let Some(path) = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ');
            fields.next();
            let path = fields.next()?;
            (fields.next() == Some("cgroup2")).then_some(path)
        }) else {
            return skip("no cgroup v2 file system is mounted".to_owned());
        };
        let root = Root::open(path.as_ref()).unwrap();
        let group = GroupPath::new(format!("tenantry-test-{test}-{}", std::process::id())).unwrap();
        if let Err(error) = root.make(&group) {
            return skip(error.to_string());
        }
        Some(Self { root, group })
    }

    fn path(&self, group: &GroupPath) -> PathBuf {
        self.root.path().join(group.as_path())
    }

    /// Runs a line of bash in a group.
    fn run_in(&self, group: &GroupPath, script: &str) -> bool {
        let enter = format!("echo $$ >{}/cgroup.procs && {{ {script}; }}", self.path(group).display());
        Command::new("bash").args(["-c", &enter]).status().unwrap().success()
    }

    fn ids(&self, hook: Hook) -> Vec<u32> {
        sys::query(self.root.open_dir(&self.group).unwrap().as_fd(), hook.spec().attach_type).unwrap()
    }

    fn attach_foreign(&self, hook: Hook) -> u32 {
        let spec = hook.spec();
        let program = sys::load("foreign", spec.program_type, spec.attach_type, &trivial(), None).unwrap();
        let dir = self.root.open_dir(&self.group).unwrap();
        sys::attach(dir.as_fd(), spec.attach_type, program.as_fd(), None).unwrap();
        sys::program_info(program.as_fd()).unwrap().id
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        let _ = self.root.remove(&self.group);
    }
}

fn read_only(minor: u32) -> DeviceRule {
    DeviceRule {
        kind: DeviceKind::Char,
        major: Some(1),
        minor: Some(minor),
        access: DeviceAccess { read: true, write: false, mknod: false },
    }
}

fn deny_loopback(operation: Option<AclOperation>) -> NetworkPolicy {
    let rule =
        AclRule { verdict: AclVerdict::Deny, operation, prefix: "127.0.0.0/8".parse().unwrap(), ports: None };
    NetworkPolicy { acl: vec![rule], ..NetworkPolicy::default() }
}

fn everything() -> NetworkPolicy {
    let mut policy = deny_loopback(None);
    policy.mark = Some(7);
    policy.bind_to = Some("lo".to_owned());
    policy.interfaces = Some(["lo".to_owned()].into());
    policy.acl.push(AclRule {
        verdict: AclVerdict::Deny,
        operation: None,
        prefix: "fd00::/65".parse().unwrap(),
        ports: Some((1, 1023)),
    });
    policy
}

#[test]
fn the_verifier_takes_every_program_and_long_lists() {
    let Some(kernel) = Kernel::find("verifier") else { return };
    let network = everything();
    let Kernel { root, group } = &kernel;
    confine(root, group, &Policy { devices: Some(&[read_only(3)]), network: Some(&network) }).unwrap();
    let parts = [Part::Devices, Part::Sockets, Part::Acl, Part::EgressGuard];
    assert_eq!(attached(root, group).unwrap(), parts);

    let devices: Vec<DeviceRule> = (0..2000).map(read_only).collect();
    let mut network = everything();
    network.acl = (0..2000_u32)
        .map(|n| {
            let v4 = ipnet::Ipv4Net::new(n.rotate_right(12).into(), 24).unwrap();
            let v6 = ipnet::Ipv6Net::new((u128::from(n) << 64).into(), 65).unwrap();
            let prefix = if n % 2 == 0 { v4.into() } else { v6.into() };
            let verdict = if n % 3 == 0 { AclVerdict::Allow } else { AclVerdict::Deny };
            AclRule { verdict, operation: None, prefix, ports: Some((80, 443)) }
        })
        .collect();
    confine(root, group, &Policy { devices: Some(&devices), network: Some(&network) }).unwrap();
}

#[test]
fn a_policy_is_put_in_force_once_replaced_in_one_step_and_taken_away() {
    let Some(kernel) = Kernel::find("replace") else { return };
    let Kernel { root, group } = &kernel;
    let foreign = kernel.attach_foreign(Hook::Device);
    let one = [read_only(3)];
    let policy = Policy { devices: Some(&one), network: None };
    let states = |policy| compare(root, group, policy).unwrap();

    assert_eq!(states(&policy), [(Part::Devices, State::Missing)].into());
    confine(root, group, &policy).unwrap();
    let first = kernel.ids(Hook::Device);
    assert_eq!((first.len(), first[0]), (2, foreign));
    assert_eq!(states(&policy), [(Part::Devices, State::InForce)].into());
    confine(root, group, &policy).unwrap();
    assert_eq!(kernel.ids(Hook::Device), first);

    let other = Policy { devices: Some(&[]), network: None };
    assert_eq!(states(&other), [(Part::Devices, State::Different)].into());
    confine(root, group, &other).unwrap();
    let second = kernel.ids(Hook::Device);
    assert_eq!((second.len(), second[0]), (2, foreign));
    assert_ne!(second, first);

    assert_eq!(states(&Policy::default()), [(Part::Devices, State::Unwanted)].into());
    confine(root, group, &Policy::default()).unwrap();
    assert_eq!(kernel.ids(Hook::Device), [foreign]);

    confine(root, group, &Policy { devices: Some(&one), network: Some(&everything()) }).unwrap();
    detach(root, group).unwrap();
    assert_eq!(attached(root, group).unwrap(), []);
    assert_eq!(kernel.ids(Hook::Device), [foreign]);
}

/// As when the prolog and a daemon put the same tenant's policy in force at once.
#[test]
fn many_at_once_leave_one_program() {
    let Some(kernel) = Kernel::find("at-once") else { return };
    let Kernel { root, group } = &kernel;
    let lists: Vec<Vec<DeviceRule>> = (0..4).map(|n| vec![read_only(n)]).collect();
    let policy = |n: usize| Policy { devices: Some(&lists[n % 4]), network: None };
    std::thread::scope(|scope| {
        for n in 0..4 {
            scope.spawn(move || (0..50).for_each(|m| confine(root, group, &policy(n + m)).unwrap()));
        }
    });
    confine(root, group, &policy(1)).unwrap();
    assert_eq!(kernel.ids(Hook::Device).len(), 1);
    assert_eq!(compare(root, group, &policy(1)).unwrap(), [(Part::Devices, State::InForce)].into());
}

#[test]
fn a_policy_with_an_interface_that_is_not_there_changes_nothing() {
    let Some(kernel) = Kernel::find("interface") else { return };
    let Kernel { root, group } = &kernel;
    let one = [read_only(3)];
    let network =
        NetworkPolicy { interfaces: Some(["no-such".to_owned()].into()), ..NetworkPolicy::default() };
    let error = confine(root, group, &Policy { devices: Some(&one), network: Some(&network) }).unwrap_err();
    assert!(matches!(&error, Error::NoInterface(name) if name == "no-such"), "{error}");
    assert_eq!(attached(root, group).unwrap(), []);
}

#[test]
fn a_program_that_shares_with_nobody_is_named_as_what_is_in_the_way() {
    let Some(kernel) = Kernel::find("alone") else { return };
    let Kernel { root, group } = &kernel;
    let spec = Hook::Device.spec();
    let program = sys::load("alone", spec.program_type, spec.attach_type, &trivial(), None).unwrap();
    sys::attach_alone(root.open_dir(group).unwrap().as_fd(), spec.attach_type, program.as_fd()).unwrap();
    let error = confine(root, group, &Policy { devices: Some(&[]), network: None }).unwrap_err();
    assert!(matches!(error, Error::Unenforceable { part: Part::Devices, .. }), "{error}");
    assert!(error.to_string().contains("BPF_F_ALLOW_MULTI"), "{error}");
}

#[test]
fn processes_in_the_group_and_below_are_confined() {
    let Some(kernel) = Kernel::find("confined") else { return };
    let Kernel { root, group } = &kernel;
    let child = group.child("child").unwrap();
    root.make(&child).unwrap();
    let attempts = [
        ("true </dev/null", true),
        ("exec 2>&-; true >/dev/null", false),
        ("exec 2>&-; true </dev/zero", false),
        ("exec 2>&-; true >/dev/udp/127.0.0.1/9", false),
        ("exec 2>&-; true >/dev/udp/::ffff:127.0.0.1/9", false),
        ("exec 2>&-; true >/dev/udp/::1/9", true),
    ];
    for (attempt, _) in attempts {
        assert!(kernel.run_in(&child, attempt), "{attempt}, unconfined");
    }
    let network = deny_loopback(Some(AclOperation::Connect));
    confine(root, group, &Policy { devices: Some(&[read_only(3)]), network: Some(&network) }).unwrap();
    for (attempt, allowed) in attempts {
        for group in [group, &child] {
            assert_eq!(kernel.run_in(group, attempt), allowed, "{attempt}");
        }
    }
}

thread_local! {
    static PRIVATE: Cell<bool> = const { Cell::new(false) };
}

/// A BPF file system that only this thread and its children see.
fn bpf_file_system(at: &Path) -> io::Result<()> {
    if !PRIVATE.get() {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        PRIVATE.set(true);
    }
    Ok(mount(Some("bpf"), at, Some("bpf"), MsFlags::empty(), None::<&str>)?)
}

#[test]
fn traffic_is_counted_for_each_level_and_outlives_whoever_attached_the_programs() {
    let Some(kernel) = Kernel::find("traffic") else { return };
    let Kernel { root, group } = &kernel;
    let leaf = group.child("leaf").unwrap();
    let other = group.child("other").unwrap();
    root.make(&leaf).unwrap();
    root.make(&other).unwrap();
    let dir = tempfile::tempdir().unwrap();
    bpf_file_system(dir.path()).unwrap();
    let pins = dir.path().join("tenantry");
    let attach = |group| {
        let meter = Meter::open_or_load(&pins, None).unwrap();
        meter.attach(root, group).unwrap();
    };
    attach(group);
    attach(&leaf);
    let attached_once = kernel.ids(Hook::CountEgress);
    attach(group);
    assert_eq!(kernel.ids(Hook::CountEgress), attached_once);

    let send = "for n in 1 2 3; do head -c 100 /dev/zero >/dev/udp/127.0.0.1/9; done; true";
    assert!(kernel.run_in(&leaf, send));
    assert!(kernel.run_in(&other, send));
    let counters = Counters::open(&pins).unwrap();
    let of = |group| counters.read(group_id(root, group).unwrap()).unwrap();
    let (sum, part) = (of(group).unwrap(), of(&leaf).unwrap());
    // 100 bytes, 8 of UDP's header, 20 of IP's.
    assert_eq!((part.loopback.tx_packets, part.loopback.tx_bytes.0), (3, 3 * 128));
    assert_eq!((sum.loopback.tx_packets, sum.loopback.tx_bytes.0), (6, 6 * 128));
    assert_eq!((sum.wire, part.wire), (Traffic::default(), Traffic::default()));
    assert_eq!(of(&other), None);
    assert_eq!(attached(root, group).unwrap(), [Part::Counters]);

    // What was counted stays when counting ends and begins again, as in an upgrade.
    detach(root, &leaf).unwrap();
    attach(&leaf);
    assert_eq!(of(&leaf).unwrap(), part);
    let id = group_id(root, &leaf).unwrap();
    root.remove(&leaf).unwrap();
    // The kernel lets go of it a moment later.
    let gone = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        counters.read(id).unwrap().is_none()
    });
    assert!(gone);
}

#[test]
fn what_this_kernel_offers_is_told_and_is_so() {
    let Some(kernel) = Kernel::find("support") else { return };
    let support = support(&kernel.root, "/proc/tenantry".as_ref());
    println!("{support}");
    for part in [Part::Devices, Part::Sockets, Part::Acl, Part::EgressGuard] {
        assert_eq!(support.missing(part), None, "{part}");
    }
    assert!(support.missing(Part::Counters).unwrap().contains("/proc is no BPF file system"));
}
