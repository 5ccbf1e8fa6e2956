//! This node: where things stand on it, its clock, and who is told what happens.

use tenantry_cgroup::{Error, Root};
use tenantry_model::job::Paths;
use tenantry_model::{Clock, Moment, SystemClock};

/// What all of this crate needs of the node.
pub struct Site {
    /// The records' directories.
    pub paths: Paths,
    /// The cgroup root.
    pub root: Root,
    /// The clock.
    pub clock: &'static dyn Clock,
    /// Where messages go: Slurm's log in the plugin, the journal in the warden.
    pub say: fn(Severity, &str),
}

/// How much a message matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something for the administrator to act on.
    Error,
    /// What was done.
    Info,
    /// Of use to whoever looks for a fault.
    Verbose,
}

impl Site {
    /// The node as it is.
    ///
    /// # Errors
    /// Where there is no cgroup v2.
    pub fn system(say: fn(Severity, &str)) -> Result<Self, Error> {
        let root = Root::open("/sys/fs/cgroup".as_ref())?;
        Ok(Self { paths: Paths::default(), root, clock: &SystemClock, say })
    }

    /// Now.
    ///
    /// # Errors
    /// Where the clock cannot be read.
    pub fn now(&self) -> Result<Moment, Error> {
        self.clock.now().map_err(Error::Clock)
    }

    pub(crate) fn error(&self, message: &str) {
        (self.say)(Severity::Error, message);
    }

    pub(crate) fn info(&self, message: &str) {
        (self.say)(Severity::Info, message);
    }
}
