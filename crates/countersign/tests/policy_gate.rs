//! A gate that asks a policy: who gets past it, what the others are told, and what a new policy
//! changes.

#[path = "support/handlers.rs"]
mod handlers;
#[path = "support/reached.rs"]
mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use countersign::authentication::{
    AuthenticationError, CallEvidence, Evidence, EvidenceKinds, Lease, Outcome, Reason,
};
use countersign::authorization::{Policy, PolicyError, PolicyFile};
use countersign::{
    Authenticator, ChannelCredentials, ClientTls, Gate, GateBuilder, GateError, MutualTls,
    Principal, Rules, ServerCredentials, ServerRequestExt, async_trait, connect,
};

use countersign_testkit::clock::ManualClock;
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{Greeter, GreeterClient, SAY_HELLO};
use countersign_testkit::pki::CertificateAuthority;
use countersign_testkit::wait::until;
use handlers::Endless;
use http_body_util::BodyExt;
use serde_json::json;
use support::{
    Answer, RawClient, Reached, Served, behind_tls, challenges_of, collect_logs, decision_of,
    empty_message, grpc_request, identity, keep_logs_awake, reason_of, serve, trusting,
};
use tempfile::TempDir;
use tonic::Code;
use tonic::service::Routes;
use tower_layer::Layer;

const RESET: &str = "/countersign.demo.v1.Greeter/Reset";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const NO_METHOD: &str = "/countersign.demo.v1.Greeter/Nope";

const ALICE: (&str, &str) = ("authorization", "Bearer alice");
const BOB: (&str, &str) = ("authorization", "Bearer bob");
const BAD: (&str, &str) = ("authorization", "Bearer bad");

/// Takes a token at its word: who it is, with one scope. Counts how often it was asked.
#[derive(Clone, Debug, Default)]
struct Tokens {
    asked: Arc<AtomicUsize>,
    waits: bool,
}

impl Tokens {
    fn judge(&self, evidence: &Evidence<'_>) -> Outcome {
        let CallEvidence::Bearer(token) = evidence.call() else { return Ok(None) };
        self.asked.fetch_add(1, Ordering::SeqCst);
        let scope = match token {
            "alice" => "orders:write",
            "bob" => "orders:read",
            _ => return Err(AuthenticationError::new(Reason::TokenInvalid, "unknown")),
        };
        let claims = json!({"iss": "https://id.example", "sub": token, "scope": scope});
        let serde_json::Value::Object(claims) = claims else { return Ok(None) };
        let claims = countersign::identity::TokenClaims::from_object(claims);
        let principal = Principal::with_token(token, self.name(), claims);
        Ok(Some(evidence.accept(principal).leased(Lease::unlimited())))
    }
}

#[async_trait]
impl Authenticator for Tokens {
    fn name(&self) -> &str {
        "tokens"
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { authorization: true, ..EvidenceKinds::default() }
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
        (!self.waits).then(|| self.judge(evidence))
    }

    async fn authenticate(&self, evidence: &Evidence<'_>) -> Outcome {
        tokio::task::yield_now().await;
        self.judge(evidence)
    }

    fn challenges(&self) -> &[&'static str] {
        &["Bearer"]
    }
}

/// Everything that the tests below ask about.
const POLICY: &str = r#"{
    "name": "orders",
    "deny_rules": [
        {
            "name": "not-on-probation",
            "request": {"headers": [{"key": "x-probation", "values": ["*"]}]}
        },
        {"name": "no-reset", "request": {"paths": ["*/Reset"]}}
    ],
    "allow_rules": [
        {"name": "health", "request": {"paths": ["/grpc.health.v1.Health/*"]}},
        {"name": "web", "source": {"principals": ["spiffe://test/web"]}},
        {
            "name": "writers",
            "source": {"countersign": {"tokens": [
                {"issuers": ["https://id.example"], "scopes": ["orders:write"]}
            ]}}
        },
        {
            "name": "readers-of-acme",
            "source": {"countersign": {"tokens": [
                {"issuers": ["https://id.example"], "scopes": ["orders:read"]}
            ]}},
            "request": {"headers": [{"key": "x-tenant", "values": ["acme"]}]}
        }
    ]
}"#;

fn policy(text: &str) -> Policy {
    Policy::from_json(text).expect("a policy")
}

fn builder() -> GateBuilder {
    keep_logs_awake();
    Gate::builder().authenticate(Tokens::default()).authenticate(MutualTls::new())
}

fn gate() -> Gate {
    builder().authorize(policy(POLICY)).build().expect("a gate")
}

/// A greeter and health checks behind a gate, over plaintext.
async fn behind(gate: &Gate) -> (Served, Reached) {
    let reached = Reached::default();
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let (_, health) = tonic_health::server::health_reporter();
    let routes = Routes::new(Greeter.service()).add_service(health);
    (serve(incoming, gate.layer(reached.layer(routes))), reached)
}

/// Passes, or the code and the reason.
fn told(answer: &Answer) -> String {
    let status = answer.grpc();
    match status.code() {
        Code::Ok => "passes".to_owned(),
        code => format!("{code:?} {}", reason_of(&status)),
    }
}

const MISSING: &str = "Unauthenticated CREDENTIALS_MISSING";
const INVALID: &str = "Unauthenticated TOKEN_INVALID";
const DENIED: &str = "PermissionDenied POLICY_DENIED";

/// The rule that let the last call pass, and as whom.
fn passed_by(reached: &Reached) -> (String, Option<String>) {
    let request = reached.last_request();
    let context = request.auth_context().expect("a gate");
    let caller = context.caller().map(|caller| caller.principal().name().to_owned());
    (context.rule().to_owned(), caller)
}

// --- who passes ----------------------------------------------------------------------------------

#[tokio::test]
async fn a_token_passes_where_a_rule_of_the_policy_names_what_it_says() {
    let (server, reached) = behind(&gate()).await;
    let mut client = RawClient::connect(&server).await;
    let acme = ("x-tenant", "acme");
    for (name, path, metadata, expected) in [
        ("the scope", SAY_HELLO, &[ALICE][..], Ok(("writers", Some("alice")))),
        ("another scope", SAY_HELLO, &[BOB], Err(DENIED)),
        ("with the tenant", SAY_HELLO, &[BOB, acme], Ok(("readers-of-acme", Some("bob")))),
        ("another tenant", SAY_HELLO, &[BOB, ("x-tenant", "other")], Err(DENIED)),
        ("two tenants", SAY_HELLO, &[BOB, acme, ("x-tenant", "other")], Err(DENIED)),
        ("the tenant alone", SAY_HELLO, &[acme], Err(MISSING)),
        ("a bad token", SAY_HELLO, &[BAD, acme], Err(INVALID)),
        ("a denied path", RESET, &[ALICE], Err(DENIED)),
        ("a denied header", SAY_HELLO, &[ALICE, ("x-probation", "1")], Err(DENIED)),
        ("without it again", SAY_HELLO, &[ALICE], Ok(("writers", Some("alice")))),
    ] {
        let before = reached.count();
        let answer = client.call(path, metadata).await;
        match expected {
            Ok((rule, caller)) => {
                assert_eq!(told(&answer), "passes", "{name}");
                let by = (rule.to_owned(), caller.map(str::to_owned));
                assert_eq!(passed_by(&reached), by, "{name}");
                assert!(reached.last_values("authorization").is_empty(), "{name}");
            }
            Err(refused) => {
                assert_eq!(told(&answer), refused, "{name}");
                assert_eq!(reached.count(), before, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_passes_by_its_principal_and_nobody_elses() {
    let ca = CertificateAuthority::new("root");
    let (server, reached) = behind_tls(&ca, &gate()).await;
    let showing = |name: &str| trusting(&ca).identity(identity(&ca.client(&[name])));
    for (name, tls, metadata, expected) in [
        ("web", showing("spiffe://test/web"), None, Ok(("web", "spiffe://test/web"))),
        ("another", showing("spiffe://test/job"), None, Err((Code::PermissionDenied, DENIED))),
        ("none", trusting(&ca), None, Err((Code::Unauthenticated, MISSING))),
        ("none, a token", trusting(&ca), Some("Bearer alice"), Ok(("writers", "alice"))),
        (
            "web, a bad token",
            showing("spiffe://test/web"),
            Some("Bearer bad"),
            Err((Code::Unauthenticated, INVALID)),
        ),
        ("web, a token", showing("spiffe://test/web"), Some("Bearer bob"), Ok(("web", "bob"))),
    ] {
        let outcome = greet(&server, tls, metadata).await;
        match (outcome, expected) {
            (Ok(()), Ok((rule, caller))) => {
                let by = (rule.to_owned(), Some(caller.to_owned()));
                assert_eq!(passed_by(&reached), by, "{name}");
            }
            (Err(status), Err((code, words))) => {
                assert_eq!(status.code(), code, "{name}");
                assert_eq!(format!("{code:?} {}", reason_of(&status)), words, "{name}");
            }
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_verified_certificate_is_somebody_to_the_policy_without_an_authenticator_too() {
    let ca = CertificateAuthority::new("root");
    let gate = Gate::builder().authorize(policy(POLICY)).build().expect("a gate");
    let (server, reached) = behind_tls(&ca, &gate).await;
    let showing = |name: &str| trusting(&ca).identity(identity(&ca.client(&[name])));
    greet(&server, showing("spiffe://test/web"), None).await.expect("passes");
    assert_eq!(passed_by(&reached), ("web".to_owned(), None));
    let status = greet(&server, showing("spiffe://test/job"), None).await.expect_err("denied");
    assert_eq!((status.code(), &*reason_of(&status)), (Code::PermissionDenied, "POLICY_DENIED"));
}

async fn greet(server: &Served, tls: ClientTls, token: Option<&str>) -> Result<(), tonic::Status> {
    let credentials = ChannelCredentials::tls(tls);
    let channel = connect(server.https("localhost"), credentials).await.expect("connected");
    let mut request = tonic::Request::new(HelloRequest { name: "you".to_owned() });
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", token.parse().expect("ASCII"));
    }
    GreeterClient::new(channel).say_hello(request).await.map(drop)
}

#[tokio::test]
async fn what_asks_for_nothing_is_open_with_a_good_token_a_bad_one_and_none() {
    for waits in [false, true] {
        let tokens = Tokens { waits, ..Tokens::default() };
        let gate = Gate::builder().authenticate(tokens).authorize(policy(POLICY));
        let (server, reached) = behind(&gate.build().expect("a gate")).await;
        let mut client = RawClient::connect(&server).await;
        for (name, metadata, caller) in [
            ("none", &[][..], None),
            ("good", &[ALICE], Some("alice")),
            ("bad", &[BAD], None),
            ("two", &[ALICE, BOB], None),
            ("garbage", &[("authorization", "?")], None),
        ] {
            let answer = client.call(HEALTH, metadata).await;
            assert_eq!(told(&answer), "passes", "{name}");
            let by = ("health".to_owned(), caller.map(str::to_owned));
            assert_eq!(passed_by(&reached), by, "{name}");
            assert!(reached.last_values("authorization").is_empty(), "{name}");
            // The twin: only there, and not against a rule that denies.
            let elsewhere = client.call(NO_METHOD, metadata).await;
            let passes = caller.is_some();
            assert_eq!(elsewhere.grpc().code() == Code::Unimplemented, passes, "{name}");
            assert_eq!(elsewhere.grpc().code() == Code::Unauthenticated, !passes, "{name}");
            let mut denied = metadata.to_vec();
            denied.push(("x-probation", "1"));
            assert_ne!(told(&client.call(HEALTH, &denied).await), "passes", "{name}");
        }
    }
}

#[tokio::test]
async fn bad_evidence_passes_by_no_rule_that_asks_for_some() {
    // The certificate's rule stands first, and the open one is for others.
    let text = r#"{"name": "p", "allow_rules": [
        {"name": "web", "source": {"principals": ["spiffe://test/web"]}},
        {"name": "from-elsewhere", "source": {"countersign": {
            "not": {"principals": ["spiffe://test/web"]}
        }}}
    ]}"#;
    let ca = CertificateAuthority::new("root");
    let gate = builder().authorize(policy(text)).build().expect("a gate");
    let (server, reached) = behind_tls(&ca, &gate).await;
    let web = || trusting(&ca).identity(identity(&ca.client(&["spiffe://test/web"])));
    let status = greet(&server, web(), Some("Bearer bad")).await.expect_err("refused");
    assert_eq!(reason_of(&status), "TOKEN_INVALID");
    greet(&server, web(), None).await.expect("passes");
    assert_eq!(passed_by(&reached).0, "web");
    greet(&server, trusting(&ca), Some("Bearer bad")).await.expect("passes as nobody");
    assert_eq!(passed_by(&reached), ("from-elsewhere".to_owned(), None));
}

/// Whoever has to show a certificate must not be rid of what it proves by a bad token beside it.
#[tokio::test]
async fn a_bad_token_does_not_shed_whom_a_certificate_proves() {
    let ca = CertificateAuthority::new("root");
    let denying = |rule: &str| {
        format!(r#"{{"name": "p", "deny_rules": [{rule}], "allow_rules": [{{"name": "all"}}]}}"#)
    };
    let by = r#"{"name": "d", "source": {"countersign": {"authenticators": ["mutual-tls"]}}}"#;
    let but = r#"{"name": "p", "allow_rules": [{"name": "all", "source": {"countersign": {
        "not": {"authenticators": ["mutual-tls"]}}}}]}"#;
    let mut policies = vec![denying(by), but.to_owned()];
    if cfg!(feature = "cel") {
        let cel = "has(source.principal) && source.principal == 'spiffe://test/web'";
        policies.push(denying(&format!(r#"{{"name": "d", "countersign": {{"cel": "{cel}"}}}}"#)));
        policies.push(
            r#"{"name": "p", "allow_rules": [
                {"name": "all", "countersign": {"cel": "!has(source.principal)"}}]}"#
                .to_string(),
        );
    }
    for text in policies {
        let gate = builder().authorize(policy(&text)).build().expect("a gate");
        let (server, _) = behind_tls(&ca, &gate).await;
        let web = || trusting(&ca).identity(identity(&ca.client(&["spiffe://test/web"])));
        greet(&server, web(), None).await.expect_err("denied");
        for bad in ["Bearer bad", "?"] {
            let status = greet(&server, web(), Some(bad)).await.expect_err(&text);
            assert_eq!(status.code(), Code::Unauthenticated, "{text} {bad}");
            // The twin: who shows no certificate sheds none.
            greet(&server, trusting(&ca), Some(bad)).await.expect("passes as nobody");
        }
    }
}

// --- what the others are told --------------------------------------------------------------------

#[tokio::test]
async fn a_stranger_cannot_tell_methods_apart_and_a_caller_learns_no_rule() {
    let logs = collect_logs();
    let (server, reached) = behind(&gate()).await;
    let mut client = RawClient::connect(&server).await;
    let paths = [SAY_HELLO, RESET, NO_METHOD, "/no.such.Service/Method"];
    for (metadata, expected) in [(&[][..], MISSING), (&[BAD], INVALID), (&[BOB], DENIED)] {
        let first = client.call(SAY_HELLO, metadata).await;
        assert_eq!(told(&first), expected);
        for path in paths {
            let answer = client.call(path, metadata).await;
            assert_eq!(answer.without_decision(), first.without_decision(), "{path} {metadata:?}");
            for secret in ["no-reset", "not-on-probation", "writers", "orders"] {
                assert!(!format!("{answer:?}").contains(secret), "{answer:?}");
                let details = answer.grpc().details().to_vec();
                assert!(!String::from_utf8_lossy(&details).contains(secret), "{answer:?}");
            }
        }
    }
    assert_eq!(reached.count(), 0);
    let stranger = client.call(SAY_HELLO, &[]).await.grpc();
    assert_eq!(challenges_of(&stranger), ["Bearer realm=\"grpc\""]);

    // The twin: whoever may call is told that there is no such method, and the operator is told
    // the rule.
    let unknown = client.call(NO_METHOD, &[ALICE]).await.grpc();
    assert_eq!(unknown.code(), Code::Unimplemented);
    let denied = client.call(RESET, &[ALICE]).await.grpc();
    assert!(challenges_of(&denied).is_empty());
    let decision = decision_of(&denied).expect("an ID");
    let [line] = &logs.lines_with(&decision)[..] else { panic!("{}", logs.text()) };
    for part in ["POLICY_DENIED", "no-reset", "caller=\"alice\"", RESET] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

// --- what is remembered --------------------------------------------------------------------------

#[tokio::test]
async fn who_was_proven_is_remembered_and_what_metadata_or_time_may_change_is_not() {
    let text = r#"{"name": "p", "allow_rules": [{
        "name": "mornings",
        "source": {"countersign": {"authenticators": ["tokens"]}},
        "request": {
            "headers": [{"key": "x-tenant", "values": ["acme"]}],
            "countersign": {"times": [{"from": "06:00", "to": "12:00"}]}
        }
    }]}"#;
    let at = |hour: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(hour * 3600);
    let clock = ManualClock::new(at(7));
    let tokens = Tokens::default();
    let gate = Gate::builder().authenticate(tokens.clone()).authorize(policy(text));
    let gate = gate.clock(clock.clone()).build().expect("a gate");
    let (server, _) = behind(&gate).await;
    let mut client = RawClient::connect(&server).await;
    let acme = ("x-tenant", "acme");
    for (hour, metadata, expected) in [
        (7, &[ALICE, acme][..], "passes"),
        (7, &[ALICE], DENIED),
        (7, &[ALICE, acme], "passes"),
        (12, &[ALICE, acme], DENIED),
        (11, &[ALICE, acme], "passes"),
        (11, &[acme], MISSING),
    ] {
        clock.set(at(hour));
        let answer = client.call(SAY_HELLO, metadata).await;
        assert_eq!(told(&answer), expected, "{hour} {metadata:?}");
    }
    assert_eq!(tokens.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn one_header_or_one_hour_more_counts_over_a_connection_that_is_remembered() {
    let allowed = r#""allow_rules": [
        {"name": "all", "source": {"countersign": {"authenticators": ["tokens"]}}}
    ]"#;
    for (what, deny, metadata, hour) in [
        ("a header", r#"{"headers": [{"key": "x-probation", "values": ["*"]}]}"#, true, 7),
        ("an hour", r#"{"countersign": {"times": [{"from": "12:00", "to": "13:00"}]}}"#, false, 12),
        (
            "an hour and the method",
            r#"{"paths": ["*/SayHello"],
                "countersign": {"times": [{"from": "12:00", "to": "13:00"}]}}"#,
            false,
            12,
        ),
    ] {
        let deny = format!(r#""deny_rules": [{{"name": "not-then", "request": {deny}}}]"#);
        let text = format!(r#"{{"name": "p", {deny}, {allowed}}}"#);
        let at = |hour: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(hour * 3600);
        let clock = ManualClock::new(at(7));
        let gate = Gate::builder().authenticate(Tokens::default()).authorize(policy(&text));
        let gate = gate.clock(clock.clone()).build().expect("a gate");
        let (server, _) = behind(&gate).await;
        let mut client = RawClient::connect(&server).await;
        for _ in 0..3 {
            assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "passes", "{what}");
        }
        clock.set(at(hour));
        let more = [ALICE, ("x-probation", "yes")];
        let more = if metadata { &more[..] } else { &more[..1] };
        assert_eq!(told(&client.call(SAY_HELLO, more).await), DENIED, "{what}");
        clock.set(at(7));
        assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "passes", "{what}, as before");
    }
}

#[tokio::test]
async fn what_the_policy_said_of_one_method_or_caller_is_not_said_of_another() {
    let (server, reached) = behind(&gate_of_readers()).await;
    let mut client = RawClient::connect(&server).await;
    for round in 0..3 {
        assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "passes", "{round}");
        assert_eq!(passed_by(&reached), ("writers".to_owned(), Some("alice".to_owned())));
        assert_eq!(told(&client.call(SAY_HELLO, &[BOB]).await), DENIED, "{round}");
        assert_eq!(told(&client.call(RESET, &[ALICE]).await), DENIED, "{round}");
        assert_eq!(told(&client.call(SAY_HELLO, &[]).await), MISSING, "{round}");
        assert_eq!(told(&client.call(HEALTH, &[BOB]).await), "passes", "{round}");
        assert_eq!(passed_by(&reached).0, "health");
    }
}

/// No rule of its policy may say another thing of the next call.
fn gate_of_readers() -> Gate {
    let text = r#"{"name": "p",
        "deny_rules": [{"name": "no-reset", "request": {"paths": ["*/Reset"]}}],
        "allow_rules": [
            {"name": "health", "request": {"paths": ["/grpc.health.v1.Health/*"]}},
            {"name": "writers", "source": {"countersign": {"tokens": [
                {"issuers": ["https://id.example"], "scopes": ["orders:write"]}
            ]}}}
        ]}"#;
    builder().authorize(policy(text)).build().expect("a gate")
}

// --- a new policy --------------------------------------------------------------------------------

const ALICE_ONLY: &str = r#"{"name": "narrow", "allow_rules": [{
    "name": "alice",
    "source": {"countersign": {"tokens": [
        {"issuers": ["https://id.example"], "subjects": ["alice"]}
    ]}}
}]}"#;
const BOTH: &str = r#"{"name": "wide", "allow_rules": [{
    "name": "anybody-known",
    "source": {"countersign": {"authenticators": ["tokens"]}}
}]}"#;

fn in_file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.json");
    std::fs::write(&path, text).expect("written");
    (folder, path)
}

#[tokio::test]
async fn a_reloaded_policy_holds_from_the_next_call_on_over_the_same_connection() {
    let (_folder, path) = in_file(BOTH);
    let file = PolicyFile::open(&path).expect("a policy");
    let (server, reached) = behind(&builder().authorize(&file).build().expect("a gate")).await;
    let mut client = RawClient::connect(&server).await;
    assert_eq!(told(&client.call(SAY_HELLO, &[BOB]).await), "passes");
    assert!(!file.reload().expect("the same"));

    std::fs::write(&path, ALICE_ONLY).expect("written");
    assert_eq!(told(&client.call(SAY_HELLO, &[BOB]).await), "passes", "nobody has read it");
    assert!(file.reload().expect("a policy"));
    assert_eq!(told(&client.call(SAY_HELLO, &[BOB]).await), DENIED);
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "passes");
    assert_eq!(passed_by(&reached).0, "alice");
    assert_eq!(file.report().replaced, 1);

    std::fs::write(&path, BOTH).expect("written");
    assert!(file.reload().expect("a policy"));
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "passes");
    assert_eq!(passed_by(&reached).0, "anybody-known", "the rule of the policy that holds now");
}

#[test]
fn what_is_no_policy_leaves_the_last_good_one_and_says_why_until_it_is_mended() {
    let (_folder, path) = in_file(BOTH);
    let file = PolicyFile::open(&path).expect("a policy");
    let problem = |file: &PolicyFile| file.report().problem.map(|it| it.to_string());
    assert_eq!(problem(&file), None);
    for attempt in ["first", "again"] {
        std::fs::write(&path, "{\"name\": ").expect("written");
        let error = file.reload().expect_err("half a file");
        assert!(matches!(*error, PolicyError::Invalid { .. }), "{attempt}: {error:?}");
        assert_eq!(file.current().name(), "wide");
        assert_eq!(problem(&file), Some(error.to_string()), "{attempt}");
    }
    std::fs::remove_file(&path).expect("removed");
    let error = file.reload().expect_err("no file");
    assert!(matches!(*error, PolicyError::Read { .. }), "{error:?}");
    assert_eq!(file.current().name(), "wide");
    for (text, name) in [(BOTH, "wide"), (ALICE_ONLY, "narrow")] {
        std::fs::write(&path, text).expect("written");
        assert!(file.reload().expect("a policy"));
        assert_eq!((file.current().name(), problem(&file)), (name, None));
    }
    let report = file.report();
    assert_eq!((report.replaced, report.refused), (2, 2), "half a file twice is refused once");
    PolicyFile::open(path.with_extension("other")).expect_err("nothing to begin with");
}

#[tokio::test(start_paused = true)]
async fn a_watched_file_is_read_every_second_and_its_problem_told_once_a_minute() {
    let logs = collect_logs();
    let (_folder, path) = in_file(BOTH);
    let file = PolicyFile::open(&path).expect("a policy");
    std::fs::write(&path, ALICE_ONLY).expect("written");
    let watching = file.watch();
    until("the new policy", || file.report().replaced == 1).await;
    assert_eq!(file.current().name(), "narrow");

    std::fs::write(&path, "no policy").expect("written");
    tokio::time::advance(PolicyFile::POLL).await;
    until("the problem", || logs.lines_with("last good policy").len() == 1).await;
    assert!(file.report().problem.is_some());
    assert_eq!(file.current().name(), "narrow");
    let first = file.report();
    // A minute of seconds, and then the one that tells it again.
    for told in [1, 2] {
        let began = tokio::time::Instant::now();
        while logs.lines_with("last good policy").len() == told {
            tokio::time::sleep(PolicyFile::POLL).await;
        }
        let after = began.elapsed().as_secs();
        assert!((58..=63).contains(&after), "{after}");
    }
    let report = file.report();
    assert_eq!((report.replaced, report.refused), (1, 1), "it counts once, however long it lasts");
    let lasted = report.problem_for.expect("there is a problem") - first.problem_for.expect("too");
    assert_eq!(report.since_good - first.since_good, lasted);
    assert!((116..=126).contains(&lasted.as_secs()), "{lasted:?}");

    std::fs::remove_file(&path).expect("removed");
    tokio::time::sleep(PolicyFile::POLL * 5).await;
    until("it is missed", || file.report().refused == 2).await;
    std::fs::write(&path, BOTH).expect("written");
    while file.report().replaced == 1 {
        tokio::time::sleep(PolicyFile::POLL).await;
    }
    // What is good is looked at every second, and stays so.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let report = file.report();
    assert!(report.problem.is_none() && report.problem_for.is_none());
    assert!(report.since_good <= PolicyFile::POLL * 3, "{:?}", report.since_good);
    assert_eq!((report.replaced, report.refused), (2, 2));

    // Nobody watches any more.
    drop(watching);
    std::fs::write(&path, ALICE_ONLY).expect("written");
    tokio::time::sleep(PolicyFile::POLL * 5).await;
    assert_eq!((file.current().name(), file.report().replaced), ("wide", 2));
}

#[tokio::test]
async fn a_new_policy_ends_the_streams_that_it_denies_and_no_others() {
    let logs = collect_logs();
    // By a header, so that the call's own are needed when it is asked about again.
    let allowing = |header: &str| {
        format!(
            r#"{{"name": "p", "allow_rules": [{{"name": "{header}", "request": {{
                "headers": [{{"key": "{header}", "values": ["1"]}}]
            }}}}]}}"#
        )
    };
    let before = BOTH.replace(
        r#""allow_rules": ["#,
        r#""deny_rules": [{"name": "d", "request": {
            "headers": [{"key": "x-probation", "values": ["*"]}]
        }}], "allow_rules": ["#,
    );
    let (_folder, path) = in_file(&before);
    let file = PolicyFile::open(&path).expect("a policy");
    let gate = builder().authorize(&file).recheck_streams_every(Duration::from_millis(100));
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let server = serve(incoming, gate.build().expect("a gate").layer(Endless));
    let mut client = RawClient::connect(&server).await;
    let mut open = async |token: (&str, &str), header: &str| {
        let request = grpc_request(SAY_HELLO).header(token.0, token.1).header(header, "1");
        client.begin(request.body(empty_message()).expect("a request")).await.into_body()
    };
    let (mut stays, mut ends) = (open(ALICE, "x-stays").await, open(BOB, "x-ends").await);

    std::fs::write(&path, allowing("x-stays")).expect("written");
    assert!(file.reload().expect("a policy"));
    let ended = async |body: &mut hyper::body::Incoming| {
        let frame = body.frame().await.expect("a frame").expect("no error");
        let trailers = frame.into_trailers().expect("trailers");
        tonic::Status::from_header_map(&trailers).expect("a status")
    };
    let status = ended(&mut ends).await;
    assert_eq!((status.code(), &*reason_of(&status)), (Code::PermissionDenied, "POLICY_DENIED"));
    let decision = decision_of(&status).expect("an ID");
    let [line] = &logs.lines_with(&decision)[..] else { panic!("{}", logs.text()) };
    assert!(line.contains("caller=\"bob\"") && line.contains("new policy"), "{line}");
    let more = Duration::from_millis(300);
    tokio::time::timeout(more, stays.frame()).await.expect_err("goes on");

    // The twin, by the next policy.
    std::fs::write(&path, allowing("x-other")).expect("written");
    assert!(file.reload().expect("a policy"));
    assert_eq!(ended(&mut stays).await.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_stream_whose_metadata_was_not_kept_ends_when_a_new_policy_would_look_at_it() {
    let logs = collect_logs();
    let denying = |header: &str, methods: &str| {
        BOTH.replace(
            r#""allow_rules": ["#,
            &format!(
                r#""deny_rules": [{{"name": "d", "request": {{
                    "paths": ["{methods}"], "headers": [{{"key": "{header}", "values": ["*"]}}]
                }}}}], "allow_rules": [{{"name": "in-the-office", "request": {{
                    "countersign": {{"times": [{{"from": "08:00", "to": "18:00"}}]}}
                }}}}, "#
            ),
        )
    };
    let (_folder, path) = in_file(BOTH);
    let file = PolicyFile::open(&path).expect("a policy");
    let gate = builder().authorize(&file).recheck_streams_every(Duration::from_millis(100));
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let server = serve(incoming, gate.build().expect("a gate").layer(Endless));
    let mut client = RawClient::connect(&server).await;
    let request = grpc_request(SAY_HELLO).header(ALICE.0, ALICE.1);
    let request = request.body(empty_message()).expect("a request");
    let mut stream = client.begin(request).await.into_body();

    // The twin: it looks at another method's metadata, and at the time.
    std::fs::write(&path, denying("x-probation", "*/Reset")).expect("written");
    assert!(file.reload().expect("a policy"));
    tokio::time::timeout(Duration::from_millis(300), stream.frame()).await.expect_err("goes on");

    std::fs::write(&path, denying("x-probation", "*/SayHello")).expect("written");
    assert!(file.reload().expect("a policy"));
    let trailers = stream.frame().await.expect("a frame").expect("no error").into_trailers();
    let status = tonic::Status::from_header_map(&trailers.expect("trailers")).expect("a status");
    assert_eq!((status.code(), &*reason_of(&status)), (Code::PermissionDenied, "POLICY_DENIED"));
    let decision = decision_of(&status).expect("an ID");
    let [line] = &logs.lines_with(&decision)[..] else { panic!("{}", logs.text()) };
    assert!(line.contains("was not kept") && !line.contains("anybody-known"), "{line}");
}

// --- rules ---------------------------------------------------------------------------------------

#[tokio::test]
async fn the_last_of_rules_and_policy_counts() {
    let rules = || Rules::new().authenticated(SAY_HELLO);
    let by_policy = builder().authorize(rules()).authorize(policy(POLICY));
    let by_rules = builder().authorize(policy(POLICY)).authorize(rules());
    for (gate, rule) in [(by_policy, "writers"), (by_rules, SAY_HELLO)] {
        let (server, reached) = behind(&gate.build().expect("a gate")).await;
        let mut client = RawClient::connect(&server).await;
        assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "passes");
        assert_eq!(passed_by(&reached), (rule.to_owned(), Some("alice".to_owned())));
    }
}

// --- authenticators ------------------------------------------------------------------------------

/// One rule that asks for `source`, in the list `rules`, beside one that lets everybody in.
fn asking(rules: &str, source: serde_json::Value) -> String {
    let mut policy = json!({"name": "asks", "allow_rules": [{"name": "all"}]});
    let rule = json!({"name": "asking", "source": {"countersign": source}});
    match policy[rules].as_array_mut() {
        Some(rules) => rules.push(rule),
        None => policy[rules] = json!([rule]),
    }
    policy.to_string()
}

#[test]
fn a_rule_that_asks_for_an_authenticator_that_the_gate_has_not_got_is_no_policy_for_it() {
    let here = || json!(["tokens"]);
    let typo = || json!(["tokns"]);
    for rules in ["allow_rules", "deny_rules"] {
        for (source, missing) in [
            (json!({"authenticators": here()}), None),
            (json!({"authenticators": ["tok*"]}), None),
            (json!({"not": {"authenticators": here()}}), None),
            (json!({"tokens": [{"authenticators": here()}]}), None),
            (json!({"authenticators": typo()}), Some("tokns")),
            (json!({"authenticators": ["tokens", "tokns"]}), Some("tokns")),
            (json!({"authenticators": ["tokn*"]}), Some("tokn*")),
            (json!({"not": {"authenticators": typo()}}), Some("tokns")),
            (json!({"tokens": [{"authenticators": typo()}]}), Some("tokns")),
            (json!({"not": {"tokens": [{"authenticators": typo()}]}}), Some("tokns")),
            (json!({"api_key_owners": ["billing"]}), Some("api-keys")),
        ] {
            let text = asking(rules, source);
            let built = builder().authorize(policy(&text)).build();
            match (missing, built) {
                (None, built) => drop(built.unwrap_or_else(|error| panic!("{text}: {error}"))),
                (Some(missing), Err(GateError::UnknownAuthenticator { rule, name, known })) => {
                    assert_eq!((&*rule, &*name), ("asking", missing), "{text}");
                    assert!(known.contains(&"tokens".to_owned()), "{known:?}");
                }
                (_, built) => panic!("{text}: {built:?}"),
            }
        }
    }
}

#[test]
fn a_file_is_not_reloaded_with_an_authenticator_that_a_gate_has_not_got() {
    let typo = asking("deny_rules", json!({"authenticators": ["tokns"]}));
    let (_folder, path) = in_file(&typo);
    let file = PolicyFile::open(&path).expect("a policy, for some gate");
    let error = builder().authorize(&file).build().expect_err("not for this one");
    assert!(matches!(error, GateError::UnknownAuthenticator { .. }), "{error:?}");

    let right = asking("deny_rules", json!({"authenticators": ["tokens"]}));
    let (_folder, path) = in_file(&right);
    let file = PolicyFile::open(&path).expect("a policy");
    let _gate = builder().authorize(&file).build().expect("a gate");
    std::fs::write(&path, &typo).expect("written");
    let error = file.reload().expect_err("not for the gate that asks it");
    assert!(matches!(*error, PolicyError::UnknownAuthenticator { .. }), "{error:?}");
    assert!(error.to_string().contains("\"tokns\""), "{error}");
    std::fs::write(&path, BOTH).expect("written");
    assert!(file.reload().expect("mended"));
    assert_eq!(file.report().replaced, 1);
}

#[test]
fn a_policy_that_only_a_gate_was_against_holds_once_the_gate_is_gone() {
    let typo = asking("deny_rules", json!({"authenticators": ["tokns"]}));
    let (_folder, path) = in_file(BOTH);
    let file = PolicyFile::open(&path).expect("a policy");
    let [gate, other] = [(); 2].map(|()| builder().authorize(&file).build().expect("a gate"));
    std::fs::write(&path, &typo).expect("written");
    file.reload().expect_err("not for the gates that ask it");
    drop(gate);
    file.reload().expect_err("nor for the one that is left");
    drop(other);
    assert!(file.reload().expect("there is none left to be against it"));
    assert!(file.report().problem.is_none());
    assert!(!file.reload().expect("the same"));
    assert_eq!(file.report().replaced, 1);
}
