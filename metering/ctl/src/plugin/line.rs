//! The one line that plugstack.conf includes: whole at every moment, for whoever reads it.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use tenantry_model::durable;

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Slurm loads this build.
    On(PathBuf),
    /// It loads none, and why.
    Off(String),
}

const REQUIRED: &str = "required ";
const OFF: &str = "# off: ";

impl Line {
    /// Whether Slurm loads a build.
    pub fn is_on(&self) -> bool {
        matches!(self, Self::On(_))
    }

    fn text(&self) -> String {
        let said = match self {
            Self::On(build) => format!("{REQUIRED}{}", build.display()),
            // A reason of several lines must not become a line of plugstack.conf.
            Self::Off(reason) => format!("{OFF}{}", reason.replace(['\n', '\r'], " ")),
        };
        format!("# Written by `tenantry plugin`, which says why.\n{said}\n")
    }

    fn parse(text: &str) -> Self {
        let on = text.lines().find_map(|line| line.strip_prefix(REQUIRED));
        let off = text.lines().find_map(|line| line.strip_prefix(OFF));
        match (on, off) {
            (Some(build), _) => Self::On(build.trim().into()),
            (None, Some(reason)) => Self::Off(reason.to_owned()),
            (None, None) => Self::Off("it was never switched on".to_owned()),
        }
    }
}

/// What the file says; one that cannot be read loads nothing in Slurm either.
pub fn read(file: &Path) -> Line {
    match fs::read_to_string(file) {
        Ok(text) => Line::parse(&text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Line::parse(""),
        Err(error) => Line::Off(format!("{}: {error}", file.display())),
    }
}

/// Writes it: by rename(2), or, where the disk is full and nothing shall be loaded, by emptying the file.
///
/// # Errors
/// Where neither went, or a line that is on could not be written: the file is then as it was.
pub fn write(file: &Path, line: &Line) -> io::Result<()> {
    if read(file) == *line && file.exists() {
        return Ok(());
    }
    // srun and sbatch read it as whoever calls them.
    durable::write_public(file, line.text().as_bytes()).or_else(|error| match line {
        Line::Off(_) if file.exists() => OpenOptions::new().write(true).open(file)?.set_len(0),
        Line::On(_) | Line::Off(_) => Err(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_is_one_line_of_slurms() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plugstack.conf");
        assert_eq!(read(&file), Line::Off("it was never switched on".into()));
        for line in [Line::On("/usr/lib/x.so".into()), Line::Off("two\nrequired /lines.so".into())] {
            write(&file, &line).unwrap();
            assert_eq!(read(&file).is_on(), line.is_on());
            let text = fs::read_to_string(&file).unwrap();
            let loads: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
            match line {
                Line::On(_) => assert_eq!(loads, ["required /usr/lib/x.so"]),
                Line::Off(_) => assert!(loads.is_empty(), "{text}"),
            }
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn where_the_new_file_cannot_be_written_the_old_one_is_emptied_to_switch_off() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plugstack.conf");
        write(&file, &Line::On("/a.so".into())).unwrap();
        // A directory in the place of the unfinished file stands for a disk that takes nothing.
        fs::create_dir(file.with_added_extension(durable::UNFINISHED)).unwrap();
        assert!(write(&file, &Line::On("/b.so".into())).is_err());
        assert_eq!(read(&file), Line::On("/a.so".into()));
        write(&file, &Line::Off("no build".into())).unwrap();
        assert!(!read(&file).is_on());
    }
}
