//! What limits cannot do: devices, networks and the count of bytes, by BPF programs of a group.
//!
//! Programs are made here, instruction by instruction, from a tenant's policy, and given to the
//! kernel by `bpf(2)`: no compiler, no library and no BTF is needed. They are attached to the
//! group itself beside whatever else is there (`BPF_F_ALLOW_MULTI`), stay when the process that
//! attached them is gone, and go with the group. All programs of a group and of those above it
//! must agree: what Slurm or systemd forbids stays forbidden. `docs/bpf.md` says what each
//! refuses and what it does not.
//!
//! ```no_run
//! use tenantry_cgroup::bpf::{self, Meter, Policy};
//! use tenantry_cgroup::{GroupPath, Root};
//!
//! let root = Root::open("/sys/fs/cgroup".as_ref())?;
//! let tenant = GroupPath::new("system.slice/slurmstepd.scope/tenant_acme")?;
//! bpf::confine(&root, &tenant, &Policy { devices: Some(&[]), network: None })?;
//!
//! let meter = Meter::open_or_load(bpf::PINS.as_ref(), None)?;
//! meter.attach(&root, &tenant)?;
//! let traffic = meter.counters().read(bpf::group_id(&root, &tenant)?)?;
//! println!("{traffic:?}");
//! # Ok::<(), tenantry_cgroup::Error>(())
//! ```

use std::collections::BTreeMap;

use nix::sys::stat::fstat;

mod acl;
mod attach;
mod counters;
mod device;
mod hook;
mod insn;
#[cfg(test)]
mod interpret;
mod network;
mod policy;
mod support;
#[allow(unsafe_code)]
mod sys;
#[cfg(test)]
mod tests;

use attach::{Loaded, Target};
use hook::Hook;

pub use counters::{Counters, CountersBuffer, Meter, PINS};
pub use hook::Part;
pub use policy::Policy;
pub use support::{Support, support};

use crate::{Error, GroupPath, Result, Root};

/// How a group stands to a policy, in one part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Wanted, and attached as it is wanted.
    InForce,
    /// Attached, and not wanted.
    Unwanted,
    /// Wanted, and another one is attached.
    Different,
    /// Wanted, and not attached, or not all of it.
    Missing,
}

/// Confines all processes in a group, now and later, to a policy: in the place of what an earlier
/// call attached, in one step for each program. What is there already as wanted is left alone, and
/// so are all programs that are not ours.
///
/// Sockets and open devices that a process has already stay as they are.
///
/// # Errors
/// [`Error::NoInterface`], and [`Error::Unenforceable`] where the kernel does not know a program:
/// both before anything is changed.
pub fn confine(root: &Root, group: &GroupPath, policy: &Policy<'_>) -> Result<()> {
    let target = Target::open(root, group)?;
    let wanted = load(policy)?;
    for hook in Hook::POLICY {
        match wanted.get(&hook) {
            Some(program) => target.put(hook, program, |other| other.info.tag == program.info.tag)?,
            None => target.clear(hook)?,
        }
    }
    Ok(())
}

/// How a group stands to a policy. Parts that are neither wanted nor attached are left out.
///
/// # Errors
/// As [`confine`].
pub fn compare(root: &Root, group: &GroupPath, policy: &Policy<'_>) -> Result<BTreeMap<Part, State>> {
    let target = Target::open(root, group)?;
    let wanted = load(policy)?;
    let mut states = BTreeMap::new();
    for hook in Hook::POLICY {
        let ours = target.ours(hook)?;
        let state = match (wanted.get(&hook), ours.as_slice()) {
            (None, []) => continue,
            (None, _) => State::Unwanted,
            (Some(_), []) => State::Missing,
            (Some(wanted), [one]) if one.info.tag == wanted.info.tag => State::InForce,
            (Some(_), _) => State::Different,
        };
        // A part is as bad as the worst of its programs.
        states.entry(hook.part()).and_modify(|worst| *worst = state.max(*worst)).or_insert(state);
    }
    Ok(states)
}

/// Which parts have any program of ours attached to a group: [`Part::Counters`] too.
///
/// # Errors
/// Where the kernel does not tell.
pub fn attached(root: &Root, group: &GroupPath) -> Result<Vec<Part>> {
    let target = Target::open(root, group)?;
    let mut parts = Vec::new();
    for hook in Hook::POLICY.into_iter().chain(Hook::COUNTERS) {
        if !parts.contains(&hook.part()) && !target.ours(hook)?.is_empty() {
            parts.push(hook.part());
        }
    }
    Ok(parts)
}

/// Detaches all programs of ours from a group, counters too.
///
/// # Errors
/// Where the kernel refuses.
pub fn detach(root: &Root, group: &GroupPath) -> Result<()> {
    let target = Target::open(root, group)?;
    Hook::POLICY.into_iter().chain(Hook::COUNTERS).try_for_each(|hook| target.clear(hook))
}

/// The kernel's number for a group, never used twice while the node runs: the inode of its directory.
///
/// # Errors
/// Where the group is not there.
pub fn group_id(root: &Root, group: &GroupPath) -> Result<u64> {
    let stat = fstat(root.open_dir(group)?).map_err(|errno| Error::Io {
        operation: "examine",
        path: group.as_path().to_owned(),
        source: errno.into(),
    })?;
    Ok(stat.st_ino)
}

/// All programs of a policy, loaded and not attached.
fn load(policy: &Policy<'_>) -> Result<BTreeMap<Hook, Loaded>> {
    policy::programs(policy, policy::interface_index)?
        .iter()
        .map(|program| Ok((program.hook, Loaded::new(program)?)))
        .collect()
}
