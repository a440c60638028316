//! Tokens beside other ways to prove a caller: a bad one never falls through to the next.

use countersign::{Channel, Gate, Jwt, MutualTls, Rules, StaticTokens};
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{GREETER, GreeterClient, SAY_HELLO};
use countersign_testkit::issuer::{TestIssuer, TokenMint};
use countersign_testkit::pki::CertificateAuthority;
use serde_json::{Value, json};

use crate::stage::{
    AUDIENCE, INVALID, ISSUER, SAY_HELLO_STREAM, Told, UNAVAILABLE, alice, alice_of, at_noon,
    behind, build, given, greet, noon,
};
use crate::support::{RawClient, behind_tls, channel, identity, trusting};

const OPAQUE: &str = "correct-horse-battery-staple";
const OTHER_OPAQUE: &str = "correct-horse-battery-stable";

/// The same three in two orders: nothing may depend on it.
fn both_orders(jwt: &Jwt, rules: &Rules) -> [(&'static str, Gate); 2] {
    let tokens = || StaticTokens::new().with_token("ci", OPAQUE);
    let first = Gate::builder().authenticate(jwt.clone()).authenticate(tokens());
    let last = Gate::builder().authenticate(MutualTls::new()).authenticate(tokens());
    let builders =
        [("first", first.authenticate(MutualTls::new())), ("last", last.authenticate(jwt.clone()))];
    builders.map(|(name, builder)| {
        (name, builder.authorize(rules.clone()).clock(at_noon()).build().expect("a gate"))
    })
}

/// As whom the handler knows the caller, or what the caller is told.
async fn told(channel: &Channel, token: Option<&str>) -> String {
    let mut request = tonic::Request::new(HelloRequest { name: "you".to_owned() });
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().expect("ASCII");
        request.metadata_mut().insert("authorization", value);
    }
    match GreeterClient::new(channel.clone()).say_hello(request).await {
        Ok(reply) => reply.into_inner().principal,
        Err(status) => Told::status(&status).short(),
    }
}

#[tokio::test]
async fn a_bad_token_is_refused_whatever_else_would_prove_its_caller() {
    let ca = CertificateAuthority::new("test CA");
    let workload = ca.client(&["spiffe://test/workload"]);
    let mint = TokenMint::new(ISSUER);
    let jwt = build(Jwt::builder().issuer(given(&mint)).clock(at_noon()));
    let changed = |name: &str, value: Value| {
        let mut claims = alice(&mint);
        claims[name] = value;
        mint.mint(&claims)
    };
    let rows = [
        ("nothing", None, None),
        ("a good token", Some(mint.mint(&alice(&mint))), Some(alice_of(ISSUER))),
        ("a good opaque one", Some(OPAQUE.to_owned()), Some("ci".to_owned())),
        ("a bad opaque one", Some(OTHER_OPAQUE.to_owned()), Some(INVALID.to_owned())),
        ("forged", Some(mint.token(&alice(&mint)).broken().sign()), Some(INVALID.to_owned())),
        (
            "expired",
            Some(changed("exp", json!(1))),
            Some("Unauthenticated TOKEN_EXPIRED".to_owned()),
        ),
        (
            "for another",
            Some(changed("aud", json!("billing"))),
            Some("Unauthenticated TOKEN_AUDIENCE".to_owned()),
        ),
        (
            "of another issuer",
            Some(changed("iss", json!("https://other.example"))),
            Some(INVALID.to_owned()),
        ),
    ];
    let rules = Rules::new().authenticated(GREETER);
    for (order, gate) in both_orders(&jwt, &rules) {
        let (server, _) = behind_tls(&ca, &gate).await;
        let plain = channel(&server, trusting(&ca)).await;
        let known = channel(&server, trusting(&ca).identity(identity(&workload))).await;
        for (name, token, expected) in &rows {
            let nobody = "Unauthenticated CREDENTIALS_MISSING";
            let without = expected.as_deref().unwrap_or(nobody);
            let with = expected.as_deref().unwrap_or("spiffe://test/workload");
            let token = token.as_deref();
            assert_eq!(told(&plain, token).await, without, "{order}: {name}");
            // The certificate proves somebody, and does not make up for the token.
            assert_eq!(told(&known, token).await, with, "{order}: {name}, with a certificate");
        }
    }
}

#[tokio::test]
async fn a_rule_may_ask_for_the_token_and_the_certificate_together() {
    let ca = CertificateAuthority::new("test CA");
    let workload = ca.client(&["spiffe://test/workload"]);
    let mint = TokenMint::new(ISSUER);
    let jwt = build(Jwt::builder().issuer(given(&mint)).clock(at_noon()));
    let rules = Rules::new().authenticated_by_all(GREETER, [Jwt::NAME, MutualTls::NAME]);
    let token = mint.mint(&alice(&mint));
    for (order, gate) in both_orders(&jwt, &rules) {
        let (server, _) = behind_tls(&ca, &gate).await;
        let plain = channel(&server, trusting(&ca)).await;
        let known = channel(&server, trusting(&ca).identity(identity(&workload))).await;
        let denied = "PermissionDenied POLICY_DENIED";
        assert_eq!(told(&known, Some(&token)).await, alice_of(ISSUER), "{order}: both");
        assert_eq!(told(&plain, Some(&token)).await, denied, "{order}: the token alone");
        assert_eq!(told(&known, None).await, denied, "{order}: the certificate alone");
        assert_eq!(told(&known, Some(OPAQUE)).await, denied, "{order}: another token");
    }
}

#[tokio::test]
async fn an_issuer_that_is_down_is_no_matter_for_other_credentials() {
    let mut issuer = TestIssuer::start().await;
    issuer.stop().await;
    let trusted = Jwt::issuer(issuer.url()).audience(AUDIENCE);
    let jwt = build(Jwt::builder().issuer(trusted).clock(at_noon()));
    let claims = issuer.token_mint().claims_at(noon(), "alice", AUDIENCE);
    let token = issuer.mint(&claims);
    for (order, gate) in both_orders(&jwt, &Rules::new().authenticated(GREETER)) {
        let (server, reached) = behind(gate).await;
        let mut client = RawClient::connect(&server).await;
        // It cannot be told, which says more than that the others do not know it.
        assert_eq!(greet(&mut client, &token).await.short(), UNAVAILABLE, "{order}");
        assert_eq!(greet(&mut client, OPAQUE).await.short(), "passes", "{order}");
        assert_eq!(greet(&mut client, OTHER_OPAQUE).await.short(), INVALID, "{order}");
        assert_eq!(reached.count(), 1, "{order}");
    }
}

/// Two verifiers of tokens in one gate, of whom each knows its own issuer.
#[tokio::test]
async fn rules_tell_issuers_apart_by_their_verifiers_names() {
    let [staff, robots] = ["https://staff.example", "https://robots.example"].map(TokenMint::new);
    let named = |name: &str, mint: &TokenMint| {
        build(Jwt::builder().issuer(given(mint)).clock(at_noon()).name(name))
    };
    let rules = Rules::new()
        .authenticated_by(SAY_HELLO, ["staff"])
        .authenticated_by(SAY_HELLO_STREAM, ["staff", "robots"]);
    let gate = Gate::builder()
        .authenticate(named("staff", &staff))
        .authenticate(named("robots", &robots))
        .authorize(rules)
        .clock(at_noon())
        .build()
        .expect("a gate");
    let (server, _) = behind(gate).await;
    let mut client = RawClient::connect(&server).await;
    let (by_staff, by_robots) = (staff.mint(&alice(&staff)), robots.mint(&alice(&robots)));
    // In the other's name, with a key of its own.
    let pretended = robots.token(&alice(&staff)).sign();
    for (name, path, token, expected) in [
        ("staff", SAY_HELLO, &by_staff, "passes"),
        ("a robot", SAY_HELLO, &by_robots, "PermissionDenied POLICY_DENIED"),
        ("staff, where both may", SAY_HELLO_STREAM, &by_staff, "passes"),
        ("a robot, where both may", SAY_HELLO_STREAM, &by_robots, "passes"),
        ("a robot as staff", SAY_HELLO, &pretended, INVALID),
        ("a robot as staff, where both may", SAY_HELLO_STREAM, &pretended, INVALID),
    ] {
        let value = format!("Bearer {token}");
        let answer = client.call(path, &[("authorization", &value)]).await;
        assert_eq!(Told::by(&answer).short(), expected, "{name}");
    }
}
