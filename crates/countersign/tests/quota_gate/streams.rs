//! Calls under way and bytes that flow, with a handler that the test speaks for.

use std::time::Duration;

use bytes::Bytes;
use countersign::quota::{Limit, Quota, SteadyClock};
use countersign::{Gate, GateBody, Rules, ServerCredentials};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use tonic::body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::handlers::{Frames, Handler, Reply};
use super::support::{RawClient, Served, empty_message, grpc_request, reason_of, serve};
use super::{ALICE, ALICE_AGAIN, BOB, an_hour, keep_logs_awake, tokens};

const METHOD: &str = "/orders.v1.Orders/Watch";

fn gate(quota: Quota) -> Gate {
    keep_logs_awake();
    let rules = Rules::new().authenticated(METHOD).public("/orders.v1.Orders/Open");
    Gate::builder().authenticate(tokens()).authorize(rules).quota(quota).build().expect("a gate")
}

fn request(token: (&str, &str)) -> Request<Body> {
    let request = grpc_request(METHOD).header(token.0, token.1);
    request.body(Body::new(empty_message())).expect("a request")
}

/// A call's response; `Err`, when it is refused, with the reason.
async fn begin(
    gate: &Gate,
    handler: &Handler,
    token: (&str, &str),
) -> Result<Response<GateBody<Reply>>, String> {
    let response = gate.layer(handler.clone()).call(request(token)).await.expect("never fails");
    match tonic::Status::from_header_map(response.headers()) {
        Some(status) => Err(reason_of(&status)),
        None => Ok(response),
    }
}

fn two_at_once() -> Gate {
    gate(Quota::new().concurrent_streams_per_caller(2).expect("a quota"))
}

async fn is_full(gate: &Gate, handler: &Handler) -> bool {
    begin(gate, handler, ALICE).await.is_err()
}

#[tokio::test]
async fn a_caller_has_so_many_calls_under_way_and_another_has_its_own() {
    let (gate, handler) = (two_at_once(), Handler::default());
    let one = begin(&gate, &handler, ALICE).await.expect("the first");
    let _two = begin(&gate, &handler, ALICE_AGAIN).await.expect("the second");
    for token in [ALICE, ALICE_AGAIN] {
        assert_eq!(begin(&gate, &handler, token).await.err().as_deref(), Some("RATE_LIMITED"));
    }
    let _other = begin(&gate, &handler, BOB).await.expect("bob's first");
    drop(one);
    begin(&gate, &handler, ALICE).await.expect("one was given back");
}

/// What is left of a call that is over: what it was, as long as its response is not.
type Rest = (Option<GateBody<Reply>>, Option<Frames>);

/// Every way in which a call can be over gives its place back, and once.
#[tokio::test]
async fn a_place_is_given_back_however_the_call_ends() {
    type End = fn(Response<GateBody<Reply>>, Frames) -> Rest;
    let data = || Ok(Frame::data(Bytes::from_static(b"x")));
    let ends: [(&str, End); 3] = [
        ("the response is dropped unread", |_, frames| (None, Some(frames))),
        ("the body ends", |response, _| (Some(response.into_body()), None)),
        ("trailers come", |response, frames| {
            frames.send(Ok(Frame::trailers(HeaderMap::new()))).expect("somebody listens");
            (Some(response.into_body()), Some(frames))
        }),
    ];
    for (name, end) in ends {
        let (gate, handler) = (two_at_once(), Handler::default());
        let _kept = begin(&gate, &handler, ALICE).await.expect("the first");
        let mut response = begin(&gate, &handler, ALICE).await.expect("the second");
        let (_request, frames) = handler.take();
        frames.send(data()).expect("somebody listens");
        response.body_mut().frame().await.expect("a frame").expect("data");
        assert!(is_full(&gate, &handler).await, "a frame is no end: {name}");
        // What was read to its end is kept: it is the end that counts.
        let (mut body, _frames) = end(response, frames);
        if let Some(body) = &mut body {
            while body.frame().await.is_some_and(|frame| !frame.expect("a frame").is_trailers()) {}
        }
        let _again = begin(&gate, &handler, ALICE).await.expect(name);
        assert!(is_full(&gate, &handler).await, "given back once: {name}");
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_before_it_is_answered_gives_its_place_back() {
    let gate = two_at_once();
    let (silent, handler) = (Handler::silent(), Handler::default());
    let _kept = begin(&gate, &handler, ALICE).await.expect("the first");
    let mut service = gate.layer(silent.clone());
    let unanswered = service.call(request(ALICE));
    assert!(is_full(&gate, &handler).await);
    drop(unanswered);
    begin(&gate, &handler, ALICE).await.expect("one was given back");
}

#[tokio::test]
async fn a_refused_call_takes_no_place() {
    let clock = SteadyClock::by_hand();
    let quota = Quota::new().with_clock(clock.clone()).concurrent_streams_per_caller(1);
    let quota = quota.and_then(|quota| quota.per_caller(an_hour(1))).expect("a quota");
    let (gate, handler) = (gate(quota), Handler::default());
    drop(begin(&gate, &handler, ALICE).await.expect("the first"));
    for _ in 0..5 {
        begin(&gate, &handler, ALICE).await.expect_err("the limit of calls");
    }
    clock.advance(Duration::from_secs(3_600));
    let _open = begin(&gate, &handler, ALICE).await.expect("the place is there");
    clock.advance(Duration::from_secs(3_600));
    begin(&gate, &handler, ALICE).await.expect_err("it is taken now");
}

async fn served(gate: Gate, handler: &Handler) -> Served {
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    serve(incoming, gate.layer(handler.clone()))
}

/// A client's call whose response has begun.
async fn begin_over(client: &mut RawClient) -> Result<Response<hyper::body::Incoming>, String> {
    let request = grpc_request(METHOD).header(ALICE.0, ALICE.1);
    let response = client.begin(request.body(empty_message()).expect("a request")).await;
    match tonic::Status::from_header_map(response.headers()) {
        Some(status) => Err(reason_of(&status)),
        None => Ok(response),
    }
}

#[tokio::test]
async fn places_come_back_when_the_connection_dies() {
    let handler = Handler::default();
    let server = served(two_at_once(), &handler).await;
    let mut dying = RawClient::connect(&server).await;
    let open = [begin_over(&mut dying).await, begin_over(&mut dying).await];
    assert!(open.iter().all(Result::is_ok));
    let mut other = RawClient::connect(&server).await;
    assert_eq!(begin_over(&mut other).await.err().as_deref(), Some("RATE_LIMITED"));
    let frames = [handler.take().1, handler.take().1];
    drop((open, dying));
    // The handler's channel closes with the response's body, and so with the place.
    for frames in frames {
        frames.closed().await;
    }
    let open = [begin_over(&mut other).await, begin_over(&mut other).await];
    assert!(open.iter().all(Result::is_ok));
    assert!(begin_over(&mut other).await.is_err());
}

fn bytes_a_second(clock: &SteadyClock, bytes: u64) -> Gate {
    let limit = Limit::new(bytes, Duration::from_secs(1)).expect("a limit");
    let quota = Quota::new().with_clock(clock.clone()).bytes_per_caller(limit);
    gate(quota.expect("a quota"))
}

#[tokio::test]
async fn bytes_of_both_directions_count_as_they_flow() {
    let clock = SteadyClock::by_hand();
    let (gate, handler) = (bytes_a_second(&clock, 1_000), Handler::default());
    let request = grpc_request(METHOD).header(ALICE.0, ALICE.1);
    let sent = Full::new(Bytes::from(vec![0; 600])).boxed_unsync();
    let request = request.body(Body::new(sent)).expect("a request");
    let response = gate.layer(handler.clone()).call(request).await.expect("never fails");
    let (body, frames) = handler.take();
    // Nothing flowed yet.
    drop(begin(&gate, &handler, ALICE).await.expect("nothing is owed"));
    handler.take();
    body.collect().await.expect("the request");
    frames.send(Ok(Frame::data(Bytes::from(vec![0; 399])))).expect("somebody listens");
    let mut body = response.into_body();
    body.frame().await.expect("a frame").expect("data");
    drop(begin(&gate, &handler, ALICE).await.expect("one byte is left"));
    handler.take();
    // A big one goes through, and is owed.
    frames.send(Ok(Frame::data(Bytes::from(vec![0; 5_001])))).expect("somebody listens");
    let big = body.frame().await.expect("a frame").expect("data");
    assert_eq!(big.data_ref().map(Bytes::len), Some(5_001));
    assert_eq!(begin(&gate, &handler, ALICE).await.err().as_deref(), Some("RATE_LIMITED"));
    drop(begin(&gate, &handler, BOB).await.expect("bob owes nothing"));
    handler.take();
    clock.advance(Duration::from_secs(5));
    assert!(begin(&gate, &handler, ALICE).await.is_err(), "nothing is left, and nothing is owed");
    clock.advance(Duration::from_millis(1));
    begin(&gate, &handler, ALICE).await.expect("one byte was earned");
}

#[tokio::test]
async fn without_a_limit_bytes_cost_nothing() {
    let (gate, handler) =
        (gate(Quota::new().per_caller(an_hour(9)).expect("a quota")), Handler::default());
    let response = begin(&gate, &handler, ALICE).await.expect("the first");
    let (_, frames) = handler.take();
    frames.send(Ok(Frame::data(Bytes::from(vec![0; 1 << 20])))).expect("somebody listens");
    drop(frames);
    response.into_body().collect().await.expect("all of it");
    begin(&gate, &handler, ALICE).await.expect("the second");
}
