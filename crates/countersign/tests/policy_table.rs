//! Cases AZ-27 to AZ-33 of the acceptance table: a policy behind real sockets, and in a file that
//! changes.

#[path = "support/reached.rs"]
mod support;

use std::path::Path;

use countersign::authorization::{Policy, PolicyError, PolicyFile};
use countersign::{ChannelCredentials, Gate, ServerCredentials, connect};
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{Greeter, GreeterClient};
use countersign_testkit::pki::CertificateAuthority;
use countersign_testkit::wait::until;
use support::{Reached, behind_tls, identity, serve, trusting};
use tonic::Code;
use tonic::service::Routes;
use tower_layer::Layer;

const ALLOW: &str = r#"{"name":"allow","allow_rules":[{"name":"all","request":{"paths":["*"]}}]}"#;
const DENY: &str = r#"{"name":"deny","allow_rules":[{"name":"all"}],
    "deny_rules":[{"name":"none","request":{"paths":["*"]}}]}"#;

fn gate(text: &str) -> Gate {
    let policy = Policy::from_json(text).expect("a policy");
    Gate::builder().authorize(policy).build().expect("a gate")
}

fn hello() -> HelloRequest {
    HelloRequest { name: "you".to_owned() }
}

#[tokio::test]
async fn a_policy_is_asked_over_a_unix_socket_too() {
    for (id, text, passes) in [("AZ-27", ALLOW, true), ("AZ-27, denied", DENY, false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("greeter.sock");
        let reached = Reached::default();
        let incoming = ServerCredentials::local().bind_unix(&path).expect("bound");
        let routes = Routes::new(Greeter.service());
        let _server = serve(incoming, gate(text).layer(reached.layer(routes)));
        let target = format!("unix:{}", path.display());
        let channel = connect(target, ChannelCredentials::local()).await.expect("connected");
        let told = GreeterClient::new(channel).say_hello(hello()).await;
        // Nobody in particular asks, so what is missing is a credential.
        let code = told.map_or_else(|status| status.code(), |_| Code::Ok);
        let expected = if passes { Code::Ok } else { Code::Unauthenticated };
        assert_eq!((code, reached.count()), (expected, usize::from(passes)), "{id}");
    }
}

/// Our server never asks for a certificate without looking at its chain, so AZ-28 ends earlier:
/// there is no connection over which its names could count.
#[tokio::test]
async fn a_certificate_that_nobody_verified_is_nobody() {
    let (ca, other) = (CertificateAuthority::new("ours"), CertificateAuthority::new("theirs"));
    let by_name = r#"{"name":"p","allow_rules":[
        {"name":"web","source":{"principals":["spiffe://test/web"]}}]}"#;
    let (server, reached) = behind_tls(&ca, &gate(by_name)).await;
    for (id, signed_by, passes) in [("AZ-28", &other, false), ("AZ-28, verified", &ca, true)] {
        let before = reached.count();
        let showing = trusting(&ca).identity(identity(&signed_by.client(&["spiffe://test/web"])));
        let connected = connect(server.https("localhost"), ChannelCredentials::tls(showing)).await;
        let passed = match connected {
            Ok(channel) => GreeterClient::new(channel).say_hello(hello()).await.is_ok(),
            Err(_) => false,
        };
        assert_eq!((passed, reached.count() - before), (passes, usize::from(passes)), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watched_file_is_followed_while_it_is_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.json");
    std::fs::write(&path, DENY).expect("written");
    let file = PolicyFile::open(&path).expect("a policy");
    let _watching = file.watch();
    for (id, text, holds, replaced, is_good) in [
        ("AZ-29", ALLOW, "allow", 1, true),
        ("AZ-32, the same again", ALLOW, "allow", 1, true),
        ("AZ-30", "{}", "allow", 1, false),
        ("AZ-33, left in place", "{}", "allow", 1, false),
        ("AZ-30, mended", DENY, "deny", 2, true),
        ("AZ-32, the next", ALLOW, "allow", 3, true),
    ] {
        std::fs::write(&path, text).expect("written");
        let state = || {
            let report = file.report();
            (file.current().name().to_owned(), report.replaced, report.problem.is_none())
        };
        let expected = (holds.to_owned(), replaced, is_good);
        until(id, || state() == expected).await;
        // And so it stays.
        tokio::time::sleep(PolicyFile::POLL * 3).await;
        assert_eq!(state(), expected, "{id}");
    }
}

/// The interval cannot be 0: it is not the caller's.
#[test]
fn a_file_without_a_policy_is_none_to_begin_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.json");
    std::fs::write(&path, "{}").expect("written");
    let error = PolicyFile::open(&path).expect_err("AZ-31, invalid");
    assert!(matches!(error, PolicyError::Invalid { .. }), "AZ-31: {error:?}");
    let error = PolicyFile::open(Path::new("")).expect_err("AZ-31, no path");
    assert!(matches!(error, PolicyError::Read { .. }), "AZ-31: {error:?}");
    assert!(!PolicyFile::POLL.is_zero(), "AZ-31, interval");
}
