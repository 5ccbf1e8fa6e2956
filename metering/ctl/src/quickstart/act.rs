//! Does a step. Each is safe to do again.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tenantry_model::durable;
use tenantry_model::usage::UsageReport;

use super::first;
use super::plan::{Deed, State, Step};
use crate::plugin;

/// Does it, and says in its state how that went. What a job used is left in `usage`.
pub fn act(step: &mut Step, usage: &mut Option<UsageReport>) {
    // What waits is not begun: it says until when.
    if matches!(step.state, State::Waits(_)) {
        return;
    }
    step.state = match deed(&step.deed, usage) {
        Ok(()) => State::Done,
        Err(said) => State::Failed(said),
    };
}

fn deed(deed: &Deed, usage: &mut Option<UsageReport>) -> Result<(), String> {
    match deed {
        Deed::Directories => run("systemd-tmpfiles", &["--create"]),
        Deed::Write(files) => files.iter().try_for_each(|(file, text)| {
            put(file, text).map_err(|error| format!("{}: {error}", file.display()))
        }),
        Deed::Append(file, line) => {
            append(file, line).map_err(|error| format!("{}: {error}", file.display()))
        }
        Deed::Start(units) => {
            let mut args = vec!["enable", "--quiet", "--now"];
            args.extend(units.iter().map(String::as_str));
            run("systemctl", &args)
        }
        Deed::Restart(units) => {
            let mut args = vec!["restart"];
            args.extend(units.iter().map(String::as_str));
            run("systemctl", &args)?;
            // The selector was called before slurmd started; a job may have been faster.
            plugin::why_off().map_or(Ok(()), Err)
        }
        Deed::Job(payer) => {
            *usage = Some(first::job(payer)?);
            Ok(())
        }
    }
}

/// For all to read, as Slurm's users must.
fn put(file: &Path, text: &str) -> io::Result<()> {
    let dir = file.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    durable::write_public(file, text.as_bytes())
}

fn append(file: &Path, line: &str) -> io::Result<()> {
    let before = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let gap = if before.is_empty() || before.ends_with('\n') { "" } else { "\n" };
    put(file, &format!("{before}{gap}{line}\n"))
}

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let called = || format!("{program} {}", args.join(" "));
    match Command::new(program).args(args).stdin(Stdio::null()).output() {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => {
            let said = String::from_utf8_lossy(&done.stderr);
            Err(format!("{}: {}: {}", called(), done.status, said.trim().replace('\n', " ")))
        }
        Err(error) => Err(format!("{}: {error}", called())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_added_behind_what_is_there_whatever_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plugstack.conf");
        for (before, after) in [
            (None, "include /x\n"),
            (Some("required a.so"), "required a.so\ninclude /x\n"),
            (Some("# b\n"), "# b\ninclude /x\n"),
        ] {
            match before {
                Some(text) => fs::write(&file, text).unwrap(),
                None => assert!(!file.exists()),
            }
            append(&file, "include /x").unwrap();
            assert_eq!(fs::read_to_string(&file).unwrap(), after);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_command_that_fails_says_which_and_why() {
        let said = run("sh", &["-c", "echo no room >&2; exit 3"]).unwrap_err();
        assert!(
            said.contains("sh -c") && said.contains("exit status: 3") && said.contains("no room"),
            "{said}"
        );
        assert!(run("/nonexistent/x", &[]).unwrap_err().starts_with("/nonexistent/x"));
    }
}
