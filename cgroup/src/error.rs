use std::io;
use std::path::PathBuf;

use crate::bpf::Part;

/// What went wrong, at which group or file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what, relative to the cgroup root.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The root is no cgroup v2 file system.
    #[error("{} is no cgroup v2 file system; boot with systemd.unified_cgroup_hierarchy=1", .0.display())]
    NotCgroup2(PathBuf),
    /// A path that could leave the root, or names no group.
    #[error("{0:?} names no group below the root")]
    InvalidPath(PathBuf),
    /// A controller that isolation cannot do without.
    #[error("the {controller} controller is not available in {}; enable it in the parent's cgroup.subtree_control", group.display())]
    NoController {
        /// Which.
        controller: &'static str,
        /// Where.
        group: PathBuf,
    },
    /// A limit that the kernel here cannot enforce.
    #[error("{} has no {file}: this kernel cannot enforce the limit {value}", group.display())]
    NoSuchLimit {
        /// Whose.
        group: PathBuf,
        /// The limit's file.
        file: String,
        /// What was to be written.
        value: String,
    },
    /// A limit that the kernel knows, and does not take.
    #[error("cannot set {file} of {} to {value:?}", group.display())]
    LimitRefused {
        /// Whose.
        group: PathBuf,
        /// The limit's file.
        file: String,
        /// What was to be written.
        value: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Processes that outlive SIGKILL: in uninterruptible sleep, most likely on storage.
    #[error("{} still has processes {waited_ms} ms after cgroup.kill; see what they wait for: cat /proc/PID/stack", group.display())]
    StillPopulated {
        /// The group.
        group: PathBuf,
        /// How long was waited.
        waited_ms: u64,
    },
    /// A group with this name is there already.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// A part of a policy that the kernel here does not enforce; nothing was changed.
    #[error("the kernel here does not offer {part}: {reason}")]
    Unenforceable {
        /// Which part.
        part: Part,
        /// Why not, and what to do.
        reason: String,
    },
    /// A network interface that a policy names and the node lacks.
    #[error("there is no network interface {0:?} here, and a policy names it; see: ip link")]
    NoInterface(String),
    /// `bpf(2)` refused.
    #[error("cannot {operation} {what}")]
    Bpf {
        /// What was tried.
        operation: &'static str,
        /// On what.
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The clock could not be read.
    #[error("cannot read the clock")]
    Clock(#[source] io::Error),
    /// `/proc/self/mountinfo` or `/proc/self/cgroup` could not be read.
    #[error("cannot read {file}")]
    Proc {
        /// Which.
        file: &'static str,
        /// Why.
        source: procfs::ProcError,
    },
}

impl Error {
    /// Whether the kernel says that the group, or its file, is not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether it is about something that this node does not have or does not take, a limit, a
    /// program, an interface: a job can run without it, where the site would rather.
    #[must_use]
    pub fn is_unenforceable(&self) -> bool {
        matches!(
            self,
            Self::NoSuchLimit { .. }
                | Self::LimitRefused { .. }
                | Self::Unenforceable { .. }
                | Self::NoInterface(_)
        )
    }
}

/// This crate's result.
pub type Result<T> = std::result::Result<T, Error>;
