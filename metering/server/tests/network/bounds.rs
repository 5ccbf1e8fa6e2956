//! What one caller, or many, can use up.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tenantry_tls::client_config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::site::{Site, block, body, paper, send};

#[tokio::test]
async fn a_node_that_asks_too_often_is_told_how_long_to_wait() {
    let site = Site::start("", "requests_per_minute = 60");
    let node = site.client("n1", &paper("node/n1"));
    let mut served = 0;
    let told = loop {
        let reply = send(&node, block("n1", 1, &[])).await.unwrap();
        if reply.status != 200 {
            break reply;
        }
        served += 1;
        assert!(served < 100, "no bound");
    };
    assert!((10..20).contains(&served), "ten seconds' worth may come at once: {served}");
    assert_eq!(told.status, 429, "{}", body(&told));
    let wait = told.retry_after.unwrap();
    assert!((1..=2).contains(&wait.as_secs()), "{wait:?}");
    let other = site.client("n2", &paper("node/n2"));
    assert_eq!(
        send(&other, block("n2", 1, &[])).await.unwrap().status,
        200,
        "the others are not kept waiting"
    );
    tokio::time::sleep(wait).await;
    assert_eq!(send(&node, block("n1", 2, &[])).await.unwrap().status, 200, "after the wait it is served");
}

/// HTTP/1.1 by hand, over TLS.
async fn raw(site: &Site, node: &str) -> TlsStream<TcpStream> {
    let files = site.files(node, &site.authority.sign(&paper(&format!("node/{node}"))));
    let mut config = client_config(&files.read().unwrap()).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let stream = TcpStream::connect(("127.0.0.1", site.port)).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

async fn reply(stream: &mut TlsStream<TcpStream>) -> String {
    let mut bytes = vec![0; 4096];
    match tokio::time::timeout(Duration::from_secs(30), stream.read(&mut bytes)).await.unwrap() {
        Ok(len) => String::from_utf8_lossy(&bytes[..len]).into_owned(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_name_has_its_share_of_connections() {
    let site = Site::start("", "max_connections_of_a_name = 2");
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = raw(&site, "n1").await;
        stream.write_all(b"GET /v1/x HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(reply(&mut stream).await.starts_with("HTTP/1.1 404"));
        held.push(stream);
    }
    let mut third = raw(&site, "n1").await;
    let _ = third.write_all(b"GET /v1/x HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let said = reply(&mut third).await;
    assert!(!said.contains("HTTP"), "{said}");
    assert_eq!(site.figure("tenantry_server_connections_refused_total{reason=\"share\"}").await, 1);
    let other = site.client("n2", &paper("node/n2"));
    assert_eq!(send(&other, block("n2", 1, &[])).await.unwrap().status, 200);
}

fn resident_kib(site: &Site, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", site.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sixty nodes announce 16 MiB each, 960 MiB in all, and send as much as is taken, slowly.
#[tokio::test(flavor = "multi_thread")]
async fn many_slow_and_large_senders_take_bounded_memory_and_are_cut_off() {
    const SENDERS: usize = 60;
    const LARGE: usize = 16 << 20;
    let site = Site::start("max_bytes_in_flight = 67108864", "request_seconds = 8");
    let before = resident_kib(&site, "VmRSS");
    let mut senders = tokio::task::JoinSet::new();
    for n in 0..SENDERS {
        let mut stream = raw(&site, &format!("slow{n}")).await;
        senders.spawn(async move {
            let head = format!("POST /v1/blocks HTTP/1.1\r\nhost: x\r\ncontent-length: {LARGE}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            // All but the end of it, then a byte now and then.
            let part = vec![0; 1 << 20];
            for _ in 0..15 {
                stream.write_all(&part).await?;
            }
            loop {
                stream.write_all(b"x").await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            #[expect(unreachable_code, reason = "says what the task ends with")]
            Ok::<(), std::io::Error>(())
        });
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let held = site.figure("tenantry_server_held_bytes").await;
    assert!((16 << 20..=64 << 20).contains(&held), "{held}");
    // None of them keeps a small block from being taken, once its turn comes.
    let good = site.client("good", &paper("node/good"));
    let mut tries = 0;
    while send(&good, block("good", 1, &[])).await.ok().is_none_or(|reply| reply.status != 200) {
        tries += 1;
        assert!(tries < 60, "a small block does not come in");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    while let Some(ended) = senders.join_next().await {
        assert!(ended.unwrap().is_err(), "each is cut off");
    }
    let peak = resident_kib(&site, "VmHWM");
    println!("resident before {before} KiB, at most {peak} KiB, {SENDERS} senders of {LARGE} bytes");
    assert!(peak - before < (64 + 64) << 10, "from {before} KiB to {peak} KiB");
    assert_eq!(site.figure("tenantry_server_held_bytes").await, 0);
}

#[tokio::test]
async fn what_is_too_large_or_of_no_length_is_not_read() {
    let site = Site::start("max_block_bytes = 1024", "");
    for (head, status) in [("content-length: 1025", "413"), ("transfer-encoding: chunked", "411")] {
        let mut stream = raw(&site, "n1").await;
        let request = format!("POST /v1/blocks HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let said = reply(&mut stream).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {said}");
        assert!(said.contains("\"next\""), "{said}");
    }
}
