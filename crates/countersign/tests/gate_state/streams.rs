use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use countersign::authentication::api_keys::{ApiKeys, KeyIssuer, MemoryKeys, NewKey};
use countersign::authentication::{Lease, Reason};
use countersign::{Gate, GateBody, GateBuilder, Rules, ServerCredentials, StreamExpiry};
use countersign_testkit::clock::ManualClock;
use http::Response;
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use super::handlers::{Frames, Handler, Reply, endless};
use super::scripted::{RuntimeClock, START, Script, Scripted, after};
use super::support::{
    RawClient, challenges_of, collect_logs, decision_of, empty_message, grpc_request, reason_of,
    serve,
};

const METHOD: &str = "/orders.v1.Orders/Watch";

fn builder(authenticator: &Arc<Scripted>) -> GateBuilder {
    Gate::builder()
        .authenticate(Arc::clone(authenticator))
        .authorize(Rules::new().authenticated(METHOD))
}

/// A call whose two directions stay open.
fn begin(
    gate: &Gate,
    handler: &Handler,
) -> impl Future<Output = Result<Response<GateBody<Reply>>, Infallible>> + Send + use<> {
    let request = grpc_request(METHOD).header("authorization", "Bearer ci");
    gate.layer(handler.clone()).call(request.body(endless()).expect("a request"))
}

async fn open(
    gate: &Gate,
    handler: &Handler,
) -> (GateBody<Reply>, GateBody<tonic::body::Body>, Frames) {
    let Ok(response) = begin(gate, handler).await;
    assert!(!response.headers().contains_key("grpc-status"), "{response:?}");
    let (request, frames) = handler.take();
    (response.into_body(), request, frames)
}

fn say(frames: &Frames) {
    frames.send(Ok(Frame::data(Bytes::from_static(b"more")))).expect("somebody listens");
}

async fn status_of(body: &mut GateBody<Reply>) -> Status {
    let frame = body.frame().await.expect("a frame").expect("no error");
    let trailers = frame.into_trailers().expect("trailers");
    assert!(body.frame().await.is_none(), "nothing comes after trailers");
    Status::from_header_map(&trailers).expect("a status")
}

fn leased(withdrawable: bool) -> Script {
    Script { lease: Some(Lease::unlimited()), withdrawable, ..Script::default() }
}

#[tokio::test(start_paused = true)]
async fn both_directions_of_a_stream_end_when_its_credential_does_and_not_before() {
    let logs = collect_logs();
    let authenticator = Scripted::new(Script { expires: Some(after(90)), ..leased(true) }).shared();
    let gate = builder(&authenticator).clock(RuntimeClock::new()).build().expect("a gate");
    let handler = Handler::default();
    let began = tokio::time::Instant::now();
    let (mut response, mut request, frames) = open(&gate, &handler).await;
    say(&frames);
    assert!(response.frame().await.expect("a frame").expect("no error").is_data());
    let at_89 = Duration::from_secs(89);
    tokio::time::timeout_at(began + at_89, response.frame()).await.expect_err("goes on");
    tokio::time::timeout_at(began + at_89, request.frame()).await.expect_err("goes on");
    say(&frames);
    assert!(response.frame().await.expect("a frame").expect("no error").is_data());

    let status = status_of(&mut response).await;
    let lasted = began.elapsed();
    assert!((90..91).contains(&lasted.as_secs()), "{lasted:?}");
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(reason_of(&status), "TOKEN_EXPIRED");
    assert_eq!(challenges_of(&status), ["Bearer realm=\"grpc\", error=\"invalid_token\""]);
    // The handler's own side: what it would say goes nowhere, and what it reads is an error.
    assert!(frames.is_closed());
    let error = request.frame().await.expect("an error").expect_err("and no message");
    let read = error.downcast_ref::<Status>().expect("a status");
    assert_eq!((read.code(), reason_of(read)), (Code::Unauthenticated, "TOKEN_EXPIRED".to_owned()));
    assert!(request.frame().await.is_none());
    // One decision, one line.
    let decision = decision_of(&status).expect("an ID");
    assert_eq!(decision_of(read), Some(decision.clone()));
    let [line] = &logs.lines_with(&decision)[..] else { panic!("{}", logs.text()) };
    for part in ["TOKEN_EXPIRED", METHOD, "caller=\"ci\""] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    assert_eq!(authenticator.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_always_has_something_to_say_ends_too() {
    let clock = ManualClock::new(START);
    let authenticator =
        Scripted::new(Script { expires: Some(after(90)), ..leased(false) }).shared();
    let gate = builder(&authenticator).clock(clock.clone()).build().expect("a gate");
    let (mut response, _request, frames) = open(&gate, &Handler::default()).await;
    for _ in 0..3 {
        say(&frames);
    }
    assert!(response.frame().await.expect("a frame").expect("no error").is_data());
    clock.set(after(90));
    assert_eq!(reason_of(&status_of(&mut response).await), "TOKEN_EXPIRED");
}

#[tokio::test(start_paused = true)]
async fn what_one_half_found_over_is_over_for_the_other_whatever_the_clock_says_then() {
    let clock = ManualClock::new(START);
    let authenticator =
        Scripted::new(Script { expires: Some(after(90)), ..leased(false) }).shared();
    let gate = builder(&authenticator).clock(clock.clone()).build().expect("a gate");
    let (mut response, mut request, frames) = open(&gate, &Handler::default()).await;
    say(&frames);
    clock.set(after(90));
    request.frame().await.expect("an error").expect_err("and no message");
    clock.set(START);
    assert_eq!(reason_of(&status_of(&mut response).await), "TOKEN_EXPIRED");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_has_not_answered_is_ended_with_a_whole_response() {
    let authenticator =
        Scripted::new(Script { expires: Some(after(90)), ..leased(false) }).shared();
    let gate = builder(&authenticator).clock(RuntimeClock::new()).build().expect("a gate");
    let handler = Handler::silent();
    let Ok(response) = begin(&gate, &handler).await;
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let status = Status::from_header_map(response.headers()).expect("a status");
    assert_eq!(reason_of(&status), "TOKEN_EXPIRED");
    assert!(http_body::Body::is_end_stream(response.body()));
    let (mut request, _) = handler.take();
    request.frame().await.expect("an error").expect_err("and no message");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_gives_the_stream_its_time() {
    let clock = ManualClock::new(after(80));
    let authenticator =
        Scripted::new(Script { expires: Some(after(90)), ..leased(false) }).shared();
    let gate = builder(&authenticator).clock(clock.clone()).build().expect("a gate");
    let (mut response, _request, _frames) = open(&gate, &Handler::default()).await;
    let twenty = Duration::from_secs(20);
    tokio::time::timeout(Duration::from_secs(5), response.frame()).await.expect_err("goes on");
    clock.set(after(60));
    tokio::time::timeout(twenty, response.frame()).await.expect_err("ten seconds are not over");
    // And one that is set forward is noticed in no more than the interval.
    clock.set(after(90));
    let status = tokio::time::timeout(Duration::from_secs(31), status_of(&mut response)).await;
    assert_eq!(reason_of(&status.expect("noticed")), "TOKEN_EXPIRED");
}

#[tokio::test(start_paused = true)]
async fn each_method_may_have_its_own_mode() {
    use StreamExpiry::{Ignore, Terminate, Warn};
    let hour = Duration::from_secs(3_600);
    for (name, modes, ends, warned) in [
        ("by default", &[][..], true, 0),
        ("warn", &[(METHOD, Warn)], false, 1),
        ("ignore", &[(METHOD, Ignore)], false, 0),
        ("another method's", &[("/orders.v1.Orders/Get", Ignore)], true, 0),
        ("the closest counts", &[("*", Ignore), ("/orders.v1.Orders/*", Terminate)], true, 0),
        ("an exact one before all", &[(METHOD, Warn), ("/*rs.v1.Orders/Watc*", Ignore)], false, 1),
    ] {
        let logs = collect_logs();
        let script = Script { expires: Some(after(90)), ..leased(false) };
        let authenticator = Scripted::new(script).shared();
        let gate = modes
            .iter()
            .fold(builder(&authenticator), |gate, &(pattern, mode)| {
                gate.when_credentials_end(pattern, mode)
            })
            .clock(RuntimeClock::new());
        let gate = gate.build().expect("a gate");
        let (mut response, _request, frames) = open(&gate, &Handler::default()).await;
        let ended = tokio::time::timeout(hour, response.frame()).await.is_ok();
        assert_eq!(ended, ends, "{name}");
        assert_eq!(frames.is_closed(), ends, "{name}");
        assert_eq!(logs.lines_with("goes on after").len(), warned, "{name}");
    }
    let odd = Gate::builder().when_credentials_end("orders", Warn).build();
    assert!(matches!(odd.expect_err("refused"), countersign::GateError::Pattern(_)));
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_while_its_credential_is_still_good_and_ends_when_it_is_not() {
    let script = leased(true);
    let minute = Duration::from_secs(60);
    struct Row {
        name: &'static str,
        then: Script,
        ends: Option<&'static str>,
    }
    for Row { name, then, ends } in [
        Row { name: "still good", then: script.clone(), ends: None },
        Row {
            name: "revoked",
            then: Script { refuses: Some(Reason::CredentialsRevoked), ..script.clone() },
            ends: Some("CREDENTIALS_REVOKED"),
        },
        Row {
            name: "its key is gone",
            then: Script { refuses: Some(Reason::TokenInvalid), ..script.clone() },
            ends: Some("TOKEN_INVALID"),
        },
        Row {
            name: "somebody else's by now",
            then: Script { name: Some("mallory"), ..script.clone() },
            ends: Some("CREDENTIALS_REVOKED"),
        },
        Row {
            name: "nobody can tell, for a while",
            then: Script { refuses: Some(Reason::VerifierUnavailable), ..script.clone() },
            ends: None,
        },
    ] {
        for waits in [false, true] {
            let authenticator = Scripted::new(script.clone());
            let authenticator = match waits {
                true => authenticator.waiting().shared(),
                false => authenticator.shared(),
            };
            let gate = builder(&authenticator).clock(RuntimeClock::new()).build().expect("a gate");
            let (mut response, mut request, frames) = open(&gate, &Handler::default()).await;
            authenticator.now_says(then.clone());
            // Nobody is asked before something has changed.
            tokio::time::timeout(minute, response.frame()).await.expect_err("goes on");
            assert_eq!(authenticator.asked(), 1, "{name}");
            authenticator.generation.advance();
            match ends {
                Some(reason) => {
                    let status = status_of(&mut response).await;
                    assert_eq!(status.code(), Code::Unauthenticated, "{name}");
                    assert_eq!(reason_of(&status), reason, "{name}");
                    request.frame().await.expect("an error").expect_err("and no message");
                    assert_eq!(authenticator.asked(), 2, "{name}: once for both directions");
                }
                None => {
                    let more = tokio::time::timeout(minute, response.frame()).await;
                    assert!(more.is_err() && !frames.is_closed(), "{name}");
                    assert!(authenticator.asked() >= 2, "{name}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_a_key_that_is_for_some_methods_alone() {
    let store = MemoryKeys::new();
    let made_on = ManualClock::new(START);
    let issuer = KeyIssuer::new(store.clone()).with_clock(made_on);
    let handler = Handler::default();
    for revoked in [false, true] {
        let new = NewKey::new("ci").scope("watch").method(METHOD).never_expires();
        let issued = issuer.create(new).await.expect("a key");
        let clock = Arc::new(RuntimeClock::new());
        let keys = ApiKeys::builder(store.clone()).clock(Arc::clone(&clock)).build();
        let rules = Rules::new().authenticated(METHOD);
        let gate = Gate::builder().authenticate(keys).authorize(rules).clock(clock);
        let gate = gate.build().expect("a gate");
        let request = grpc_request(METHOD).header("x-api-key", issued.key().expose());
        let request = request.body(endless()).expect("a request");
        let Ok(response) = gate.layer(handler.clone()).call(request).await;
        let (_request, _frames) = handler.take();
        let mut response = response.into_body();
        if revoked {
            issuer.revoke(&issued.record().id, "leaked").await.expect("revoked");
        }
        let minutes = Duration::from_secs(300);
        match tokio::time::timeout(minutes, status_of(&mut response)).await {
            Ok(status) => {
                assert!(revoked);
                assert_eq!(reason_of(&status), "CREDENTIALS_REVOKED");
            }
            Err(_) => assert!(!revoked, "the stream outlives its key"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_lease_is_over_is_looked_at_again_and_not_all_the_time() {
    let hour = Duration::from_secs(3_600);
    for (name, refuses) in [("revoked", Some(Reason::CredentialsRevoked)), ("good", None)] {
        // The lease is as good as over whenever it is granted anew.
        let script = Script { lease: Some(Lease::until(after(60))), ..Script::default() };
        let authenticator = Scripted::new(script.clone()).shared();
        let gate = builder(&authenticator).clock(RuntimeClock::new()).build().expect("a gate");
        let (mut response, _request, _frames) = open(&gate, &Handler::default()).await;
        authenticator.now_says(Script { refuses, ..script });
        let began = tokio::time::Instant::now();
        let ended = tokio::time::timeout(hour, response.frame()).await;
        match refuses {
            Some(_) => {
                let frame = ended.expect("it ends").expect("a frame").expect("no error");
                assert!(frame.is_trailers(), "{name}");
                let lasted = began.elapsed().as_secs();
                assert!((60..91).contains(&lasted), "{name}: {lasted}");
                assert_eq!(authenticator.asked(), 2, "{name}");
            }
            None => {
                ended.expect_err("goes on");
                assert!((60..130).contains(&authenticator.asked()), "{}", authenticator.asked());
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_nobody_can_tell_for_too_long() {
    let authenticator = Scripted::new(leased(true)).shared();
    let gate = builder(&authenticator).clock(RuntimeClock::new()).build().expect("a gate");
    let (mut response, _request, _frames) = open(&gate, &Handler::default()).await;
    let unknown = Some(Reason::VerifierUnavailable);
    authenticator.now_says(Script { refuses: unknown, ..leased(true) });
    authenticator.generation.advance();
    let began = tokio::time::Instant::now();
    let status = status_of(&mut response).await;
    assert_eq!(
        (status.code(), reason_of(&status)),
        (Code::Unavailable, "VERIFIER_UNAVAILABLE".to_owned())
    );
    let lasted = began.elapsed().as_secs();
    assert!((270..360).contains(&lasted), "{lasted}");
    assert_eq!(authenticator.asked(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_dropped_half_way_is_taken_over_by_the_other_direction() {
    let authenticator = Scripted::new(leased(true)).waiting().shared();
    let gate = builder(&authenticator).clock(RuntimeClock::new()).build().expect("a gate");
    let (mut response, request, _frames) = open(&gate, &Handler::default()).await;
    authenticator.now_says(Script { refuses: Some(Reason::CredentialsRevoked), ..leased(true) });
    authenticator.generation.advance();
    let mut request = Box::pin(request);
    let mut cx = Context::from_waker(std::task::Waker::noop());
    // Not before it has gone on for a while, which counts from the first wait.
    assert!(request.as_mut().poll_frame(&mut cx).is_pending());
    tokio::time::advance(Duration::from_secs(30)).await;
    // It begins, and its authenticator waits.
    assert!(request.as_mut().poll_frame(&mut cx).is_pending());
    drop(request);
    assert_eq!(reason_of(&status_of(&mut response).await), "CREDENTIALS_REVOKED");
}

/// A peer that takes nothing keeps the response from being asked for more, and a handler that only
/// talks does not ask the request: neither may keep a look at the credential to itself.
#[tokio::test(start_paused = true)]
async fn a_look_that_one_direction_does_not_go_on_with_is_taken_over_by_the_other() {
    for (begun_by_request, refuses) in [
        (true, Some(Reason::CredentialsRevoked)),
        (false, Some(Reason::CredentialsRevoked)),
        (true, None),
        (false, None),
    ] {
        let authenticator = Scripted::new(leased(true)).waiting().shared();
        let gate = builder(&authenticator).clock(RuntimeClock::new()).build().expect("a gate");
        let (mut response, mut request, _frames) = open(&gate, &Handler::default()).await;
        authenticator.now_says(Script { refuses, ..leased(true) });
        authenticator.generation.advance();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut asks = || match begun_by_request {
            true => Pin::new(&mut request).poll_frame(&mut cx).is_pending(),
            false => Pin::new(&mut response).poll_frame(&mut cx).is_pending(),
        };
        assert!(asks(), "the time until a look counts from the first wait");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(asks(), "the look has begun, and its authenticator waits");
        // From here on nobody asks that direction, and it is not dropped.
        let two_minutes = Duration::from_secs(120);
        let name = format!("begun by the request: {begun_by_request}, {refuses:?}");
        let ended = match begun_by_request {
            true => tokio::time::timeout(two_minutes, response.frame()).await.is_ok(),
            false => tokio::time::timeout(two_minutes, request.frame()).await.is_ok(),
        };
        assert_eq!(ended, refuses.is_some(), "{name}");
        assert_eq!(authenticator.asked(), 2, "{name}: the look that waits has not asked yet");
        // Who comes back to its own look changes nothing.
        let late = match begun_by_request {
            true => tokio::time::timeout(two_minutes, request.frame()).await.is_ok(),
            false => tokio::time::timeout(two_minutes, response.frame()).await.is_ok(),
        };
        assert_eq!(late, refuses.is_some(), "{name}");
    }
}

/// Both directions look where one takes longer than the time between two looks, and both find out
/// that nobody can tell: that is one doubt.
#[tokio::test(start_paused = true)]
async fn what_both_directions_doubt_at_once_is_doubted_once() {
    let authenticator = Scripted::new(leased(true)).taking(Duration::from_secs(5)).shared();
    let gate = builder(&authenticator).recheck_streams_every(Duration::from_secs(1));
    let gate = gate.clock(RuntimeClock::new()).build().expect("a gate");
    let (mut response, mut request, _frames) = open(&gate, &Handler::default()).await;
    let unknown = Some(Reason::VerifierUnavailable);
    authenticator.now_says(Script { refuses: unknown, ..leased(true) });
    authenticator.generation.advance();
    let began = tokio::time::Instant::now();
    let (status, asked) = tokio::join!(status_of(&mut response), request.frame());
    assert_eq!(reason_of(&status), "VERIFIER_UNAVAILABLE");
    asked.expect("an error").expect_err("and no message");
    let lasted = began.elapsed().as_secs();
    assert!((60..75).contains(&lasted), "eleven looks of 5 s, a second apart: {lasted}");
}

#[tokio::test(start_paused = true)]
async fn what_a_look_found_before_the_last_one_changes_nothing() {
    for (parked, last) in [(300, 600), (600, 300)] {
        let expiring = |end| Script { expires: Some(after(end)), ..leased(true) };
        let takes = Duration::from_secs(5);
        let authenticator = Scripted::new(expiring(300)).taking(takes).shared();
        let gate = builder(&authenticator).clock(RuntimeClock::new()).build().expect("a gate");
        let began = tokio::time::Instant::now();
        let (mut response, mut request, _frames) = open(&gate, &Handler::default()).await;
        authenticator.now_says(expiring(parked));
        authenticator.generation.advance();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut asks = || Pin::new(&mut request).poll_frame(&mut cx).is_pending();
        assert!(asks(), "the time until a look counts from the first wait");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(asks(), "the look has begun, and nobody goes on with it");
        assert_eq!(authenticator.asked(), 2);
        authenticator.now_says(expiring(last));
        let minute = Duration::from_secs(60);
        tokio::time::timeout(minute, response.frame()).await.expect_err("goes on");
        assert_eq!(authenticator.asked(), 3, "the other direction has looked");
        assert!(asks(), "the first look has come to its end");
        assert_eq!(reason_of(&status_of(&mut response).await), "TOKEN_EXPIRED");
        let lasted = began.elapsed().as_secs();
        assert!((last..last + 2).contains(&lasted), "{parked}, {last}: {lasted}");
    }
}

#[tokio::test]
async fn over_a_socket_the_caller_sees_the_end_of_its_credential_in_the_trailers() {
    let clock = ManualClock::new(START);
    let authenticator =
        Scripted::new(Script { expires: Some(after(90)), ..leased(false) }).shared();
    let gate = builder(&authenticator)
        .clock(clock.clone())
        .recheck_streams_every(Duration::from_millis(100))
        .build()
        .expect("a gate");
    let handler = Handler::default();
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let server = serve(incoming, gate.layer(handler.clone()));
    let mut client = RawClient::connect(&server).await;
    let request = grpc_request(METHOD).header("authorization", "Bearer ci");
    let response = client.begin(request.body(empty_message()).expect("a request")).await;
    assert!(!response.headers().contains_key("grpc-status"));
    let (_request, frames) = handler.take();
    say(&frames);
    let mut body = response.into_body();
    assert!(body.frame().await.expect("a frame").expect("no error").is_data());
    clock.set(after(90));
    let trailers = tokio::time::timeout(Duration::from_secs(20), body.frame()).await;
    let trailers = trailers.expect("in time").expect("a frame").expect("no error");
    let trailers = trailers.into_trailers().expect("trailers");
    let status = Status::from_header_map(&trailers).expect("a status");
    assert_eq!(reason_of(&status), "TOKEN_EXPIRED");
    assert!(frames.is_closed());
}
