//! Answers that are HTTP and hardly gRPC.

use std::sync::Arc;

use bytes::Bytes;
use countersign::{CallError, Channel};
use countersign_testkit::greeter::GreeterClient;
use countersign_testkit::greeter::proto::HelloRequest;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderValue, Request, Response, StatusCode};
use tonic::{Code, Status};

use crate::support::{call, hello};
use crate::{
    Hostile, MESSAGE, answer_with_head_alone, answer_with_trailers, head, headers, stream,
};

#[tokio::test]
async fn status_details_that_are_not_base64_are_dropped_and_code_and_message_stay() {
    for (name, details, kept) in [
        ("good", &[&b"CAc="[..]][..], &b"\x08\x07"[..]),
        ("good without padding", &[b"CAc"], b"\x08\x07"),
        ("empty", &[b""], b""),
        ("other characters", &[b"not base64!"], b""),
        ("cut off", &[b"CAcA="], b""),
        ("one character", &[b"C"], b""),
        ("padding alone", &[b"===="], b""),
        ("bits left over", &[b"CAd="], b""),
        ("another alphabet", &[b"-_-_"], b""),
        ("not ASCII", &[b"\xff\xfe\x80"], b""),
        ("two, the first bad", &[b"!", b"CAc="], b""),
        ("two, the second bad", &[b"CAc=", b"!"], b""),
    ] {
        let mut sent = headers(&[("grpc-status", b"7"), ("grpc-message", b"no%20entry")]);
        for value in details {
            let value = HeaderValue::from_bytes(value).expect("a value");
            sent.append("grpc-status-details-bin", value);
        }
        let sent = Arc::new(sent);
        let in_head = Hostile::http2({
            let sent = Arc::clone(&sent);
            move |_, respond| {
                answer_with_head_alone(respond, &sent);
                std::future::ready(())
            }
        });
        let in_trailers = Hostile::http2(move |_, respond| {
            answer_with_trailers(respond, &sent);
            std::future::ready(())
        });
        for (place, server) in [("head", in_head.await), ("trailers", in_trailers.await)] {
            let status = server.status().await;
            assert_eq!(status.code(), Code::PermissionDenied, "{name} in {place}: {status:?}");
            assert_eq!(status.message(), "no entry", "{name} in {place}");
            assert_eq!(status.details(), kept, "{name} in {place}");
        }
    }
}

#[tokio::test]
async fn a_status_that_makes_no_sense_is_an_error_and_no_panic() {
    for (name, sent, code) in [
        ("code too large", headers(&[("grpc-status", b"99")]), Code::Unknown),
        ("code of letters", headers(&[("grpc-status", b"OK")]), Code::Unknown),
        ("code not ASCII", headers(&[("grpc-status", b"\xff")]), Code::Unknown),
        ("no code", headers(&[("grpc-message", b"no")]), Code::Unknown),
        (
            "message not UTF-8",
            headers(&[("grpc-status", b"7"), ("grpc-message", b"%ff%fe")]),
            Code::Unknown,
        ),
        (
            "message half escaped",
            headers(&[("grpc-status", b"7"), ("grpc-message", b"100%")]),
            Code::PermissionDenied,
        ),
    ] {
        let server = Hostile::http2(move |_, respond| {
            answer_with_trailers(respond, &sent);
            std::future::ready(())
        });
        let status = server.await.status().await;
        assert_eq!(status.code(), code, "{name}: {status:?}");
    }
}

#[tokio::test]
async fn a_head_and_trailers_of_any_size_are_read_or_refused_and_the_channel_goes_on() {
    let small = headers(&[("grpc-status", b"7")]);
    for (name, bytes, in_head, in_trailers) in [
        ("large", 8 * 1024, Code::PermissionDenied, Code::PermissionDenied),
        // h2 reads trailers up to its limit, and drops what is beyond.
        ("too large", 20 * 1024, Code::Internal, Code::PermissionDenied),
        ("huge", 1024 * 1024, Code::Unavailable, Code::Unavailable),
    ] {
        let mut noisy = small.clone();
        noisy.insert("x-noise", "x".repeat(bytes).parse().expect("a value"));
        let server = Hostile::http2(move |request, respond| {
            let ok = headers(&[("grpc-status", b"0")]);
            match request.headers().get("x-noise").map(HeaderValue::as_bytes) {
                Some(b"head") => answer_with_head_alone(respond, &noisy),
                Some(_) => answer_with_trailers(respond, &noisy),
                None => answer_with_trailers(respond, &ok),
            }
            std::future::ready(())
        })
        .await;
        let channel = server.channel().await;
        for (place, code) in [("head", in_head), ("trailers", in_trailers)] {
            let mut request = hello();
            request.metadata_mut().insert("x-noise", place.parse().expect("a value"));
            let status = call(&channel, request).await.expect_err(name);
            assert_eq!(status.code(), code, "{name} in {place}: {status:?}");
            if code == Code::Internal {
                assert!(status.message().contains("our limits"), "{status:?}");
            }
            call(&channel, hello()).await.expect(name);
        }
    }
}

#[tokio::test]
async fn http_statuses_without_a_grpc_status_are_mapped_whatever_their_body_says() {
    for (status, code) in [
        (400, Code::Internal),
        (401, Code::Unauthenticated),
        (403, Code::PermissionDenied),
        (404, Code::Unimplemented),
        (429, Code::Unavailable),
        (502, Code::Unavailable),
        (503, Code::Unavailable),
        (504, Code::Unavailable),
        (302, Code::Unknown),
        (418, Code::Unknown),
        (500, Code::Unknown),
    ] {
        for body in [None, Some(""), Some("<html>computer says no</html>"), Some("\0\0\0\0\0")] {
            let server = Hostile::http2(move |_, mut respond: SendResponse<Bytes>| {
                let response =
                    Response::builder().status(status).header("content-type", "text/html");
                let response = response.body(()).expect("a response");
                let mut sent = respond.send_response(response, body.is_none()).expect("sent");
                if let Some(body) = body {
                    sent.send_data(Bytes::from_static(body.as_bytes()), true).expect("sent");
                }
                std::future::ready(())
            });
            let answer = server.await.status().await;
            assert_eq!(answer.code(), code, "{status} {body:?}: {answer:?}");
            assert!(answer.message().contains(&status.to_string()), "{status}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_grpc_status_goes_before_an_http_status() {
    let server = Hostile::http2(move |_, mut respond: SendResponse<Bytes>| {
        let mut response = head();
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().extend(headers(&[("grpc-status", b"7")]));
        respond.send_response(response, true).expect("sent");
        std::future::ready(())
    });
    assert_eq!(server.await.status().await.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_taken_for_a_whole_one() {
    for (name, messages) in [("nothing", 0), ("one message", 1)] {
        let server = Hostile::http2(move |_, mut respond: SendResponse<Bytes>| {
            let mut body = respond.send_response(head(), false).expect("sent");
            for _ in 0..messages {
                body.send_data(MESSAGE, false).expect("sent");
            }
            body.send_data(Bytes::new(), true).expect("sent");
            std::future::ready(())
        })
        .await;
        let channel = server.channel().await;
        let mut replies = stream(&channel).await.expect("a head");
        for _ in 0..messages {
            replies.message().await.expect("a message").expect("one message");
        }
        let status = replies.message().await.expect_err("no trailers came");
        assert_eq!(status.code(), Code::Unknown, "{name}: {status:?}");
        assert_ne!(call(&channel, hello()).await.expect_err(name).code(), Code::Ok);
    }
}

#[tokio::test]
async fn what_is_not_called_grpc_is_not_read_as_its_messages() {
    for (kind, body) in [
        (Some("text/html"), "<html>please log in</html>"),
        (Some("text/html"), ""),
        (Some("application/json"), "{}"),
        (Some("application/grp"), "\0\0\0\0\0"),
        (None, "\0\0\0\0\0"),
    ] {
        let server = Hostile::http2(move |_, mut respond: SendResponse<Bytes>| {
            let mut response = Response::new(());
            if let Some(kind) = kind {
                response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
            }
            let mut sent = respond.send_response(response, false).expect("sent");
            sent.send_data(Bytes::from_static(body.as_bytes()), true).expect("sent");
            std::future::ready(())
        });
        let answer = server.await.status().await;
        // HTTP's 200 is gRPC's UNKNOWN, as it is in grpc-go.
        assert_eq!(answer.code(), Code::Unknown, "{kind:?}: {answer:?}");
        let said = format!("HTTP status 200 OK, content-type {:?}", kind.unwrap_or_default());
        assert!(answer.message().contains(&said), "{kind:?}: {answer:?}");
    }
    for kind in ["application/grpc", "Application/gRPC+proto", "application/grpc;charset=utf-8"] {
        let server = Hostile::http2(move |_, mut respond: SendResponse<Bytes>| {
            let mut response = head();
            response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
            let mut body = respond.send_response(response, false).expect("sent");
            body.send_data(MESSAGE, false).expect("sent");
            body.send_trailers(headers(&[("grpc-status", b"0")])).expect("sent");
            std::future::ready(())
        })
        .await;
        call(&server.channel().await, hello()).await.expect(kind);
    }
}

/// A request that is larger than its client sends, and its answer.
async fn too_large(channel: &Channel) -> Status {
    let mut client = GreeterClient::new(channel.clone()).max_encoding_message_size(4);
    let request = HelloRequest { name: "x".repeat(100) };
    client.say_hello(request).await.expect_err("not to be sent")
}

#[tokio::test]
async fn a_request_that_breaks_off_on_this_side_is_not_blamed_on_the_server() {
    let (resets, mut reset) = tokio::sync::mpsc::unbounded_channel();
    let server = Hostile::http2(move |request: Request<RecvStream>, mut respond| {
        let resets = resets.clone();
        async move {
            let mut body = request.into_body();
            while let Some(Ok(_)) = body.data().await {}
            let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            resets.send(reason.expect("a reset")).expect("listening");
        }
    })
    .await;
    let status = too_large(&server.channel().await).await;
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert!(status.message().starts_with("the request broke off: "), "{status:?}");
    assert!(status.message().contains("too large"), "{status:?}");
    assert!(matches!(CallError::of(&status), Some(CallError::Request(_))), "{status:?}");
    assert_eq!(reset.recv().await, Some(Reason::CANCEL), "and not an error of the server's");
}
