use std::sync::Arc;

use countersign::authentication::{Anonymous, all_of, any_of};
use countersign::{
    Authenticator, Channel, ChannelCredentials, Gate, GateBuilder, MutualTls, Rules, StaticTokens,
    connect,
};
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{GreeterClient, SAY_HELLO};
use countersign_testkit::pki::CertificateAuthority;

use super::support::{Served, behind_tls, identity, keep_logs_awake, reason_of, trusting};

const BEARER: &str = "Bearer correct-horse-battery-staple";
const BAD: &str = "Bearer correct-horse-battery-stable";

fn tokens() -> Arc<dyn Authenticator> {
    Arc::new(StaticTokens::new().with_token("ci", &BEARER["Bearer ".len()..]))
}

fn certificates() -> Arc<dyn Authenticator> {
    Arc::new(MutualTls::new())
}

async fn behind(ca: &CertificateAuthority, gate: GateBuilder, rules: Rules) -> Served {
    keep_logs_awake();
    let gate = gate.authorize(rules).build().expect("a gate");
    behind_tls(ca, &gate).await.0
}

async fn told(channel: &Channel, token: Option<&str>) -> String {
    let mut request = tonic::Request::new(HelloRequest { name: "you".to_owned() });
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", token.parse().expect("ASCII"));
    }
    match GreeterClient::new(channel.clone()).say_hello(request).await {
        Ok(reply) => reply.into_inner().principal,
        Err(status) => format!("{:?} {}", status.code(), reason_of(&status)),
    }
}

#[tokio::test]
async fn a_certificate_and_a_token_together_are_asked_for_in_several_ways() {
    let ca = CertificateAuthority::new("test CA");
    let showing = trusting(&ca).identity(identity(&ca.client(&["spiffe://test/alice"])));
    let both = || Gate::builder().authenticate(tokens()).authenticate(certificates());
    let missing = "Unauthenticated CREDENTIALS_MISSING";
    let invalid = "Unauthenticated TOKEN_INVALID";
    let denied = "PermissionDenied POLICY_DENIED";
    for (name, gate, rules, whole, token_alone, certificate_alone) in [
        (
            "one name for both",
            Gate::builder().authenticate(all_of("both", [tokens(), certificates()])),
            Rules::new().authenticated_by(SAY_HELLO, ["both"]),
            "ci",
            missing,
            missing,
        ),
        (
            "named after the other",
            Gate::builder().authenticate(all_of("both", [certificates(), tokens()])),
            Rules::new().authenticated(SAY_HELLO),
            "spiffe://test/alice",
            missing,
            missing,
        ),
        (
            "a rule for both",
            both(),
            Rules::new().authenticated_by_all(SAY_HELLO, ["static-tokens", "mutual-tls"]),
            "ci",
            denied,
            denied,
        ),
        (
            "one of them",
            Gate::builder().authenticate(any_of("any", [tokens(), certificates()])),
            Rules::new().authenticated_by(SAY_HELLO, ["any"]),
            "ci",
            "ci",
            "spiffe://test/alice",
        ),
    ] {
        let server = behind(&ca, gate, rules).await;
        let connect = async |tls| {
            let credentials = ChannelCredentials::tls(tls);
            connect(server.https("localhost"), credentials).await.expect("connected")
        };
        let with = connect(showing.clone()).await;
        let without = connect(trusting(&ca)).await;
        // Twice: the second time it may be remembered.
        for _ in 0..2 {
            assert_eq!(told(&with, Some(BEARER)).await, whole, "{name}");
            assert_eq!(told(&without, Some(BEARER)).await, token_alone, "{name}: token");
            assert_eq!(told(&with, None).await, certificate_alone, "{name}: certificate");
            assert_eq!(told(&with, Some(BAD)).await, invalid, "{name}: bad token");
            assert_eq!(told(&without, None).await, missing, "{name}: nothing");
        }
    }
}

#[tokio::test]
async fn anonymous_is_let_in_where_a_rule_says_so_and_is_nobody_elsewhere() {
    let ca = CertificateAuthority::new("test CA");
    let missing = "Unauthenticated CREDENTIALS_MISSING";
    for (name, rules, nobody) in [
        ("optional", Rules::new().optional(SAY_HELLO), "anonymous"),
        ("by name", Rules::new().authenticated_by(SAY_HELLO, [Anonymous::NAME]), "anonymous"),
        ("authenticated", Rules::new().authenticated(SAY_HELLO), missing),
        ("denied", Rules::new().denied(SAY_HELLO), missing),
        ("no rule", Rules::new(), missing),
    ] {
        let gate = Gate::builder().authenticate(tokens()).authenticate(Anonymous);
        let server = behind(&ca, gate, rules).await;
        let credentials = ChannelCredentials::tls(trusting(&ca));
        let channel = connect(server.https("localhost"), credentials).await.expect("connected");
        for _ in 0..2 {
            assert_eq!(told(&channel, None).await, nobody, "{name}");
            let bad = told(&channel, Some(BAD)).await;
            assert_eq!(bad, "Unauthenticated TOKEN_INVALID", "{name}: never falls through");
            let odd = told(&channel, Some("Basic Y2k6Y2k=")).await;
            assert_eq!(odd, "Unauthenticated CREDENTIALS_MALFORMED", "{name}");
        }
    }
}
