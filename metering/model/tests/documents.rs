//! What the documents show is what the parser takes.
// A test's helpers are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;

use tenantry_model::catalogue;
use tenantry_model::tenants::Tenants;

fn repository(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)).unwrap()
}

fn parse(text: &str) -> Tenants {
    Tenants::parse("example".as_ref(), text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The keys that a table takes, as the parser lists them for one it does not know.
fn keys(table: &str) -> Vec<String> {
    let error = Tenants::parse("example".as_ref(), &format!("[{table}]\nno-such-key = 1\n")).unwrap_err();
    let (_, expected) = error.problem.split_once("expected one of ").unwrap_or_else(|| panic!("{error}"));
    expected.split(", ").map(|key| key.trim_matches('`').to_owned()).collect()
}

#[test]
fn the_packaged_file_parses_as_it_is_and_with_its_examples() {
    let file = repository("packaging/config/tenants.toml");
    assert_eq!(parse(&file).iter().count(), 0);
    let (settings, examples) = file.split_once("\n\n# [tenants").unwrap();
    let examples = format!("# [tenants{examples}");
    let examples: Vec<_> = examples.lines().map(|line| &line[1..]).collect();
    let examples = examples.join("\n");
    assert_eq!(parse(&format!("{settings}\n{examples}")).iter().count(), 2);
}

#[test]
fn every_example_of_the_reference_parses() {
    let reference = repository("docs/tenants.md");
    let blocks: Vec<_> =
        reference.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 4);
    for block in blocks {
        parse(block);
    }
}

#[test]
fn the_reference_names_every_key_in_its_tables() {
    let reference = repository("docs/tenants.md");
    for table in ["policy", "tenants.a", "tenants.a.network"] {
        for key in keys(table) {
            // The network has a section of its own.
            if key != "network" {
                assert!(reference.contains(&format!("\n| `{key}` |")), "{table}: {key}");
            }
        }
    }
}

#[test]
fn the_catalogue_is_the_one_in_the_documents() {
    let documented = repository("docs/metrics.md");
    let table = catalogue::table();
    assert!(documented.contains(&table), "put this into docs/metrics.md:\n{table}");
}
