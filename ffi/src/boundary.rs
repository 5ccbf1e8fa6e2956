//! Where C calls Rust. Nothing unwinds out of here: an unwinding `extern "C"` function aborts its process,
//! which is slurmd, or the slurmstepd of a running job.

use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::ptr::NonNull;
use std::sync::Once;
use std::{fmt, mem};

use crate::context::{ExitedTask, ForkedTask, JobScript, Launch, Slurmd, Step, Submit, Task, UserStep};
use crate::handle::Spank;
use crate::hook::{Hook, OnPanic, Outcome, Plugin};
use crate::host::host;
use crate::sys::{self, SpankHandle};
use crate::{log, option};

/// What Slurm reads as success, and as failure: `SLURM_SUCCESS` and `SLURM_ERROR`.
const DONE: c_int = 0;
const FAILED: c_int = -1;

/// Runs `body` so that whatever happens in it becomes a number for C.
pub(crate) fn guard<P: Plugin>(hook: Hook, body: impl FnOnce() -> Outcome) -> c_int {
    install_panic_hook();
    let outer = WATCH.replace(Watch { inside: true, caught: None });
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    let what = WATCH.get().caught;
    let answer = match result {
        Ok(Ok(())) => DONE,
        Ok(Err(failure)) => {
            report::<P>(hook, format_args!("{failure}"));
            FAILED
        }
        Err(payload) => {
            // Dropping it runs the plugin's code, which may panic again.
            mem::forget(payload);
            after_panic::<P>(hook, what.unwrap_or("without a message"))
        }
    };
    WATCH.set(outer);
    answer
}

fn after_panic<P: Plugin>(hook: Hook, what: &str) -> c_int {
    // Inside the watch still, so that a panic in here prints nothing either.
    WATCH.set(Watch { inside: true, caught: None });
    let chosen = panic::catch_unwind(|| P::on_panic(hook));
    let (answer, told) = match chosen {
        Ok(OnPanic::Ignore) => (DONE, "success"),
        Ok(OnPanic::Fail) => (FAILED, "failure"),
        Err(payload) => {
            mem::forget(payload);
            (FAILED, "failure, because on_panic panicked too")
        }
    };
    report::<P>(
        hook,
        format_args!("panic: {what}; Slurm is told: {told}. This is a fault in the plugin: report this line"),
    );
    answer
}

fn report<P: Plugin>(hook: Hook, text: fmt::Arguments<'_>) {
    log::error(&format!("{}: {hook}: {text}", P::NAME.to_string_lossy()));
}

/// What the panic hook knows about its thread.
#[derive(Clone, Copy)]
struct Watch {
    /// A `guard` is on the stack, and will report what is caught.
    inside: bool,
    caught: Option<&'static str>,
}

thread_local! {
    /// Without a destructor, and so still there when sbatch calls its plugins from atexit(3), after the
    /// destructors of the thread's locals. That is why the text in it is leaked.
    static WATCH: Cell<Watch> = const { Cell::new(Watch { inside: false, caught: None }) };
}

const _: () =
    assert!(!mem::needs_drop::<Cell<Watch>>(), "a thread-local with a destructor is gone in atexit(3)");

/// Replaces Rust's panic hook, which writes to stderr: in srun that is the user's terminal, in a task about to
/// start it is the job's output. The hook belongs to this shared object's copy of the standard library, not to
/// other plugins.
fn install_panic_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !take_note(info) {
                previous(info);
            }
        }));
    });
}

/// Keeps the panic for the guard, or logs it. `false` where neither can be done.
fn take_note(info: &PanicHookInfo<'_>) -> bool {
    let what = describe(info);
    let when = match WATCH.get() {
        Watch { inside: true, caught: None } => {
            WATCH.set(Watch { inside: true, caught: Some(what.leak()) });
            return true;
        }
        // Rust may abort after this one: say it while it is possible.
        Watch { inside: true, caught: Some(first) } => format!("while another one unwinds ({first})"),
        Watch { inside: false, .. } => "outside of a hook".to_owned(),
    };
    log::error(&format!("SPANK plugin: panic {when}: {what}"));
    host().log_error.is_some()
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("(not a text)");
    match info.location() {
        Some(place) => format!("{text}, at {place}"),
        None => text.to_owned(),
    }
}

/// # Safety
///
/// As for a `slurm_spank_*` function: `sp` is Slurm's handle and `av` points to `ac` C strings, all alive for
/// the call.
unsafe fn enter<P: Plugin>(
    hook: Hook,
    sp: *mut SpankHandle,
    ac: c_int,
    av: *mut *mut c_char,
    body: impl FnOnce(Spank<'_>) -> Outcome,
) -> c_int {
    guard::<P>(hook, || {
        let raw = NonNull::new(sp).ok_or_else(|| crate::Failure::new("Slurm passed no handle"))?;
        // SAFETY: the caller vouches for all three, and `body` cannot keep what has the call's lifetime.
        let spank = unsafe { Spank::new(raw, ac, av.cast_const().cast()) };
        body(spank)
    })
}

/// What Slurm says it is; `None` for a context that this crate does not know.
enum Host {
    Slurmd,
    Stepd,
    Submit,
}

fn context() -> Option<Host> {
    let function = host().context?;
    // SAFETY: the function takes nothing and reads Slurm's own state, on the thread that Slurm called from.
    match unsafe { function() } {
        sys::S_CTX_SLURMD => Some(Host::Slurmd),
        sys::S_CTX_REMOTE => Some(Host::Stepd),
        sys::S_CTX_LOCAL | sys::S_CTX_ALLOCATOR => Some(Host::Submit),
        _ => None,
    }
}

fn nothing_to_do<P: Plugin>(symbol: &str) -> c_int {
    let name = P::NAME.to_string_lossy();
    log::verbose(&format!("{name}: {symbol} called in a context that has no hook for it; ignored"));
    DONE
}

macro_rules! entries {
    ($($(#[$doc:meta])* $visibility:vis $entry:ident: $hook:ident, $handle:expr;)+) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            ///
            /// To be called as Slurm calls it: `sp` is Slurm's handle and `av` points to `ac` C strings, all
            /// alive for the call.
            $visibility unsafe fn $entry<P: Plugin>(sp: *mut SpankHandle, ac: c_int, av: *mut *mut c_char) -> c_int {
                let body = |spank: Spank<'_>| P::$entry(&$handle(spank));
                // SAFETY: handed on from the caller.
                unsafe { enter::<P>(Hook::$hook, sp, ac, av, body) }
            }
        )+
    };
}

entries! {
    /// `slurm_spank_job_prolog`
    pub job_prolog: JobProlog, JobScript;
    /// `slurm_spank_job_epilog`
    pub job_epilog: JobEpilog, JobScript;
    /// `slurm_spank_user_init`
    pub user_init: UserInit, |spank| UserStep(Step(spank));
    /// `slurm_spank_local_user_init`
    pub local_user_init: LocalUserInit, |spank| Launch(Submit(spank));
    /// `slurm_spank_task_init_privileged`
    pub task_init_privileged: TaskInitPrivileged, |spank| Task(Step(spank));
    /// `slurm_spank_task_init`
    pub task_init: TaskInit, |spank| Task(Step(spank));
    /// `slurm_spank_task_post_fork`
    pub task_post_fork: TaskPostFork, |spank| ForkedTask(Step(spank));
    /// `slurm_spank_task_exit`
    pub task_exit: TaskExit, |spank| ExitedTask(Step(spank));
    /// `slurm_spank_slurmd_exit`
    pub slurmd_exit: SlurmdExit, Slurmd;
    /// `slurm_spank_init` in slurmd
    slurmd_init: SlurmdInit, Slurmd;
    /// `slurm_spank_init` in slurmstepd
    step_init: StepInit, |spank| Step(registered::<P>(spank));
    /// `slurm_spank_init` in srun, sbatch, salloc
    submit_init: SubmitInit, |spank| Submit(registered::<P>(spank));
    /// `slurm_spank_init_post_opt` in slurmstepd
    step_init_post_opt: StepInitPostOpt, Step;
    /// `slurm_spank_init_post_opt` in srun, sbatch, salloc
    submit_init_post_opt: SubmitInitPostOpt, Submit;
    /// `slurm_spank_exit` in slurmstepd
    step_exit: StepExit, Step;
    /// `slurm_spank_exit` in srun, sbatch, salloc
    submit_exit: SubmitExit, Submit;
}

/// Slurm takes options in `init` only.
fn registered<P: Plugin>(spank: Spank<'_>) -> Spank<'_> {
    option::register::<P>(&spank);
    spank
}

/// `slurm_spank_init`
///
/// # Safety
///
/// As [`job_prolog`].
pub unsafe fn init<P: Plugin>(sp: *mut SpankHandle, ac: c_int, av: *mut *mut c_char) -> c_int {
    match context() {
        // SAFETY: handed on from the caller.
        Some(Host::Slurmd) => unsafe { slurmd_init::<P>(sp, ac, av) },
        // SAFETY: handed on from the caller.
        Some(Host::Stepd) => unsafe { step_init::<P>(sp, ac, av) },
        // SAFETY: handed on from the caller.
        Some(Host::Submit) => unsafe { submit_init::<P>(sp, ac, av) },
        None => nothing_to_do::<P>("slurm_spank_init"),
    }
}

/// `slurm_spank_init_post_opt`
///
/// # Safety
///
/// As [`job_prolog`].
pub unsafe fn init_post_opt<P: Plugin>(sp: *mut SpankHandle, ac: c_int, av: *mut *mut c_char) -> c_int {
    match context() {
        // SAFETY: handed on from the caller.
        Some(Host::Stepd) => unsafe { step_init_post_opt::<P>(sp, ac, av) },
        // SAFETY: handed on from the caller.
        Some(Host::Submit) => unsafe { submit_init_post_opt::<P>(sp, ac, av) },
        _ => nothing_to_do::<P>("slurm_spank_init_post_opt"),
    }
}

/// `slurm_spank_exit`
///
/// # Safety
///
/// As [`job_prolog`].
pub unsafe fn exit<P: Plugin>(sp: *mut SpankHandle, ac: c_int, av: *mut *mut c_char) -> c_int {
    match context() {
        // SAFETY: handed on from the caller.
        Some(Host::Stepd) => unsafe { step_exit::<P>(sp, ac, av) },
        // SAFETY: handed on from the caller.
        Some(Host::Submit) => unsafe { submit_exit::<P>(sp, ac, av) },
        _ => nothing_to_do::<P>("slurm_spank_exit"),
    }
}
