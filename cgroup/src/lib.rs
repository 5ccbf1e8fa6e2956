//! The kernel's cgroup v2 as Tenantry uses it: a tree of tenants, a job's group grafted to where
//! it is looked for, and readings. Knows the kernel, and no scheduler.
//!
//! ```no_run
//! use tenantry_cgroup::{GroupPath, GroupReader, Root};
//! use tenantry_model::SystemClock;
//!
//! let root = Root::open("/sys/fs/cgroup".as_ref())?;
//! let group = GroupPath::new("system.slice/slurmstepd.scope/tenant_acme")?;
//! let reading = GroupReader::open(&root, &group)?.read(&SystemClock)?;
//! println!("{:?} of CPU time", reading.cpu_usage());
//! # Ok::<(), tenantry_cgroup::Error>(())
//! ```
// One exception: bpf(2), in bpf/sys.rs.
#![deny(unsafe_code)]

pub mod bpf;
mod error;
pub mod graft;
pub mod ipc;
pub mod node;
pub mod parse;
mod path;
mod reading;
mod root;
pub mod tenant;

pub use error::{Error, Result};
pub use path::GroupPath;
pub use reading::{GroupReader, ReadBuffer};
pub use root::Root;
