//! The man pages and completions in packaging/: what clap makes of the command is what is committed there.
//! `UPDATE_GOLDEN=1 cargo test -p tenantry generated` writes them anew.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};
use clap_mangen::Man;

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging");

/// A page for the command and for each that it has, by file name.
fn pages(command: &Command, name: &str, pages: &mut BTreeMap<String, Vec<u8>>) {
    let mut command = command.clone().disable_help_subcommand(true).disable_version_flag(true);
    command.build();
    // The version is the package's: pages must not differ from one release to the next by it.
    let page = Man::new(command.clone().version("")).date("").source("Tenantry").manual("");
    let mut text = Vec::new();
    page.render(&mut text).unwrap();
    pages.insert(format!("{name}.1"), text);
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        self::pages(inner, &format!("{name}-{}", inner.get_name()), pages);
    }
}

fn hold(dir: &Path, files: &BTreeMap<String, Vec<u8>>, is_ours: impl Fn(&Path) -> bool) {
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(dir).unwrap();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
    }
    for (name, text) in files {
        let file = dir.join(name);
        let is_there = fs::read(&file).ok().is_some_and(|there| there == *text);
        assert!(is_there, "{} is not what clap makes; see this file's head", file.display());
    }
    for file in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|file| is_ours(file)) {
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(files.contains_key(name), "{} is of no command any more: remove it", file.display());
    }
}

#[test]
fn man_pages_are_what_the_command_says_of_itself() {
    let mut files = BTreeMap::new();
    pages(&crate::Args::command(), "tenantry", &mut files);
    let dir = PathBuf::from(PACKAGING).join("man");
    hold(&dir, &files, |file| file.extension().is_some_and(|end| end == "1"));
}

#[test]
fn completions_are_what_the_command_takes() {
    let completions =
        [(Shell::Bash, "tenantry.bash"), (Shell::Zsh, "_tenantry"), (Shell::Fish, "tenantry.fish")];
    let files = completions.map(|(shell, name)| {
        let mut text = Vec::new();
        generate(shell, &mut crate::Args::command(), "tenantry", &mut text);
        (name.to_owned(), text)
    });
    hold(&PathBuf::from(PACKAGING).join("completions"), &files.into(), |_| true);
}
