//! Slurm plugins in safe Rust, over SPANK's C interface. The crate knows Slurm's rules and no site's policy.
//!
//! ```
//! use spank::{Failure, Hook, JobScript, OnPanic, Outcome, Plugin, Task};
//!
//! struct Greeter;
//!
//! impl Plugin for Greeter {
//!     const NAME: &'static std::ffi::CStr = c"greeter";
//!
//!     fn on_panic(hook: Hook) -> OnPanic {
//!         match hook {
//!             // A failure there drains the node.
//!             Hook::JobProlog | Hook::JobEpilog => OnPanic::Ignore,
//!             _ => OnPanic::Fail,
//!         }
//!     }
//!
//!     fn job_prolog(job: &JobScript<'_>) -> Outcome {
//!         let account = job.var("SLURM_JOB_ACCOUNT").ok_or_else(|| Failure::new("no account: is slurmd < 22.05?"))?;
//!         spank::log::info(&format!("job {} of {}", job.job_id()?, account.display()));
//!         Ok(())
//!     }
//!
//!     fn task_init_privileged(task: &Task<'_>) -> Outcome {
//!         task.setenv("GREETING", format!("hello, task {}", task.id()?))?;
//!         Ok(())
//!     }
//! }
//!
//! spank::export!(Greeter, hooks = [job_prolog, task_init_privileged]);
//! ```
//!
//! # Building a plugin
//!
//! A plugin is a `cdylib`. Its `build.rs` adds one linker argument:
//!
//! ```no_run
//! println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
//! ```
//!
//! Slurm closes plugins when a stack ends; `nodelete` keeps the code mapped that the panic hook and
//! thread-locals of Rust's standard library point to. Lazy binding is not needed: this crate looks every
//! function of Slurm up at run time, so the plugin has no undefined symbol of Slurm's and keeps full RELRO.
//!
//! Slurm loads a plugin only where `plugin_version` has its own major and minor number, so there is one build
//! for each release: the environment variable `TENANTRY_SLURM_VERSION` (`24.11` when unset) sets
//! [`SLURM_VERSION`] when this crate is compiled. The interface itself is the same from 21.08 to 26.05.
//!
//! # What may go wrong
//!
//! Each hook of [`Plugin`] has a table that says what Slurm does when it fails. A panic is caught, option
//! callbacks included, written to Slurm's log with its place, and answered as [`Plugin::on_panic`] says.
//! That needs unwinding: with `panic = "abort"` the crate does not compile.

#[cfg(not(panic = "unwind"))]
compile_error!("a panic must not abort slurmd or a job's slurmstepd: build with panic = \"unwind\"");

mod boundary;
mod context;
mod error;
mod export;
mod handle;
mod hook;
mod host;
pub mod log;
mod option;
#[doc(hidden)]
#[allow(missing_docs, reason = "C names, documented by Slurm; public for the comparison with its headers")]
pub mod sys;
mod version;

pub use context::{ExitedTask, ForkedTask, JobScript, Launch, Slurmd, Step, StepId, Submit, Task, UserStep};
pub use error::{Code, Error};
pub use handle::Spank;
pub use hook::{Failure, Hook, OnPanic, Outcome, Plugin};
pub use option::{PluginOption, Side};
pub use version::{NotAVersion, Version};

include!(concat!(env!("OUT_DIR"), "/slurm_version.rs"));

/// What `export!` expands to. Not for use by hand.
#[doc(hidden)]
pub mod __export {
    pub use crate::boundary::{
        exit, init, init_post_opt, job_epilog, job_prolog, local_user_init, slurmd_exit, task_exit,
        task_init, task_init_privileged, task_post_fork, user_init,
    };
    pub use crate::export::array;
    pub use crate::sys::{ESPANK_JOB_FAILURE, ESPANK_NODE_FAILURE, SpankHandle};
}
