//! `/etc/pam.d`: the lines sshd's logins pass, includes followed.

use std::path::{Path, PathBuf};

use super::conf::{DEEPEST_INCLUDE, Files};
use super::finding::Place;
use super::machine::Seen;

const DIR: &str = "/etc/pam.d";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `auth`, `account`, `password` or `session`, without the leading dash.
    pub kind: String,
    /// `required`, `optional`, `[success=1 ...]` and so on.
    pub control: String,
    /// The module's file name.
    pub module: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Where.
    pub place: Place,
}

/// A service's rules in order.
pub fn load(files: &dyn Files, service: &str) -> Seen<Vec<Rule>> {
    let file = Path::new(DIR).join(service);
    files.read(&file).map(|text| {
        let mut rules = Vec::new();
        add(files, &file, &text, 0, &mut rules);
        rules
    })
}

fn add(files: &dyn Files, file: &Path, text: &str, depth: usize, rules: &mut Vec<Rule>) {
    let include = |name: &str, rules: &mut Vec<Rule>| {
        let inner = Path::new(DIR).join(name);
        if depth < DEEPEST_INCLUDE
            && let Seen::Is(text) = files.read(&inner)
        {
            add(files, &inner, &text, depth.saturating_add(1), rules);
        }
    };
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        let Some((first, rest)) = line.split_once(char::is_whitespace) else { continue };
        let rest = rest.trim();
        if first == "@include" {
            include(rest, rules);
            continue;
        }
        let (control, rest) = if rest.starts_with('[') {
            rest.split_once(']').unwrap_or((rest, ""))
        } else {
            rest.split_once(char::is_whitespace).unwrap_or((rest, ""))
        };
        let mut words = rest.split_whitespace();
        let Some(module) = words.next() else { continue };
        if matches!(control, "include" | "substack") {
            include(module, rules);
            continue;
        }
        rules.push(Rule {
            kind: first.trim_start_matches('-').to_owned(),
            control: control.trim_start_matches('[').to_owned(),
            module: PathBuf::from(module).file_name().unwrap_or_default().to_string_lossy().into_owned(),
            args: words.map(str::to_owned).collect(),
            place: Place::line(file, number),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::conf::tests::Tree;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rules_are_read_through_both_kinds_of_include() {
        let tree = Tree::from([
            (
                "/etc/pam.d/sshd",
                "@include common-account\naccount include password-auth # x\n-account [default=bad success=ok] /lib/pam_slurm_adopt.so action_adopt_failure=deny\n",
            ),
            ("/etc/pam.d/common-account", "account required pam_unix.so\n"),
            ("/etc/pam.d/password-auth", "session optional pam_systemd.so\n@include password-auth\n"),
        ]);
        let Seen::Is(rules) = load(&tree, "sshd") else { panic!() };
        let of = |module: &str| rules.iter().find(|rule| rule.module == module).unwrap();
        assert_eq!(of("pam_unix.so").place.file, Path::new("/etc/pam.d/common-account"));
        assert_eq!(of("pam_systemd.so").kind, "session");
        let adopt = of("pam_slurm_adopt.so");
        assert_eq!(
            (adopt.kind.as_str(), adopt.args.as_slice()),
            ("account", ["action_adopt_failure=deny".to_owned()].as_slice())
        );
        assert_eq!((adopt.control.as_str(), adopt.place.line), ("default=bad success=ok", Some(3)));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(@include sshd|account |\\[|\\]|[a-z#. \t\n])*|\\PC*") {
            let tree = Tree::from([("/etc/pam.d/sshd", text.as_str())]);
            prop_assert!(load(&tree, "sshd").is().is_some());
        }
    }
}
