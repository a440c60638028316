//! GOAWAY before, between and amid calls, and servers that leave without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::{Backoff, Channel, ChannelCredentials, ClientRequestExt};
use countersign_testkit::wait::until;
use h2::Reason;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tonic::Code;

use crate::support::{StoppedTime, call, connect_code, hello, kernel_has_its_turn};
use crate::wire::{
    HEADERS, PING, Reader, denied, frame, go_away, greeting, settings, until_closed,
};
use crate::{Hostile, is_lost};

#[tokio::test]
async fn a_server_whose_first_words_are_to_go_away_is_not_connected_to() {
    let bye = go_away(0, Reason::ENHANCE_YOUR_CALM, "too many\r\nconnections");
    for (name, greets) in
        [("alone", bye.clone()), ("after SETTINGS", [settings(&[]), bye].concat())]
    {
        let error = greeting(greets).await.connect_error().await;
        assert_eq!(error.code(), "HTTP2_GO_AWAY", "{name}: {error}");
        assert!(error.to_string().contains("too many"), "{name}: {error}");
        assert!(error.to_string().chars().all(|c| !c.is_control()), "{name}: {error}");
        assert!(!error.is_permanent(), "{name}");
    }
}

#[tokio::test]
async fn a_goodbye_between_two_calls_costs_neither() {
    let server = Hostile::raw(|mut io| async move {
        io.write_all(&settings(&[])).await.expect("written");
        let mut reader = Reader::new();
        let stream = reader.until(&mut io, HEADERS).await.expect("a call");
        let bye = go_away(stream, Reason::NO_ERROR, "");
        io.write_all(&[denied(stream), bye].concat()).await.expect("written");
        until_closed(io).await;
    })
    .await;
    let channel = server.channel().await;
    for _ in 0..20 {
        let status = call(&channel, hello()).await.expect_err("denied");
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    }
}

#[tokio::test]
async fn a_goodbye_lets_the_calls_finish_that_it_includes() {
    let (understood, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let server = Hostile::raw({
        let (understood, finish) = (Arc::clone(&understood), Arc::clone(&finish));
        move |mut io| {
            let (understood, finish) = (Arc::clone(&understood), Arc::clone(&finish));
            async move {
                io.write_all(&settings(&[])).await.expect("written");
                let mut reader = Reader::new();
                let stream = reader.until(&mut io, HEADERS).await.expect("a call");
                let bye = go_away(stream, Reason::NO_ERROR, "");
                let ping = frame(PING, 0, 0, &[0; 8]);
                io.write_all(&[bye, ping].concat()).await.expect("written");
                // The answer to the PING comes after the GOAWAY was read.
                reader.until(&mut io, PING).await.expect("an answer");
                understood.notify_one();
                finish.notified().await;
                io.write_all(&denied(stream)).await.expect("written");
                until_closed(io).await;
            }
        }
    })
    .await;
    let channel = server.channel().await;
    let mut calls = Vec::new();
    // Each on a connection of its own, since the one before is going.
    for _ in 0..3 {
        let channel = channel.clone();
        calls.push(tokio::spawn(async move { call(&channel, hello()).await }));
        understood.notified().await;
    }
    assert!(!calls.iter().any(JoinHandle::is_finished));
    finish.notify_waiters();
    for calling in calls {
        let status = calling.await.expect("joined").expect_err("denied");
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    }
}

#[tokio::test]
async fn a_goodbye_fails_the_calls_that_it_leaves_out() {
    for reason in [Reason::NO_ERROR, Reason::ENHANCE_YOUR_CALM, Reason::INTERNAL_ERROR] {
        let server = Hostile::raw(move |mut io| async move {
            io.write_all(&settings(&[])).await.expect("written");
            let mut reader = Reader::new();
            reader.until(&mut io, HEADERS).await.expect("a call");
            io.write_all(&go_away(0, reason, "too_many_pings")).await.expect("written");
            until_closed(io).await;
        });
        let status = server.await.status().await;
        assert!(is_lost(&status), "{reason:?}: {status:?}");
    }
}

/// Greets and hangs up, and counts how often.
async fn hanging_up(greetings: &Arc<AtomicUsize>) -> Hostile {
    let greetings = Arc::clone(greetings);
    Hostile::raw(move |mut io| {
        let greetings = Arc::clone(&greetings);
        async move {
            greetings.fetch_add(1, Ordering::SeqCst);
            io.write_all(&settings(&[])).await.expect("written");
        }
    })
    .await
}

#[tokio::test]
async fn a_server_that_hangs_up_after_its_greeting_fails_the_call() {
    let server = hanging_up(&Arc::default()).await;
    let channel = Channel::builder(server.target(), ChannelCredentials::insecure());
    let channel = channel.connect_lazy().expect("a channel");
    for _ in 0..20 {
        let status = call(&channel, hello()).await.expect_err("it hangs up");
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
        let is_lost = is_lost(&status);
        assert!(is_lost || connect_code(&status) == "HTTP2_CLOSED_EARLY", "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_up_after_its_greeting_is_left_alone_for_the_delay() {
    let time = StoppedTime::hold();
    let greetings = Arc::new(AtomicUsize::new(0));
    let server = hanging_up(&greetings).await;
    let greeted = || greetings.load(Ordering::SeqCst);
    let mut backoff = Backoff::between(Duration::from_secs(10), Duration::from_secs(100));
    backoff.jitter = 0.0;
    let channel = Channel::builder(server.target(), ChannelCredentials::insecure());
    let channel = channel.backoff(backoff).connect_lazy().expect("a channel");
    let waiting = tokio::spawn(async move { call(&channel, hello().wait_for_ready()).await });
    // Once may be chance.
    for (times, delay) in [(2, 16_000), (3, 25_600), (4, 40_960)] {
        until("it is dialled", || greeted() == times).await;
        kernel_has_its_turn().await;
        time.advance(Duration::from_millis(delay - 1)).await;
        kernel_has_its_turn().await;
        assert_eq!(greeted(), times, "before {delay} ms");
        time.advance(Duration::from_millis(1)).await;
    }
    assert!(!waiting.is_finished());
}
