//! The built command.
// A test's helpers are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

const REPORT: &str = include_str!("golden/usage.json");

fn tenantry(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tenantry")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A server for one request; gives back what it was asked.
fn answer_once(socket: &Path, status: &str, body: &str) -> thread::JoinHandle<String> {
    let listener = UnixListener::bind(socket).unwrap();
    let reply = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            asked.extend(byte);
        }
        stream.write_all(reply.as_bytes()).unwrap();
        text(&asked).lines().next().unwrap().to_owned()
    })
}

#[test]
fn usage_is_asked_for_and_written_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let expected_json: String = REPORT.into();
    for (format, expected) in [
        ("table", include_str!("golden/usage.table")),
        ("csv", include_str!("golden/usage.csv")),
        ("json", expected_json.as_str()),
    ] {
        let socket = dir.path().join(format);
        let server = answer_once(&socket, "200 OK", REPORT);
        let socket = socket.to_str().unwrap();
        let done = tenantry(&[
            "usage",
            "--tenant",
            "acme/physics",
            "--job",
            "42",
            "--format",
            format,
            "--socket",
            socket,
        ]);
        assert_eq!(server.join().unwrap(), "GET /v1/usage?tenant=acme/physics&job=42 HTTP/1.1");
        assert_eq!(text(&done.stdout), expected, "{format}");
        assert_eq!((text(&done.stderr), done.status.code()), ("", Some(0)));
    }
}

#[test]
fn a_server_that_does_not_run_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (absent, dead) = (dir.path().join("absent"), dir.path().join("dead"));
    drop(UnixListener::bind(&dead).unwrap());
    for socket in [absent, dead] {
        let done = tenantry(&["usage", "--socket", socket.to_str().unwrap()]);
        assert_eq!(done.status.code(), Some(69));
        assert!(text(&done.stderr).contains("systemctl status tenantry-server"), "{done:?}");
        assert_eq!(text(&done.stdout), "");
    }
}

#[test]
fn a_refusal_is_said_with_what_to_do_and_has_its_code() {
    let dir = tempfile::tempdir().unwrap();
    for (status, code) in [
        ("400 Bad Request", 65),
        ("403 Forbidden", 77),
        ("422 Unprocessable Content", 65),
        ("503 Service Unavailable", 69),
        ("500 Internal Server Error", 76),
    ] {
        let socket = dir.path().join(code.to_string() + &status[..3]);
        let server = answer_once(&socket, status, r#"{"error":"it is so","next":"do this"}"#);
        let done = tenantry(&["usage", "--socket", socket.to_str().unwrap()]);
        server.join().unwrap();
        assert_eq!(done.status.code(), Some(code), "{status}");
        assert_eq!(text(&done.stderr), "tenantry: it is so; do this\n");
    }
}

#[test]
fn an_answer_that_is_none_is_not_shown_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let server = answer_once(&socket, "200 OK", "{}");
    let done = tenantry(&["usage", "--socket", socket.to_str().unwrap()]);
    server.join().unwrap();
    assert_eq!((done.status.code(), text(&done.stdout)), (Some(76), ""));
}

#[test]
fn an_argument_that_is_none_is_refused() {
    for args in [
        &["usage", "--tenant", "../x"][..],
        &["usage", "--job", "x"],
        &["usage", "--format", "xml"],
        &["frobnicate"],
        &[],
    ] {
        let done = tenantry(args);
        assert_eq!((done.status.code(), text(&done.stdout)), (Some(64), ""), "{args:?}");
    }
    assert_eq!(tenantry(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_good_tenants_file_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tenants.toml"), "[tenants.acme]\naccounts = [\"acme\"]\n").unwrap();
    fs::create_dir(dir.path().join("tenants.d")).unwrap();
    fs::write(dir.path().join("tenants.d/x.toml"), "[tenants.\"acme/x\"]\n").unwrap();
    let path = dir.path().to_str().unwrap();
    let done = tenantry(&["check-config", "--dir", path]);
    assert_eq!(text(&done.stdout), format!("ok: 2 tenants in {path}\n"));
    assert_eq!(done.status.code(), Some(0));
    let done = tenantry(&["check-config", "--dir", path, "--format", "json"]);
    assert_eq!(text(&done.stdout), "{\"ok\":true,\"tenants\":[\"acme\",\"acme/x\"]}\n");
}

#[test]
fn a_broken_tenants_file_is_named_with_its_place_and_the_fix() {
    for (broken, place, says) in [
        ("[tenants.acme]\n  cpu_weigth = 5\n", "tenants.toml:2:3: ", "cpu_weigth"),
        ("[tenants.acme]\nmemory_max = \"64\"\n", "tenants.toml:2:14: ", "64GiB"),
        ("[tenants.\"a/b\"]\n", "tenants.toml:1:10: ", "add [tenants.\"a\"]"),
        (
            "[tenants.a]\naccounts = [\"x\"]\n[tenants.b]\naccounts = [\"x\"]\n",
            "tenants.toml:4:13: ",
            "one of them",
        ),
        ("x", "tenants.toml:1:", ";"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("tenants.toml"), broken).unwrap();
        let path = dir.path().to_str().unwrap();
        let done = tenantry(&["check-config", "--dir", path]);
        assert_eq!((done.status.code(), text(&done.stdout)), (Some(78), ""));
        let said = text(&done.stderr);
        assert!(said.contains(&format!("{path}/{place}")) && said.contains(says), "{said}");

        let done = tenantry(&["check-config", "--dir", path, "--format", "json"]);
        assert_eq!((done.status.code(), text(&done.stderr)), (Some(78), ""));
        let said: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(said["ok"], false);
        assert!(said["error"]["line"].is_u64() && said["error"]["fix"].is_string(), "{said}");
    }
    let dir = tempfile::tempdir().unwrap();
    let done = tenantry(&["check-config", "--dir", dir.path().to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(78));
    assert!(text(&done.stderr).contains("tenants.toml:1:1: "), "{done:?}");
}

#[test]
fn tenants_are_checked_and_warnings_are_no_error() {
    let dir = tempfile::tempdir().unwrap();
    // More CPUs than any machine has: a warning wherever there is cgroup v2, and a note elsewhere.
    let file = "[tenants.acme]\ncpu_max = \"60000 cores\"\n[tenants.\"acme/x\"]\n";
    fs::write(dir.path().join("tenants.toml"), file).unwrap();
    let path = dir.path().to_str().unwrap();
    let done = tenantry(&["tenants", "check", "--dir", path]);
    assert_eq!((done.status.code(), text(&done.stderr)), (Some(0), ""));
    let said = text(&done.stdout);
    let (first, rest) = said.split_once('\n').unwrap();
    assert_eq!(first, format!("ok: 2 tenants in {path}"));
    let warning = "warning: tenant acme: cpu_max = \"60000 cores\", but this node has ";
    assert!(rest.starts_with(warning) || rest.starts_with("note: not compared "), "{said}");

    let done = tenantry(&["tenants", "check", "--dir", path, "--format", "json"]);
    let said: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&said["ok"], said["tenants"].as_array().unwrap().len()), (&true.into(), 2));
    assert!(said["warnings"][0]["key"] == "cpu_max" || said["not_compared"].is_string(), "{said}");
}

#[test]
fn a_mistake_among_the_tenants_is_named_with_its_place_by_every_action_that_reads_the_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tenants.toml"), "[tenants.acme]\nmemory_max = \"140%\"\n").unwrap();
    let path = dir.path().to_str().unwrap();
    let done = tenantry(&["tenants", "check", "--dir", path]);
    assert_eq!((done.status.code(), text(&done.stdout)), (Some(78), ""));
    assert!(text(&done.stderr).contains("tenants.toml:2:14: \"140%\" is no share"), "{done:?}");
    let done = tenantry(&["tenants", "check", "--dir", path, "--format", "json"]);
    let said: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(
        (done.status.code(), &said["ok"], &said["error"]["line"]),
        (Some(78), &false.into(), &2.into())
    );
    for action in ["show", "tree", "diff"] {
        let done = tenantry(&["tenants", action, "--dir", path]);
        assert_eq!((done.status.code(), text(&done.stdout)), (Some(78), ""), "{action}: {done:?}");
    }
}
