//! A site of its own: an authority, a server that runs, and whatever certificates a test wants.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::unistd::geteuid;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use serde_json::{Value, json};
use tenantry_block::{NodeKey, Sealed};
use tenantry_client::{Client, ClientError, Method, Reply, Server, Settings};
use tenantry_model::block::{Block, BlockHash, BlockKey, Contents};
use tenantry_model::{Moment, Usec};
use tenantry_store::{AuditEvent, AuditKind, Ledger};
use tenantry_tls::Files;
use time::OffsetDateTime;

pub const BOOT: &str = "0b0b0b0b-0000-4000-8000-000000000001";
const DAY: time::Duration = time::Duration::DAY;

/// What a certificate is to say.
#[derive(Clone)]
pub struct Paper {
    pub names: Vec<String>,
    pub usage: ExtendedKeyUsagePurpose,
    pub days: std::ops::Range<i32>,
    pub serial: u64,
    pub is_ca: bool,
}

/// A good one, of a node, reader or tenant.
pub fn paper(name: &str) -> Paper {
    Paper {
        names: vec![format!("spiffe://c1/{name}")],
        usage: ExtendedKeyUsagePurpose::ClientAuth,
        days: -1..30,
        serial: 7,
        is_ca: false,
    }
}

/// An authority.
pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "a test's authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate and its key.
    pub fn sign(&self, paper: &Paper) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (params(paper).signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A certificate over a given key.
    pub fn sign_key(&self, params: &CertificateParams, key: &KeyPair) -> String {
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    fn crl(&self, serials: &[u64]) -> String {
        let now = OffsetDateTime::now_utc();
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now - DAY,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now - DAY,
            next_update: now + DAY,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

pub fn params(paper: &Paper) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "somebody");
    params.serial_number = Some(SerialNumber::from(paper.serial));
    params.extended_key_usages = vec![paper.usage.clone()];
    if paper.is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params.use_authority_key_identifier_extension = true;
    let now = OffsetDateTime::now_utc();
    (params.not_before, params.not_after) = (now + DAY * paper.days.start, now + DAY * paper.days.end);
    for name in &paper.names {
        params.subject_alt_names.push(match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::URI(name.as_str().try_into().unwrap()),
        });
    }
    params
}

/// The site; its server is killed when it goes.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub authority: Authority,
    pub port: u16,
    pub child: Child,
}

impl Site {
    /// A server with these lines more under `[network]`, and these before it.
    pub fn start(before: &str, network: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let authority = Authority::new();
        let port = free_port();
        let at = |name: &str| format!("{:?}", dir.path().join(name).display().to_string());
        let uid = geteuid();
        fs::write(
            dir.path().join("server.toml"),
            format!(
                "ledger = {}\ningest_socket = {}\napi_socket = {}\ningest_uids = [{uid}]\nreader_uids = [{uid}]\n\
                 {before}\n[network]\nlisten = ['127.0.0.1:{port}']\ncluster = 'c1'\nca = {}\ncertificate = {}\n\
                 key = {}\ncrl = {}\n{network}\n",
                at("ledger.sqlite"), at("ingest.sock"), at("api.sock"), at("ca.pem"), at("server.pem"),
                at("server.key"), at("crl.pem"),
            ),
        )
        .unwrap();
        fs::write(dir.path().join("ca.pem"), &authority.pem).unwrap();
        fs::write(dir.path().join("crl.pem"), authority.crl(&[])).unwrap();
        write_pair(dir.path(), "server", &authority.sign(&server_paper(1)));
        let child = spawn_ready(dir.path());
        Self { dir, authority, port, child }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Killed without warning, and started again on the same address.
    pub fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn_ready(self.dir.path());
    }

    /// What this serial number's holder is from now on.
    pub fn revoke(&self, serials: &[u64]) {
        self.replace("crl.pem", &self.authority.crl(serials));
    }

    /// Puts a file in another's place, as a careful tool does.
    pub fn replace(&self, name: &str, text: &str) {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    /// The files of a certificate that this site's authority, or another's, signed.
    pub fn files(&self, name: &str, pair: &(String, String)) -> Files {
        write_pair(self.dir.path(), name, pair);
        Files {
            ca: self.path("ca.pem"),
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
            crl: None,
        }
    }

    /// A way to the server with a certificate.
    pub fn client(&self, name: &str, paper: &Paper) -> Client {
        self.client_with(self.files(name, &self.authority.sign(paper)))
    }

    pub fn server(&self, files: Files) -> Server {
        let Files { ca, certificate, key, .. } = files;
        let settings = Settings {
            server_url: Some(format!("https://127.0.0.1:{}", self.port).parse().unwrap()),
            ca: Some(ca),
            certificate: Some(certificate),
            key: Some(key),
        };
        settings.server(PathBuf::new()).unwrap()
    }

    pub fn client_with(&self, files: Files) -> Client {
        Client::new(self.server(files)).unwrap()
    }

    /// By the local socket, as the administrator.
    pub async fn ask_locally(&self, path: &str) -> Reply {
        let client = Client::new(Server::Socket(self.path("api.sock"))).unwrap();
        get(&client, path).await.unwrap()
    }

    /// One figure of the server's `/metrics`.
    pub async fn figure(&self, name: &str) -> u64 {
        let text = String::from_utf8(self.ask_locally("/metrics").await.body).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    /// The refusals that are written down.
    pub async fn refusals(&self) -> Vec<AuditEvent> {
        let ledger = Ledger::open(&self.path("ledger.sqlite")).await.unwrap();
        let mut events = ledger.audit_events(1000).await.unwrap();
        events.retain(|event| event.kind == AuditKind::Refused);
        events
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn server_paper(serial: u64) -> Paper {
    let names = vec!["127.0.0.1".to_owned(), "spiffe://c1/server/meter".to_owned()];
    Paper { names, usage: ExtendedKeyUsagePurpose::ServerAuth, serial, ..paper("server/meter") }
}

pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

pub fn write_pair(dir: &Path, name: &str, (certificate, key): &(String, String)) {
    for (end, text, mode) in [("pem", certificate, 0o644), ("key", key, 0o600)] {
        let file = dir.join(format!("{name}.{end}"));
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    }
}

pub fn command(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenantry-server"));
    command.arg("--config").arg(dir.join("server.toml")).env_remove("NOTIFY_SOCKET");
    command
}

/// Starts the server and waits for its READY=1, as systemd would.
pub fn spawn_ready(dir: &Path) -> Child {
    let notify = dir.join("notify.sock");
    let _ = fs::remove_file(&notify);
    let manager = UnixDatagram::bind(&notify).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let log = fs::OpenOptions::new().create(true).append(true).open(dir.join("server.log")).unwrap();
    let child = command(dir).env("NOTIFY_SOCKET", &notify).stderr(log).stdin(Stdio::null()).spawn().unwrap();
    let mut said = [0; 64];
    loop {
        match manager.recv(&mut said) {
            // Another test's child has ended.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(len) => {
                assert_eq!(said[..len].trim_ascii_end(), b"READY=1");
                return child;
            }
            Err(error) => panic!("{error}: {}", fs::read_to_string(dir.join("server.log")).unwrap()),
        }
    }
}

pub async fn get(client: &Client, path: &str) -> Result<Reply, ClientError> {
    ask(client, Method::GET, path).await
}

pub async fn ask(client: &Client, method: Method, path: &str) -> Result<Reply, ClientError> {
    client.request(method, path, &[], Vec::new(), Duration::from_secs(30)).await
}

pub async fn send(client: &Client, block: Vec<u8>) -> Result<Reply, ClientError> {
    let headers = [("x-correlation-id", "test-7")];
    client.request(Method::POST, "/v1/blocks", &headers, block, Duration::from_secs(30)).await
}

pub fn body(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

pub fn end(node: &str, job: u64, tenant: &str, cpu: u64) -> Value {
    let began = json!({"wall": "2026-11-22T10:00:00Z", "boottime_usec": 1_000});
    let ended = json!({"wall": "2026-11-22T10:00:05Z", "boottime_usec": 5_001_000});
    json!({
        "registration": {
            "incarnation": {
                "cluster": "c1", "node": node, "boot_id": BOOT, "job_id": job, "began": "2026-11-22T10:00:00Z"
            },
            "restart_count": null, "sluid": null, "uid": 1001, "gid": 1001, "user": null, "account": "acme",
            "partition": null, "allocated_cpus": 2, "scope": "system.slice/slurmstepd.scope", "began": began,
            "placement": {"kind": "grafted", "tenant": tenant, "leaf": "x", "mounts": []}
        },
        "allocation": null,
        "reading": {"at": ended, "counters": {"cpu_usage_usec": cpu}},
        "ended": ended,
        "quality": "exact"
    })
}

pub fn contents(ends: &[Value]) -> Contents {
    let ends = ends.iter().map(|end| serde_json::from_value(end.clone()).unwrap()).collect();
    Contents { ends, ..Contents::default() }
}

pub fn moment() -> Moment {
    Moment { wall: "2026-11-22T10:01:00Z".parse().unwrap(), boottime_usec: Usec(60_000_000) }
}

pub fn block(node: &str, sequence: u64, ends: &[Value]) -> Vec<u8> {
    let key = BlockKey { node: node.parse().unwrap(), boot_id: BOOT.parse().unwrap(), sequence };
    let block = Block { key, previous: BlockHash::default(), closed: moment(), contents: contents(ends) };
    Sealed::new(&block, &NodeKey::from_seed(&[1; 32])).unwrap().bytes().to_vec()
}
