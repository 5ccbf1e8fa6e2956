//! `tenantry doctor` on recorded machines: a good one, a bad one, and one that a user looks at.
//! `UPDATE_GOLDEN=1` writes the expected outputs anew: read the difference before it is kept.
// A test's helpers are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "doctor/site.rs"]
mod site;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use site::Site;

fn doctor(site: &Site, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tenantry"))
        .args(["doctor", "--root", site.root().to_str().unwrap()])
        .args(args)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).unwrap().to_owned()
}

fn same_as_golden(name: &str, actual: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, actual).unwrap();
    }
    assert_eq!(actual, fs::read_to_string(&file).unwrap(), "{name}");
}

fn findings(output: &Output) -> Vec<serde_json::Value> {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_good_site_is_good() {
    let site = Site::new("good");
    let done = doctor(&site, &[]);
    same_as_golden("doctor-good.txt", &text(&done.stdout));
    assert_eq!((text(&done.stderr).as_str(), done.status.code()), ("", Some(0)));
    let done = doctor(&site, &["--format", "json"]);
    same_as_golden("doctor-good.json", &text(&done.stdout));
    assert_eq!(done.status.code(), Some(0));
}

#[test]
fn a_bad_site_is_told_what_to_write_where() {
    let site = Site::new("bad");
    site.mode("run/tenantry", 0o755);
    site.mode("usr/lib/tenantry/spank_tenantry.so", 0o777);
    site.mode("etc/tenantry/tenants.toml", 0o666);
    site.mode("run/tenantry-server/ingest.sock", 0o666);
    site.mode("run/tenantry-server/api.sock", 0o600);
    site.write("run/tenantry/outbox/1.json", "{}");
    site.write("var/lib/tenantry/outbox/2.json.rejected", "x");
    let done = doctor(&site, &[]);
    same_as_golden("doctor-bad.txt", &text(&done.stdout));
    assert_eq!((text(&done.stderr).as_str(), done.status.code()), ("", Some(2)));
    let done = doctor(&site, &["--format", "json"]);
    same_as_golden("doctor-bad.json", &text(&done.stdout));
    assert_eq!(done.status.code(), Some(2));
    for finding in findings(&done) {
        let done = finding["severity"] == "ok" || finding["fix"].as_str().is_some_and(|fix| !fix.is_empty());
        assert!(done, "a finding that does not say what to do: {finding}");
    }
}

#[test]
fn slurm_conf_is_taken_from_where_it_is_said_to_be() {
    let site = Site::new("good");
    fs::create_dir_all(site.at("opt/slurm/etc")).unwrap();
    site.write("opt/slurm/etc/slurm.conf", "ProctrackType=proctrack/pgid\n");
    for named in ["/opt/slurm/etc", "/opt/slurm/etc/slurm.conf"] {
        let done = doctor(&site, &["--format", "json", "--slurm-conf", named]);
        let findings = findings(&done);
        let of = findings.iter().find(|finding| finding["id"] == "proctrack-type").unwrap();
        assert_eq!((&of["severity"], &of["line"]), (&"error".into(), &1.into()), "{named}");
        assert_eq!(of["file"], "/opt/slurm/etc/slurm.conf");
        // No plugstack.conf stands beside it.
        assert!(findings.iter().any(|f| f["id"] == "plugstack" && f["severity"] == "error"));
        assert_eq!(done.status.code(), Some(2));
    }
}

#[test]
fn what_cannot_be_seen_is_never_passed_over() {
    let site = Site::new("good");
    site.write("commands/uid", "1000\n");
    for file in [
        "commands/scontrol",
        "commands/systemctl",
        "commands/slurmd",
        "etc/slurm/slurm.conf",
        "etc/slurm/plugstack.conf",
    ] {
        fs::remove_file(site.at(file)).unwrap();
    }
    let done = doctor(&site, &["--format", "json"]);
    assert_eq!(done.status.code(), Some(1), "{}", text(&done.stdout));
    let findings = findings(&done);
    for id in [
        "proctrack-type",
        "accounting-enforce",
        "prolog-flags",
        "slurm-conf-in-force",
        "slurm-version",
        "plugstack",
        "tenantryd",
        "bpf-cgroup",
    ] {
        let of = findings.iter().find(|finding| finding["id"] == id).unwrap();
        assert_eq!(of["severity"], "warning", "{id}");
        assert!(of["found"].as_str().unwrap().starts_with("not seen: "), "{of}");
    }
}

#[test]
fn colours_are_for_terminals() {
    let site = Site::new("good");
    assert!(!text(&doctor(&site, &[]).stdout).contains('\u{1b}'));
}

#[test]
fn an_argument_that_is_none_is_refused() {
    let done =
        Command::new(env!("CARGO_BIN_EXE_tenantry")).args(["doctor", "--format", "xml"]).output().unwrap();
    assert_eq!(done.status.code(), Some(64));
}
