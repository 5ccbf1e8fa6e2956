//! What the packaged plugin brings into slurmstepd: its symbols, its libraries and its crates, each as a list
//! in `golden/`. Needs `readelf`. `UPDATE_GOLDEN=1` writes the lists anew: read the difference before it is kept.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops where something is not as it should be"
)]

mod common;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

/// What Slurm may call in the plugin. It would call `init` and `fini`, too, were they there.
const EXPORTS: [&str; 8] = [
    "plugin_name",
    "plugin_type",
    "plugin_version",
    "slurm_spank_exit",
    "slurm_spank_init",
    "slurm_spank_job_epilog",
    "slurm_spank_job_prolog",
    "slurm_spank_task_init",
];

/// A plugin has no business with threads, processes and the network.
const FORBIDDEN_IMPORTS: [&str; 22] = [
    "accept",
    "accept4",
    "bind",
    "clone",
    "connect",
    "execve",
    "execvp",
    "fork",
    "getaddrinfo",
    "kill",
    "listen",
    "posix_spawn",
    "posix_spawnp",
    "pthread_create",
    "recvmsg",
    "sendmsg",
    "sigaction",
    "signal",
    "socket",
    "socketpair",
    "system",
    "vfork",
];

const FORBIDDEN_CRATES: [&str; 9] =
    ["hyper", "mio", "openssl", "reqwest", "rustls", "sqlx", "tokio", "tracing", "tracing-subscriber"];

struct Symbols {
    defined: BTreeSet<String>,
    undefined: BTreeSet<String>,
}

/// The dynamic symbols, without their versions.
static SYMBOLS: LazyLock<Symbols> = LazyLock::new(|| {
    let mut symbols = Symbols { defined: BTreeSet::new(), undefined: BTreeSet::new() };
    for line in readelf("--dyn-syms").lines() {
        // Num: Value Size Type Bind Vis Ndx Name[@version]
        let words: Vec<&str> = line.split_whitespace().collect();
        let [number, _, _, _, _, _, section, name, ..] = words.as_slice() else { continue };
        if number.trim_end_matches(':').parse::<u32>().is_err() {
            continue;
        }
        let name = name.split('@').next().unwrap().to_owned();
        if *section == "UND" {
            symbols.undefined.insert(name)
        } else {
            symbols.defined.insert(name)
        };
    }
    symbols
});

fn readelf(what: &str) -> String {
    let output = Command::new("readelf").args(["--wide", what]).arg(common::PLUGIN.as_path()).output();
    let output = output.expect("this test needs readelf");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Compares with the lines of a golden file; its first lines, from `#` on, explain it.
#[track_caller]
fn compare(name: &str, found: &BTreeSet<String>) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = fs::read_to_string(&file).unwrap();
    let (header, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|line| line.starts_with('#'));
    if env::var_os("UPDATE_GOLDEN").is_some() {
        let all: Vec<&str> = header.into_iter().chain(found.iter().map(String::as_str)).collect();
        fs::write(&file, all.join("\n") + "\n").unwrap();
        return;
    }
    let golden: BTreeSet<String> = lines.into_iter().map(str::to_owned).collect();
    let new: Vec<_> = found.difference(&golden).collect();
    let gone: Vec<_> = golden.difference(found).collect();
    assert!(
        new.is_empty() && gone.is_empty(),
        "tests/golden/{name}: new {new:?}, gone {gone:?}. If that is meant, or the toolchain has changed: \
         UPDATE_GOLDEN=1 cargo test -p spank-tenantry --test golden"
    );
}

#[test]
fn the_plugin_exports_its_hooks_and_nothing_else() {
    assert_eq!(SYMBOLS.defined, EXPORTS.map(str::to_owned).into());
    compare("exports.txt", &SYMBOLS.defined);
}

#[test]
fn the_plugin_imports_nothing_of_slurm_and_starts_nothing() {
    for name in &SYMBOLS.undefined {
        // It looks for Slurm's functions at run time: a Slurm without one of them still loads it.
        assert!(!name.starts_with("slurm_") && !name.starts_with("spank_"), "it cannot load without {name}");
        assert!(!FORBIDDEN_IMPORTS.contains(&name.as_str()), "a plugin must not need {name}");
    }
    compare("imports.txt", &(&SYMBOLS.undefined | &needed()));
}

/// The shared libraries it needs, as `needed: NAME`.
fn needed() -> BTreeSet<String> {
    let dynamic = readelf("--dynamic");
    let name =
        |line: &str| Some(line.split_once("(NEEDED)")?.1.split_once('[')?.1.split_once(']')?.0.to_owned());
    dynamic.lines().filter_map(name).map(|name| format!("needed: {name}")).collect()
}

/// It has a panic hook and locals of a thread, which must not outlive its code.
#[test]
fn the_plugin_stays_mapped() {
    let dynamic = readelf("--dynamic");
    let flags = dynamic.lines().find(|line| line.contains("(FLAGS_1)")).expect("there are flags");
    assert!(flags.split_whitespace().any(|flag| flag == "NODELETE"), "{flags}");
}

#[test]
fn the_plugin_depends_on_the_listed_crates_only() {
    let output = common::cargo()
        .args(["tree", "--locked", "-p", "spank-tenantry", "-e", "normal", "--prefix", "none"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let crates: BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        // NAME vVERSION (PATH) (*)
        .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect();
    for line in &crates {
        let name = line.split(' ').next().unwrap();
        assert!(!FORBIDDEN_CRATES.contains(&name), "{name} has no place in slurmstepd");
    }
    compare("dependencies.txt", &crates);
}
