//! Options that a plugin adds to srun, sbatch and salloc.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::ptr;

use crate::boundary;
use crate::error::{Code, Error};
use crate::handle::Spank;
use crate::hook::{Failure, Hook, Outcome, Plugin};
use crate::host::host;
use crate::{log, sys};

/// An option, declared in [`Plugin::OPTIONS`]. Its strings are static: they outlive every use by Slurm.
#[derive(Clone, Copy, Debug)]
pub struct PluginOption {
    /// What follows the two dashes, at most 75 bytes.
    pub name: &'static CStr,
    /// What stands for the argument in `--help`; `None` for an option without one.
    pub arginfo: Option<&'static CStr>,
    /// The text of `--help`.
    pub usage: &'static CStr,
    /// Called when the option was given: with its argument where it takes one, and where that is.
    ///
    /// | fails | then |
    /// |---|---|
    /// | [`Side::Submit`] | the command ends: "Invalid --name argument" |
    /// | [`Side::Step`] | a line in slurmd's log; the step goes on |
    ///
    /// The argument is the user's text: a step receives what the user's process sent, checked there or not.
    pub callback: fn(Option<&OsStr>, Side) -> Outcome,
}

/// Where an option's callback runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In srun, sbatch or salloc, as the user.
    Submit,
    /// In slurmstepd, as root.
    Step,
}

impl PluginOption {
    fn as_c(&self, val: c_int, cb: Option<sys::OptionCallback>) -> sys::SpankOption {
        let text = |s: Option<&'static CStr>| s.map_or(ptr::null_mut(), |s| s.as_ptr().cast_mut());
        sys::SpankOption {
            name: text(Some(self.name)),
            arginfo: text(self.arginfo),
            usage: text(Some(self.usage)),
            has_arg: c_int::from(self.arginfo.is_some()),
            val,
            cb,
        }
    }
}

/// Registers every option of the plugin. One that Slurm refuses costs a line of log, not the job.
pub(crate) fn register<P: Plugin>(spank: &Spank<'_>) {
    for (val, option) in (0..).zip(P::OPTIONS) {
        if let Err(error) = register_one::<P>(spank, option, val) {
            log::error(&format!("{}: option left out: {error}", P::NAME.to_string_lossy()));
        }
    }
}

fn register_one<P: Plugin>(spank: &Spank<'_>, option: &PluginOption, val: c_int) -> Result<(), Error> {
    let call = "spank_option_register";
    let function = host().option_register.ok_or(Error::Missing { call })?;
    let mut option = option.as_c(val, Some(on_option::<P>));
    let name = option.name;
    // SAFETY: the handle is Slurm's and alive, the struct lives for the call and its strings for ever; Slurm
    // copies both before it returns.
    let rc = unsafe { function(spank.raw(), &raw mut option) };
    Code::check(rc).map_err(|code| {
        // SAFETY: the name came from a `&'static CStr` in `as_c`.
        let name = unsafe { CStr::from_ptr(name) };
        Error::Slurm { call, what: name.to_string_lossy().into_owned(), code }
    })
}

/// Whether the user gave the option, and its argument (empty for an option without one).
pub(crate) fn given(spank: &Spank<'_>, option: &PluginOption) -> Result<Option<OsString>, Error> {
    let call = "spank_option_getopt";
    let function = host().option_getopt.ok_or(Error::Missing { call })?;
    let mut c_option = option.as_c(0, None);
    let mut argument: *mut c_char = ptr::null_mut();
    // SAFETY: the handle is Slurm's and alive, both pointers live for the call; Slurm copies the struct.
    let rc = unsafe { function(spank.raw(), &raw mut c_option, &raw mut argument) };
    match Code::check(rc) {
        // Slurm has no other code for "not given".
        Err(Code::Error) => Ok(None),
        Err(code) => Err(Error::Slurm { call, what: option.name.to_string_lossy().into_owned(), code }),
        Ok(()) if argument.is_null() => Ok(Some(OsString::new())),
        Ok(()) => {
            // SAFETY: Slurm stored a C string of its option table, which lives until the plugin stack goes.
            let text = unsafe { CStr::from_ptr(argument) };
            Ok(Some(OsString::from_vec(text.to_bytes().to_vec())))
        }
    }
}

/// The one C callback of a plugin; `val` says which option it is for.
unsafe extern "C" fn on_option<P: Plugin>(val: c_int, optarg: *const c_char, remote: c_int) -> c_int {
    let (side, hook) =
        if remote == 0 { (Side::Submit, Hook::SubmitOption) } else { (Side::Step, Hook::StepOption) };
    boundary::guard::<P>(hook, || {
        let option = usize::try_from(val).ok().and_then(|index| P::OPTIONS.get(index));
        let option =
            option.ok_or_else(|| Failure::new(format!("Slurm names option {val}, which is not one")))?;
        let argument = if option.arginfo.is_none() || optarg.is_null() {
            None
        } else {
            // SAFETY: not null, and Slurm passes a C string that lives for the call.
            let text = unsafe { CStr::from_ptr(optarg) };
            Some(OsStr::from_bytes(text.to_bytes()))
        };
        (option.callback)(argument, side)
            .map_err(|failure| Failure::new(format!("--{}: {failure}", option.name.to_string_lossy())))
    })
}
