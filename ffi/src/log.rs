//! Slurm's own log, from inside a plugin.
//!
//! In slurmd and slurmstepd the lines go to their log file, in srun, sbatch and salloc to the user's terminal.
//! Where the process has no such function (a unit test) they go nowhere.
//!
//! The text is data, never a format. Control characters are written as escapes, so a text that a user chose
//! cannot begin a line of its own in an administrator's log.

use std::ffi::{CStr, CString};
use std::fmt::Write as _;

use crate::host::host;
use crate::sys;

/// Logs a failure that somebody should act on, through `slurm_error`.
pub fn error(text: &str) {
    send(host().log_error, text);
}

/// Logs at the level that is on by default, through `slurm_info`.
pub fn info(text: &str) {
    send(host().log_info, text);
}

/// Logs at `-v`, through `slurm_verbose`.
pub fn verbose(text: &str) {
    send(host().log_verbose, text);
}

/// Logs at `-vv`, through `slurm_debug`.
pub fn debug(text: &str) {
    send(host().log_debug, text);
}

/// Tells the user, at the error level but without the word "error:", through `slurm_spank_log`; where Slurm
/// lacks it, through `slurm_error`.
pub fn user(text: &str) {
    send(host().log_user.or(host().log_error), text);
}

fn send(function: Option<sys::Log>, text: &str) {
    const AS_TEXT: &CStr = c"%s";
    let Some(function) = function else { return };
    let line = line(text);
    // SAFETY: the symbol is Slurm's printf-like logger; the format takes one string, and both live for the call.
    unsafe { function(AS_TEXT.as_ptr(), line.as_ptr()) }
}

/// One line of log: no NUL, no control character.
fn line(text: &str) -> CString {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    // The NULs are escaped above, so this never takes the default.
    CString::new(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::line;
    use proptest::prelude::*;

    #[test]
    fn a_nul_does_not_cut_the_line() {
        assert_eq!(line("before\0after").to_bytes(), br"before\u{0}after");
    }

    #[test]
    fn a_text_cannot_begin_a_line_of_its_own() {
        assert_eq!(line("a\nerror: forged\r\x1b[2K").to_bytes(), br"a\nerror: forged\r\u{1b}[2K");
    }

    #[test]
    fn ordinary_text_stays_as_it_is() {
        assert_eq!(line("job 7:\t100% of Zoë's quota").to_bytes(), "job 7:\t100% of Zoë's quota".as_bytes());
    }

    #[test]
    fn without_slurm_in_the_process_logging_does_nothing() {
        for log in [super::error, super::info, super::verbose, super::debug, super::user] {
            log("%s%n");
        }
    }

    proptest! {
        #[test]
        fn every_text_becomes_one_line(text in "\\PC{0,20}|(?s:.{0,20})") {
            let line = line(&text);
            prop_assert!(!line.to_bytes().iter().any(|b| matches!(b, b'\n' | b'\r' | 0x1b)));
            prop_assert!(line.to_bytes().len() >= text.len());
        }
    }
}
