use std::sync::atomic::Ordering;
use std::time::Duration;

use countersign::authentication::{AuthenticationError, Reason};
use countersign::{Gate, Rules};
use countersign_testkit::greeter::SAY_HELLO;
use http_body_util::BodyExt;
use tonic::{Code, Status};
use tower_layer::Layer;
use tower_service::Service;

use super::endless::{Endless, ReadsOne};
use super::scripted::Scripted;
use super::support::{RawClient, grpc_request};
use super::{BAD_BEARER, BEARER, RESET, TOKEN, behind, gate, missing, told_raw};

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
