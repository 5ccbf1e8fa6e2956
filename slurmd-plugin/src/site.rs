//! This node: where things stand on it, and its clock.

use tenantry_cgroup::{Error, Root};
use tenantry_model::job::Paths;
use tenantry_model::{Clock, Moment, SystemClock};

/// What every context needs of the node.
pub struct Site {
    /// The records' directories.
    pub paths: Paths,
    /// The cgroup root.
    pub root: Root,
    /// The clock.
    pub clock: &'static dyn Clock,
}

impl Site {
    /// The node as it is.
    ///
    /// # Errors
    /// Where there is no cgroup v2.
    pub fn system() -> Result<Self, Error> {
        Ok(Self {
            paths: Paths::default(),
            root: Root::open("/sys/fs/cgroup".as_ref())?,
            clock: &SystemClock,
        })
    }

    /// Now.
    pub fn now(&self) -> Result<Moment, Error> {
        self.clock.now().map_err(Error::Clock)
    }
}
