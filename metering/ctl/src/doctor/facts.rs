//! What is known of the machine when the checks begin: plain data, made by [`super::gather`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use tenantry_cgroup::bpf::Part;
use tenantry_model::tenants::{Tenants, TenantsError};

use super::finding::Place;
use super::machine::{FileFacts, Seen, Space};
use super::mounts::Mount;
use super::pam::Rule;
use super::slurm::Slurm;

/// A unit's properties, as `systemctl show` has them.
pub type Properties = BTreeMap<String, String>;

/// Everything.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Who asks.
    pub uid: u32,
    /// Who must own what is root's.
    pub admin: u32,
    /// Seconds since 1970; `None` where the clock gives none.
    pub now: Option<i64>,
    /// The kernel and its cgroups.
    pub kernel: Kernel,
    /// Slurm's configuration.
    pub slurm: Slurm,
    /// systemd's units, by name.
    pub units: Seen<BTreeMap<String, Properties>>,
    /// The slurmds of this machine.
    pub slurmds: Vec<Slurmd>,
    /// What the first process sees mounted.
    pub init_mounts: Seen<Vec<Mount>>,
    /// Logins.
    pub login: Login,
    /// Tenantry's own.
    pub tenantry: Tenantry,
    /// The interfaces that tenants are bound to, by name.
    pub bindings: BTreeMap<String, Binding>,
}

/// An interface that a tenant's sockets are bound to.
#[derive(Debug, Clone)]
pub enum Binding {
    /// There is none of that name.
    Missing,
    /// No VRF: what it sends leaves by it.
    Plain,
    /// A VRF, and the routes of its table, as `ip route show vrf` has them.
    Vrf {
        /// IPv4.
        ipv4: Seen<String>,
        /// IPv6; absent where the kernel has none.
        ipv6: Seen<String>,
    },
}

/// The kernel and its cgroups.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// `uname -r`.
    pub release: Seen<String>,
    /// What this process sees mounted.
    pub mounts: Seen<Vec<Mount>>,
    /// Controllers the root has.
    pub controllers: Seen<String>,
    /// Controllers it gives on.
    pub subtree_control: Seen<String>,
    /// slurmd's scopes.
    pub scopes: Seen<Vec<Scope>>,
    /// `/proc/pressure/cpu`.
    pub pressure: Seen<String>,
    /// `SwapTotal`, in KiB.
    pub swap_kib: Seen<u64>,
    /// Huge pages set aside, of all sizes.
    pub huge_pages: Seen<u64>,
    /// `kernel.unprivileged_userns_clone`, where the kernel has it.
    pub userns_clone: Seen<String>,
    /// `user.max_user_namespaces`.
    pub max_userns: Seen<String>,
    /// `kernel.unprivileged_bpf_disabled`: there is bpf(2) where this is.
    pub unprivileged_bpf: Seen<String>,
    /// Whether the kernel has the function that attaches BPF programs to cgroups.
    pub bpf_attach: Seen<bool>,
    /// Each part of what is beyond limits, and why the kernel does not offer it; `None`: it does.
    /// What [`tenantry_cgroup::bpf::support`] says, to root alone.
    pub bpf: Seen<Vec<(Part, Option<String>)>>,
}

/// A group in which a slurmd makes its jobs' groups.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Its path, below `/sys/fs/cgroup` and with it.
    pub path: PathBuf,
    /// Controllers it has.
    pub controllers: Seen<String>,
    /// The names of its files.
    pub files: Vec<String>,
}

/// A slurmd that runs as a unit.
#[derive(Debug, Clone)]
pub struct Slurmd {
    /// The unit.
    pub unit: String,
    /// Where each of its settings stands: in its unit's file, or in a drop-in.
    pub places: BTreeMap<String, Place>,
    /// What it sees mounted.
    pub mounts: Seen<Vec<Mount>>,
}

/// Logins.
#[derive(Debug, Clone)]
pub struct Login {
    /// Whether there is an sshd.
    pub has_sshd: bool,
    /// sshd's PAM rules.
    pub pam: Seen<Vec<Rule>>,
    /// sshd's settings.
    pub sshd_config: Seen<String>,
}

/// Tenantry's own files.
#[derive(Debug, Clone)]
pub struct Tenantry {
    /// The tenants file.
    pub tenants: Seen<Result<Tenants, TenantsError>>,
    /// `/etc/tenantry` and every file of tenants.
    pub config_files: Vec<(PathBuf, Seen<FileFacts>)>,
    /// The last good one; `None` where it is of another release, or garbled.
    pub last_good: Seen<Option<Tenants>>,
    /// Slurm's accounts.
    pub accounts: Seen<Vec<String>>,
    /// `/run/tenantry`.
    pub run_dir: Seen<FileFacts>,
    /// `/var/lib/tenantry`.
    pub state_dir: Seen<FileFacts>,
    /// The server's socket for daemons.
    pub ingest_socket: Seen<FileFacts>,
    /// The server's socket for readers.
    pub api_socket: Seen<FileFacts>,
    /// The uid of the server's user.
    pub server_uid: Seen<u32>,
    /// The outboxes: on the disk, and in memory for when it is full.
    pub outboxes: Vec<(PathBuf, Seen<Outbox>)>,
    /// Bytes of the spool and its log.
    pub spool: Seen<u64>,
    /// Room where the records are kept.
    pub spaces: Vec<(PathBuf, Seen<Space>)>,
}

/// One outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbox {
    /// Ends that wait.
    pub waiting: usize,
    /// Files that are no ends, and were put aside.
    pub rejected: usize,
    /// When the oldest end was written, in seconds since 1970.
    pub oldest: Option<i64>,
}
