//! slurm.conf, cgroup.conf and their kind: `Key=Value` texts, with the place of each value.
//!
//! As Slurm reads them: keys in any case, several on one line, values quoted or not, `#` begins a
//! comment unless escaped, a backslash at the end continues the line, `include FILE` at its start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::finding::Place;
use super::machine::Seen;

/// Where the files are read.
pub trait Files {
    /// A file's text.
    fn read(&self, path: &Path) -> Seen<String>;
    /// The files a pattern matches.
    fn glob(&self, pattern: &Path) -> Vec<PathBuf>;
}

impl Files for super::machine::Machine {
    fn read(&self, path: &Path) -> Seen<String> {
        self.read(path)
    }

    fn glob(&self, pattern: &Path) -> Vec<PathBuf> {
        self.glob(pattern)
    }
}

/// How deep an `include` may stand in others, so that one of itself ends.
pub const DEEPEST_INCLUDE: usize = 8;

/// The keys whose line is about a thing of that name, and not about the cluster.
const HEADS: [&str; 6] = ["nodename", "partitionname", "nodeset", "downnodes", "frontendname", "switchname"];

/// One `Key=Value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As it is written.
    pub key: String,
    /// Without quotes and escapes.
    pub value: String,
    /// Where.
    pub place: Place,
    /// What the line is about, in lower case, and its name: `("partitionname", "main")`.
    pub of: Option<(String, String)>,
}

/// A text that says nothing, or a file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub what: String,
}

/// A file and all that it includes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conf {
    /// The file it began with.
    pub file: PathBuf,
    /// In order.
    pub entries: Vec<Entry>,
    /// What Slurm would not understand either.
    pub problems: Vec<Problem>,
}

impl Conf {
    /// Reads a file and what it includes. A relative include is looked for beside the first file.
    pub fn load(files: &dyn Files, file: &Path) -> Seen<Self> {
        files.read(file).map(|text| {
            let mut conf = Self { file: file.to_owned(), ..Self::default() };
            conf.add(files, file, &text, 0);
            conf
        })
    }

    /// The cluster-wide value of a key: where there are several, Slurm takes the last.
    pub fn last(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().rev().find(|entry| entry.of.is_none() && entry.key.eq_ignore_ascii_case(key))
    }

    /// The values of a key on lines about things of one kind, like `partitionname`.
    pub fn of_each(&self, kind: &str, key: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| {
            entry.key.eq_ignore_ascii_case(key) && entry.of.as_ref().is_some_and(|(of, _)| of == kind)
        })
    }

    fn add(&mut self, files: &dyn Files, file: &Path, text: &str, depth: usize) {
        for line in logical_lines(text) {
            match included(&line.text) {
                Some(name) => self.include(files, &Place::line(file, line.number_at(0)), name, depth),
                None => self.add_line(file, &line),
            }
        }
    }

    fn include(&mut self, files: &dyn Files, place: &Place, name: &str, depth: usize) {
        let mut problem = |what: String| self.problems.push(Problem { place: place.clone(), what });
        if depth >= DEEPEST_INCLUDE {
            return problem(format!("include {name}: includes stand more than {DEEPEST_INCLUDE} deep"));
        }
        let cluster = self.last("ClusterName").map(|entry| entry.value.to_lowercase());
        let name = name.replace("%c", cluster.as_deref().unwrap_or("%c"));
        let path = self.file.parent().unwrap_or(Path::new("/")).join(&name);
        match files.read(&path) {
            Seen::Is(text) => self.add(files, &path, &text, depth.saturating_add(1)),
            Seen::Absent => {
                let what = format!("include {name}: there is no {}", path.display());
                self.problems.push(Problem { place: place.clone(), what });
            }
            Seen::Unseen(reason) => {
                self.problems.push(Problem { place: place.clone(), what: format!("not seen: {reason}") });
            }
        }
    }

    fn add_line(&mut self, file: &Path, line: &LogicalLine) {
        let mut of = None;
        let mut meaningless: Option<Problem> = None;
        let mut rest = Cursor { text: &line.text, at: 0 };
        while let Some(start) = rest.next_word() {
            let place = Place::line(file, line.number_at(start));
            match rest.pair() {
                Ok((key, value)) => {
                    let (key, value) = (key.to_owned(), unescaped(value));
                    let lower = key.to_lowercase();
                    if HEADS.contains(&lower.as_str()) {
                        of = Some((lower, value.clone()));
                    }
                    self.entries.push(Entry { key, value, place, of: of.clone() });
                }
                // The first word of a line tells which line it is.
                Err(word) => {
                    let what = format!("{word:?} is no Key=Value");
                    meaningless.get_or_insert(Problem { place, what });
                }
            }
        }
        self.problems.extend(meaningless);
    }
}

/// What `scontrol show config` prints: `Key = Value` lines, keys in lower case; `(null)` is absent.
pub fn parse_live(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim().to_lowercase(), value.trim().to_owned()))
        .filter(|(key, value)| !key.is_empty() && !value.is_empty() && !value.starts_with("(null"))
        .collect()
}

/// A line with those that continue it, without comments.
#[derive(Debug, PartialEq, Eq)]
pub struct LogicalLine {
    /// The text.
    pub text: String,
    /// Where in the text each line of the file begins, and its number.
    starts: Vec<(usize, usize)>,
}

impl LogicalLine {
    /// The file's line at an offset of the text.
    pub fn number_at(&self, offset: usize) -> usize {
        let line = self.starts.iter().rev().find(|(start, _)| *start <= offset);
        line.or(self.starts.first()).map_or(1, |(_, number)| *number)
    }
}

/// A text's lines as Slurm sees them.
pub fn logical_lines(text: &str) -> Vec<LogicalLine> {
    let mut lines = Vec::new();
    let mut open: Option<LogicalLine> = None;
    for (number, physical) in (1..).zip(text.lines()) {
        let mut line = open.take().unwrap_or(LogicalLine { text: String::new(), starts: Vec::new() });
        line.starts.push((line.text.len(), number));
        let (kept, continues) = without_continuation(without_comment(physical));
        line.text.push_str(kept);
        if continues {
            open = Some(line);
        } else {
            lines.push(line);
        }
    }
    lines.extend(open);
    lines
}

/// Up to the first `#` that an even number of backslashes, or none, stands before.
fn without_comment(line: &str) -> &str {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            '#' if !escaped => return line.get(..at).unwrap_or_default(),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    line
}

/// An odd number of backslashes at the end, spaces after them allowed, continues the line.
fn without_continuation(line: &str) -> (&str, bool) {
    let trimmed = line.trim_end();
    let backslashes = trimmed.chars().rev().take_while(|c| *c == '\\').count();
    match trimmed.strip_suffix('\\') {
        Some(kept) if backslashes % 2 == 1 => (kept, true),
        _ => (line, false),
    }
}

fn included(line: &str) -> Option<&str> {
    let (word, rest) = line.trim().split_once(char::is_whitespace)?;
    word.eq_ignore_ascii_case("include").then(|| rest.trim())
}

fn unescaped(value: &str) -> String {
    let mut kept = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => kept.extend(chars.next()),
            _ => kept.push(c),
        }
    }
    kept
}

/// A place in a line.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !keep(c)).unwrap_or(rest.len());
        self.at = self.at.saturating_add(end);
        rest.get(..end).unwrap_or_default()
    }

    fn eat(&mut self, c: char) -> bool {
        let there = self.rest().starts_with(c);
        if there {
            self.at = self.at.saturating_add(c.len_utf8());
        }
        there
    }

    /// Goes to the next word and tells where it begins.
    fn next_word(&mut self) -> Option<usize> {
        self.take_while(char::is_whitespace);
        (!self.rest().is_empty()).then_some(self.at)
    }

    /// Takes `Key=Value`, or gives the word that is none.
    fn pair(&mut self) -> Result<(&'a str, &'a str), &'a str> {
        let before = self.at;
        let key = self.take_while(|c| c.is_alphanumeric() || c == '_' || c == '.');
        self.take_while(char::is_whitespace);
        // `Key+=Value`: Slurm knows four such operators, and no key that matters here has one.
        let operated = "-+*/".chars().any(|c| self.eat(c));
        if key.is_empty() || !self.eat('=') {
            self.at = before;
            return Err(self.take_while(|c| !c.is_whitespace()));
        }
        self.take_while(char::is_whitespace);
        let value = if self.eat('"') {
            let value = self.take_while(|c| c != '"');
            self.eat('"');
            value
        } else {
            self.take_while(|c| !c.is_whitespace())
        };
        if operated { Err(key) } else { Ok((key, value)) }
    }
}

#[cfg(test)]
pub mod tests;
