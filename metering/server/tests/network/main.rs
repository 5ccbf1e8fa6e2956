//! The real binary on the network, with real certificates, over loopback.
// A test's helpers are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::arithmetic_side_effects, clippy::print_stdout, clippy::print_stderr)]

mod bounds;
mod doors;
mod pki;
mod site;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tenantry_block::NodeKey;
use tenantry_client::{Client, ClientError, Server, Urls};
use tenantry_model::SystemClock;
use tenantry_spool::{Bounds, Identity, Spool};
use tenantryd::exporter::Shown;
use tenantryd::forward::Forwarder;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use site::{BOOT, Site, block, body, contents, end, free_port, get, moment, paper, send, server_paper};

#[tokio::test]
async fn a_nodes_blocks_go_in_and_readers_get_what_is_theirs() {
    let site = Site::start("", "");
    let ends = [end("n1", 7, "acme/physics", 42), end("n1", 8, "globex", 43)];
    let node = site.client("n1", &paper("node/n1"));
    let sent = block("n1", 1, &ends);
    assert_eq!(body(&send(&node, sent.clone()).await.unwrap()), json!({"receipt": "new"}));
    assert_eq!(body(&send(&node, sent).await.unwrap()), json!({"receipt": "duplicate"}));
    for (name, asked, jobs) in [
        ("reader/billing", "/v1/usage", &[7, 8][..]),
        ("reader/billing", "/v1/usage?tenant=globex", &[8]),
        ("tenant/acme", "/v1/usage", &[7]),
        ("tenant/acme", "/v1/usage?tenant=acme/physics", &[7]),
        ("tenant/acme/physics", "/v1/usage?job=8", &[]),
        ("tenant/other", "/v1/usage", &[]),
    ] {
        let reader = site.client("reader", &paper(name));
        let reply = get(&reader, asked).await.unwrap();
        assert_eq!(reply.status, 200, "{name} {asked}");
        let seen: Vec<_> =
            body(&reply)["usage"].as_array().unwrap().iter().map(|row| row["job_id"].clone()).collect();
        let seen: Vec<_> = seen.iter().filter_map(serde_json::Value::as_u64).collect();
        assert_eq!(seen, jobs, "{name} {asked}");
    }
}

#[tokio::test]
async fn a_requests_name_goes_into_the_log_and_the_refusal() {
    let site = Site::start("", "");
    let node = site.client("n1", &paper("node/n1"));
    assert_eq!(send(&node, block("n2", 1, &[])).await.unwrap().status, 403);
    let events = site.refusals().await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].correlation_id, "test-7");
    assert_eq!(events[0].detail, "spiffe://c1/node/n1 may not send blocks of node n2");
    let log = fs::read_to_string(site.path("server.log")).unwrap();
    assert!(log.lines().any(|line| line.contains("test-7") && line.contains("spiffe://c1/node/n1")), "{log}");
    assert!(!log.contains("PRIVATE KEY"));
}

/// Waits until a condition holds.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..100 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what}: not within 10 s");
}

#[tokio::test]
async fn new_certificates_serve_at_once_and_bad_files_change_nothing() {
    let site = Site::start("", "");
    let node = site.client("n1", &paper("node/n1"));
    assert_eq!(send(&node, block("n1", 1, &[])).await.unwrap().status, 200);
    let good = "tenantry_server_certificate_reloads_total{result=\"good\"}";
    let bad = "tenantry_server_certificate_reloads_total{result=\"bad\"}";
    // A key that is not the certificate's, a text that is none, an open key, a file that is not there.
    site.replace("server.key", &site.authority.sign(&server_paper(2)).1);
    until("another's key", async || site.figure(bad).await == 1).await;
    site.replace("server.key", "no key");
    until("no key", async || site.figure(bad).await == 2).await;
    fs::remove_file(site.path("ca.pem")).unwrap();
    until("no file", async || site.figure(bad).await == 3).await;
    let fresh = site::write_pair;
    fresh(site.dir.path(), "n1-again", &site.authority.sign(&paper("node/n1")));
    assert_eq!(send(&node, block("n1", 2, &[])).await.unwrap().status, 200, "the old ones serve on");
    assert_eq!(site.figure(good).await, 0);

    site.replace("ca.pem", &site.authority.pem);
    let (certificate, key) = site.authority.sign(&server_paper(3));
    site.replace("server.key", &key);
    fs::set_permissions(site.path("server.key"), Permissions::from_mode(0o600)).unwrap();
    site.replace("server.pem", &certificate);
    until("a new pair", async || site.figure(good).await >= 1).await;
    assert_eq!(send(&node, block("n1", 3, &[])).await.unwrap().status, 200, "the open connection goes on");
    let other = site.client("n2", &paper("node/n2"));
    assert_eq!(send(&other, block("n2", 1, &[])).await.unwrap().status, 200);
    let log = fs::read_to_string(site.path("server.log")).unwrap();
    assert!(log.contains("those in use stay") && log.contains("serial=\"03\""), "{log}");
}

#[tokio::test]
async fn sighup_reads_certificates_anew() {
    let site = Site::start("", "");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(site.child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    let good = "tenantry_server_certificate_reloads_total{result=\"good\"}";
    until("a look at the files", async || site.figure(good).await == 1).await;
}

#[tokio::test]
async fn a_revoked_certificate_loses_its_open_connection() {
    let site = Site::start("", "");
    let stolen = site.client("n1", &site::Paper { serial: 99, ..paper("node/n1") });
    let good = site.client("n2", &paper("node/n2"));
    assert_eq!(send(&stolen, block("n1", 1, &[])).await.unwrap().status, 200);
    assert_eq!(send(&good, block("n2", 1, &[])).await.unwrap().status, 200);
    let before = site.figure("tenantry_server_connections_total").await;
    site.revoke(&[99]);
    until("the connection is cut", async || site.figure("tenantry_server_connections").await == 1).await;
    let refused = send(&stolen, block("n1", 2, &[])).await;
    assert!(matches!(refused, Err(ClientError::Refused(_))), "{refused:?}");
    assert_eq!(send(&good, block("n2", 2, &[])).await.unwrap().status, 200);
    assert_eq!(site.figure("tenantry_server_connections_total").await, before, "the other one's stayed open");
    let events = site.refusals().await;
    assert!(events.iter().all(|event| event.subject == "connection of spiffe://c1/node/n1"), "{events:?}");
    assert_eq!(events.len(), 2, "the open connection, and the try to make another");
}

#[tokio::test]
async fn the_clients_certificate_is_read_anew_and_the_next_server_is_tried() {
    let site = Site::start("", "");
    let files = site.files("n1", &site.authority.sign(&paper("node/n1")));
    let Server::Https { urls, .. } = site.server(files.clone()) else { panic!("over the network") };
    let nobody: Urls = format!("https://127.0.0.1:{}, {urls}", free_port()).parse().unwrap();
    let client = Client::new(Server::Https { urls: nobody, files }).unwrap();
    assert_eq!(send(&client, block("n1", 1, &[])).await.unwrap().status, 200, "the first is not there");
    assert_eq!(send(&client, block("n2", 1, &[])).await.unwrap().status, 403);
    site::write_pair(site.dir.path(), "n1", &site.authority.sign(&paper("node/n2")));
    assert_eq!(send(&client, block("n2", 1, &[])).await.unwrap().status, 200, "it is another node's now");
}

#[tokio::test]
async fn a_server_that_is_not_the_sites_gets_no_block() {
    let site = Site::start("", "");
    let pair = site.authority.sign(&paper("node/n1"));
    let mut files = site.files("n1", &pair);
    fs::write(site.path("other-ca.pem"), site::Authority::new().pem).unwrap();
    files.ca = site.path("other-ca.pem");
    let refused = send(&site.client_with(files.clone()), block("n1", 1, &[])).await;
    assert!(
        matches!(&refused, Err(ClientError::NoServer(why)) if why.contains("invalid peer certificate")),
        "{refused:?}"
    );
    // By another name than its certificate's.
    files.ca = site.path("ca.pem");
    let urls = format!("https://localhost:{}", site.port).parse().unwrap();
    let refused = send(&Client::new(Server::Https { urls, files }).unwrap(), block("n1", 1, &[])).await;
    assert!(matches!(refused, Err(ClientError::NoServer(_))), "{refused:?}");
}

/// A daemon's own spool and forwarder, while the server is killed again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_killed_under_load_loses_nothing_and_doubles_nothing() {
    const NODES: u64 = 3;
    const BLOCKS: u64 = 40;
    let mut site = Site::start("", "requests_per_minute = 100000");
    let stop = CancellationToken::new();
    let mut spools = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 1..=NODES {
        let node = format!("n{n}");
        let identity = Identity {
            node: node.parse().unwrap(),
            boot_id: BOOT.parse().unwrap(),
            key: NodeKey::from_seed(&[1; 32]),
        };
        let bounds = Bounds { max_bytes: 64 << 20, keep: Duration::from_hours(1) };
        let file = site.path(&format!("{node}.sqlite"));
        let (spool, lost) = Spool::open(&file, identity, bounds, moment()).await.unwrap();
        assert_eq!(lost, None);
        for job in 1..=BLOCKS {
            let ends = contents(&[end(&node, n * 1_000 + job, "acme", 1)]);
            spool.append(&ends, None, &[], moment()).await.unwrap();
        }
        let files = site.files(&node, &site.authority.sign(&paper(&format!("node/{node}"))));
        let clock = Box::new(SystemClock);
        let forwarder = Forwarder::new(
            site.server(files),
            clock,
            spool.clone(),
            Arc::new(Notify::new()),
            Shown::default(),
        );
        tasks.spawn(forwarder.run(stop.clone()));
        spools.push(spool);
    }
    let waiting = async || {
        let mut all = 0;
        for spool in &spools {
            all += spool.waiting().await.unwrap();
        }
        all
    };
    for part in 1..=3 {
        while waiting().await > NODES * BLOCKS * (4 - part) / 4 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        site.kill_and_start();
    }
    let mut left = waiting().await;
    for _ in 0..600 {
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        left = waiting().await;
    }
    assert_eq!(left, 0, "blocks wait still");
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap().unwrap();
    }
    let report = body(&site.ask_locally("/v1/usage").await);
    let mut jobs: Vec<_> =
        report["usage"].as_array().unwrap().iter().map(|row| row["job_id"].as_u64().unwrap()).collect();
    jobs.sort_unstable();
    let expected: Vec<_> = (1..=NODES).flat_map(|n| (1..=BLOCKS).map(move |job| n * 1_000 + job)).collect();
    assert_eq!(jobs, expected);
    assert_eq!(report["gaps"], json!([]));
}
