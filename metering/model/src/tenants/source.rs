//! One file's text, to name a place in it.

use std::ops::Range;
use std::path::Path;

use super::TenantsError;

pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    pub(super) fn error(
        &self,
        at: Range<usize>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> TenantsError {
        let before = self.text.get(..at.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
        TenantsError {
            file: self.file.to_owned(),
            line: before.matches('\n').count().saturating_add(1),
            column: before.get(line_start..).map_or(0, |line| line.chars().count()).saturating_add(1),
            problem: problem.into(),
            fix: fix.into(),
        }
    }
}
