//! First frames, and later ones, as they should not be.

use std::sync::Arc;
use std::time::Duration;

use countersign::{CallError, Channel, ChannelCredentials};
use tokio::io::AsyncWriteExt;
use tonic::Code;

use crate::Hostile;
use crate::support::{StoppedTime, call, hello};
use crate::wire::{
    ACK, DATA, END_HEADERS, END_STREAM, GO_AWAY, HEADERS, PING, PUSH_PROMISE, RST_STREAM, Reader,
    SETTINGS, WINDOW_UPDATE, denied, frame, greeting, settings, until_closed,
};

#[tokio::test]
async fn a_first_frame_that_is_not_settings_is_not_http2() {
    let whole = settings(&[]);
    for (name, first) in [
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("HEADERS", denied(1)),
        ("DATA", frame(DATA, END_STREAM, 1, b"hello")),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0])),
        ("RST_STREAM", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("an unknown kind", frame(0xfe, 0, 0, b"grease")),
    ] {
        let error = greeting([first, whole.clone()].concat()).await.connect_error().await;
        assert_eq!(error.code(), "HTTP2_NOT_SPOKEN", "{name}: {error}");
    }
    assert_eq!(greeting(whole).await.status().await.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_greeting_that_is_cut_off_is_no_greeting() {
    let whole = settings(&[(3, 100)]);
    for length in 0..whole.len() {
        let part = whole[..length].to_vec();
        let server = Hostile::raw(move |mut io| {
            let part = part.clone();
            async move {
                io.write_all(&part).await.expect("written");
                io.shutdown().await.expect("shut down");
                until_closed(io).await;
            }
        });
        // Less than the head of a frame may be anything.
        let is_head = (1..9).contains(&length);
        let code = if is_head { "HTTP2_NOT_SPOKEN" } else { "HTTP2_CLOSED_EARLY" };
        let error = server.await.connect_error().await;
        assert_eq!(error.code(), code, "{length} bytes: {error}");
        let is_before = error.sentence().contains("before its first HTTP/2 frame");
        assert!(is_head || is_before, "{length} bytes: {error}");
    }
    assert_eq!(greeting(whole).await.status().await.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn settings_that_come_byte_by_byte_connect() {
    let server = Hostile::raw(|mut io| async move {
        for byte in settings(&[(1, 4096), (3, 100), (4, 65_535), (5, 16_384)]) {
            io.write_all(&[byte]).await.expect("written");
            // Each lets the runtime look at its sockets, and the client read its byte.
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        }
        let mut reader = Reader::new();
        while let Some(stream) = reader.until(&mut io, HEADERS).await {
            for byte in denied(stream) {
                io.write_all(&[byte]).await.expect("written");
                tokio::task::yield_now().await;
            }
        }
    });
    assert_eq!(server.await.status().await.code(), Code::PermissionDenied);
}

#[tokio::test(start_paused = true)]
async fn settings_that_come_too_slowly_end_at_the_handshake_timeout() {
    let time = Arc::new(StoppedTime::hold());
    let server = Hostile::raw({
        let time = Arc::clone(&time);
        move |mut io| {
            let time = Arc::clone(&time);
            async move {
                for byte in settings(&[(3, 100)]) {
                    io.write_all(&[byte]).await.expect("written");
                    time.settle().await;
                    time.advance(Duration::from_secs(1)).await;
                }
                until_closed(io).await;
            }
        }
    });
    let error = server.await.connect_error().await;
    assert_eq!(error.code(), "HTTP2_TIMEOUT", "{error}");
}

#[tokio::test]
async fn settings_with_a_thousand_parameters_connect() {
    for (name, parameters) in [
        ("unknown ones", (1_000..2_000).map(|id| (id, 1)).collect::<Vec<_>>()),
        ("one of them a thousand times", (0..1_000).map(|value| (4, 65_535 + value)).collect()),
        ("as many as a frame holds", (1_000..3_730).map(|id| (id, 1)).collect()),
    ] {
        let status = greeting(settings(&parameters)).await.status().await;
        assert_eq!(status.code(), Code::PermissionDenied, "{name}: {status:?}");
    }
}

#[tokio::test]
async fn settings_that_break_the_rules_fail_the_call_and_nothing_else() {
    for (name, greets) in [
        (
            "more than a frame holds",
            settings(&(1_000..3_800).map(|id| (id, 1)).collect::<Vec<_>>()),
        ),
        ("half a parameter", frame(SETTINGS, 0, 0, &[0, 4, 0])),
        ("on a stream", frame(SETTINGS, 0, 1, &[])),
        ("a window too large", settings(&[(4, u32::MAX)])),
        ("frames too small", settings(&[(5, 1)])),
        ("frames too large", settings(&[(5, u32::MAX)])),
        ("an answer with something in it", frame(SETTINGS, ACK, 0, &[0, 3, 0, 0, 0, 1])),
    ] {
        let server = greeting(greets).await;
        let channel = Channel::builder(server.target(), ChannelCredentials::insecure());
        let channel = channel.connect_lazy().expect("a channel");
        for _ in 0..3 {
            let status = call(&channel, hello()).await.expect_err(name);
            assert_eq!(status.code(), Code::Unavailable, "{name}: {status:?}");
            assert!(CallError::of(&status).is_some(), "{name}: {status:?}");
        }
    }
}

#[tokio::test]
async fn frames_that_break_the_rules_amid_a_call_fail_it() {
    for (name, answer) in [
        ("DATA before HEADERS", frame(DATA, 0, 1, b"hello")),
        ("HEADERS that are not HPACK", frame(HEADERS, END_HEADERS, 1, &[0xff; 16])),
        ("an answer without a status", frame(HEADERS, END_HEADERS, 1, b"\x40\x01a\x01b")),
        ("a reset of a stream that never was", frame(RST_STREAM, 0, 99, &[0; 4])),
        ("a window that grows by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a promise", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82])),
        ("a short PING", frame(PING, 0, 0, &[0; 3])),
        ("a frame too large", frame(DATA, 0, 1, &[0; 20_000])),
        ("a short GOAWAY", frame(GO_AWAY, 0, 0, &[0; 3])),
    ] {
        let server = Hostile::raw(move |mut io| {
            let answer = answer.clone();
            async move {
                io.write_all(&settings(&[])).await.expect("written");
                let mut reader = Reader::new();
                if reader.until(&mut io, HEADERS).await.is_some() {
                    io.write_all(&answer).await.expect("written");
                }
                until_closed(io).await;
            }
        });
        let status = server.await.status().await;
        assert!(matches!(status.code(), Code::Unavailable | Code::Internal), "{name}: {status:?}");
        let transport = matches!(CallError::of(&status), Some(CallError::Transport { .. }));
        assert!(transport, "{name}: {status:?}");
    }
}
