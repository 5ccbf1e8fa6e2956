//! plugstack.conf: the SPANK plugins Slurm loads, in order, with the place of each.

use std::path::{Path, PathBuf};

use super::conf::{DEEPEST_INCLUDE, Files, Problem};
use super::finding::Place;
use super::machine::Seen;

/// One plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plugin {
    /// `required`; else `optional`.
    pub required: bool,
    /// As it is written: absolute, or relative to Slurm's plugin directory.
    pub path: PathBuf,
    /// What it is given.
    pub args: Vec<String>,
    /// Where.
    pub place: Place,
}

/// The file and what it includes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plugstack {
    /// The file it began with.
    pub file: PathBuf,
    /// In the order Slurm calls them.
    pub plugins: Vec<Plugin>,
    /// Every file that was read beside it.
    pub included: Vec<PathBuf>,
    /// What Slurm would not understand either.
    pub problems: Vec<Problem>,
}

impl Plugstack {
    /// Reads a file and what it includes. A relative include is looked for beside the file it stands in.
    pub fn load(files: &dyn Files, file: &Path) -> Seen<Self> {
        files.read(file).map(|text| {
            let mut stack = Self { file: file.to_owned(), ..Self::default() };
            stack.add(files, file, &text, 0);
            stack
        })
    }

    fn add(&mut self, files: &dyn Files, file: &Path, text: &str, depth: usize) {
        for (number, line) in (1..).zip(text.lines()) {
            let place = Place::line(file, number);
            let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
            let (Some(verb), thing) = (words.next(), words.next()) else { continue };
            match (verb.to_lowercase().as_str(), thing) {
                ("include", Some(pattern)) => self.include(files, file, &place, pattern, depth),
                (verb @ ("required" | "optional"), Some(path)) => self.plugins.push(Plugin {
                    required: verb == "required",
                    path: path.into(),
                    args: words.map(str::to_owned).collect(),
                    place,
                }),
                _ => {
                    let what = format!("{:?} is no line of plugstack.conf", line.trim());
                    self.problems.push(Problem { place, what });
                }
            }
        }
    }

    fn include(&mut self, files: &dyn Files, from: &Path, place: &Place, pattern: &str, depth: usize) {
        if depth >= DEEPEST_INCLUDE {
            let what = format!("include {pattern}: includes stand more than {DEEPEST_INCLUDE} deep");
            return self.problems.push(Problem { place: place.clone(), what });
        }
        let pattern = from.parent().unwrap_or(Path::new("/")).join(pattern);
        for file in files.glob(&pattern) {
            match files.read(&file) {
                Seen::Is(text) => {
                    self.included.push(file.clone());
                    self.add(files, &file, &text, depth.saturating_add(1));
                }
                Seen::Absent => {}
                Seen::Unseen(reason) => {
                    self.problems.push(Problem { place: place.clone(), what: format!("not seen: {reason}") });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::conf::tests::Tree;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plugins_come_in_order_with_their_place() {
        let tree = Tree::from([
            (
                "/etc/slurm/plugstack.conf",
                "# all\ninclude plugstack.conf.d/*.conf\nOPTIONAL x.so a=1 b # c\n",
            ),
            ("/etc/slurm/plugstack.conf.d/a.conf", "\nrequired /usr/lib/a.so\n"),
            ("/etc/slurm/plugstack.conf.d/b.conf", "include /opt/c.conf"),
            ("/opt/c.conf", "required\nrequired c.so"),
        ]);
        let Seen::Is(stack) = Plugstack::load(&tree, Path::new("/etc/slurm/plugstack.conf")) else {
            panic!()
        };
        let seen: Vec<_> = stack
            .plugins
            .iter()
            .map(|p| {
                (p.path.to_str().unwrap(), p.required, p.place.file.to_str().unwrap(), p.place.line.unwrap())
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("/usr/lib/a.so", true, "/etc/slurm/plugstack.conf.d/a.conf", 2),
                ("c.so", true, "/opt/c.conf", 2),
                ("x.so", false, "/etc/slurm/plugstack.conf", 3),
            ]
        );
        assert_eq!(stack.plugins[2].args, ["a=1", "b"]);
        assert_eq!(stack.problems[0].place, Place::line(Path::new("/opt/c.conf"), 1));
    }

    #[test]
    fn a_file_that_includes_itself_ends() {
        let tree = Tree::from([("/p/a.conf", "include a.conf\n")]);
        let Seen::Is(stack) = Plugstack::load(&tree, Path::new("/p/a.conf")) else { panic!() };
        assert_eq!(stack.problems.len(), 1);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(required|optional|include|[a-z#/*\\\\ \t\n])*|\\PC*") {
            let tree = Tree::from([("/p/a.conf", text.as_str())]);
            let Seen::Is(stack) = Plugstack::load(&tree, Path::new("/p/a.conf")) else { panic!() };
            let lines = text.lines().count();
            prop_assert!(stack.plugins.iter().all(|plugin| plugin.place.line.unwrap() <= lines));
        }
    }
}
