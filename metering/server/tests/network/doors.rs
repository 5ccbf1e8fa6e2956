//! Every way in that a certificate may try, and none is open. `ok      doors: NAME` for each, for `make doors`.

use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;
use tenantry_client::{ClientError, Method};

use crate::site::{Authority, Paper, Site, ask, block, get, paper, send};

/// What is wanted with a certificate.
#[derive(Clone, Debug)]
enum Wish {
    Send(&'static str),
    Read(&'static str),
    /// With a method that a path does not have.
    Change(Method, &'static str),
}

/// How a certificate came to be.
enum Origin {
    /// The site's authority.
    Ours,
    /// Another authority.
    Another,
    /// Signed by a node's own certificate, which is sent along.
    ByNode,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// No connection, and nobody knows whose it was: counted.
    Counted,
    /// No connection; the event names whose it was.
    TurnedAway,
    /// The request is refused with 403, and the event names the caller.
    Forbidden,
    /// There is nothing to change: 404 or 405, and the event names the caller.
    Unchangeable,
}

/// Of a door where a stranger stood: he is in the server's figures and fills no ledger.
const COUNTED: &str = " (counted)";

fn doors() -> Vec<(&'static str, Paper, Origin, Wish, End)> {
    use End::{Counted, Forbidden, TurnedAway};
    use Origin::{Another, ByNode, Ours};
    use Wish::{Read, Send};
    let node = || paper("node/n1");
    let named =
        |names: &[&str]| Paper { names: names.iter().map(|&name| name.to_owned()).collect(), ..node() };
    let server = || Paper { usage: ExtendedKeyUsagePurpose::ServerAuth, ..node() };
    vec![
        ("a node's certificate of another authority", node(), Another, Send("n1"), Counted),
        (
            "a reader's certificate of another authority",
            paper("reader/x"),
            Another,
            Read("/v1/usage"),
            Counted,
        ),
        ("a certificate that a node signed", node(), ByNode, Send("n1"), Counted),
        (
            "an authority's certificate as a caller's",
            Paper { is_ca: true, ..node() },
            Ours,
            Send("n1"),
            Counted,
        ),
        ("an expired certificate", Paper { days: -9..-2, ..node() }, Ours, Send("n1"), TurnedAway),
        ("a certificate of tomorrow", Paper { days: 1..9, ..node() }, Ours, Send("n1"), TurnedAway),
        ("a server's certificate as a caller's", server(), Ours, Send("n1"), TurnedAway),
        ("a revoked certificate", Paper { serial: 666, ..node() }, Ours, Send("n1"), TurnedAway),
        (
            "a revoked reader's certificate",
            Paper { serial: 667, ..paper("reader/x") },
            Ours,
            Read("/v1/usage"),
            TurnedAway,
        ),
        ("a node of another cluster", named(&["spiffe://c2/node/n1"]), Ours, Send("n1"), Forbidden),
        ("a reader of another cluster", named(&["spiffe://c2/reader/x"]), Ours, Read("/v1/usage"), Forbidden),
        ("a certificate without a name", named(&[]), Ours, Send("n1"), Forbidden),
        (
            "a certificate with two names",
            named(&["spiffe://c1/node/n1", "spiffe://c1/node/n2"]),
            Ours,
            Send("n1"),
            Forbidden,
        ),
        ("a name that is nearly a node's", named(&["spiffe://c1/node/n1/x"]), Ours, Send("n1"), Forbidden),
        ("a name of an unknown kind", named(&["spiffe://c1/root/n1"]), Ours, Read("/v1/usage"), Forbidden),
        (
            "a tenant's name that climbs",
            named(&["spiffe://c1/tenant/../acme"]),
            Ours,
            Read("/v1/usage"),
            Forbidden,
        ),
        ("a node that speaks for another", node(), Ours, Send("n2"), Forbidden),
        ("a node whose name begins another's", node(), Ours, Send("n10"), Forbidden),
        ("a reader that sends a block", paper("reader/x"), Ours, Send("n1"), Forbidden),
        ("a tenant that sends a block", paper("tenant/acme"), Ours, Send("n1"), Forbidden),
        ("a server's name that sends a block", paper("server/meter"), Ours, Send("n1"), Forbidden),
        ("a node that reads usage", node(), Ours, Read("/v1/usage"), Forbidden),
        ("a server's name that reads usage", paper("server/meter"), Ours, Read("/v1/usage"), Forbidden),
        (
            "a tenant that reads another",
            paper("tenant/acme"),
            Ours,
            Read("/v1/usage?tenant=globex"),
            Forbidden,
        ),
        (
            "a tenant that reads its namesake",
            paper("tenant/acme"),
            Ours,
            Read("/v1/usage?tenant=acme2"),
            Forbidden,
        ),
        (
            "a tenant that reads the one it is in",
            paper("tenant/acme/x"),
            Ours,
            Read("/v1/usage?tenant=acme"),
            Forbidden,
        ),
        ("a node that reads the metrics", node(), Ours, Read("/metrics"), Forbidden),
        ("a tenant that reads the metrics", paper("tenant/acme"), Ours, Read("/metrics"), Forbidden),
    ]
}

/// What nobody may change, whoever he is.
fn changes() -> Vec<(&'static str, Paper, Origin, Wish, End)> {
    use End::Unchangeable;
    use Origin::Ours;
    use Wish::Change;
    let node = || paper("node/n1");
    vec![
        (
            "a tenant that deletes its usage",
            paper("tenant/acme"),
            Ours,
            Change(Method::DELETE, "/v1/usage"),
            Unchangeable,
        ),
        (
            "a tenant that posts usage",
            paper("tenant/acme"),
            Ours,
            Change(Method::POST, "/v1/usage"),
            Unchangeable,
        ),
        (
            "a reader that replaces usage",
            paper("reader/x"),
            Ours,
            Change(Method::PUT, "/v1/usage"),
            Unchangeable,
        ),
        (
            "a reader that mends usage",
            paper("reader/x"),
            Ours,
            Change(Method::PATCH, "/v1/usage"),
            Unchangeable,
        ),
        (
            "a node that deletes its blocks",
            node(),
            Ours,
            Change(Method::DELETE, "/v1/blocks/n1"),
            Unchangeable,
        ),
        ("a node that writes an audit event", node(), Ours, Change(Method::POST, "/v1/audit"), Unchangeable),
    ]
}

#[tokio::test]
async fn certificate_doors_are_closed_and_each_refusal_is_written_down_or_counted() {
    let site = Site::start("", "");
    site.revoke(&[666, 667]);
    let another = Authority::new();
    // The first look at the files is at once, the next after two seconds.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut seen = site.refusals().await.len();
    for (at, (door, paper, origin, wish, end)) in doors().into_iter().chain(changes()).enumerate() {
        let pair = match origin {
            Origin::Ours => site.authority.sign(&paper),
            Origin::Another => another.sign(&paper),
            Origin::ByNode => signed_by_a_node(&site, &paper),
        };
        let client = site.client_with(site.files(&format!("door{at}"), &pair));
        let counted = site.figure("tenantry_server_connections_refused_total{reason=\"handshake\"}").await;
        let reply = match wish {
            Wish::Send(node) => send(&client, block(node, 1, &[])).await,
            Wish::Read(path) => get(&client, path).await,
            Wish::Change(method, path) => ask(&client, method, path).await,
        };
        // The refusal is on its way to the caller before it is written down.
        let mut events = site.refusals().await;
        for _ in 0..50 {
            if events.len() > seen || end == End::Counted {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            events = site.refusals().await;
        }
        let new: Vec<_> =
            events[seen..].iter().map(|event| format!("{} | {}", event.subject, event.detail)).collect();
        seen = events.len();
        match end {
            End::Forbidden | End::Unchangeable => {
                let reply = reply.unwrap();
                let status: &[u16] = if end == End::Forbidden { &[403] } else { &[404, 405] };
                assert!(
                    status.contains(&reply.status.as_u16()),
                    "{door}: {} {}",
                    reply.status,
                    String::from_utf8_lossy(&reply.body)
                );
                assert_eq!(new.len(), 1, "{door}: {new:?}");
                let name = paper.names.first().map_or("somebody", String::as_str);
                assert!(new[0].contains(name) || new[0].contains("several"), "{door}: {new:?}");
            }
            End::TurnedAway => {
                assert!(matches!(reply, Err(ClientError::Refused(_))), "{door}: {reply:?}");
                assert_eq!(new.len(), 1, "{door}: {new:?}");
                assert!(new[0].contains(&paper.names[0]) && new[0].contains("127.0.0.1"), "{door}: {new:?}");
            }
            End::Counted => {
                assert!(matches!(reply, Err(ClientError::Refused(_))), "{door}: {reply:?}");
                assert_eq!(new, Vec::<String>::new(), "{door}: a stranger fills no ledger");
                let now =
                    site.figure("tenantry_server_connections_refused_total{reason=\"handshake\"}").await;
                assert!(now > counted, "{door} was not counted");
            }
        }
        println!("ok      doors: {door}{}", if end == End::Counted { COUNTED } else { "" });
    }
    let report = site.ask_locally("/v1/usage").await;
    assert_eq!(report.body, br#"{"usage":[],"tenants":[],"gaps":[]}"#, "nothing came in");
}

/// A chain that ends with the site's authority, over a certificate that may sign nothing.
fn signed_by_a_node(site: &Site, paper: &Paper) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let of_node = crate::site::params(&crate::site::paper("node/n9"));
    let node_pem = site.authority.sign_key(&of_node, &key);
    let issuer = rcgen::Issuer::new(of_node, key);
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let leaf = crate::site::params(paper).signed_by(&leaf_key, &issuer).unwrap().pem();
    (format!("{leaf}{node_pem}"), leaf_key.serialize_pem())
}

/// By programs that are not ours: no certificate, an older TLS, no TLS.
#[tokio::test]
async fn without_a_certificate_or_with_an_older_tls_nobody_is_heard() {
    let site = Site::start("", "");
    let pair = site.authority.sign(&paper("node/n1"));
    let files = site.files("n1", &pair);
    let ca = site.path("ca.pem").display().to_string();
    let (certificate, key) = (files.certificate.display().to_string(), files.key.display().to_string());
    let tls = format!("https://127.0.0.1:{}/v1/usage", site.port);
    let plain = format!("http://127.0.0.1:{}/v1/usage", site.port);
    let own = ["--cert", certificate.as_str(), "--key", key.as_str()];
    let mut ways: Vec<(&str, Vec<&str>, bool)> = vec![
        ("a caller without a certificate", vec!["--cacert", &ca, &tls], false),
        ("a caller without TLS", vec![&plain], false),
        ("a caller with TLS 1.2", vec!["--cacert", &ca, "--tls-max", "1.2", &tls], false),
        ("control: TLS 1.3 and a certificate, HTTP/2", vec!["--http2", "--cacert", &ca, &tls], true),
        ("control: HTTP/1.1", vec!["--http1.1", "--cacert", &ca, &tls], true),
    ];
    for (way, arguments, _) in &mut ways {
        if way.contains("TLS 1.2") || way.starts_with("control") {
            arguments.extend(own);
        }
    }
    for (way, arguments, heard) in ways {
        let mut curl = tokio::process::Command::new("curl");
        let done = curl
            .args(["-sS", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}"])
            .args(arguments)
            .output()
            .await;
        let Ok(done) = done else {
            println!("TENANTRY-SKIP network: curl is not installed");
            return;
        };
        let status = String::from_utf8_lossy(&done.stdout).into_owned();
        // A node may not read: but it was heard.
        assert_eq!(
            status,
            if heard { "403" } else { "000" },
            "{way}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        if !heard {
            println!("ok      doors: {way}{COUNTED}");
        }
    }
    assert_eq!(site.figure("tenantry_server_connections_refused_total{reason=\"handshake\"}").await, 3);
}
