//! What a call into Slurm may answer.

use std::error;
use std::ffi::c_int;
use std::fmt;

use crate::sys;

/// Slurm's answer to a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// `ESPANK_ERROR`
    Error,
    /// `ESPANK_BAD_ARG`
    BadArg,
    /// `ESPANK_NOT_TASK`
    NotTask,
    /// `ESPANK_ENV_EXISTS`
    EnvExists,
    /// `ESPANK_ENV_NOEXIST`
    EnvNoexist,
    /// `ESPANK_NOSPACE`
    Nospace,
    /// `ESPANK_NOT_REMOTE`
    NotRemote,
    /// `ESPANK_NOEXIST`
    Noexist,
    /// `ESPANK_NOT_EXECD`
    NotExecd,
    /// `ESPANK_NOT_AVAIL`
    NotAvail,
    /// `ESPANK_NOT_LOCAL`
    NotLocal,
    /// A number that this crate does not know.
    Other(c_int),
}

impl Code {
    /// Reads a return value; `Ok` is Slurm's success. Takes the numbers since 21.08 and those before.
    pub(crate) fn check(rc: c_int) -> Result<(), Self> {
        Err(match rc {
            sys::ESPANK_SUCCESS => return Ok(()),
            sys::ESPANK_ERROR | 1 => Self::Error,
            sys::ESPANK_BAD_ARG | 2 => Self::BadArg,
            sys::ESPANK_NOT_TASK | 3 => Self::NotTask,
            sys::ESPANK_ENV_EXISTS | 4 => Self::EnvExists,
            sys::ESPANK_ENV_NOEXIST | 5 => Self::EnvNoexist,
            sys::ESPANK_NOSPACE | 6 => Self::Nospace,
            sys::ESPANK_NOT_REMOTE | 7 => Self::NotRemote,
            sys::ESPANK_NOEXIST | 8 => Self::Noexist,
            sys::ESPANK_NOT_EXECD | 9 => Self::NotExecd,
            sys::ESPANK_NOT_AVAIL | 10 => Self::NotAvail,
            sys::ESPANK_NOT_LOCAL | 11 => Self::NotLocal,
            other => Self::Other(other),
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "Slurm reports a failure without a reason (ESPANK_ERROR)",
            Self::BadArg => "Slurm refuses the argument or the moment (ESPANK_BAD_ARG)",
            Self::NotTask => "there is no task here (ESPANK_NOT_TASK)",
            Self::EnvExists => "the variable is set already (ESPANK_ENV_EXISTS)",
            Self::EnvNoexist => "the variable is not set (ESPANK_ENV_NOEXIST)",
            Self::Nospace => "the value is too long (ESPANK_NOSPACE)",
            Self::NotRemote => "only slurmstepd has this (ESPANK_NOT_REMOTE)",
            Self::Noexist => "this node has no such id (ESPANK_NOEXIST)",
            Self::NotExecd => "no task runs yet (ESPANK_NOT_EXECD)",
            Self::NotAvail => "not available to this hook (ESPANK_NOT_AVAIL)",
            Self::NotLocal => "only srun, sbatch and salloc have this (ESPANK_NOT_LOCAL)",
            Self::Other(number) => return write!(f, "Slurm answers {number}, which spank.h does not list"),
        })
    }
}

/// Why a call into Slurm gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Slurm refused.
    Slurm {
        /// The function.
        call: &'static str,
        /// The item, variable or option that was asked for.
        what: String,
        /// The answer.
        code: Code,
    },
    /// The process has no such function: it is not Slurm, or a release without it.
    Missing {
        /// The function.
        call: &'static str,
    },
    /// An argument that C cannot carry: a NUL byte, or an empty or `=`-holding variable name.
    Argument {
        /// The function.
        call: &'static str,
        /// What is wrong with which argument.
        why: &'static str,
    },
    /// Slurm reported success and handed over a value that cannot be one.
    Value {
        /// The item.
        item: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slurm { call, what, code } => write!(f, "{call}({what}): {code}"),
            Self::Missing { call } => {
                write!(
                    f,
                    "{call}: this process has no such function; it is not Slurm, or a release without it"
                )
            }
            Self::Argument { call, why } => write!(f, "{call}: {why}"),
            Self::Value { item } => write!(f, "spank_get_item({item}): Slurm gave an impossible value"),
        }
    }
}

impl error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::{Code, Error};
    use crate::sys;

    #[test]
    fn old_and_new_numbers_are_the_same_codes() {
        for (index, (name, number)) in sys::CODES.iter().enumerate().skip(1) {
            let old = i32::try_from(index).unwrap();
            assert_eq!(Code::check(old), Code::check(*number), "{name}");
            let shown = Code::check(*number).unwrap_err().to_string();
            assert!(shown.contains(name), "{name} prints as {shown}");
        }
    }

    #[test]
    fn only_zero_is_success() {
        assert_eq!(Code::check(0), Ok(()));
        for number in [-1, 12, 2999, 3011, 3012, i32::MAX, i32::MIN] {
            assert_eq!(Code::check(number), Err(Code::Other(number)));
        }
    }

    #[test]
    fn an_error_names_the_call_the_item_and_the_reason() {
        let error =
            Error::Slurm { call: "spank_get_item", what: "S_JOB_NCPUS".to_owned(), code: Code::NotAvail };
        assert_eq!(
            error.to_string(),
            "spank_get_item(S_JOB_NCPUS): not available to this hook (ESPANK_NOT_AVAIL)"
        );
    }
}
