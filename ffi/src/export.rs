//! The symbols that Slurm looks for.

/// The name or the type as the character array that Slurm reads.
///
/// `N` is the length with its NUL; any other gives zeros, which Slurm does not take for a plugin.
#[must_use]
pub const fn array<const N: usize>(text: &std::ffi::CStr) -> [u8; N] {
    match text.to_bytes_with_nul().first_chunk::<N>() {
        Some(bytes) => *bytes,
        None => [0; N],
    }
}

/// Exports a [`Plugin`](crate::Plugin): `plugin_name`, `plugin_type`, `plugin_version`, and one
/// `slurm_spank_*` function for each hook that is listed, and no other. Slurm behaves differently for hooks
/// that exist (with a `job_epilog` it runs one more process at each job's end), so list what is used.
///
/// | listed | symbol | hooks of [`Plugin`](crate::Plugin) |
/// |---|---|---|
/// | `init` | `slurm_spank_init` | `slurmd_init`, `step_init`, `submit_init`, and `OPTIONS` |
/// | `init_post_opt` | `slurm_spank_init_post_opt` | `step_init_post_opt`, `submit_init_post_opt` |
/// | `exit` | `slurm_spank_exit` | `step_exit`, `submit_exit` |
/// | any other | `slurm_spank_` and the name | of the same name |
///
/// `init_failure = job` after the hooks exports `slurm_spank_init_failure_mode`, which from 25.05 on makes a
/// failed `step_init` the job's fault (it fails, and is not requeued); `init_failure = node` says Slurm's
/// default, which drains the node. Older releases read neither.
///
/// ```
/// # struct Quota;
/// # impl spank::Plugin for Quota {
/// #     const NAME: &'static std::ffi::CStr = c"quota";
/// #     fn on_panic(_: spank::Hook) -> spank::OnPanic { spank::OnPanic::Fail }
/// # }
/// spank::export!(Quota, hooks = [init, task_exit], init_failure = job);
/// ```
///
/// A hook that does not exist does not compile:
///
/// ```compile_fail
/// # struct Quota;
/// # impl spank::Plugin for Quota {
/// #     const NAME: &'static std::ffi::CStr = c"quota";
/// #     fn on_panic(_: spank::Hook) -> spank::OnPanic { spank::OnPanic::Fail }
/// # }
/// spank::export!(Quota, hooks = [fini]);
/// ```
///
/// Nor do options that would never be registered:
///
/// ```compile_fail
/// # struct Quota;
/// # impl spank::Plugin for Quota {
/// #     const NAME: &'static std::ffi::CStr = c"quota";
/// #     const OPTIONS: &'static [spank::PluginOption] = &[spank::PluginOption {
/// #         name: c"quota", arginfo: None, usage: c"show it", callback: |_, _| Ok(()),
/// #     }];
/// #     fn on_panic(_: spank::Hook) -> spank::OnPanic { spank::OnPanic::Fail }
/// # }
/// spank::export!(Quota, hooks = [task_exit]);
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ty, hooks = [$($hook:ident),+ $(,)?] $(, init_failure = $mode:ident)? $(,)?) => {
        const _: () = {
            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals, reason = "Slurm looks for this name")]
            pub static plugin_name: [u8; <$plugin as $crate::Plugin>::NAME.to_bytes_with_nul().len()] =
                $crate::__export::array(<$plugin as $crate::Plugin>::NAME);

            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals, reason = "Slurm looks for this name")]
            pub static plugin_type: [u8; 6] = $crate::__export::array(c"spank");

            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals, reason = "Slurm looks for this name")]
            pub static plugin_version: ::core::ffi::c_uint = $crate::SLURM_VERSION.number();

            $($crate::__export_failure_mode!($mode);)?
            $($crate::__export_hook!($plugin, $hook);)+

            ::core::assert!(
                <$plugin as $crate::Plugin>::OPTIONS.is_empty() || $($crate::__is_init!($hook))||+,
                "OPTIONS are registered in `init`: list it among the hooks"
            );
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __is_init {
    (init) => {
        true
    };
    ($other:ident) => {
        false
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_failure_mode {
    (job) => {
        $crate::__export_failure_mode!(@ $crate::__export::ESPANK_JOB_FAILURE);
    };
    (node) => {
        $crate::__export_failure_mode!(@ $crate::__export::ESPANK_NODE_FAILURE);
    };
    (@ $value:expr) => {
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals, reason = "Slurm looks for this name")]
        pub static slurm_spank_init_failure_mode: ::core::ffi::c_int = $value;
    };
    ($other:ident) => {
        ::core::compile_error!(::core::concat!(
            "init_failure is `job` or `node`, not `", ::core::stringify!($other), "`"
        ));
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_hook {
    ($plugin:ty, init) => { $crate::__export_hook!(@ $plugin, init, slurm_spank_init); };
    ($plugin:ty, init_post_opt) => { $crate::__export_hook!(@ $plugin, init_post_opt, slurm_spank_init_post_opt); };
    ($plugin:ty, job_prolog) => { $crate::__export_hook!(@ $plugin, job_prolog, slurm_spank_job_prolog); };
    ($plugin:ty, job_epilog) => { $crate::__export_hook!(@ $plugin, job_epilog, slurm_spank_job_epilog); };
    ($plugin:ty, user_init) => { $crate::__export_hook!(@ $plugin, user_init, slurm_spank_user_init); };
    ($plugin:ty, local_user_init) => { $crate::__export_hook!(@ $plugin, local_user_init, slurm_spank_local_user_init); };
    ($plugin:ty, task_init_privileged) => {
        $crate::__export_hook!(@ $plugin, task_init_privileged, slurm_spank_task_init_privileged);
    };
    ($plugin:ty, task_init) => { $crate::__export_hook!(@ $plugin, task_init, slurm_spank_task_init); };
    ($plugin:ty, task_post_fork) => { $crate::__export_hook!(@ $plugin, task_post_fork, slurm_spank_task_post_fork); };
    ($plugin:ty, task_exit) => { $crate::__export_hook!(@ $plugin, task_exit, slurm_spank_task_exit); };
    ($plugin:ty, exit) => { $crate::__export_hook!(@ $plugin, exit, slurm_spank_exit); };
    ($plugin:ty, slurmd_exit) => { $crate::__export_hook!(@ $plugin, slurmd_exit, slurm_spank_slurmd_exit); };
    (@ $plugin:ty, $entry:ident, $symbol:ident) => {
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $symbol(
            sp: *mut $crate::__export::SpankHandle,
            ac: ::core::ffi::c_int,
            av: *mut *mut ::core::ffi::c_char,
        ) -> ::core::ffi::c_int {
            // SAFETY: Slurm calls this symbol with its handle and the plugin's arguments, alive for the call.
            unsafe { $crate::__export::$entry::<$plugin>(sp, ac, av) }
        }
    };
    ($plugin:ty, $other:ident) => {
        ::core::compile_error!(::core::concat!(
            "SPANK has no hook `", ::core::stringify!($other), "`; it has init, init_post_opt, job_prolog, \
             job_epilog, user_init, local_user_init, task_init_privileged, task_init, task_post_fork, task_exit, \
             exit, slurmd_exit"
        ));
    };
}
