use std::sync::Arc;
use std::task::{Context, Poll};

use countersign::authentication::{Lease, Reason};
use countersign::{ConnectionInfo, Gate, Rules, ServerCredentials, ServerRequestExt};
use countersign_testkit::clock::ManualClock;
use countersign_testkit::greeter::{GREETER, SAY_HELLO};
use tonic::Code;
use tower_layer::Layer;
use tower_service::Service;

use super::scripted::{START, Script, Scripted, after};
use super::support::{
    RawClient, Reached, Served, empty_message, greeter, grpc_request, keep_logs_awake, serve,
};

const RESET: &str = "/countersign.demo.v1.Greeter/Reset";
const GOOD: &[(&str, &str)] = &[("authorization", "Bearer good")];
const OTHER: &[(&str, &str)] = &[("authorization", "Bearer other")];
const BAD: &[(&str, &str)] = &[("authorization", "Bearer bad")];
const KEY: &[(&str, &str)] = &[("x-api-key", "good")];

fn unlimited() -> Script {
    Script { lease: Some(Lease::unlimited()), ..Script::default() }
}

fn gate(authenticator: &Arc<Scripted>, clock: &ManualClock) -> Gate {
    keep_logs_awake();
    Gate::builder()
        .authenticate(Arc::clone(authenticator))
        .authorize(Rules::new().authenticated(GREETER))
        .clock(clock.clone())
        .build()
        .expect("a gate")
}

async fn behind(gate: &Gate) -> (Served, Reached) {
    let reached = Reached::default();
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    (serve(incoming, gate.layer(greeter(&reached))), reached)
}

async fn code(client: &mut RawClient, path: &str, metadata: &[(&str, &str)]) -> Code {
    client.call(path, metadata).await.grpc().code()
}

#[tokio::test]
async fn a_credential_is_proven_once_for_a_connection() {
    let clock = ManualClock::new(START);
    let authenticator = Scripted::new(unlimited()).shared();
    let (server, reached) = behind(&gate(&authenticator, &clock)).await;
    let mut client = RawClient::connect(&server).await;
    for (name, path, metadata, expected, asked) in [
        ("the first time", SAY_HELLO, GOOD, Code::Ok, 1),
        ("again", SAY_HELLO, GOOD, Code::Ok, 1),
        ("another method", RESET, GOOD, Code::Ok, 1),
        ("a bad one", SAY_HELLO, BAD, Code::Unauthenticated, 2),
        ("the bad one again", SAY_HELLO, BAD, Code::Unauthenticated, 3),
        ("none", SAY_HELLO, &[], Code::Unauthenticated, 3),
        ("two", SAY_HELLO, &[GOOD[0], GOOD[0]], Code::Unauthenticated, 3),
        ("the good one was not forgotten", SAY_HELLO, GOOD, Code::Ok, 3),
        ("the same bytes in another place", SAY_HELLO, KEY, Code::Ok, 4),
        ("which is not remembered beside it", SAY_HELLO, KEY, Code::Ok, 5),
        ("another good one", SAY_HELLO, OTHER, Code::Ok, 6),
        ("a beginning of the first", SAY_HELLO, &[("authorization", "Bearer goo")], Code::Ok, 7),
        ("the first one still is", SAY_HELLO, GOOD, Code::Ok, 7),
    ] {
        assert_eq!(code(&mut client, path, metadata).await, expected, "{name}");
        assert_eq!(authenticator.asked(), asked, "{name}");
    }
    let principal = |reached: &Reached| {
        let request = reached.last_request();
        request.principal().expect("known").name().to_owned()
    };
    for (metadata, name) in [(GOOD, "good"), (OTHER, "other"), (GOOD, "good")] {
        code(&mut client, SAY_HELLO, metadata).await;
        assert_eq!(principal(&reached), name);
        assert!(!reached.last().headers.contains_key("authorization"), "{name}");
    }

    // The twin: nobody else's connection knows it.
    let before = authenticator.asked();
    let mut stranger = RawClient::connect(&server).await;
    assert_eq!(code(&mut stranger, SAY_HELLO, GOOD).await, Code::Ok);
    assert_eq!(authenticator.asked(), before + 1);
}

#[tokio::test]
async fn a_credential_that_comes_again_and_again_takes_the_others_place() {
    let clock = ManualClock::new(START);
    let authenticator = Scripted::new(unlimited()).shared();
    let (server, reached) = behind(&gate(&authenticator, &clock)).await;
    let mut client = RawClient::connect(&server).await;
    code(&mut client, SAY_HELLO, GOOD).await;
    for asked in 2..18 {
        code(&mut client, SAY_HELLO, OTHER).await;
        assert_eq!(authenticator.asked(), asked);
    }
    for (metadata, name, asked) in
        [(OTHER, "other", 17), (GOOD, "good", 18), (OTHER, "other", 18), (GOOD, "good", 19)]
    {
        assert_eq!(code(&mut client, SAY_HELLO, metadata).await, Code::Ok);
        assert_eq!(authenticator.asked(), asked, "{name}");
        let request = reached.last_request();
        assert_eq!(request.principal().expect("known").name(), name);
    }
}

#[tokio::test]
async fn nothing_is_remembered_longer_than_its_lease_and_its_own_end() {
    let lease = |end| Some(Lease::until(after(end)));
    for (name, script, ends) in [
        ("lease", Script { lease: lease(60), ..Script::default() }, 60),
        ("own end", Script { expires: Some(after(30)), ..unlimited() }, 30),
        ("both", Script { lease: lease(60), expires: Some(after(90)), ..Script::default() }, 60),
    ] {
        let clock = ManualClock::new(START);
        let authenticator = Scripted::new(script).shared();
        let (server, _) = behind(&gate(&authenticator, &clock)).await;
        let mut client = RawClient::connect(&server).await;
        for (now, asked) in [(0, 1), (ends - 1, 1), (ends, 2), (0, 3)] {
            clock.set(after(now));
            code(&mut client, SAY_HELLO, GOOD).await;
            assert_eq!(authenticator.asked(), asked, "{name}: at {now}");
        }
    }
}

#[tokio::test]
async fn what_was_granted_is_forgotten_when_what_granted_it_changes() {
    let clock = ManualClock::new(START);
    let script = Script { withdrawable: true, ..unlimited() };
    let authenticator = Scripted::new(script.clone()).shared();
    let (server, _) = behind(&gate(&authenticator, &clock)).await;
    let mut client = RawClient::connect(&server).await;
    for asked in [1, 1] {
        assert_eq!(code(&mut client, SAY_HELLO, GOOD).await, Code::Ok);
        assert_eq!(authenticator.asked(), asked);
    }
    authenticator.now_says(Script { refuses: Some(Reason::CredentialsRevoked), ..script });
    assert_eq!(code(&mut client, SAY_HELLO, GOOD).await, Code::Ok, "nobody was told yet");
    authenticator.generation.advance();
    for _ in 0..2 {
        assert_eq!(code(&mut client, SAY_HELLO, GOOD).await, Code::Unauthenticated);
    }
    assert_eq!(authenticator.asked(), 3, "and a refusal is not remembered");
}

#[tokio::test]
async fn only_repeatable_authenticators_and_leased_callers_are_remembered() {
    let not_leased = Script::default();
    for (name, authenticator, asked) in [
        ("leased", Scripted::new(unlimited()), 1),
        ("leased after waiting", Scripted::new(unlimited()).waiting(), 1),
        ("not leased", Scripted::new(not_leased), 2),
        ("not repeatable", Scripted::new(unlimited()).not_repeatable(), 2),
    ] {
        let authenticator = authenticator.shared();
        let (server, _) = behind(&gate(&authenticator, &ManualClock::new(START))).await;
        let mut client = RawClient::connect(&server).await;
        for _ in 0..2 {
            assert_eq!(code(&mut client, SAY_HELLO, GOOD).await, Code::Ok, "{name}");
        }
        assert_eq!(authenticator.asked(), asked, "{name}");
    }
}

#[tokio::test]
async fn a_call_with_a_proof_is_looked_at_for_itself_and_its_proof_is_gone_before_the_handler() {
    let authenticator = Scripted::new(unlimited()).shared();
    let (server, reached) = behind(&gate(&authenticator, &ManualClock::new(START))).await;
    let mut client = RawClient::connect(&server).await;
    for asked in [1, 2] {
        let metadata = [GOOD[0], ("dpop", "a.b.c")];
        assert_eq!(code(&mut client, SAY_HELLO, &metadata).await, Code::Ok);
        assert_eq!(authenticator.asked(), asked);
        assert!(!reached.last().headers.contains_key("dpop"));
    }
}

#[tokio::test]
async fn a_long_credential_is_proven_each_time() {
    let authenticator = Scripted::new(unlimited()).shared();
    let (server, _) = behind(&gate(&authenticator, &ManualClock::new(START))).await;
    let mut client = RawClient::connect(&server).await;
    for (length, asked) in [(4_000, [1, 1]), (5_000, [2, 3])] {
        let long = format!("Bearer {}", "t".repeat(length));
        for asked in asked {
            let metadata = [("authorization", long.as_str())];
            assert_eq!(code(&mut client, SAY_HELLO, &metadata).await, Code::Ok);
            assert_eq!(authenticator.asked(), asked, "{length}");
        }
    }
}

/// Answers with nothing.
#[derive(Clone)]
struct Nothing;

impl<B> Service<http::Request<B>> for Nothing {
    type Response = http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: http::Request<B>) -> Self::Future {
        std::future::ready(Ok(http::Response::new(tonic::body::Body::empty())))
    }
}

#[tokio::test]
async fn one_gates_memory_lets_nobody_through_another() {
    let clock = ManualClock::new(START);
    let [open, strict] = [(); 2].map(|()| Scripted::new(unlimited()).shared());
    let first = gate(&open, &clock);
    let (server, reached) = behind(&first).await;
    let mut client = RawClient::connect(&server).await;
    assert_eq!(code(&mut client, SAY_HELLO, GOOD).await, Code::Ok);

    strict.now_says(Script { refuses: Some(Reason::TokenInvalid), ..unlimited() });
    let connection = reached.last().extensions.get::<ConnectionInfo>().expect("ours").clone();
    let shown = format!("{connection:?} {connection:#?}");
    assert!(!shown.contains("good"), "what is remembered is not shown: {shown}");
    for (name, gate, passes) in [
        ("the first", first, true),
        ("the second", gate(&strict, &clock), false),
        ("a copy of the first", gate(&open, &clock), true),
    ] {
        let mut request = grpc_request(SAY_HELLO).header(GOOD[0].0, GOOD[0].1);
        request.extensions_mut().expect("extensions").insert(connection.clone());
        let request = request.body(empty_message()).expect("a request");
        let Ok(response) = gate.layer(Nothing).call(request).await;
        assert_eq!(!response.headers().contains_key("grpc-status"), passes, "{name}");
    }
    assert_eq!((open.asked(), strict.asked()), (2, 1), "the copy had to ask for itself");
}
