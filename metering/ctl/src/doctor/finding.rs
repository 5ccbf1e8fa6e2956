//! What the doctor says.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// How much a finding matters. The order is that of its weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Good to know; nothing is weakened.
    Note,
    /// Weakens isolation or billing, or could not be seen.
    Warning,
    /// Breaks isolation or billing.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// Its line, from 1; `None` where it is about the whole file.
    pub line: Option<usize>,
}

impl Place {
    /// A whole file.
    pub fn file(file: &Path) -> Self {
        Self { file: file.to_owned(), line: None }
    }

    /// A line of a file.
    pub fn line(file: &Path, line: usize) -> Self {
        Self { file: file.to_owned(), line: Some(line) }
    }
}

/// One check's answer, as it is written out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check: a row of docs/doctor.md.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What was looked at.
    pub subject: &'static str,
    /// What was found.
    pub found: String,
    /// What is wanted.
    pub wanted: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// What to write or do; `None` where nothing is to be done.
    pub fix: Option<String>,
    /// Where it stands, or where to write it.
    pub file: Option<PathBuf>,
    /// The line there, from 1.
    pub line: Option<usize>,
}

/// 0: all good. 1: something weakens isolation or billing, or was not seen. 2: something breaks them.
pub fn exit_code(findings: &[Finding]) -> u8 {
    match findings.iter().map(|finding| finding.severity).max() {
        None | Some(Severity::Ok | Severity::Note) => 0,
        Some(Severity::Warning) => 1,
        Some(Severity::Error) => 2,
    }
}

/// One thing a check looks at. The table of all of them is [`super::checks::all`].
pub struct Check<F> {
    /// Its name in the output and in docs/doctor.md.
    pub id: &'static str,
    /// What it looks at.
    pub subject: &'static str,
    /// What it wants to see.
    pub wanted: &'static str,
    /// Why.
    pub why: &'static str,
    /// What to write or do where it is not so; a verdict may say it more exactly.
    pub fix: &'static str,
    /// The check itself, a function of the facts. No verdict: there is nothing to look at here.
    pub look: fn(&F) -> Vec<Verdict>,
}

impl<F> Check<F> {
    /// What the check finds in `facts`.
    pub fn findings(&self, facts: &F) -> Vec<Finding> {
        (self.look)(facts).into_iter().map(|verdict| self.finding(verdict)).collect()
    }

    fn finding(&self, verdict: Verdict) -> Finding {
        let (file, line) = verdict.place.map_or((None, None), |place| (Some(place.file), place.line));
        let to_do = || verdict.fix.unwrap_or_else(|| self.fix.to_owned());
        Finding {
            id: self.id,
            severity: verdict.severity,
            subject: self.subject,
            found: verdict.found,
            wanted: self.wanted,
            why: self.why,
            fix: (verdict.severity != Severity::Ok).then(to_do).filter(|fix| !fix.is_empty()),
            file,
            line,
        }
    }
}

/// What a check says; [`Check`] adds what is the same each time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// How much it matters.
    pub severity: Severity,
    /// What was found.
    pub found: String,
    /// What to do, where that is more exact than the check's own text; empty: nothing.
    pub fix: Option<String>,
    /// Where it stands.
    pub place: Option<Place>,
}

impl Verdict {
    fn new(severity: Severity, found: impl Into<String>) -> Self {
        Self { severity, found: found.into(), fix: None, place: None }
    }

    /// With another fix than the check's.
    pub fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }

    /// With the place it stands.
    pub fn at(self, place: impl Into<Option<Place>>) -> Self {
        Self { place: place.into(), ..self }
    }
}

/// As it should be.
pub fn ok(found: impl Into<String>) -> Verdict {
    Verdict::new(Severity::Ok, found)
}

/// Good to know.
pub fn note(found: impl Into<String>) -> Verdict {
    Verdict::new(Severity::Note, found)
}

/// Weakens isolation or billing.
pub fn warning(found: impl Into<String>) -> Verdict {
    Verdict::new(Severity::Warning, found)
}

/// Breaks isolation or billing.
pub fn error(found: impl Into<String>) -> Verdict {
    Verdict::new(Severity::Error, found)
}

/// Could not be looked at: never the same as good.
pub fn unseen(uid: u32, reason: &str) -> Verdict {
    let fix =
        if uid == 0 { "make it visible to root, then run `tenantry doctor` again" } else { "run as root" };
    warning(format!("not seen: {reason}")).fix(fix)
}
