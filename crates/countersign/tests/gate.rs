//! Who gets past the gate, what the others are told, and what a handler then sees.

#[path = "support/reached.rs"]
mod support;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use countersign::authentication::{
    AuthenticationError, CallEvidence, Evidence, EvidenceKinds, Outcome, Reason,
};
use countersign::authorization::RulesError;
use countersign::identity::PeerAddress;
use countersign::{
    AuthContext, Authenticator, Channel, ChannelCredentials, ClientCertificates, Gate, GateBuilder,
    GateError, MutualTls, PeerInfoLayer, Principal, Rules, SecurityLevel, ServerCredentials,
    ServerRequestExt, StaticTokens, async_trait, connect,
};
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{GREETER, Greeter, GreeterClient, SAY_HELLO};
use countersign_testkit::pki::{Certificate, CertificateAuthority, LeafBuilder};
use countersign_testkit::wait::until;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use support::{
    Answer, RawClient, Reached, Served, behind_tls, challenges_of, channel, collect_logs,
    decision_of, empty_message, greeter, grpc_request, identity, keep_logs_awake, reason_of, roots,
    serve, serve_on, trusting,
};
use tokio::sync::Notify;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::server::{Connected, TcpIncoming};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;
use tower_layer::Layer;
use tower_service::Service;

const SAY_HELLO_STREAM: &str = "/countersign.demo.v1.Greeter/SayHelloStream";
const RESET: &str = "/countersign.demo.v1.Greeter/Reset";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// What `ci` is known by.
const TOKEN: &str = "correct-horse-battery-staple";
const BEARER: (&str, &str) = ("authorization", "Bearer correct-horse-battery-staple");
const API_KEY: (&str, &str) = ("x-api-key", "correct-horse-battery-staple");
const BAD_BEARER: (&str, &str) = ("authorization", "Bearer correct-horse-battery-stable");
const BAD_API_KEY: (&str, &str) = ("x-api-key", "correct-horse-battery-stable");

fn tokens() -> StaticTokens {
    StaticTokens::new().with_token("ci", TOKEN)
}

/// A gate that knows tokens and certificates.
fn gate(rules: Rules) -> Gate {
    keep_logs_awake();
    let builder = Gate::builder().authenticate(tokens()).authenticate(MutualTls::new());
    builder.authorize(rules).build().expect("a gate")
}

/// A greeter and health checks behind a gate, over plaintext.
async fn behind(gate: Gate) -> (Served, Reached) {
    let reached = Reached::default();
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let (_, health) = tonic_health::server::health_reporter();
    let routes = Routes::new(Greeter.service()).add_service(health);
    (serve(incoming, gate.layer(reached.layer(routes))), reached)
}

/// A call with this metadata: as whom the handler knows the caller, or the status.
async fn greet(channel: &Channel, metadata: &[(&'static str, &str)]) -> Result<String, Status> {
    let mut request = tonic::Request::new(HelloRequest { name: "you".to_owned() });
    for (key, value) in metadata {
        request.metadata_mut().append(*key, value.parse().expect("ASCII"));
    }
    let reply = GreeterClient::new(channel.clone()).say_hello(request).await?;
    Ok(reply.into_inner().principal)
}

/// The principal, or the code and the reason, in a form that tables can hold.
fn told(outcome: &Result<String, Status>) -> String {
    match outcome {
        Ok(principal) => format!("passes as {principal:?}"),
        Err(status) => refused(status.code(), &reason_of(status)),
    }
}

fn refused(code: Code, reason: &str) -> String {
    format!("{code:?} {reason}")
}

fn missing() -> String {
    refused(Code::Unauthenticated, "CREDENTIALS_MISSING")
}

fn malformed() -> String {
    refused(Code::Unauthenticated, "CREDENTIALS_MALFORMED")
}

fn invalid() -> String {
    refused(Code::Unauthenticated, "TOKEN_INVALID")
}

fn forbidden() -> String {
    refused(Code::PermissionDenied, "POLICY_DENIED")
}

fn told_raw(answer: &Answer) -> String {
    let status = answer.grpc();
    refused(status.code(), &reason_of(&status))
}

// --- by default ----------------------------------------------------------------------------------

#[tokio::test]
async fn a_gate_without_rules_refuses_every_method_there_or_not() {
    let (server, reached) = behind(gate(Rules::new())).await;
    let mut client = RawClient::connect(&server).await;
    for path in [SAY_HELLO, RESET, HEALTH, "/countersign.demo.v1.Greeter/Nope", "/no.Such/Method"] {
        assert_eq!(told_raw(&client.call(path, &[]).await), missing(), "{path}");
        assert_eq!(told_raw(&client.call(path, &[BEARER]).await), forbidden(), "{path}");
    }
    assert_eq!(reached.count(), 0);
}

#[tokio::test]
async fn a_method_is_open_to_whom_its_rule_names_and_its_neighbour_is_not() {
    let (server, reached) = behind(gate(Rules::new().authenticated(SAY_HELLO))).await;
    let mut client = RawClient::connect(&server).await;
    assert_eq!(client.call(SAY_HELLO, &[BEARER]).await.grpc().code(), Code::Ok);
    assert_eq!(reached.count(), 1);
    assert_eq!(told_raw(&client.call(RESET, &[BEARER]).await), forbidden());
    assert_eq!(reached.count(), 1);
}

#[tokio::test]
async fn a_stranger_cannot_tell_methods_apart() {
    let rules = Rules::new()
        .authenticated(SAY_HELLO)
        .authenticated_by(SAY_HELLO_STREAM, [MutualTls::NAME])
        .denied(RESET);
    let (server, reached) = behind(gate(rules)).await;
    let mut client = RawClient::connect(&server).await;
    let others = [
        ("needs a certificate", SAY_HELLO_STREAM),
        ("denied", RESET),
        ("without a rule", HEALTH),
        ("no such method", "/countersign.demo.v1.Greeter/Nope"),
        ("no such service", "/no.such.Service/Method"),
    ];
    for (credentials, metadata, told) in [
        ("none", &[][..], missing()),
        ("bad token", &[BAD_BEARER], invalid()),
        ("bad key", &[BAD_API_KEY], invalid()),
        ("no token at all", &[("authorization", "garbage")], malformed()),
    ] {
        let known = client.call(SAY_HELLO, metadata).await;
        assert_eq!(told_raw(&known), told, "{credentials}");
        for (method, path) in others {
            let answer = client.call(path, metadata).await;
            let (answer, known) = (answer.without_decision(), known.without_decision());
            assert_eq!(answer, known, "{method}, {credentials}");
        }
    }
    assert_eq!(reached.count(), 0);

    // The twin: whoever is somebody is told what is meant for them, and no more.
    assert_eq!(client.call(SAY_HELLO, &[BEARER]).await.grpc().code(), Code::Ok);
    let denied = client.call(RESET, &[BEARER]).await;
    assert_eq!(told_raw(&denied), forbidden());
    for (method, path) in others {
        let answer = client.call(path, &[BEARER]).await;
        assert_eq!(answer.without_decision(), denied.without_decision(), "{method}");
    }
}

// --- kinds of rules ------------------------------------------------------------------------------

#[tokio::test]
async fn each_kind_of_rule_lets_in_whom_it_names() {
    let ca = CertificateAuthority::new("test CA");
    let showing = trusting(&ca).identity(identity(&ca.client(&["spiffe://test/alice"])));
    let anyone = || r#"passes as """#.to_owned();
    let ci = || r#"passes as "ci""#.to_owned();
    let alice = || r#"passes as "spiffe://test/alice""#.to_owned();
    struct Row {
        name: &'static str,
        rules: Rules,
        stranger: String,
        bad_token: String,
        token: String,
        certificate: String,
    }
    for Row { name, rules, stranger, bad_token, token, certificate } in [
        Row {
            name: "public: evidence is not looked at",
            rules: Rules::new().public(SAY_HELLO),
            stranger: anyone(),
            bad_token: anyone(),
            token: anyone(),
            certificate: anyone(),
        },
        Row {
            name: "optional",
            rules: Rules::new().optional(SAY_HELLO),
            stranger: anyone(),
            bad_token: invalid(),
            token: ci(),
            certificate: alice(),
        },
        Row {
            name: "authenticated",
            rules: Rules::new().authenticated(SAY_HELLO),
            stranger: missing(),
            bad_token: invalid(),
            token: ci(),
            certificate: alice(),
        },
        Row {
            name: "authenticated by certificate",
            rules: Rules::new().authenticated_by(SAY_HELLO, [MutualTls::NAME]),
            stranger: missing(),
            bad_token: invalid(),
            token: forbidden(),
            certificate: alice(),
        },
        Row {
            name: "authenticated by token",
            rules: Rules::new().authenticated_by(SAY_HELLO, [StaticTokens::NAME]),
            stranger: missing(),
            bad_token: invalid(),
            token: ci(),
            certificate: forbidden(),
        },
        Row {
            name: "authenticated by either",
            rules: Rules::new().authenticated_by(SAY_HELLO, [StaticTokens::NAME, MutualTls::NAME]),
            stranger: missing(),
            bad_token: invalid(),
            token: ci(),
            certificate: alice(),
        },
        Row {
            name: "denied, whatever else is said",
            rules: Rules::new().public(GREETER).denied(SAY_HELLO),
            stranger: missing(),
            bad_token: invalid(),
            token: forbidden(),
            certificate: forbidden(),
        },
    ] {
        let (server, _) = behind_tls(&ca, &gate(rules)).await;
        let plain = channel(&server, trusting(&ca)).await;
        let with_certificate = channel(&server, showing.clone()).await;
        assert_eq!(told(&greet(&plain, &[]).await), stranger, "{name}: stranger");
        assert_eq!(told(&greet(&plain, &[BAD_BEARER]).await), bad_token, "{name}: bad token");
        assert_eq!(told(&greet(&plain, &[BEARER]).await), token, "{name}: token");
        let outcome = greet(&with_certificate, &[]).await;
        assert_eq!(told(&outcome), certificate, "{name}: certificate");
    }
}

#[tokio::test]
async fn a_handler_knows_the_rule_that_let_the_call_pass() {
    let rules = Rules::new().authenticated(GREETER).authenticated(SAY_HELLO);
    let (server, reached) = behind(gate(rules)).await;
    let mut client = RawClient::connect(&server).await;
    for (path, rule) in [(SAY_HELLO, SAY_HELLO), (RESET, GREETER)] {
        client.call(path, &[BEARER]).await;
        assert_eq!(reached.last_request().auth_context().expect("a gate").rule(), rule);
    }
}

#[tokio::test]
async fn health_checks_are_public_by_the_preset_and_nothing_else_is() {
    let check = |channel: &Channel, bearer: Option<&str>| {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        if let Some(bearer) = bearer {
            request.metadata_mut().insert("authorization", bearer.parse().expect("ASCII"));
        }
        let mut client = HealthClient::new(channel.clone());
        async move { client.check(request).await.map(|reply| reply.into_inner().status) }
    };
    const SERVING: i32 = 1;

    let (server, _) = behind(gate(Rules::new().health_is_public())).await;
    let target = server.http("localhost");
    let channel = connect(target, ChannelCredentials::insecure()).await.expect("connected");
    assert_eq!(check(&channel, None).await.expect("public"), SERVING);
    // A stale token does not keep a probe from its answer.
    assert_eq!(check(&channel, Some(BAD_BEARER.1)).await.expect("public"), SERVING);
    let mut watching = HealthClient::new(channel.clone())
        .watch(HealthCheckRequest::default())
        .await
        .expect("public")
        .into_inner();
    assert_eq!(watching.message().await.expect("a status").expect("one").status, SERVING);
    assert_eq!(told(&greet(&channel, &[]).await), missing());

    let (server, _) = behind(gate(Rules::new())).await;
    let target = server.http("localhost");
    let channel = connect(target, ChannelCredentials::insecure()).await.expect("connected");
    let status = check(&channel, None).await.expect_err("no preset, no entry");
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn reflection_is_for_whom_its_preset_names() {
    let versions = ["v1", "v1alpha"]
        .map(|version| format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"));
    for path in &versions {
        let told = |rules, metadata: &'static [(&str, &str)]| {
            let path = path.clone();
            async move {
                let (server, _) = behind(gate(rules)).await;
                RawClient::connect(&server).await.call(&path, metadata).await.grpc().code()
            }
        };
        // This server has no reflection, and says so to those who may ask.
        let there = Code::Unimplemented;
        let authenticated = || Rules::new().reflection_is_authenticated();
        assert_eq!(told(authenticated(), &[]).await, Code::Unauthenticated, "{path}");
        assert_eq!(told(authenticated(), &[BEARER]).await, there, "{path}");
        assert_eq!(told(Rules::new().reflection_is_public(), &[]).await, there, "{path}");
        assert_eq!(told(Rules::new(), &[BEARER]).await, Code::PermissionDenied, "{path}");
    }
}

// --- certificates --------------------------------------------------------------------------------

#[tokio::test]
async fn a_certificate_is_known_by_its_first_kind_of_name_and_by_no_later_one() {
    let ca = CertificateAuthority::new("test CA");
    type Build = fn(LeafBuilder<'_>) -> LeafBuilder<'_>;
    struct Row {
        name: &'static str,
        certificate: Build,
        /// The principal, if there is one.
        any: Option<&'static str>,
        /// The same when only SPIFFE IDs count.
        spiffe_only: Option<&'static str>,
    }
    let rows = [
        Row {
            name: "SPIFFE ID (AZ-13)",
            certificate: |leaf| leaf.uri("spiffe://test/alice").dns("a.test").common_name("a"),
            any: Some("spiffe://test/alice"),
            spiffe_only: Some("spiffe://test/alice"),
        },
        Row {
            name: "URI before DNS name (AZ-14)",
            certificate: |leaf| leaf.dns("a.test").uri("https://test/alice"),
            any: Some("uri:https://test/alice"),
            spiffe_only: None,
        },
        Row {
            name: "DNS name (AZ-16)",
            certificate: |leaf| leaf.email("a@a.test").dns("a.test").dns("b.test"),
            any: Some("dns:a.test"),
            spiffe_only: None,
        },
        Row {
            name: "DNS name before subject (AZ-17)",
            certificate: |leaf| leaf.dns("a.test").common_name("alice"),
            any: Some("dns:a.test"),
            spiffe_only: None,
        },
        Row {
            name: "e-mail address",
            certificate: |leaf| leaf.email("a@a.test").common_name("alice"),
            any: Some("email:a@a.test"),
            spiffe_only: None,
        },
        Row {
            name: "subject, in the order of RFC 4514 (AZ-18)",
            certificate: |leaf| {
                leaf.subject(&[("C", "US"), ("ST", "CA"), ("O", "gRPC"), ("CN", "test-client1")])
            },
            any: Some("subject:CN=test-client1,O=gRPC,ST=CA,C=US"),
            spiffe_only: None,
        },
        Row {
            name: "a subject cannot pass for a DNS name",
            certificate: |leaf| leaf.common_name("dns:a.test"),
            any: Some("subject:CN=dns:a.test"),
            spiffe_only: None,
        },
        Row {
            name: "upper-case trust domain: no SPIFFE ID, and must not look like one (SP-07)",
            certificate: |leaf| leaf.uri("spiffe://Test/alice").dns("a.test"),
            any: None,
            spiffe_only: None,
        },
        Row {
            name: "upper-case scheme",
            certificate: |leaf| leaf.uri("SPIFFE://test/alice").dns("a.test"),
            any: None,
            spiffe_only: None,
        },
        Row {
            name: "a trust domain and no workload",
            certificate: |leaf| leaf.uri("spiffe://test").dns("a.test"),
            any: None,
            spiffe_only: None,
        },
        Row {
            name: "two SPIFFE IDs are none (SP-05)",
            certificate: |leaf| leaf.uri("spiffe://test/alice").uri("spiffe://test/bob"),
            any: None,
            spiffe_only: None,
        },
        Row {
            name: "two URIs are no SPIFFE ID (SP-05)",
            certificate: |leaf| leaf.uri("https://test/alice").uri("spiffe://test/bob"),
            any: Some("uri:https://test/alice"),
            spiffe_only: None,
        },
        Row { name: "no name at all", certificate: |leaf| leaf, any: None, spiffe_only: None },
    ];
    let servers = [MutualTls::new(), MutualTls::spiffe_only()].map(|authenticator| {
        Gate::builder()
            .authenticate(authenticator)
            .authorize(Rules::new().authenticated(SAY_HELLO))
            .build()
            .expect("a gate")
    });
    let [any, spiffe_only] = servers;
    let ((any, _), (spiffe_only, _)) =
        (behind_tls(&ca, &any).await, behind_tls(&ca, &spiffe_only).await);
    for row in rows {
        let certificate = (row.certificate)(ca.issue().for_client()).build();
        for (server, principal) in [(&any, row.any), (&spiffe_only, row.spiffe_only)] {
            let tls = trusting(&ca).identity(identity(&certificate));
            let outcome = greet(&channel(server, tls).await, &[]).await;
            let expected = match principal {
                Some(principal) => format!("passes as {principal:?}"),
                None => missing(),
            };
            assert_eq!(told(&outcome), expected, "{}", row.name);
        }
    }
}

#[tokio::test]
async fn over_a_connection_without_a_certificate_nobody_is_known_by_one() {
    let ca = CertificateAuthority::new("test CA");
    let only_certificates = Gate::builder()
        .authenticate(MutualTls::new())
        .authorize(Rules::new().authenticated(SAY_HELLO))
        .build()
        .expect("a gate");
    let (server, _) = behind_tls(&ca, &only_certificates).await;
    let outcome = greet(&channel(&server, trusting(&ca)).await, &[]).await;
    assert_eq!(told(&outcome), missing());
    // Metadata cannot help, so none is asked for.
    assert_eq!(challenges_of(&outcome.expect_err("refused")), [""; 0]);

    let alice = trusting(&ca).identity(identity(&ca.client(&["spiffe://test/alice"])));
    let outcome = greet(&channel(&server, alice).await, &[]).await;
    assert_eq!(told(&outcome), r#"passes as "spiffe://test/alice""#);
}

// --- tokens --------------------------------------------------------------------------------------

#[tokio::test]
async fn a_listed_token_is_taken_as_bearer_and_as_api_key_and_another_is_not() {
    let (server, reached) = behind(gate(Rules::new().authenticated(SAY_HELLO))).await;
    let mut client = RawClient::connect(&server).await;
    for (name, good, bad) in [("bearer", BEARER, BAD_BEARER), ("key", API_KEY, BAD_API_KEY)] {
        assert_eq!(client.call(SAY_HELLO, &[good]).await.grpc().code(), Code::Ok, "{name}");
        let known = reached.last_request();
        assert_eq!(known.principal().expect("known").name(), "ci", "{name}");
        assert_eq!(known.principal().expect("known").authenticator(), StaticTokens::NAME);
        assert_eq!(told_raw(&client.call(SAY_HELLO, &[bad]).await), invalid(), "{name}");
    }
    assert_eq!(reached.count(), 2);
}

#[tokio::test]
async fn anything_but_one_well_formed_credential_is_malformed() {
    let (server, reached) = behind(gate(Rules::new().authenticated(SAY_HELLO))).await;
    let mut client = RawClient::connect(&server).await;
    // identity.md, section 6, row 7.
    let padded = format!("Bearer {TOKEN} ");
    let joined = format!("Bearer {TOKEN}, Bearer {TOKEN}");
    let keys = format!("{TOKEN},{TOKEN}");
    let long = format!("Bearer {}", "t".repeat(20 * 1024));
    for (name, metadata) in [
        ("the same token twice", &[BEARER, BEARER][..]),
        ("a good token and a bad one", &[BEARER, BAD_BEARER]),
        ("a bad token and a good one", &[BAD_BEARER, BEARER]),
        ("both kinds", &[BEARER, API_KEY]),
        ("the same key twice", &[API_KEY, API_KEY]),
        ("two joined by a proxy", &[("authorization", &joined)]),
        ("two keys joined by a proxy", &[("x-api-key", &keys)]),
        ("no scheme", &[("authorization", TOKEN)]),
        ("a scheme alone", &[("authorization", "Bearer")]),
        ("nothing after the scheme", &[("authorization", "Bearer ")]),
        ("empty", &[("authorization", "")]),
        ("an empty key", &[("x-api-key", "")]),
        ("a space after it", &[("authorization", &padded)]),
        ("a scheme that nobody knows", &[("authorization", "Basic Y2k6Y2k=")]),
        ("20 KiB", &[("authorization", &long)]),
    ] {
        let answer = client.call(SAY_HELLO, metadata).await;
        assert_eq!(told_raw(&answer), malformed(), "{name}");
        let challenge = "Bearer realm=\"grpc\", error=\"invalid_request\"";
        assert_eq!(challenges_of(&answer.grpc()), [challenge], "{name}");
    }
    let binary = http::HeaderValue::from_bytes(b"Bearer \xff\xfe").expect("HTTP allows it");
    let request = grpc_request(SAY_HELLO).header("authorization", binary);
    let answer = client.send(request.body(empty_message()).expect("a request")).await;
    assert_eq!(told_raw(&answer), malformed(), "binary");
    assert_eq!(reached.count(), 0);

    for (name, value) in [
        ("as it is usually written", format!("Bearer {TOKEN}")),
        ("scheme in another case", format!("bEARER {TOKEN}")),
        ("two spaces", format!("Bearer  {TOKEN}")),
    ] {
        let answer = client.call(SAY_HELLO, &[("authorization", &value)]).await;
        assert_eq!(answer.grpc().code(), Code::Ok, "{name}");
    }
    let folded = format!("Bearer {}", TOKEN.to_uppercase());
    let answer = client.call(SAY_HELLO, &[("authorization", &folded)]).await;
    assert_eq!(told_raw(&answer), invalid(), "the token's case counts");
}

#[tokio::test]
async fn a_token_over_a_connection_with_a_certificate_proves_both_in_that_order() {
    let ca = CertificateAuthority::new("test CA");
    let showing = trusting(&ca).identity(identity(&ca.client(&["spiffe://test/alice"])));
    let rules = || Rules::new().authenticated(SAY_HELLO);
    let swapped = Gate::builder().authenticate(MutualTls::new()).authenticate(tokens());
    for gate in [gate(rules()), swapped.authorize(rules()).build().expect("a gate")] {
        let (server, reached) = behind_tls(&ca, &gate).await;
        let channel = channel(&server, showing.clone()).await;
        assert_eq!(told(&greet(&channel, &[BEARER]).await), r#"passes as "ci""#);
        let request = reached.last_request();
        let context = request.auth_context().expect("a gate");
        let callers: Vec<_> = context.callers().iter().map(|it| it.principal().name()).collect();
        assert_eq!(callers, ["ci", "spiffe://test/alice"]);
        let level = context.caller().expect("a caller").security_level();
        assert_eq!(level, SecurityLevel::PrivacyAndIntegrity);

        // A bad token never falls back to a good certificate (ADR 0006).
        assert_eq!(told(&greet(&channel, &[BAD_BEARER]).await), invalid());
        assert_eq!(told(&greet(&channel, &[]).await), r#"passes as "spiffe://test/alice""#);
    }
}

#[tokio::test]
async fn a_rule_that_asks_for_the_certificate_finds_it_behind_a_token() {
    let ca = CertificateAuthority::new("test CA");
    let rules = Rules::new().authenticated_by(SAY_HELLO, [MutualTls::NAME]);
    let (server, _) = behind_tls(&ca, &gate(rules)).await;
    let showing = trusting(&ca).identity(identity(&ca.client(&["spiffe://test/alice"])));
    let with_certificate = channel(&server, showing).await;
    let outcome = greet(&with_certificate, &[BEARER]).await;
    assert_eq!(told(&outcome), r#"passes as "spiffe://test/alice""#);
    let outcome = greet(&channel(&server, trusting(&ca)).await, &[BEARER]).await;
    assert_eq!(told(&outcome), forbidden());
}

// --- paths ---------------------------------------------------------------------------------------

#[tokio::test]
async fn a_path_in_another_spelling_is_unimplemented_and_reaches_no_handler() {
    // Public to everybody, so that nothing but the spelling can stand in the way.
    let (server, reached) = behind(gate(Rules::new().public("*"))).await;
    let mut client = RawClient::connect(&server).await;
    let long = format!("/{}/M", "s".repeat(1100));
    for (name, path) in [
        ("one slash (AZ-26)", "/countersign.demo.v1.Greeter"),
        ("doubled slash (AZ-26)", "//countersign.demo.v1.Greeter/SayHello"),
        ("doubled slash inside", "/countersign.demo.v1.Greeter//SayHello"),
        ("trailing slash", "/countersign.demo.v1.Greeter/SayHello/"),
        ("no method", "/countersign.demo.v1.Greeter/"),
        ("percent escape", "/countersign.demo.v1.Greeter/Say%48ello"),
        ("escaped slash", "/countersign.demo.v1.Greeter%2FSayHello"),
        ("query", "/countersign.demo.v1.Greeter/SayHello?x=1"),
        ("empty query", "/countersign.demo.v1.Greeter/SayHello?"),
        ("dot segments", "/x/../countersign.demo.v1.Greeter/SayHello"),
        ("dot method", "/countersign.demo.v1.Greeter/."),
        ("dot-dot method", "/countersign.demo.v1.Greeter/.."),
        ("dot-dot service", "/../SayHello"),
        ("parameters", "/countersign.demo.v1.Greeter/SayHello;x"),
        ("root", "/"),
        ("longer than 1 KiB", &long),
    ] {
        for metadata in [&[][..], &[BEARER], &[BAD_BEARER]] {
            let status = client.call(path, metadata).await.grpc();
            assert_eq!(status.code(), Code::Unimplemented, "{name}");
            assert_eq!(status.message(), "malformed method name", "{name}");
        }
    }
    assert_eq!(reached.count(), 0);
    assert_eq!(client.call(SAY_HELLO, &[]).await.grpc().code(), Code::Ok);
    assert_eq!(reached.count(), 1);
}

#[tokio::test]
async fn a_path_without_its_leading_slash_never_reaches_a_handler() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    let (server, reached) = behind(gate(Rules::new().public("*"))).await;
    // AZ-25. No HTTP library sends it (CVE-2026-33186 was a library that took it), so the frames
    // are written by hand: HEADERS that end the stream, every field a literal.
    for (path, answered_by) in [(SAY_HELLO, HEADERS), (&SAY_HELLO[1..], RST_STREAM)] {
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ] {
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).expect("short"));
                block.extend_from_slice(text.as_bytes());
            }
        }
        let mut io = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
        io.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
        let length = u8::try_from(block.len()).expect("short");
        io.write_all(&[0, 0, length, HEADERS, 5, 0, 0, 0, 1]).await.expect("sent");
        io.write_all(&block).await.expect("sent");
        let answer = loop {
            let mut head = [0; 9];
            io.read_exact(&mut head).await.expect("a frame");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).expect("small")];
            io.read_exact(&mut payload).await.expect("the whole frame");
            if head[8] == 1 {
                break head[3];
            }
        };
        assert_eq!(answer, answered_by, "{path}");
    }
    assert_eq!(reached.count(), 1);
}

// --- what the handler sees -----------------------------------------------------------------------

#[tokio::test]
async fn a_credential_that_somebody_reads_is_gone_before_the_handler() {
    const OTHER: (&str, &str) = ("x-other", "stays");
    let rules = || Rules::new().optional(SAY_HELLO).public(RESET);
    let reads_tokens = gate(rules());
    let reads_certificates = Gate::builder().authenticate(MutualTls::new());
    let reads_certificates = reads_certificates.authorize(rules()).build().expect("a gate");
    let reads_authorization = Gate::builder().authenticate(Scripted::accepting("slow"));
    let reads_authorization = reads_authorization.authorize(rules()).build().expect("a gate");

    struct Row {
        name: &'static str,
        gate: Gate,
        keeps: &'static [&'static str],
    }
    for Row { name, gate, keeps } in [
        Row { name: "tokens", gate: reads_tokens, keeps: &[] },
        Row { name: "certificates", gate: reads_certificates, keeps: &[BEARER.0, API_KEY.0] },
        Row { name: "authorization alone", gate: reads_authorization, keeps: &[API_KEY.0] },
    ] {
        let (server, reached) = behind(gate).await;
        let mut client = RawClient::connect(&server).await;
        for credential in [BEARER, API_KEY] {
            // Also where nobody looks at it.
            for path in [SAY_HELLO, RESET] {
                let answer = client.call(path, &[credential, OTHER]).await;
                assert_eq!(answer.grpc().code(), Code::Ok, "{name}");
                let stays = reached.last().headers.contains_key(credential.0);
                assert_eq!(stays, keeps.contains(&credential.0), "{name}: {}", credential.0);
                assert_eq!(reached.last_values("x-other"), ["stays"], "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_credential_that_nobody_reads_is_no_second_one() {
    let reads_authorization = Gate::builder()
        .authenticate(Scripted::accepting("scripted"))
        .authorize(Rules::new().authenticated(SAY_HELLO))
        .build()
        .expect("a gate");
    let reads_both = gate(Rules::new().authenticated(SAY_HELLO));
    for (gate, expected) in
        [(reads_authorization, refused(Code::Ok, "")), (reads_both, malformed())]
    {
        let (server, _) = behind(gate).await;
        let answer = RawClient::connect(&server).await.call(SAY_HELLO, &[BEARER, API_KEY]).await;
        assert_eq!(told_raw(&answer), expected);
    }
}

#[tokio::test]
async fn a_handler_asks_for_the_principal_and_is_told_when_there_is_none() {
    let rules = Rules::new().public(RESET).optional(SAY_HELLO);
    let (server, reached) = behind(gate(rules)).await;
    let mut client = RawClient::connect(&server).await;
    let principal = || reached.last_request().principal().cloned();

    client.call(SAY_HELLO, &[BEARER]).await;
    assert_eq!(principal().expect("known"), Principal::new("ci", StaticTokens::NAME));
    client.call(SAY_HELLO, &[]).await;
    assert_eq!(principal().expect_err("optional").code(), Code::Unauthenticated);
    // Public: nobody looked at the token, so it proves nobody.
    client.call(RESET, &[BEARER]).await;
    assert_eq!(principal().expect_err("public").code(), Code::Unauthenticated);

    // Without a gate it is the server's own mistake.
    let without = tonic::Request::new(());
    assert_eq!(without.principal().expect_err("no gate").code(), Code::Internal);
    assert_eq!(without.auth_context().expect_err("no gate").code(), Code::Internal);
    assert_eq!(without.peer_identity().expect_err("no listener").code(), Code::Internal);
}

/// tonic's own type for a TLS connection, which has no name without its TLS features.
type TlsConnectInfo =
    <tokio_rustls::server::TlsStream<tokio::net::TcpStream> as Connected>::ConnectInfo;

/// The client's certificates by tonic's own type, as its `peer_certs()` reads them.
fn tonics_certificates(request: &tonic::Request<()>) -> Option<usize> {
    request.extensions().get::<TlsConnectInfo>()?.peer_certs().map(|chain| chain.len())
}

#[tokio::test]
async fn tonics_own_connection_info_is_there_behind_a_gate_and_behind_its_layer_alone() {
    let ca = CertificateAuthority::new("test CA");
    let certificate = ca.client(&["spiffe://test/alice"]);
    let tls = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
        .client_certificates(ClientCertificates::optional(roots(&ca)))
        .build()
        .expect("server credentials");
    for (name, credentials) in [("TLS", tls), ("plaintext", ServerCredentials::insecure())] {
        let is_tls = name == "TLS";
        let mut seen = Vec::new();
        for layer in ["gate", "layer", "neither"] {
            let reached = Reached::default();
            let incoming = credentials.bind("127.0.0.1:0").await.expect("bound");
            let service = greeter(&reached);
            let server = match layer {
                "gate" => serve(incoming, gate(Rules::new().public("*")).layer(service)),
                "layer" => serve(incoming, PeerInfoLayer.layer(service)),
                _ => serve(incoming, service),
            };
            let channel = match is_tls {
                true => channel(&server, trusting(&ca).identity(identity(&certificate))).await,
                false => connect(server.http("localhost"), ChannelCredentials::insecure())
                    .await
                    .expect("connected"),
            };
            greet(&channel, &[]).await.expect("let in");
            let request = reached.last_request();
            let peer = request.peer_identity().expect("our listener's").clone();
            let PeerAddress::Tcp(address) = peer.address() else { panic!("{peer:?}") };
            assert_eq!(peer.spiffe_id().is_some(), is_tls, "{name}, {layer}");
            seen.push((
                layer,
                request.remote_addr() == Some(*address),
                tonics_certificates(&request),
            ));
        }
        let certificates = is_tls.then_some(1);
        let expected =
            [("gate", true, certificates), ("layer", true, certificates), ("neither", false, None)];
        assert_eq!(seen, expected, "{name}");
    }
}

// --- other people's listeners --------------------------------------------------------------------

#[tokio::test]
async fn over_a_plaintext_listener_that_is_not_ours_the_peer_is_unknown() {
    let logs = collect_logs();
    let reached = Reached::default();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let address: SocketAddr = incoming.local_addr().expect("an address");
    let gate = gate(Rules::new().authenticated(SAY_HELLO));
    let server = serve_on(Some(address), incoming, gate.layer(greeter(&reached)));
    let mut client = RawClient::connect(&server).await;

    assert_eq!(told_raw(&client.call(SAY_HELLO, &[]).await), missing());
    assert_eq!(logs.lines_with("peer=unknown").len(), 1, "{}", logs.text());
    assert_eq!(reached.count(), 0);

    // A token proves what it proves anywhere, and the connection nothing.
    assert_eq!(client.call(SAY_HELLO, &[BEARER]).await.grpc().code(), Code::Ok);
    let request = reached.last_request();
    let caller = request.auth_context().expect("a gate").caller().expect("known").clone();
    assert_eq!(caller.security_level(), SecurityLevel::NoSecurity);
    assert_eq!(request.peer_identity().expect_err("not ours").code(), Code::Internal);
    assert!(request.remote_addr().is_some(), "tonic's own is left as it was");
}

#[tokio::test]
async fn over_a_tls_listener_that_is_not_ours_a_verified_certificate_counts_for_nothing() {
    let ca = CertificateAuthority::new("test CA");
    let certificate = ca.client(&["spiffe://test/alice"]);
    let showing = || trusting(&ca).identity(identity(&certificate));
    let rules = || Rules::new().optional(SAY_HELLO);

    let reached = Reached::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let acceptor = tls_acceptor(&ca, &ca.server(&["localhost"]));
    let (connections, incoming) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            if connections.send(acceptor.accept(io).await).await.is_err() {
                return;
            }
        }
    });
    let incoming = tokio_stream::wrappers::ReceiverStream::new(incoming);
    let server = serve_on(Some(address), incoming, gate(rules()).layer(greeter(&reached)));
    let outcome = greet(&channel(&server, showing()).await, &[]).await;
    assert_eq!(told(&outcome), r#"passes as """#);
    // It was there, and verified by somebody whom the gate does not know.
    assert_eq!(tonics_certificates(&reached.last_request()), Some(1));

    let (server, _) = behind_tls(&ca, &gate(rules())).await;
    let outcome = greet(&channel(&server, showing()).await, &[]).await;
    assert_eq!(told(&outcome), r#"passes as "spiffe://test/alice""#);
}

/// Somebody else's TLS, which insists on certificates of this CA.
fn tls_acceptor(ca: &CertificateAuthority, server: &Certificate) -> tokio_rustls::TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut clients = rustls::RootCertStore::empty();
    clients.add(ca.certificate_der()).expect("a root");
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(clients),
        Arc::clone(&provider),
    );
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(server.chain_der(), server.key_der())
        .expect("a server");
    config.alpn_protocols = vec![b"h2".to_vec()];
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

// --- before the body -----------------------------------------------------------------------------

/// A body without an end that counts how often it is asked for more.
#[derive(Clone, Default)]
struct Endless {
    polls: Arc<AtomicUsize>,
}

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.polls.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 1024])))))
    }
}

/// Reads one frame of each request's body, and says that all is well.
#[derive(Clone)]
struct ReadsOne;

impl<B> Service<Request<B>> for ReadsOne
where
    B: http_body::Body + Unpin + Send + 'static,
    B::Data: Send,
{
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut body = request.into_body();
        Box::pin(async move {
            let _ = body.frame().await;
            Ok(Status::new(Code::Ok, "").into_http())
        })
    }
}

#[tokio::test]
async fn a_call_is_refused_before_its_body_is_read() {
    let at_once = gate(Rules::new().authenticated(SAY_HELLO));
    let after_waiting = Gate::builder()
        .authenticate(Scripted::judging("slow", |token| match token {
            TOKEN => Ok("ci"),
            _ => Err(AuthenticationError::new(Reason::TokenInvalid, "it is another")),
        }))
        .authorize(Rules::new().authenticated(SAY_HELLO))
        .build()
        .expect("a gate");
    for (name, gate, path, metadata, code) in [
        ("no credential", &at_once, SAY_HELLO, None, Code::Unauthenticated),
        ("bad token", &at_once, SAY_HELLO, Some(BAD_BEARER), Code::Unauthenticated),
        ("no rule", &at_once, RESET, Some(BEARER), Code::PermissionDenied),
        ("no method's path", &at_once, "//x/y", Some(BEARER), Code::Unimplemented),
        ("after waiting", &after_waiting, SAY_HELLO, Some(BAD_BEARER), Code::Unauthenticated),
        ("let in", &at_once, SAY_HELLO, Some(BEARER), Code::Ok),
        ("let in after waiting", &after_waiting, SAY_HELLO, Some(BEARER), Code::Ok),
    ] {
        let body = Endless::default();
        let mut request = grpc_request(path);
        if let Some((key, value)) = metadata {
            request = request.header(key, value);
        }
        let request = request.body(body.clone()).expect("a request");
        let Ok(response) = gate.layer(ReadsOne).call(request).await;
        let status = Status::from_header_map(response.headers()).expect("a status");
        assert_eq!(status.code(), code, "{name}");
        let polls = body.polls.load(Ordering::SeqCst);
        assert_eq!(polls, usize::from(code == Code::Ok), "{name}");
    }
}

#[tokio::test]
async fn a_refusal_overtakes_a_body_that_never_ends() {
    let (server, reached) = behind(gate(Rules::new().authenticated(SAY_HELLO))).await;
    let mut client = RawClient::connect(&server).await;
    // Nothing is sent after the headers, ever.
    let silent = http_body_util::StreamBody::new(tokio_stream::pending());
    // More is sent for as long as somebody takes it.
    let flood = Endless::default();
    for (name, body) in [("silent", silent.boxed_unsync()), ("flood", flood.boxed_unsync())] {
        let request = grpc_request(SAY_HELLO).body(body).expect("a request");
        // Were it let in, it would never be answered.
        let answer = tokio::time::timeout(Duration::from_secs(20), client.send(request)).await;
        assert_eq!(told_raw(&answer.expect("an answer")), missing(), "{name}");
    }
    assert_eq!(reached.count(), 0);
    // The connection is as good as before.
    assert_eq!(client.call(SAY_HELLO, &[BEARER]).await.grpc().code(), Code::Ok);
}

// --- authenticators that wait --------------------------------------------------------------------

/// Judges bearer tokens, when the test lets it.
#[derive(Debug)]
struct Scripted {
    name: &'static str,
    verdict: fn(&str) -> Result<&'static str, AuthenticationError>,
    /// Has it waited for before it judges.
    gate: Option<Notify>,
    asked: AtomicUsize,
    left: AtomicUsize,
}

impl Scripted {
    fn judging(
        name: &'static str,
        verdict: fn(&str) -> Result<&'static str, AuthenticationError>,
    ) -> Self {
        Self { name, verdict, gate: None, asked: AtomicUsize::new(0), left: AtomicUsize::new(0) }
    }

    fn accepting(name: &'static str) -> Self {
        Self::judging(name, |_| Ok("ci"))
    }

    fn waiting(mut self) -> Self {
        self.gate = Some(Notify::new());
        self
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn left(&self) -> usize {
        self.left.load(Ordering::SeqCst)
    }

    /// Lets one call be judged.
    fn release(&self) {
        self.gate.as_ref().expect("it waits").notify_one();
    }
}

/// Counts when it goes, whichever way.
struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Authenticator for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { authorization: true, ..EvidenceKinds::default() }
    }

    async fn authenticate(&self, evidence: &Evidence<'_>) -> Outcome {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let _leaving = Leaving(&self.left);
        let CallEvidence::Bearer(token) = evidence.call() else { return Ok(None) };
        if let Some(gate) = &self.gate {
            gate.notified().await;
        }
        (self.verdict)(token).map(|name| Some(evidence.accept(Principal::new(name, self.name))))
    }

    fn challenges(&self) -> &[&'static str] {
        &["Bearer"]
    }
}

fn with(authenticator: &Arc<Scripted>) -> GateBuilder {
    Gate::builder().authenticate(Arc::clone(authenticator))
}

fn only_good(token: &str) -> Result<&'static str, AuthenticationError> {
    match token {
        TOKEN => Ok("ci"),
        _ => Err(AuthenticationError::new(Reason::TokenExpired, "it is stale")),
    }
}

#[tokio::test]
async fn a_call_waits_for_an_authenticator_that_waits() {
    let slow = Arc::new(Scripted::judging("slow", only_good).waiting());
    let gate = with(&slow).authorize(Rules::new().authenticated(SAY_HELLO).public(RESET));
    let (server, reached) = behind(gate.build().expect("a gate")).await;
    for (call, (credential, expected)) in [
        (BEARER, refused(Code::Ok, "")),
        (BAD_BEARER, refused(Code::Unauthenticated, "TOKEN_EXPIRED")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = RawClient::connect(&server).await;
        let calling =
            tokio::spawn(async move { told_raw(&client.call(SAY_HELLO, &[credential]).await) });
        until("the authenticator is asked", || slow.asked() == call + 1).await;
        // Others do not wait for it.
        let mut other = RawClient::connect(&server).await;
        assert_eq!(other.call(RESET, &[]).await.grpc().code(), Code::Ok);
        assert!(!calling.is_finished());
        slow.release();
        assert_eq!(calling.await.expect("called"), expected);
    }
    assert_eq!(slow.asked(), 2, "once for each call, and never for a public method");
    let reached_handler = reached.count();
    assert_eq!(reached_handler, 3);
}

#[tokio::test]
async fn an_authenticator_that_knows_at_once_is_never_waited_for() {
    #[derive(Debug, Default)]
    struct AtOnce {
        now: AtomicUsize,
        later: AtomicUsize,
    }
    #[async_trait]
    impl Authenticator for AtOnce {
        fn name(&self) -> &str {
            "at-once"
        }
        fn reads(&self) -> EvidenceKinds {
            EvidenceKinds { authorization: true, ..EvidenceKinds::default() }
        }
        fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
            self.now.fetch_add(1, Ordering::SeqCst);
            match evidence.call() {
                CallEvidence::Bearer(TOKEN) => {
                    Some(Ok(Some(evidence.accept(Principal::new("ci", "at-once")))))
                }
                _ => None,
            }
        }
        async fn authenticate(&self, _evidence: &Evidence<'_>) -> Outcome {
            self.later.fetch_add(1, Ordering::SeqCst);
            Err(AuthenticationError::new(Reason::TokenInvalid, "it is another"))
        }
    }
    let authenticator = Arc::new(AtOnce::default());
    let gate = Gate::builder()
        .authenticate(Arc::clone(&authenticator))
        .authorize(Rules::new().authenticated(SAY_HELLO).public(RESET))
        .build()
        .expect("a gate");
    let (server, _) = behind(gate).await;
    let mut client = RawClient::connect(&server).await;
    let counts =
        || [&authenticator.now, &authenticator.later].map(|count| count.load(Ordering::SeqCst));

    client.call(RESET, &[BAD_BEARER]).await;
    assert_eq!(counts(), [0, 0], "a public method asks nobody");
    assert_eq!(client.call(SAY_HELLO, &[BEARER]).await.grpc().code(), Code::Ok);
    assert_eq!(counts(), [1, 0]);
    assert_eq!(told_raw(&client.call(SAY_HELLO, &[BAD_BEARER]).await), invalid());
    assert_eq!(counts()[1], 1);
}

#[tokio::test]
async fn an_authenticator_that_cannot_tell_makes_the_call_unavailable_and_retried_later() {
    let down =
        Scripted::judging("down", |_| Err(AuthenticationError::unavailable("the store is down")));
    let gate = Gate::builder()
        .authenticate(down)
        .authenticate(MutualTls::new())
        .authorize(Rules::new().optional(SAY_HELLO));
    let ca = CertificateAuthority::new("test CA");
    let (server, reached) = behind_tls(&ca, &gate.build().expect("a gate")).await;
    // With a certificate, to which it must not fall back.
    let showing = trusting(&ca).identity(identity(&ca.client(&["spiffe://test/alice"])));
    let channel = channel(&server, showing).await;
    let status = greet(&channel, &[BEARER]).await.expect_err("nobody can tell");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason_of(&status), "VERIFIER_UNAVAILABLE");
    let delay = status.get_details_retry_info().expect("RetryInfo").retry_delay;
    let delay = delay.expect("a delay").as_millis();
    assert!((1_000..=5_000).contains(&delay), "{delay}");
    assert_eq!(challenges_of(&status), [""; 0], "no other credential would help");
    assert_eq!(reached.count(), 0);

    // The twin: without the token nobody has to be asked.
    let outcome = greet(&channel, &[]).await;
    assert_eq!(told(&outcome), r#"passes as "spiffe://test/alice""#);
}

#[tokio::test]
async fn a_call_that_goes_away_takes_its_authentication_with_it() {
    let slow = Arc::new(Scripted::accepting("slow").waiting());
    let gate = with(&slow).authorize(Rules::new().authenticated(SAY_HELLO)).build();
    let gate = gate.expect("a gate");

    let request = grpc_request(SAY_HELLO).header(BEARER.0, BEARER.1);
    let request = request.body(Endless::default()).expect("a request");
    let mut call = Box::pin(gate.layer(ReadsOne).call(request));
    assert!(futures_poll(&mut call).is_pending());
    assert_eq!((slow.asked(), slow.left()), (1, 0));
    drop(call);
    assert_eq!(slow.left(), 1);

    // The same over a connection, whose client gives up.
    let (server, reached) = behind(gate).await;
    let mut client = RawClient::connect(&server).await;
    let calling = tokio::spawn(async move { client.call(SAY_HELLO, &[BEARER]).await });
    until("the authenticator is asked", || slow.asked() == 2).await;
    assert_eq!(slow.left(), 1);
    calling.abort();
    until("the authentication is dropped", || slow.left() == 2).await;
    assert_eq!(reached.count(), 0);
}

fn futures_poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn of_several_that_read_a_token_one_has_to_accept_it() {
    let refusing = |reason: Reason| match reason {
        Reason::VerifierUnavailable => Scripted::judging("unavailable", |_| {
            Err(AuthenticationError::unavailable("the store is down"))
        }),
        Reason::TokenExpired => Scripted::judging("expired", |_| {
            Err(AuthenticationError::new(Reason::TokenExpired, "it is stale"))
        }),
        _ => Scripted::judging("invalid", |_| {
            Err(AuthenticationError::new(Reason::TokenInvalid, "it is another"))
        }),
    };
    use Reason::{TokenExpired, TokenInvalid, VerifierUnavailable};
    for (name, reasons, accepted, expected) in [
        ("one accepts", &[TokenExpired][..], true, refused(Code::Ok, "")),
        ("one cannot tell, one accepts", &[VerifierUnavailable], true, refused(Code::Ok, "")),
        (
            "the one that knows it says more",
            &[TokenInvalid, TokenExpired],
            false,
            refused(Code::Unauthenticated, "TOKEN_EXPIRED"),
        ),
        (
            "it may be good for the one that cannot tell",
            &[TokenExpired, VerifierUnavailable],
            false,
            refused(Code::Unavailable, "VERIFIER_UNAVAILABLE"),
        ),
    ] {
        // In either order.
        for reversed in [false, true] {
            let mut authenticators: Vec<_> = reasons.iter().map(|&it| refusing(it)).collect();
            if accepted {
                authenticators.push(Scripted::accepting("accepts"));
            }
            if reversed {
                authenticators.reverse();
            }
            let builder = authenticators
                .into_iter()
                .fold(Gate::builder(), |builder, one| builder.authenticate(one));
            let rules = Rules::new().authenticated(SAY_HELLO);
            let (server, _) = behind(builder.authorize(rules).build().expect("a gate")).await;
            let answer = RawClient::connect(&server).await.call(SAY_HELLO, &[BEARER]).await;
            assert_eq!(told_raw(&answer), expected, "{name}");
        }
    }
}

// --- what a refused caller is told ---------------------------------------------------------------

#[tokio::test]
async fn each_reason_has_its_status_its_challenge_and_its_place_in_the_log() {
    use Code::{PermissionDenied, Unauthenticated, Unavailable};
    macro_rules! refusing {
        ($reason:ident) => {
            (Reason::$reason, |_: &str| {
                Err(AuthenticationError::new(Reason::$reason, "detail of it"))
            })
        };
    }
    type Verdict = fn(&str) -> Result<&'static str, AuthenticationError>;
    let rows: [((Reason, Verdict), Code, Option<&str>); 11] = [
        (refusing!(CredentialsMissing), Unauthenticated, Some("")),
        (refusing!(CredentialsMalformed), Unauthenticated, Some("invalid_request")),
        (refusing!(TokenExpired), Unauthenticated, Some("invalid_token")),
        (refusing!(TokenNotYetValid), Unauthenticated, Some("invalid_token")),
        (refusing!(TokenInvalid), Unauthenticated, Some("invalid_token")),
        (refusing!(TokenAudience), Unauthenticated, Some("invalid_token")),
        (refusing!(CredentialsRevoked), Unauthenticated, Some("invalid_token")),
        (refusing!(ProofRequired), Unauthenticated, Some("invalid_token")),
        (refusing!(StepUp), Unauthenticated, Some("insufficient_user_authentication")),
        (refusing!(PolicyDenied), PermissionDenied, None),
        (refusing!(VerifierUnavailable), Unavailable, None),
    ];
    for ((reason, verdict), code, challenge) in rows {
        let logs = collect_logs();
        let gate = Gate::builder()
            .authenticate(Scripted::judging("scripted", verdict))
            .authorize(Rules::new().authenticated(SAY_HELLO))
            .realm("orders");
        let (server, _) = behind(gate.build().expect("a gate")).await;
        let answer = RawClient::connect(&server).await.call(SAY_HELLO, &[BEARER]).await;
        assert_eq!(answer.status, StatusCode::OK, "{reason}: always a gRPC response");
        let status = answer.grpc();
        assert_eq!(status.code(), code, "{reason}");
        let info = status.get_details_error_info().expect("ErrorInfo");
        assert_eq!((&*info.reason, &*info.domain), (reason.as_str(), "countersign"));
        let challenge = challenge.map(|error| match error {
            "" => "Bearer realm=\"orders\"".to_owned(),
            _ => format!("Bearer realm=\"orders\", error=\"{error}\""),
        });
        assert_eq!(challenges_of(&status), Vec::from_iter(challenge), "{reason}");

        // The peer learns the class; the operator finds the reason under the same ID.
        let decision = decision_of(&status).expect("a decision ID");
        assert!(decision.len() == 16 && decision.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(
            !answer.without_decision().contains("detail of it"),
            "{}",
            answer.without_decision()
        );
        let lines = logs.lines_with(&decision);
        let [line] = lines.as_slice() else { panic!("{reason}: {}", logs.text()) };
        for part in [reason.as_str(), "detail of it", SAY_HELLO, "peer=127.0.0.1:"] {
            assert!(line.contains(part), "{reason}: {part} is not in {line}");
        }
    }
}

#[tokio::test]
async fn the_log_names_the_rule_and_the_caller_that_the_refused_one_is_not_told() {
    let logs = collect_logs();
    let (server, _) = behind(gate(Rules::new().denied("/countersign.*/Re*"))).await;
    let mut client = RawClient::connect(&server).await;
    let answer = client.call(RESET, &[BEARER]).await;
    let (status, text) = (answer.grpc(), answer.without_decision());
    assert_eq!(status.message(), "the caller may not call this method");
    assert!(!text.contains("Re*") && !text.contains("ci\""), "{text}");
    let [line] = &logs.lines_with(&decision_of(&status).expect("an ID"))[..] else {
        panic!("{}", logs.text())
    };
    for part in ["POLICY_DENIED", "rule=\"/countersign.*/Re*\"", "caller=\"ci\""] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    // Each decision has its own.
    let again = client.call(RESET, &[BEARER]).await.grpc();
    assert_ne!(decision_of(&again), decision_of(&status));
}

#[tokio::test]
async fn a_known_caller_fills_no_disk_and_silences_no_stranger() {
    let logs = collect_logs();
    let (server, _) = behind(gate(Rules::new().denied(RESET))).await;
    let mut client = RawClient::connect(&server).await;
    let begin = std::time::Instant::now();
    for _ in 0..1_000 {
        assert_eq!(client.call(RESET, &[BEARER]).await.grpc().code(), Code::PermissionDenied);
    }
    let seconds = begin.elapsed().as_secs() as usize + 1;
    let told = |reason: &str| {
        let lines = logs.lines_with(reason);
        lines.iter().filter(|line| line.contains("INFO") && line.contains("withheld=")).count()
    };
    let known = told("POLICY_DENIED");
    assert!((100..=100 + 10 * seconds).contains(&known), "{known} lines in {seconds} s");
    // What was withheld is still there for who looks closer.
    assert_eq!(logs.lines_with("POLICY_DENIED").len(), 1_000);
    client.call(RESET, &[BAD_BEARER]).await;
    assert_eq!(told("TOKEN_INVALID"), 1);
}

#[tokio::test]
async fn what_a_caller_writes_is_shortened_in_the_log_and_begins_no_line_of_its_own() {
    let logs = collect_logs();
    let ca = CertificateAuthority::new("test CA");
    let (server, _) = behind_tls(&ca, &gate(Rules::new())).await;
    for (name, subject) in [
        ("long", "x".repeat(4_000)),
        ("two lines", "alice\n INFO countersign: forged".to_owned()),
        ("a terminal's escapes", "alice\u{1b}[2J".to_owned()),
    ] {
        let certificate = ca.issue().common_name(&subject).for_client().build();
        let channel = channel(&server, trusting(&ca).identity(identity(&certificate))).await;
        let status = greet(&channel, &[]).await.expect_err("no rule");
        let [line] = &logs.lines_with(&decision_of(&status).expect("an ID"))[..] else {
            panic!("{name}: {}", logs.text())
        };
        assert!(line.contains("subject:CN=") && line.len() < 1_000, "{name}: {line}");
        assert!(line.contains("a call was refused"), "{name}: {line}");
        assert!(!line.contains('\u{1b}'), "{name}: {line}");
    }
    assert_eq!(logs.lines_with("forged").len(), 1);

    let path = format!("/x/{}", "y".repeat(900));
    let (server, _) = behind(gate(Rules::new())).await;
    let answer = RawClient::connect(&server).await.call(&path, &[]).await;
    let [line] = &logs.lines_with(&decision_of(&answer.grpc()).expect("an ID"))[..] else {
        panic!("{}", logs.text())
    };
    assert!(line.contains("/x/yyy") && line.len() < 1_000, "{line}");
}

#[tokio::test]
async fn every_scheme_that_could_help_is_a_challenge_and_each_only_once() {
    #[derive(Debug)]
    struct Named(&'static str, &'static str);
    impl Authenticator for Named {
        fn name(&self) -> &str {
            self.0
        }
        fn reads(&self) -> EvidenceKinds {
            EvidenceKinds { authorization: true, ..EvidenceKinds::default() }
        }
        fn authenticate_now(&self, _evidence: &Evidence<'_>) -> Option<Outcome> {
            Some(Ok(None))
        }
        fn challenges(&self) -> &[&'static str] {
            std::slice::from_ref(&self.1)
        }
    }
    let gate = Gate::builder()
        .authenticate(Named("a", "DPoP"))
        .authenticate(Named("b", "Bearer"))
        .authenticate(Named("c", "Bearer"))
        .authenticate(MutualTls::new());
    let (server, _) = behind(gate.build().expect("a gate")).await;
    let status = RawClient::connect(&server).await.call(SAY_HELLO, &[]).await.grpc();
    assert_eq!(challenges_of(&status), ["DPoP realm=\"grpc\"", "Bearer realm=\"grpc\""]);
}

#[tokio::test]
async fn callers_that_are_not_grpc_get_https_own_status_with_the_same_challenge() {
    let down = Scripted::judging("down", |token| match token {
        "down" => Err(AuthenticationError::unavailable("the store is down")),
        _ => only_good(token),
    });
    let gate = Gate::builder().authenticate(down).authorize(Rules::new().denied(RESET));
    let (server, reached) = behind(gate.build().expect("a gate")).await;
    let mut client = RawClient::connect(&server).await;
    let down = ("authorization", "Bearer down");
    for (name, path, metadata, status, code) in [
        ("nobody", SAY_HELLO, None, StatusCode::UNAUTHORIZED, Code::Unauthenticated),
        ("bad token", RESET, Some(BAD_BEARER), StatusCode::UNAUTHORIZED, Code::Unauthenticated),
        ("known", RESET, Some(BEARER), StatusCode::FORBIDDEN, Code::PermissionDenied),
        ("unknown", RESET, Some(down), StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
        ("no method", "/favicon.ico", None, StatusCode::NOT_FOUND, Code::Unimplemented),
    ] {
        for content_type in [Some("application/json"), Some("text/html"), None] {
            let mut request = grpc_request(path);
            request.headers_mut().expect("headers").remove("content-type");
            if let Some((key, value)) = metadata {
                request = request.header(key, value);
            }
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let answer = client.send(request.body(empty_message()).expect("a request")).await;
            assert_eq!(answer.status, status, "{name}");
            assert!(!answer.headers.contains_key("grpc-status"), "{name}");
            let challenged = answer.headers.contains_key("www-authenticate");
            assert_eq!(challenged, status == StatusCode::UNAUTHORIZED, "{name}");
        }
        let answer = client.call(path, &Vec::from_iter(metadata)).await;
        assert_eq!((answer.status, answer.grpc().code()), (StatusCode::OK, code), "{name}");
    }
    assert_eq!(reached.count(), 0);
}

// --- building ------------------------------------------------------------------------------------

#[test]
fn a_gate_that_cannot_hold_is_not_built() {
    let builder = || Gate::builder().authenticate(tokens());
    let good = || Rules::new().authenticated_by(SAY_HELLO, [StaticTokens::NAME]);
    let error = |builder: GateBuilder| builder.build().expect_err("refused");

    let twice = error(builder().authenticate(StaticTokens::new()));
    assert_eq!(twice, GateError::DuplicateAuthenticator { name: StaticTokens::NAME.to_owned() });
    let shared = error(builder().authenticate(Arc::new(tokens())));
    assert!(matches!(shared, GateError::DuplicateAuthenticator { .. }));

    let unknown = error(
        builder().authorize(Rules::new().authenticated_by(SAY_HELLO, ["mtls", "static-tokens"])),
    );
    let GateError::Rules(RulesError::UnknownAuthenticator { name, known, .. }) = &unknown else {
        panic!("{unknown}")
    };
    assert_eq!((name.as_str(), known.as_slice()), ("mtls", &["static-tokens".to_owned()][..]));
    let sentence = "the rule for \"/countersign.demo.v1.Greeter/SayHello\" asks for the \
                    authenticator \"mtls\", and the gate has [\"static-tokens\"]";
    assert_eq!(unknown.to_string(), sentence);

    let nobody = error(builder().authorize(Rules::new().authenticated_by(SAY_HELLO, [])));
    assert!(matches!(nobody, GateError::Rules(RulesError::NoAuthenticator { .. })));
    let same = error(builder().authorize(good().public(SAY_HELLO)));
    assert!(matches!(same, GateError::Rules(RulesError::Duplicate { .. })));
    let pattern = error(builder().authorize(good().public("no.Slash/Method")));
    assert!(matches!(pattern, GateError::Rules(RulesError::Pattern(_))));
    for realm in ["a\"b", "a\\b", "a\nb", "ä"] {
        let error = error(builder().realm(realm));
        assert!(matches!(error, GateError::Realm { .. }), "{realm:?}");
    }

    builder().authenticate(MutualTls::new()).authorize(good()).realm("a b").build().expect("good");
}

#[test]
fn an_authenticator_whose_challenge_fits_no_header_is_refused_and_no_panic() {
    #[derive(Debug)]
    struct Odd(&'static str);
    impl Authenticator for Odd {
        fn name(&self) -> &str {
            "odd"
        }
        fn reads(&self) -> EvidenceKinds {
            EvidenceKinds::default()
        }
        fn challenges(&self) -> &[&'static str] {
            std::slice::from_ref(&self.0)
        }
    }
    for scheme in ["", "Be arer", "Bearer\n", "Bearer,Basic", "Bäarer"] {
        let error = Gate::builder().authenticate(Odd(scheme)).build().expect_err(scheme);
        assert!(matches!(error, GateError::Challenge { .. }), "{error}");
    }
    Gate::builder().authenticate(Odd("DPoP")).build().expect("a scheme");
}

#[tokio::test]
async fn the_context_of_a_public_call_names_nobody() {
    let (server, reached) = behind(gate(Rules::new().public(SAY_HELLO))).await;
    RawClient::connect(&server).await.call(SAY_HELLO, &[BEARER]).await;
    let extensions = reached.last().extensions;
    let context = extensions.get::<AuthContext>().expect("a gate");
    assert!(context.caller().is_none() && context.callers().is_empty());
    assert_eq!(context.rule(), SAY_HELLO);
}
