// A test's helpers are tests too.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tenantry_model::{Role, WallTime};
use tenantry_tls::Files;

use super::authority::{Authority, files_of};
use super::{PkiError, State, life};

const DAY: i64 = 86_400_000_000;

fn day(n: i64) -> WallTime {
    WallTime::from_unix_usec(1_795_000_000_000_000 + n * DAY).unwrap()
}

fn role(text: &str) -> Role {
    text.parse().unwrap()
}

#[test]
fn an_authority_is_made_once_and_only_its_owner_reads_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = "c1".parse().unwrap();
    assert!(matches!(Authority::open(dir.path()), Err(PkiError::NoAuthority(_))));
    Authority::init(dir.path(), &cluster, life(3650), day(0)).unwrap();
    let key = fs::read(dir.path().join("ca.key")).unwrap();
    assert_eq!(fs::metadata(dir.path().join("ca.key")).unwrap().permissions().mode() & 0o777, 0o600);
    let again = Authority::init(dir.path(), &cluster, life(3650), day(1));
    assert!(matches!(again, Err(PkiError::AuthorityExists(_))));
    assert_eq!(fs::read(dir.path().join("ca.key")).unwrap(), key);
}

#[test]
fn a_certificate_names_whom_it_was_made_for_and_is_renewed_before_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = "c1".parse().unwrap();
    Authority::init(dir.path(), &cluster, life(3650), day(0)).unwrap();
    let mut authority = Authority::open(dir.path()).unwrap();
    for name in ["node/n1", "reader/billing", "tenant/acme/physics"] {
        let issued = authority.issue(&role(name), Vec::new(), life(90), day(0)).unwrap();
        let (certificate, key) = files_of(dir.path(), &role(name));
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        let files =
            Files { ca: dir.path().join("ca.pem"), certificate, key, crl: Some(dir.path().join("crl.pem")) };
        let own = files.read().unwrap().own;
        assert_eq!(own.identity(&cluster).unwrap().to_string(), format!("spiffe://c1/{name}"));
        assert_eq!((own.serial, own.not_after), (issued.serial, issued.not_after));
    }
    let taken = authority.issue(&role("node/n1"), Vec::new(), life(90), day(1));
    assert!(matches!(taken, Err(PkiError::NameTaken(..))));
    assert_eq!(authority.due(day(50)), []);
    assert_eq!(authority.due(day(70)).len(), 3, "less than a third of 90 days");
    authority.renew(&role("node/n1"), life(90), day(70)).unwrap();
    assert_eq!(authority.due(day(70)), ["reader/billing", "tenant/acme/physics"].map(role));
    assert!(matches!(authority.renew(&role("node/n2"), life(90), day(70)), Err(PkiError::Unknown(_))));
}

#[test]
fn what_is_revoked_is_revoked_for_all_its_certificates_and_is_not_renewed() {
    let dir = tempfile::tempdir().unwrap();
    Authority::init(dir.path(), &"c1".parse().unwrap(), life(3650), day(0)).unwrap();
    let mut authority = Authority::open(dir.path()).unwrap();
    authority.issue(&role("node/n1"), Vec::new(), life(90), day(0)).unwrap();
    authority.renew(&role("node/n1"), life(90), day(1)).unwrap();
    let before = fs::read(dir.path().join("crl.pem")).unwrap();
    assert_eq!(authority.revoke("node/n1", day(2)).unwrap().len(), 2);
    assert_ne!(fs::read(dir.path().join("crl.pem")).unwrap(), before);
    assert!(matches!(authority.revoke("node/n1", day(2)), Err(PkiError::Unknown(_))), "once");
    assert!(matches!(authority.renew(&role("node/n1"), life(90), day(2)), Err(PkiError::Unknown(_))));
    let again = authority.issue(&role("node/n1"), Vec::new(), life(90), day(2)).unwrap();
    assert_eq!(again.state(day(2)), State::Good);
}

#[test]
fn a_servers_names_are_hosts_or_addresses() {
    let dir = tempfile::tempdir().unwrap();
    Authority::init(dir.path(), &"c1".parse().unwrap(), Duration::from_hours(24), day(0)).unwrap();
    let mut authority = Authority::open(dir.path()).unwrap();
    let names = ["meter.example", "192.0.2.7", "2001:db8::1"].map(str::to_owned).to_vec();
    assert!(authority.issue(&role("server/meter.example"), names, life(1), day(0)).is_ok());
    for name in ["a b", "http://x", "", "a/b"] {
        let refused = authority.issue(&role("server/other"), vec![name.to_owned()], life(1), day(0));
        assert!(matches!(refused, Err(PkiError::Name { .. })), "{name:?}");
    }
}
