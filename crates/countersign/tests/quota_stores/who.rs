//! Who we are to the server, and who it is to us.

use std::error::Error;

use countersign::quota::store::{QuotaStoreError, QuotaStoreErrorKind};
use countersign::{ClientTls, RootCertificates};
use countersign_testkit::logs::Logs;
use countersign_testkit::pki::CertificateAuthority;

use super::*;

async fn told(store: &ValkeyStore) -> Result<bool, QuotaStoreError> {
    store.take(&[of("alice", 10)]).await.map(|said| said[0].allowed)
}

async fn refused(store: &ValkeyStore, clause: &str) {
    let error = told(store).await.expect_err(clause);
    assert_eq!(error.kind(), QuotaStoreErrorKind::NotAllowed, "{error}");
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    assert!(text.contains(clause) && !text.contains("hunter"), "{text} {error:?}");
}

#[tokio::test]
async fn a_password_is_asked_for_and_the_wrong_one_is_said_to_be_wrong() {
    let server = Server::start(&["--requirepass", "hunter2"]).await;
    let store = || at(&server.over_tcp("localhost"));
    assert!(told(&store().with_user("", "hunter2".to_owned())).await.expect("an answer"));
    assert!(told(&store().with_user("default", "hunter2".to_owned())).await.expect("an answer"));
    refused(&store(), "asks for a user and a password").await;
    for (user, password) in [("", "hunter3"), ("default", "hunter3"), ("nobody", "hunter2")] {
        let store = store().with_user(user, password.to_owned());
        refused(&store, "does not accept the user or the password").await;
    }
    let second = at(&format!("{}/2", server.over_tcp("localhost")));
    assert!(told(&second.with_user("", "hunter2".to_owned())).await.expect("an answer"));
}

#[tokio::test]
async fn the_rights_that_are_documented_are_enough_and_none_is_too_many() {
    const RIGHTS: [&str; 5] = ["+evalsha", "+eval", "+time", "+get", "+set"];
    let server = Server::start(&[]).await;
    let store =
        |user: &str| at(&server.over_tcp("localhost")).with_user(user, "hunter2".to_owned());
    let grant = |user: &str, keys: &str, rights: &[&str]| {
        let start = ["ACL", "SETUSER", user, "on", ">hunter2", "resetkeys", keys, "nocommands"];
        assert_eq!(server.ask(&[&start[..], rights].concat()), "OK");
    };
    grant("gate", "~{countersign}:*", &RIGHTS);
    assert!(told(&store("gate")).await.expect("an answer"));
    grant("elsewhere", "~{orders}:*", &RIGHTS);
    refused(&store("elsewhere"), "may not do what is needed").await;
    for left_out in RIGHTS {
        let rights: Vec<&str> = RIGHTS.into_iter().filter(|right| *right != left_out).collect();
        let user = format!("without{left_out}");
        grant(&user, "~{countersign}:*", &rights);
        server.ask(&["DEL", "{countersign}:caller=alice"]);
        server.ask(&["SCRIPT", "FLUSH"]);
        refused(&store(&user), "may not do what is needed").await;
    }
}

#[tokio::test]
async fn a_refusal_is_told_without_the_password() {
    let logs = Logs::collect();
    let server = Server::start(&["--requirepass", "hunter2"]).await;
    let store = at(&server.over_tcp("localhost")).with_user("", "hunter3".to_owned());
    let verdict = gate(store, WhenDown::Refuse).take(&[of("alice", 10)]).await;
    assert!(!verdict.is_allowed());
    let warnings = logs.lines_with("does not accept the user or the password");
    assert_eq!(warnings.len(), 1, "{}", logs.text());
    assert!(!logs.text().contains("hunter"), "{}", logs.text());
}

#[tokio::test]
async fn over_tls_the_server_is_who_it_says_or_nobody() {
    let (ca, other) = (CertificateAuthority::new("one"), CertificateAuthority::new("other"));
    let server = Server::start_with_tls(&ca, &ca.server(&["localhost"])).await;
    let trusting = |ca: &CertificateAuthority| {
        ClientTls::only_roots(RootCertificates::from_pem(ca.certificate_pem()))
    };
    let open = |host: &str, tls: &ClientTls| {
        ValkeyStore::with_tls(&server.over_tcp(host), tls).expect("an address")
    };
    assert!(told(&open("localhost", &trusting(&ca))).await.expect("an answer"));
    refused(&open("localhost", &trusting(&other)), "no TLS with the quota store").await;
    refused(&open("127.0.0.1", &trusting(&ca)), "no TLS with the quota store").await;
    let named = trusting(&ca).verified_name("localhost");
    assert!(told(&open("127.0.0.1", &named)).await.expect("the name that was said"));

    let plain = format!("valkey://{}", server.address());
    told(&at(&plain)).await.expect_err("it speaks TLS");
    ValkeyStore::with_tls(&plain, &trusting(&ca)).expect_err("an address for no TLS");
}
