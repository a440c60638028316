//! Calls that end otherwise than with an answer, or not by themselves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign::CallError;
use countersign_testkit::greeter::GreeterClient;
use countersign_testkit::greeter::proto::HelloStreamRequest;
use h2::Reason;
use h2::server::SendResponse;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{StoppedTime, call, hello};
use crate::{Hostile, MESSAGE, head, headers, is_lost, stream};

#[tokio::test]
async fn a_reset_before_the_answer_becomes_the_status_that_grpc_gives_it() {
    for code in 0..=14_u32 {
        let server = Hostile::http2(move |_, mut respond: SendResponse<Bytes>| {
            respond.send_reset(Reason::from(code));
            std::future::ready(())
        });
        let status = server.await.status().await;
        assert_eq!(status.code(), code_of(Reason::from(code)), "{code}: {status:?}");
        let transport = matches!(CallError::of(&status), Some(CallError::Transport { .. }));
        assert!(transport, "{code}: {status:?}");
    }
}

#[tokio::test]
async fn a_reset_amid_the_answer_becomes_the_status_that_grpc_gives_it() {
    // hyper takes NO_ERROR for the end of the body, as HTTP does: without trailers, tonic says.
    let codes = (1..=14).map(|code| (code, code_of(Reason::from(code))));
    for (code, expected) in codes.chain([(0, Code::Unknown)]) {
        let read = Arc::new(Notify::new());
        let server = Hostile::http2({
            let read = Arc::clone(&read);
            move |_, mut respond: SendResponse<Bytes>| {
                let read = Arc::clone(&read);
                async move {
                    let mut body = respond.send_response(head(), false).expect("sent");
                    body.send_data(MESSAGE, false).expect("sent");
                    read.notified().await;
                    body.send_reset(Reason::from(code));
                }
            }
        })
        .await;
        let mut replies = stream(&server.channel().await).await.expect("a head");
        replies.message().await.expect("a message").expect("one message");
        read.notify_one();
        let status = replies.message().await.expect_err("not the end of the stream");
        assert_eq!(status.code(), expected, "{code}: {status:?}");
    }
}

/// Section 2.8 of what grpc-go does.
fn code_of(reason: Reason) -> Code {
    match reason {
        Reason::REFUSED_STREAM => Code::Unavailable,
        Reason::CANCEL => Code::Cancelled,
        Reason::ENHANCE_YOUR_CALM | Reason::FLOW_CONTROL_ERROR => Code::ResourceExhausted,
        Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_before_the_answer_is_unavailable() {
    let server = Hostile::raw(|io| async move {
        let mut connection = h2::server::handshake::<_>(io).await.expect("HTTP/2");
        connection.accept().await.expect("a call").expect("a call");
    });
    let status = server.await.status().await;
    assert!(is_lost(&status), "{status:?}");
}

#[tokio::test]
async fn a_connection_that_is_cut_amid_the_answer_is_unavailable() {
    for (name, linger) in [("closed", None), ("reset", Some(Duration::ZERO))] {
        for sent in [&[][..], &[0, 0, 0], &[0; 5], &[0, 0, 0, 0, 9, 1]] {
            let read = Arc::new(Notify::new());
            let server = Hostile::raw({
                let read = Arc::clone(&read);
                move |io| {
                    let read = Arc::clone(&read);
                    async move {
                        socket2::SockRef::from(&io).set_linger(linger).expect("set");
                        let mut connection = h2::server::handshake(io).await.expect("HTTP/2");
                        let (_, mut respond) =
                            connection.accept().await.expect("a call").expect("a call");
                        let mut body = respond.send_response(head(), false).expect("sent");
                        body.send_data(Bytes::copy_from_slice(sent), false).expect("sent");
                        tokio::select! {
                            _ = connection.accept() => {}
                            () = read.notified() => {}
                        }
                    }
                }
            })
            .await;
            let channel = server.channel().await;
            let mut replies = stream(&channel).await.expect("a head");
            if sent == [0; 5] {
                replies.message().await.expect("a message").expect("one message");
            }
            read.notify_one();
            let status = replies.message().await.expect_err("the connection is cut");
            assert!(is_lost(&status), "{name} {sent:?}: {status:?}");
            assert!(status.message().contains(&server.address.to_string()), "{status:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_ends_is_cut_at_the_deadline() {
    let time = StoppedTime::hold();
    let server = Hostile::http2(|_, mut respond: SendResponse<Bytes>| async move {
        let mut body = respond.send_response(head(), false).expect("sent");
        let messages = Bytes::from(vec![0; 5 * 1024]);
        loop {
            body.reserve_capacity(messages.len());
            // As fast as it is read, until nobody reads any more.
            match std::future::poll_fn(|cx| body.poll_capacity(cx)).await {
                Some(Ok(_)) if body.capacity() < messages.len() => {}
                Some(Ok(_)) => body.send_data(messages.clone(), false).expect("sent"),
                _ => return,
            }
        }
    })
    .await;
    let mut client = GreeterClient::new(server.channel().await);
    let mut request = tonic::Request::new(HelloStreamRequest::default());
    request.set_timeout(Duration::from_secs(2));
    let mut replies = client.say_hello_stream(request).await.expect("a head").into_inner();
    for _ in 0..100_000 {
        replies.message().await.expect("a message").expect("no end");
    }
    time.advance(Duration::from_secs(2)).await;
    // What tonic has read ahead is still given out.
    let mut rest = 0;
    let status = loop {
        match replies.message().await {
            Ok(reply) => drop(reply.expect("no end")),
            Err(status) => break status,
        }
        rest += 1;
        assert!(rest < 50_000, "the deadline has passed and messages go on");
    };
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(matches!(CallError::of(&status), Some(CallError::DeadlineExceeded { .. })));
}

/// Speaks HTTP/2 with so many streams at a time, and denies as many calls as it may.
async fn with_streams(streams: u32, may: &Arc<Semaphore>) -> Hostile {
    let may = Arc::clone(may);
    Hostile::raw(move |io| {
        let may = Arc::clone(&may);
        async move {
            let mut builder = h2::server::Builder::new();
            let connection = builder.max_concurrent_streams(streams).handshake::<_, Bytes>(io);
            let (mut connection, mut answers) = (connection.await.expect("HTTP/2"), JoinSet::new());
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let may = Arc::clone(&may);
                answers.spawn(async move {
                    may.acquire().await.expect("never closed").forget();
                    let mut denied = head();
                    denied.headers_mut().extend(headers(&[("grpc-status", b"7")]));
                    // Whoever gave up meanwhile wants no answer.
                    let _ = respond.send_response(denied, true);
                });
            }
        }
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_server_that_allows_no_streams_is_given_up_on_at_the_deadline() {
    let time = StoppedTime::hold();
    let server = with_streams(0, &Arc::new(Semaphore::new(0))).await;
    let channel = server.channel().await;
    let calling = tokio::spawn(async move {
        let mut request = hello();
        request.set_timeout(Duration::from_secs(2));
        call(&channel, request).await
    });
    time.settle().await;
    time.advance(Duration::from_secs(2)).await;
    let status = calling.await.expect("joined").expect_err("no stream is allowed");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn calls_above_the_servers_limit_wait_for_their_turn_and_may_give_up() {
    let time = StoppedTime::hold();
    let may = Arc::new(Semaphore::new(0));
    let server = with_streams(1, &may).await;
    let channel = server.channel().await;
    let calling = |deadline| {
        let channel = channel.clone();
        let mut request = hello();
        request.set_timeout(Duration::from_secs(deadline));
        tokio::spawn(async move { call(&channel, request).await })
    };
    let (first, second, third) = (calling(60), calling(2), calling(60));
    time.settle().await;
    time.advance(Duration::from_secs(2)).await;
    let status = second.await.expect("joined").expect_err("the deadline passed");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(!first.is_finished() && !third.is_finished());
    // One of these is for the second call, whose turn comes although nobody waits for it.
    may.add_permits(3);
    for calling in [first, third] {
        let status = calling.await.expect("joined").expect_err("denied");
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    }
}
