//! The real binary on its sockets.
// A test's helpers are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::print_stdout, clippy::print_stderr)]

use std::fs::{self, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::{Value, json};
use tenantry_block::{NodeKey, Sealed};
use tenantry_model::block::{Block, BlockHash, BlockKey, Contents, Series, Subject};
use tenantry_model::reading::Reading;
use tenantry_model::{Moment, Usec};

const BOOT: &str = "0b0b0b0b-0000-4000-8000-000000000001";
const NOBODY: u32 = 65534;

/// A server on paths of its own; killed when it goes.
struct Server {
    dir: tempfile::TempDir,
    child: Child,
}

impl Server {
    fn start(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let paths = format!(
            "ledger = {:?}\ningest_socket = {:?}\napi_socket = {:?}\n",
            at("ledger.sqlite"),
            at("ingest.sock"),
            at("api.sock")
        );
        let uid = geteuid();
        let uids = if uid.is_root() {
            String::new()
        } else {
            format!("ingest_uids = [{uid}]\nreader_uids = [{uid}]\n")
        };
        fs::write(dir.path().join("server.toml"), paths + &uids + settings).unwrap();
        let child = spawn_ready(dir.path());
        Self { dir, child }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn_ready(self.dir.path());
    }

    fn send(&self, body: &[u8]) -> (u16, Value) {
        let (status, _, body) =
            exchange(&self.path("ingest.sock"), "POST /v1/blocks", "x-correlation-id: test-7", body).unwrap();
        (status, serde_json::from_str(&body).unwrap())
    }

    fn ask(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = exchange(&self.path("api.sock"), &format!("GET {path}"), "", b"").unwrap();
        (status, serde_json::from_str(&body).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenantry-server"));
    command.arg("--config").arg(dir.join("server.toml")).env_remove("NOTIFY_SOCKET").stderr(Stdio::piped());
    command
}

/// Starts the server and waits for its READY=1, as systemd would.
fn spawn_ready(dir: &Path) -> Child {
    let notify = dir.join("notify.sock");
    let _ = fs::remove_file(&notify);
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let child = command(dir).env("NOTIFY_SOCKET", &notify).stderr(Stdio::null()).spawn().unwrap();
    let mut said = [0; 64];
    let len = loop {
        match manager.recv(&mut said) {
            // Another test's child has ended.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            received => break received.unwrap(),
        }
    };
    assert_eq!(said[..len].trim_ascii_end(), b"READY=1");
    child
}

/// HTTP by hand: another implementation than the server's.
fn exchange(socket: &Path, line: &str, header: &str, body: &[u8]) -> io::Result<(u16, String, String)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
    let request = format!(
        "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}content-length: {}\r\n\r\n",
        body.len()
    );
    // A server that refuses need not read to the end.
    let _ = stream.write_all(&[request.as_bytes(), body].concat());
    let mut reply = Vec::new();
    let ended = stream.read_to_end(&mut reply);
    let reply = String::from_utf8(reply).unwrap();
    let Some((head, body)) = reply.split_once("\r\n\r\n") else {
        return Err(ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()));
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok((status, head.to_owned(), body.to_owned()))
}

fn end(job: usize, tenant: &str, uid: u32, cpu: u64) -> Value {
    let began = json!({"wall": "2026-11-22T10:00:00Z", "boottime_usec": 1_000});
    let ended = json!({"wall": "2026-11-22T10:00:05Z", "boottime_usec": 5_001_000});
    json!({
        "registration": {
            "incarnation": {
                "cluster": "c1", "node": "n1", "boot_id": BOOT, "job_id": job, "began": "2026-11-22T10:00:00Z"
            },
            "restart_count": null, "sluid": null, "uid": uid, "gid": uid, "user": null, "account": "acme",
            "partition": null, "allocated_cpus": 2, "scope": "system.slice/slurmstepd.scope", "began": began,
            "placement": {"kind": "grafted", "tenant": tenant, "leaf": "x", "mounts": []}
        },
        "allocation": null,
        "reading": {"at": ended, "counters": {"cpu_usage_usec": cpu}},
        "ended": ended,
        "quality": "exact"
    })
}

fn sealed(node: &str, sequence: usize, contents: Contents) -> Vec<u8> {
    let key = BlockKey {
        node: node.parse().unwrap(),
        boot_id: BOOT.parse().unwrap(),
        sequence: u64::try_from(sequence).unwrap(),
    };
    let closed = Moment { wall: "2026-11-22T10:01:00Z".parse().unwrap(), boottime_usec: Usec(60_000_000) };
    let block = Block { key, previous: BlockHash::default(), closed, contents };
    Sealed::new(&block, &NodeKey::from_seed(&[1; 32])).unwrap().bytes().to_vec()
}

fn block(node: &str, sequence: usize, ends: &[Value]) -> Vec<u8> {
    let ends = ends.iter().map(|end| serde_json::from_value(end.clone()).unwrap()).collect();
    sealed(node, sequence, Contents { ends, ..Contents::default() })
}

#[test]
fn a_block_goes_in_and_its_usage_comes_out() {
    let server = Server::start("");
    let sent = block("n1", 1, &[end(7, "acme/physics", 1001, 42)]);
    assert_eq!(server.send(&sent), (200, json!({"receipt": "new"})));
    assert_eq!(server.send(&sent), (200, json!({"receipt": "duplicate"})));
    let (status, report) = server.ask("/v1/usage?tenant=acme&job=7");
    assert_eq!(status, 200);
    assert_eq!(report["usage"][0]["cpu_usage_usec"], 42);
    assert_eq!(report["usage"][0]["elapsed_usec"], 5_000_000);
    assert_eq!(report["usage"][0]["allocated_cpu_usec"], 10_000_000);
    assert_eq!(report["usage"][1], Value::Null);
    assert_eq!(server.ask("/v1/usage?tenant=other"), (200, json!({"usage": [], "tenants": [], "gaps": []})));
}

#[test]
fn what_is_no_block_is_refused_with_what_to_do() {
    let server = Server::start("max_block_bytes = 1024\n");
    assert_eq!(server.send(&block("n1", 1, &[])).0, 200);
    let conflict = server.send(&block("n1", 1, &[end(7, "acme", 1001, 42)]));
    let ends: Vec<_> = (0..200).map(|job| end(job * 7919, "acme", 1001, 1 << (job % 50))).collect();
    let large = server.send(&block("n1", 2, &ends));
    let cut = server.send(&block("n1", 3, &[])[..100]);
    let out_of_range = server.send(&block("n1", 4, &[end(7, "acme", 1001, u64::MAX)]));
    for ((status, reply), expected) in
        [(conflict, 409), (server.send(b"{"), 400), (large, 413), (cut, 400), (out_of_range, 400)]
    {
        assert_eq!(status, expected, "{reply}");
        let told = reply["error"].is_string() && reply["next"].is_string();
        // After a conflict the daemon gives its block the next name.
        assert!(told || (status == 409 && reply["last_sequence"] == 1), "{reply}");
    }
    assert_eq!(server.ask("/v1/usage").1["usage"], json!([]));
}

#[test]
fn a_nodes_other_key_is_refused_until_it_is_trusted() {
    let server = Server::start("");
    assert_eq!(server.send(&block("n1", 1, &[])).0, 200);
    let of_n1 = Sealed::open(block("n1", 2, &[])).unwrap().block().unwrap();
    let other = NodeKey::from_seed(&[2; 32]);
    let sent = Sealed::new(&of_n1, &other).unwrap();
    let (status, reply) = server.send(sent.bytes());
    assert_eq!(status, 403, "{reply}");
    assert!(reply["next"].as_str().unwrap().contains("tenantry-server trust-key NODE KEY"), "{reply}");
    let mut trust = command(server.dir.path());
    trust.args(["trust-key", "n1", &other.public().to_string()]);
    let (code, said) = run_to_end(trust);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(server.send(sent.bytes()).0, 200);
}

#[test]
fn a_question_that_is_none_is_refused_with_what_to_do() {
    let server = Server::start("");
    for path in [
        "/v1/usage?tenant=../x",
        "/v1/usage?job=x",
        "/v1/usage?tenat=acme",
        "/v1/usage?uid=0",
        "/v1/usage?limit=0",
        "/v1/usage?group_by=x",
        "/v1/usage?from=soon",
    ] {
        let (status, reply) = server.ask(path);
        assert_eq!(status, 400, "{path}: {reply}");
        assert!(reply["error"].is_string() && reply["next"].is_string(), "{reply}");
    }
    assert_eq!(server.ask("/v2").0, 404);
    let (status, _, body) = exchange(&server.path("api.sock"), "POST /v1/usage", "", b"").unwrap();
    assert_eq!((status, body.contains("\"next\"")), (405, true));
    // Blocks do not come in by the readers' door.
    assert_eq!(exchange(&server.path("api.sock"), "POST /v1/blocks", "", b"{}").unwrap().0, 404);
}

#[test]
fn windows_and_sums_come_in_pages_in_json_and_in_csv() {
    let server = Server::start("window_minutes = 15\n");
    let ends: Vec<_> = (1..=3).map(|job| end(job, "acme", 1001, 40)).collect();
    assert_eq!(server.send(&block("n1", 1, &ends)).0, 200);
    let (status, page) = server.ask("/v1/usage?records=windows&limit=2");
    assert_eq!((status, page["windows"].as_array().unwrap().len()), (200, 2), "{page}");
    assert_eq!(page["windows"][0]["window_to"], "2026-11-22T10:15:00.000000Z");
    assert_eq!(page["windows"][0]["cpu_usage_usec"], 40);
    assert_eq!(page["windows"][0]["memory_byte_seconds"], Value::Null);
    let cursor = page["next_cursor"].as_str().unwrap();
    let (_, last) = server.ask(&format!("/v1/usage?records=windows&limit=2&cursor={cursor}"));
    assert_eq!((last["windows"][0]["job_id"].as_u64(), last["next_cursor"].as_str()), (Some(3), None));

    let (status, sums) = server.ask("/v1/usage?group_by=tenant,hour&from=2026-11-22T10:00:00Z");
    assert_eq!((status, &sums["groups"][0]["key"]["hour"]), (200, &json!("2026-11-22T10:00Z")), "{sums}");
    assert_eq!(sums["groups"][0]["figures"]["cpu_usage_usec"], 120);
    assert_eq!(sums["groups"][0]["lacking"]["io_read_bytes"], 3);

    let (_, runs) = server.ask("/v1/usage?limit=1");
    assert_eq!(runs["usage"][0]["job_id"], 1);
    let cursor = runs["next_cursor"].as_str().unwrap();
    assert_eq!(server.ask(&format!("/v1/usage?limit=5&cursor={cursor}")).1["usage"][1]["job_id"], 3);

    let csv = |path: &str, header: &str| {
        exchange(&server.path("api.sock"), &format!("GET {path}"), header, b"").unwrap()
    };
    let (status, head, body) = csv("/v1/usage?records=windows&limit=1", "accept: text/csv");
    assert!(
        status == 200 && head.contains("content-type: text/csv") && head.contains("x-next-cursor: "),
        "{head}"
    );
    assert!(body.starts_with("cluster,job_id,") && body.lines().count() == 2, "{body}");
    let (_, _, body) = csv("/v1/usage?group_by=day&format=csv", "");
    assert!(body.starts_with("day,windows,") && body.contains("\n2026-11-22,3,"), "{body}");
    let (_, _, body) = csv("/v1/usage?format=csv", "");
    assert_eq!(body.lines().count(), 4, "{body}");
}

#[test]
fn a_request_keeps_its_name_where_it_is_plain() {
    let server = Server::start("");
    let name = |header: &str| {
        let (_, head, _) = exchange(&server.path("api.sock"), "GET /v1/usage", header, b"").unwrap();
        let line = head.lines().find_map(|line| line.strip_prefix("x-correlation-id: ")).unwrap();
        line.to_owned()
    };
    assert_eq!(name("x-correlation-id: req-42"), "req-42");
    let (first, second) = (name("x-correlation-id: a b"), name(""));
    assert!(first != "a b" && !first.is_empty() && first != second);
}

#[test]
fn killed_in_mid_load_it_loses_nothing_and_doubles_nothing() {
    const SENDERS: usize = 4;
    const BLOCKS: usize = 60;
    let mut server = Server::start("");
    let socket = server.path("ingest.sock");
    let done = AtomicUsize::new(0);
    let job = |sender: usize, sequence: usize| sender * 1_000 + sequence;
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (socket, done) = (&socket, &done);
            scope.spawn(move || {
                for sequence in 1..=BLOCKS {
                    let entries = [end(job(sender, sequence), "acme", 1001, 1)];
                    let sent = block(&format!("n{sender}"), sequence, &entries);
                    // At least once: again until it is acknowledged.
                    while !matches!(exchange(socket, "POST /v1/blocks", "", &sent), Ok((200, ..))) {
                        thread::sleep(Duration::from_millis(5));
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for part in 1..=3 {
            while done.load(Ordering::Relaxed) < part * SENDERS * BLOCKS / 4 {
                thread::sleep(Duration::from_millis(1));
            }
            server.kill_and_start();
        }
    });
    let report = server.ask("/v1/usage").1;
    let mut jobs: Vec<_> =
        report["usage"].as_array().unwrap().iter().map(|record| record["job_id"].as_u64().unwrap()).collect();
    jobs.sort_unstable();
    let expected: Vec<_> = (0..SENDERS)
        .flat_map(|sender| (1..=BLOCKS).map(move |sequence| u64::try_from(job(sender, sequence)).unwrap()))
        .collect();
    assert_eq!(jobs, expected);
    // What was acknowledged before the last kill is known after it.
    let first = block("n0", 1, &[end(job(0, 1), "acme", 1001, 1)]);
    assert_eq!(server.send(&first).1["receipt"], "duplicate");
}

#[test]
fn sigterm_ends_it_well_and_the_ledger_is_whole() {
    let mut server = Server::start("");
    assert_eq!(server.send(&block("n1", 1, &[end(7, "acme", 1001, 42)])).0, 200);
    // A reader that says nothing must not hold the server up.
    let _idle = UnixStream::connect(server.path("api.sock")).unwrap();
    kill(Pid::from_raw(i32::try_from(server.child.id()).unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let left = fs::metadata(server.path("ledger.sqlite-wal")).map_or(0, |log| log.len());
    assert_eq!(left, 0, "the write-ahead log was not folded in");
    server.child = spawn_ready(server.dir.path());
    assert_eq!(server.ask("/v1/usage").1["usage"][0]["cpu_usage_usec"], 42);
}

fn run_to_end(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn a_second_server_does_not_take_the_firsts_sockets() {
    let server = Server::start("");
    let (code, said) = run_to_end(command(server.dir.path()));
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("another server listens"), "{said}");
    assert_eq!(server.ask("/v1/usage").0, 200);
}

#[test]
fn what_is_no_socket_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, file) = (dir.path().join("ledger"), dir.path().join("file"));
    fs::write(&file, "mine").unwrap();
    fs::write(dir.path().join("server.toml"), format!("ledger = {ledger:?}\ningest_socket = {file:?}\n"))
        .unwrap();
    let (code, said) = run_to_end(command(dir.path()));
    assert_eq!(code, Some(69), "{said}");
    assert_eq!(fs::read_to_string(file).unwrap(), "mine");
}

#[test]
fn a_mistake_in_the_settings_is_named_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("server.toml"), "ingest_uids = [0]\nledgr = \"/x\"\n").unwrap();
    for check in [false, true] {
        let mut command = command(dir.path());
        if check {
            command.arg("--check-config");
        }
        let (code, said) = run_to_end(command);
        assert_eq!(code, Some(78));
        assert!(said.contains("server.toml:2:1: unknown field `ledgr`"), "{said}");
    }
    fs::write(dir.path().join("server.toml"), "").unwrap();
    let mut check = command(dir.path());
    check.arg("--check-config");
    assert_eq!(run_to_end(check).0, Some(0));
}

#[test]
fn the_ledger_and_the_daemons_door_are_private_and_the_readers_door_is_open() {
    let server = Server::start("");
    let mode = |name: &str| fs::metadata(server.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode("ledger.sqlite"), mode("ingest.sock"), mode("api.sock")], [0o600, 0o660, 0o666]);
    assert_eq!(mode("ledger.sqlite-wal"), 0o600);
}

/// Run by [`as_nobody`], in a process of another user.
#[test]
#[ignore = "a part of other tests"]
fn exchange_as_told_by_the_environment() {
    let var = |name: &str| std::env::var(name).unwrap();
    match exchange(
        Path::new(&var("TEST_SOCKET")),
        &var("TEST_LINE"),
        "x-correlation-id: nobody-1",
        &fs::read(var("TEST_BODY")).unwrap(),
    ) {
        Ok((status, _, body)) => println!("REPLY {status} {body}"),
        Err(error) => println!("REPLY 0 {error}"),
    }
}

/// One exchange by a process of the user nobody: status (0: no connection) and body.
fn as_nobody(server: &Server, socket: &str, line: &str, body: &[u8]) -> (u16, String) {
    // Where the tests are built may be closed to others.
    let program = server.path("as-nobody");
    // By another process: while this one has the file open to write, a fork of another test keeps it from being run.
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let file = server.path("as-nobody-body");
    fs::write(&file, body).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let output = Command::new(&program)
        .args(["--exact", "exchange_as_told_by_the_environment", "--ignored", "--nocapture"])
        .env("TEST_SOCKET", server.path(socket))
        .env("TEST_LINE", line)
        .env("TEST_BODY", file)
        .current_dir("/")
        .gid(NOBODY)
        .uid(NOBODY)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let reply = said.lines().find_map(|line| line.split_once("REPLY ")).expect(&said).1;
    let (status, body) = reply.split_once(' ').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

fn root_is_missing() -> bool {
    if !geteuid().is_root() {
        eprintln!("TENANTRY-SKIP server: needs root");
    }
    !geteuid().is_root()
}

#[test]
fn another_user_sends_no_block() {
    if root_is_missing() {
        return;
    }
    let server = Server::start("");
    let sent = block("n1", 1, &[end(7, "acme", NOBODY, 42)]);
    // The socket's mode keeps him out,
    assert_eq!(as_nobody(&server, "ingest.sock", "POST /v1/blocks", &sent).0, 0);
    // and where it would not, the kernel's word about him does.
    fs::set_permissions(server.path("ingest.sock"), Permissions::from_mode(0o666)).unwrap();
    for line in ["POST /v1/blocks", "GET /v1/usage"] {
        let (status, body) = as_nobody(&server, "ingest.sock", line, &sent);
        assert_eq!(status, 403, "{body}");
        assert!(body.contains("uid 65534 may not send blocks"), "{body}");
    }
    assert_eq!(server.ask("/v1/usage").1["usage"], json!([]));
    let ledger = server.path("ledger.sqlite");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let events = runtime.block_on(async {
        tenantry_store::Ledger::open(&ledger).await.unwrap().audit_events(9).await.unwrap()
    });
    let seen: Vec<_> = events
        .iter()
        .filter(|event| event.kind != tenantry_store::AuditKind::KeyTrusted)
        .map(|event| (event.kind.as_str(), event.uid, event.correlation_id.as_str(), event.subject.as_str()))
        .collect();
    let expected =
        ["POST /v1/blocks", "GET /v1/usage"].map(|line| ("refused", Some(NOBODY), "nobody-1", line));
    assert_eq!(seen, expected);
}

#[test]
fn another_user_sees_his_own_jobs_and_no_tenants_counters() {
    if root_is_missing() {
        return;
    }
    let server = Server::start("");
    let at = Moment { wall: "2026-11-22T10:00:05Z".parse().unwrap(), boottime_usec: Usec(5_000_000) };
    let subject = Subject::Tenant { node: "n1".parse().unwrap(), tenant: "acme".parse().unwrap() };
    let ends = [end(7, "acme", 1001, 42), end(8, "acme", NOBODY, 43)];
    let contents = Contents {
        series: vec![Series { subject, readings: vec![Reading::empty(at)] }],
        ends: ends.into_iter().map(|end| serde_json::from_value(end).unwrap()).collect(),
        ..Contents::default()
    };
    assert_eq!(server.send(&sealed("n1", 1, contents)).0, 200);
    let all = server.ask("/v1/usage").1;
    assert_eq!((all["usage"].as_array().unwrap().len(), all["tenants"].as_array().unwrap().len()), (2, 1));
    for question in ["", "?tenant=acme", "?job=8"] {
        let (status, body) = as_nobody(&server, "api.sock", &format!("GET /v1/usage{question}"), b"");
        let report: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200);
        let uids: Vec<_> = report["usage"].as_array().unwrap().iter().map(|record| &record["uid"]).collect();
        assert_eq!(uids, [NOBODY]);
        assert_eq!(report["tenants"], json!([]));
    }
    let (_, body) = as_nobody(&server, "api.sock", "GET /v1/usage?job=7", b"");
    assert_eq!(body, r#"{"usage":[],"tenants":[],"gaps":[]}"#);
}
