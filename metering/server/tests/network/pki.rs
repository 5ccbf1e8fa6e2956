//! The authority's commands, from the first to a request that is served and one that is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use nix::unistd::geteuid;
use tenantry_client::{Client, ClientError, Settings};

use crate::site::{block, free_port, send, spawn_ready};

fn pki(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let done = std::process::Command::new(env!("CARGO_BIN_EXE_tenantry-server"))
        .args(["pki", "--dir"])
        .arg(dir)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap();
    (done.status.code(), said)
}

#[tokio::test]
async fn a_site_without_an_authority_makes_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (at, port) = (dir.path(), free_port());
    let done = |arguments: &[&str]| {
        let (code, said) = pki(at, arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        said
    };
    assert!(pki(at, &["show"]).1.contains("tenantry-server pki init --cluster NAME"));
    assert!(done(&["init", "--cluster", "c1"]).contains("next: tenantry-server pki issue server HOST"));
    let (code, said) = pki(at, &["init", "--cluster", "c1"]);
    assert!(code != Some(0) && said.contains("an authority is made once"), "{said}");
    assert!(
        done(&["issue", "server", "127.0.0.1", "meter.example"]).contains("under [network] of server.toml")
    );
    let said = done(&["issue", "node", "n1"]);
    assert!(said.contains("node-n1.pem") && said.contains("server_url in tenantryd.toml"), "{said}");
    done(&["issue", "tenant", "acme/physics"]);
    for (file, mode) in
        [("ca.key", 0o600), ("node-n1.key", 0o600), ("node-n1.pem", 0o644), ("issued.json", 0o600)]
    {
        assert_eq!(fs::metadata(at.join(file)).unwrap().permissions().mode() & 0o777, mode, "{file}");
    }
    let path = |name: &str| at.join(name).display().to_string();
    let uid = geteuid();
    let settings = format!(
        "ledger = {:?}\ningest_socket = {:?}\napi_socket = {:?}\nreader_uids = [{uid}]\n[network]\n\
         listen = ['127.0.0.1:{port}']\ncluster = 'c1'\nca = {:?}\ncertificate = {:?}\nkey = {:?}\ncrl = {:?}\n",
        path("ledger.sqlite"),
        path("ingest.sock"),
        path("api.sock"),
        path("ca.pem"),
        path("server-127.0.0.1.pem"),
        path("server-127.0.0.1.key"),
        path("crl.pem"),
    );
    fs::write(at.join("server.toml"), settings).unwrap();
    let mut server = spawn_ready(at);
    let client = || {
        let settings = Settings {
            server_url: Some(format!("https://127.0.0.1:{port}").parse().unwrap()),
            ca: Some(at.join("ca.pem")),
            certificate: Some(at.join("node-n1.pem")),
            key: Some(at.join("node-n1.key")),
        };
        Client::new(settings.server("/".into()).unwrap()).unwrap()
    };
    assert_eq!(send(&client(), block("n1", 1, &[])).await.unwrap().status, 200);
    done(&["renew", "node/n1"]);
    assert_eq!(send(&client(), block("n1", 2, &[])).await.unwrap().status, 200);
    assert_eq!(done(&["renew", "--due"]), "none is due\n");
    assert!(done(&["revoke", "node/n1"]).contains("it is read anew at once"));
    let mut refused = send(&client(), block("n1", 3, &[])).await;
    for _ in 0..100 {
        if refused.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        refused = send(&client(), block("n1", 3, &[])).await;
    }
    assert!(matches!(refused, Err(ClientError::Refused(_))), "{refused:?}");
    let shown = done(&["show"]);
    assert_eq!(shown.matches("revoked").count(), 2, "{shown}");
    assert_eq!(shown.matches("good").count(), 2, "{shown}");
    server.kill().unwrap();
    server.wait().unwrap();
}
