//! The functions of the process that loaded the plugin.
//!
//! All of them are looked up with `dlsym`, none is linked. So the plugin loads with or without lazy binding,
//! a release that lacks a newer function only lacks that function, and a unit test without Slurm gets
//! [`Error::Missing`](crate::Error::Missing) where a direct reference would not link. The table is filled
//! once, at the first hook, which is before slurmstepd forks wherever the plugin exports `init`: the hooks
//! that run between fork and exec then take no lock of the dynamic loader.

use std::ffi::{CStr, c_void};
use std::mem;
use std::sync::OnceLock;

use crate::sys;

macro_rules! host {
    ($($field:ident: $type:ty = $name:literal,)+) => {
        /// One entry per function; `None` where this process has no such symbol.
        pub(crate) struct Host { $(pub(crate) $field: Option<$type>,)+ }

        impl Host {
            fn look_up() -> Self {
                Self { $($field: {
                    let found = find($name);
                    // SAFETY: a data pointer and an optional function pointer have the same size here, null is
                    // `None`, and `sys.rs` gives the signature that Slurm documents for a symbol of this name.
                    unsafe { mem::transmute::<*mut c_void, Option<$type>>(found) }
                },)+ }
            }
        }
    };
}

host! {
    get_item: sys::GetItem = c"spank_get_item",
    context: sys::Context = c"spank_context",
    getenv: sys::Getenv = c"spank_getenv",
    setenv: sys::Setenv = c"spank_setenv",
    unsetenv: sys::Unsetenv = c"spank_unsetenv",
    control_getenv: sys::Getenv = c"spank_job_control_getenv",
    control_setenv: sys::Setenv = c"spank_job_control_setenv",
    control_unsetenv: sys::Unsetenv = c"spank_job_control_unsetenv",
    option_register: sys::OptionRegister = c"spank_option_register",
    option_getopt: sys::OptionGetopt = c"spank_option_getopt",
    prepend_task_argv: sys::PrependTaskArgv = c"spank_prepend_task_argv",
    log_error: sys::Log = c"slurm_error",
    log_info: sys::Log = c"slurm_info",
    log_verbose: sys::Log = c"slurm_verbose",
    log_debug: sys::Log = c"slurm_debug",
    log_user: sys::Log = c"slurm_spank_log",
}

fn find(name: &CStr) -> *mut c_void {
    // SAFETY: the name is a C string that lives for the call; RTLD_DEFAULT is a pseudo-handle that is always valid.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// The table of this process.
pub(crate) fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(Host::look_up)
}
