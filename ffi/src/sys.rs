//! SPANK's C ABI, as its manual page documents it. Nothing here is a link-time reference: `host.rs` looks
//! every function up in the running process.
//!
//! `tests/abi.rs` compares each constant and layout with the headers of real Slurm releases.

use std::ffi::{c_char, c_int};
use std::marker::PhantomData;

use libc::{gid_t, pid_t, uid_t};

/// Slurm's handle, opaque to plugins.
#[repr(C)]
pub struct SpankHandle {
    _opaque: [u8; 0],
    _not_send_nor_unpin: PhantomData<(*mut u8, std::marker::PhantomPinned)>,
}

/// What `spank_get_item` may be asked for: the number of the item, and the type that Slurm stores through
/// the one pointer that follows it.
pub struct Item<T> {
    /// The position in `enum spank_item`.
    pub id: c_int,
    /// The C name.
    pub name: &'static str,
    stores: PhantomData<fn() -> T>,
}

impl<T> Clone for Item<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Item<T> {}

macro_rules! items {
    ($($name:ident: $type:ty = $id:literal,)+) => {
        $(pub const $name: Item<$type> = Item { id: $id, name: stringify!($name), stores: PhantomData };)+
        /// Every item above and its type, for the comparison with Slurm's headers.
        pub const ITEMS: &[(&str, c_int, &str)] = &[$((stringify!($name), $id, stringify!($type)),)+];
    };
}

items! {
    S_JOB_UID: uid_t = 0,
    S_JOB_GID: gid_t = 1,
    S_JOB_ID: u32 = 2,
    S_JOB_STEPID: u32 = 3,
    S_JOB_NNODES: u32 = 4,
    S_JOB_NODEID: u32 = 5,
    S_JOB_LOCAL_TASK_COUNT: u32 = 6,
    S_JOB_TOTAL_TASK_COUNT: u32 = 7,
    S_JOB_NCPUS: u16 = 8,
    S_TASK_ID: c_int = 11,
    S_TASK_GLOBAL_ID: u32 = 12,
    S_TASK_EXIT_STATUS: c_int = 13,
    S_TASK_PID: pid_t = 14,
    S_SLURM_VERSION: *const c_char = 20,
    S_STEP_CPUS_PER_TASK: u32 = 24,
    S_JOB_ALLOC_CORES: *const c_char = 25,
    S_JOB_ALLOC_MEM: u64 = 26,
    S_STEP_ALLOC_CORES: *const c_char = 27,
    S_STEP_ALLOC_MEM: u64 = 28,
    S_JOB_ARRAY_ID: u32 = 30,
    S_JOB_ARRAY_TASK_ID: u32 = 31,
}

macro_rules! numbers {
    ($(#[$doc:meta])* $list:ident: $type:ty { $($name:ident = $value:literal,)+ }) => {
        $(pub const $name: $type = $value;)+
        $(#[$doc])*
        pub const $list: &[(&str, $type)] = &[$((stringify!($name), $value),)+];
    };
}

numbers! {
    /// `enum spank_context`, for the comparison with Slurm's headers.
    CONTEXTS: c_int {
        S_CTX_ERROR = 0,
        S_CTX_LOCAL = 1,
        S_CTX_REMOTE = 2,
        S_CTX_ALLOCATOR = 3,
        S_CTX_SLURMD = 4,
        S_CTX_JOB_SCRIPT = 5,
    }
}

numbers! {
    /// The error codes since 21.08. Older releases counted the same names from 1.
    CODES: c_int {
        ESPANK_SUCCESS = 0,
        ESPANK_ERROR = 3000,
        ESPANK_BAD_ARG = 3001,
        ESPANK_NOT_TASK = 3002,
        ESPANK_ENV_EXISTS = 3003,
        ESPANK_ENV_NOEXIST = 3004,
        ESPANK_NOSPACE = 3005,
        ESPANK_NOT_REMOTE = 3006,
        ESPANK_NOEXIST = 3007,
        ESPANK_NOT_EXECD = 3008,
        ESPANK_NOT_AVAIL = 3009,
        ESPANK_NOT_LOCAL = 3010,
    }
}

numbers! {
    /// The values of `slurm_spank_init_failure_mode`, since 25.05.
    INIT_FAILURE_MODES: c_int {
        ESPANK_NODE_FAILURE = 3011,
        ESPANK_JOB_FAILURE = 3012,
    }
}

numbers! {
    /// Step ids with a meaning, and Slurm's two "no value" numbers.
    SPECIAL: u32 {
        SLURM_PENDING_STEP = 0xffff_fffd,
        SLURM_EXTERN_CONT = 0xffff_fffc,
        SLURM_BATCH_SCRIPT = 0xffff_fffb,
        SLURM_INTERACTIVE_STEP = 0xffff_fffa,
        NO_VAL = 0xffff_fffe,
        INFINITE = 0xffff_ffff,
    }
}

/// The longest option name that Slurm registers, in bytes.
pub const SPANK_OPTION_MAXLEN: usize = 75;

/// What Slurm calls when it meets an option.
pub type OptionCallback = unsafe extern "C" fn(val: c_int, optarg: *const c_char, remote: c_int) -> c_int;

/// `struct spank_option`. Slurm copies the strings and writes through none of the pointers.
#[repr(C)]
pub struct SpankOption {
    pub name: *mut c_char,
    pub arginfo: *mut c_char,
    pub usage: *mut c_char,
    pub has_arg: c_int,
    pub val: c_int,
    pub cb: Option<OptionCallback>,
}

pub type GetItem = unsafe extern "C" fn(sp: *mut SpankHandle, item: c_int, ...) -> c_int;
pub type Context = unsafe extern "C" fn() -> c_int;
pub type Getenv =
    unsafe extern "C" fn(sp: *mut SpankHandle, var: *const c_char, buf: *mut c_char, len: c_int) -> c_int;
pub type Setenv = unsafe extern "C" fn(
    sp: *mut SpankHandle,
    var: *const c_char,
    val: *const c_char,
    overwrite: c_int,
) -> c_int;
pub type Unsetenv = unsafe extern "C" fn(sp: *mut SpankHandle, var: *const c_char) -> c_int;
pub type OptionRegister = unsafe extern "C" fn(sp: *mut SpankHandle, opt: *mut SpankOption) -> c_int;
pub type OptionGetopt =
    unsafe extern "C" fn(sp: *mut SpankHandle, opt: *mut SpankOption, optarg: *mut *mut c_char) -> c_int;
pub type PrependTaskArgv =
    unsafe extern "C" fn(sp: *mut SpankHandle, argc: c_int, argv: *const *const c_char) -> c_int;
pub type Log = unsafe extern "C" fn(format: *const c_char, ...);
