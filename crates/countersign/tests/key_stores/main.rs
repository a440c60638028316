//! The stores of API keys behind features, each through the suite that all stores pass, and what
//! is special about each. Needs PostgreSQL on this machine: `.ci/run stores` runs it.

#[path = "../support/ports.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod ports;
mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use countersign::authentication::api_keys::{
    ApiKeys, KeyChange, KeyIssuer, KeyStore, KeyStoreErrorKind, KeyUse, NewKey, PostgresKeys,
    SqliteKeys,
};
use countersign::authentication::{Authenticator, CallEvidence, Evidence};
use countersign::identity::PeerIdentity;
use countersign::{ClientTls, RootCertificates};
use countersign_testkit::clock::ManualClock;
use countersign_testkit::key_store::{conforms, issue};
use countersign_testkit::logs::Logs;
use countersign_testkit::pki::CertificateAuthority;
use countersign_testkit::wait::until;
use server::Server;

/// What the authenticator makes of a key: the owner, or the reason.
async fn told(keys: &ApiKeys, key: &str) -> String {
    let peer = PeerIdentity::unknown();
    match keys.authenticate(&Evidence::new(&peer, CallEvidence::ApiKey(key))).await {
        Ok(Some(caller)) => caller.principal().name().to_owned(),
        Ok(None) => "nothing".to_owned(),
        Err(error) => error.reason().to_string(),
    }
}

/// Another handle revokes a key; the first one's authenticator refuses it before anything cached
/// could have ended, since its clock stands still.
async fn a_revocation_elsewhere_is_heard_of(here: impl KeyStore, elsewhere: impl KeyStore) {
    let clock = ManualClock::new(UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    let issuer = KeyIssuer::new(elsewhere).with_clock(clock.clone());
    let lost = issuer.create(NewKey::new("ci").scope("read")).await.expect("a key");
    let kept = issuer.create(NewKey::new("cd").scope("read")).await.expect("a key");
    let keys = ApiKeys::builder(here).clock(clock).build();
    let maintenance = tokio::spawn(keys.maintenance());
    for (issued, owner) in [(&lost, "ci"), (&kept, "cd")] {
        assert_eq!(told(&keys, issued.key().expose()).await, owner);
    }
    let peer = PeerIdentity::unknown();
    let evidence = Evidence::new(&peer, CallEvidence::ApiKey(lost.key().expose()));
    let caller = keys.authenticate(&evidence).await.expect("accepted").expect("a caller");
    let lease = caller.lease().expect("leased").clone();

    issuer.revoke(&lost.record().id, "lost").await.expect("revoked");
    until("the lease ends", || !lease.is_current()).await;
    // The lease may have ended by the beginning of the watch; the revocation follows.
    let mut outcome = told(&keys, lost.key().expose()).await;
    for _ in 0..1_000 {
        if outcome == "CREDENTIALS_REVOKED" {
            break;
        }
        tokio::task::spawn_blocking(|| std::thread::park_timeout(Duration::from_millis(10)))
            .await
            .expect("a pause");
        outcome = told(&keys, lost.key().expose()).await;
    }
    assert_eq!(outcome, "CREDENTIALS_REVOKED");
    assert_eq!(told(&keys, kept.key().expose()).await, "cd");
    drop(keys);
    maintenance.await.expect("ends with the last handle");
}

mod sqlite {
    use super::*;

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("keys.db")
    }

    fn open(folder: &tempfile::TempDir) -> SqliteKeys {
        SqliteKeys::open(path(folder)).expect("a database")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn conforms_to_what_is_asked_of_a_store() {
        let folder = tempfile::tempdir().expect("a folder");
        conforms(|| async { Arc::new(open(&folder)) as Arc<dyn KeyStore> }).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_revocation_by_another_process_is_heard_of() {
        let folder = tempfile::tempdir().expect("a folder");
        a_revocation_elsewhere_is_heard_of(open(&folder), open(&folder)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn that_nothing_can_be_watched_is_told_once_and_so_is_that_it_is_over() {
        let logs = Logs::collect();
        let folder = tempfile::tempdir().expect("a folder");
        let mut changes = open(&folder).watch().expect("it can be watched");
        std::fs::remove_file(path(&folder)).expect("removed");
        let minute = Duration::from_secs(60);
        tokio::time::timeout(minute, changes.next()).await.expect_err("nothing to be heard");
        assert_eq!(logs.lines_with("whether API keys changed").len(), 1, "{}", logs.text());
        let _again = open(&folder);
        let change = tokio::time::timeout(minute, changes.next()).await.expect("it is seen");
        assert_eq!(change, Some(KeyChange::Any));
        tokio::time::timeout(minute, changes.next()).await.expect_err("nothing changes");
        assert_eq!(logs.lines_with("can be seen again").len(), 1, "{}", logs.text());
        assert_eq!(logs.lines_with("whether API keys changed").len(), 1, "{}", logs.text());
    }

    #[tokio::test]
    async fn only_the_owner_can_read_its_files() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        let record = issue(NewKey::new("ci").scope("read")).await.record().clone();
        store.insert(record).await.expect("inserted");
        for entry in std::fs::read_dir(folder.path()).expect("a folder") {
            let entry = entry.expect("an entry");
            let mode = entry.metadata().expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
        }
    }

    #[test]
    fn what_is_no_such_database_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(path(&folder), "hunter2".repeat(1_000)).expect("written");
        let error = SqliteKeys::open(path(&folder)).expect_err("a text");
        assert_eq!(error.kind(), KeyStoreErrorKind::Unavailable);
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        SqliteKeys::open(folder.path().join("no/such/folder")).expect_err("no folder");
    }

    #[test]
    fn a_database_of_a_later_form_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(open(&folder));
        let path = path(&folder);
        // `user_version` stands at byte 60 of the file (SQLite's file format §1.3).
        let mut bytes = std::fs::read(&path).expect("read");
        assert_eq!(bytes[60..64], 1_u32.to_be_bytes());
        bytes[60..64].copy_from_slice(&2_u32.to_be_bytes());
        std::fs::write(&path, bytes).expect("written");
        let error = SqliteKeys::open(&path).expect_err("a later form");
        assert!(error.to_string().contains("has the form 2"), "{error}");
    }
}

mod postgres {
    use super::*;

    async fn open(address: &str) -> PostgresKeys {
        let store = PostgresKeys::at(address).expect("an address");
        store.prepare().await.expect("tables");
        store
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn conforms_to_what_is_asked_of_a_store() {
        let server = Server::start(None).await;
        let address = server.address();
        conforms(|| async { Arc::new(open(&address).await) as Arc<dyn KeyStore> }).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_revocation_by_another_gateway_is_heard_of_and_so_is_the_way_back() {
        let mut server = Server::start(None).await;
        let address = server.address();
        let store = open(&address).await;
        a_revocation_elsewhere_is_heard_of(store.clone(), open(&address).await).await;

        let mut changes = store.watch().expect("it can be watched");
        assert_eq!(changes.next().await, Some(KeyChange::Any), "from here on");
        let record = issue(NewKey::new("ci").scope("read")).await.record().clone();
        store.insert(record.clone()).await.expect("inserted");
        assert_eq!(changes.next().await, Some(KeyChange::Key(record.id)));

        server.stop();
        let error = store.get(&record.id).await.expect_err("nobody is there");
        assert_eq!(error.kind(), KeyStoreErrorKind::Unavailable);
        let down = ApiKeys::from_store(store.clone());
        let key = issue(NewKey::new("ci").scope("read")).await.key().expose().clone();
        assert_eq!(told(&down, &key).await, "VERIFIER_UNAVAILABLE");

        server.start_again().await;
        assert_eq!(store.get(&record.id).await.expect("read"), Some(record.clone()));
        assert_eq!(changes.next().await, Some(KeyChange::Any), "it is back");
        let uses = [KeyUse { id: record.id, at: UNIX_EPOCH }];
        store.note_uses(&uses).await.expect("noted");
        store.update(record.clone()).await.expect("updated");
        assert_eq!(changes.next().await, Some(KeyChange::Key(record.id)), "and not the use");
        assert_eq!(told(&down, &key).await, "TOKEN_INVALID");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn over_tls_the_database_is_who_it_says_or_nobody() {
        let (ca, other) = (CertificateAuthority::new("one"), CertificateAuthority::new("other"));
        let server = Server::start(Some(&ca.server(&["localhost"]))).await;
        let trusting = |ca: &CertificateAuthority| {
            ClientTls::only_roots(RootCertificates::from_pem(ca.certificate_pem()))
        };
        let open = |host: &str, tls: &ClientTls| {
            PostgresKeys::with_tls(&server.over_tcp(host), tls).expect("an address")
        };
        let store = open("localhost", &trusting(&ca));
        store.prepare().await.expect("tables");
        assert_eq!(store.list(None, 1).await.expect("listed"), []);
        let mut changes = store.watch().expect("it can be watched");
        assert_eq!(changes.next().await, Some(KeyChange::Any), "watched over TLS too");

        open("localhost", &trusting(&other)).prepare().await.expect_err("another authority");
        open("127.0.0.1", &trusting(&ca)).prepare().await.expect_err("another name");
        let named = trusting(&ca).verified_name("localhost");
        open("127.0.0.1", &named).prepare().await.expect("the name that was said");
    }

    #[tokio::test]
    async fn a_database_without_tls_is_not_spoken_to_where_tls_is_asked_for() {
        let ca = CertificateAuthority::new("one");
        let server = Server::start(None).await;
        let address = server.over_tcp("localhost");
        let tls = ClientTls::only_roots(RootCertificates::from_pem(ca.certificate_pem()));
        let store = PostgresKeys::with_tls(&address, &tls).expect("an address");
        let error = store.prepare().await.expect_err("it speaks no TLS");
        let cause = format!("{:?}", std::error::Error::source(&error));
        assert!(cause.contains("does not support TLS"), "{cause}");
        open(&address).await.list(None, 1).await.expect("on this machine it need not");
    }
}
