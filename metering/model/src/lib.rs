//! What the plugin, the daemon, the server and the command tell each other.
//!
//! Everything here is data: identifiers parsed once at the edge, units as types, the tenants
//! file, the records under `/run/tenantry`, readings, blocks and usage records. No IO but
//! reading the tenants file and the clock.
//!
//! ```
//! use tenantry_model::tenants::Tenants;
//!
//! let tenants = Tenants::parse(
//!     "tenants.toml".as_ref(),
//!     r#"
//!         [tenants.acme]
//!         accounts = ["acme"]
//!         memory_max = "64GiB"
//!
//!         [tenants."acme/physics"]
//!         accounts = ["acme-physics", "phys-*"]
//!     "#,
//! )?;
//! let account = "phys-42".parse()?;
//! assert_eq!(tenants.claimant(&account)?.to_string(), "acme/physics");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

pub mod block;
pub mod catalogue;
pub mod clock;
mod cpu_list;
mod describe;
pub mod durable;
pub mod fault;
pub mod identity;
pub mod ids;
pub mod job;
pub mod reading;
pub mod tenants;
pub mod units;
pub mod usage;
pub mod window;

pub use clock::{Clock, Moment, SystemClock, WallTime};
pub use cpu_list::{CpuList, InvalidCpuList};
pub use describe::describe;
pub use identity::{Identity, InvalidIdentity, Role};
pub use ids::{AccountName, BootId, ClusterName, GpuName, InvalidId, JobId, NodeName, TenantPath};
pub use units::{Amount, Bytes, Limit, MicroJoules, MilliJoules, Share, Usec};
