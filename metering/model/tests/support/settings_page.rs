//! docs/settings.md, for the tests that hold it against the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A row of a table: the key, and its default as TOML where it has one.
pub struct Row {
    pub key: String,
    pub default: Option<String>,
}

/// The rows of a section.
pub fn rows(section: &str) -> Vec<Row> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    let page = fs::read_to_string(file).unwrap();
    let (_, rest) = page.split_once(&format!("\n## {section}\n")).expect("the page has the section");
    let table = rest.split("\n## ").next().unwrap();
    let quoted = |cell: &str| cell.strip_prefix('`')?.strip_suffix('`').map(str::to_owned);
    let row = |line: &str| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        Some(Row { key: quoted(cells.get(1)?)?, default: quoted(cells.get(3)?) })
    };
    table.lines().filter(|line| line.starts_with('|')).filter_map(row).collect()
}

/// The keys that a table takes, as the parser lists them for one that it does not know.
pub fn keys(refusal: &str) -> BTreeSet<String> {
    let (_, listed) = refusal.split_once("expected one of ").expect("the refusal lists the keys");
    let listed = listed.split(['\n', ';']).next().unwrap();
    listed.split(", ").map(|key| key.trim().trim_matches('`').to_owned()).collect()
}

/// Holds a section against what the parser refuses, and each default against the code: `is_default` is given `key = default`.
pub fn holds(section: &str, refusal: &str, is_default: impl Fn(&str) -> bool) {
    let rows = rows(section);
    let documented: BTreeSet<_> = rows.iter().map(|row| row.key.clone()).collect();
    assert_eq!(documented, keys(refusal), "docs/settings.md, {section}");
    // A page whose defaults nobody could read would hold, too.
    assert!(
        section == "client.toml" || rows.iter().any(|row| row.default.is_some()),
        "{section} has no default"
    );
    for Row { key, default } in rows {
        if let Some(default) = default {
            assert!(
                is_default(&format!("{key} = {default}")),
                "docs/settings.md, {section}: {key} = {default}"
            );
        }
    }
}
