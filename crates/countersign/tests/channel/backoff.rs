//! What happens between a failure and the next dial.

use std::time::Duration;

use countersign::{
    Backoff, CallError, CallPhase, Channel, ChannelCredentials, ClientRequestExt, ConnectError,
};
use countersign_testkit::wait::until;
use tonic::{Code, Status};

use crate::support::{
    Answer, ClosedPort, MuteServer, Recorder, StoppedTime, call, connect_code, hello,
};

/// Delays of 10 s, 16 s, 25.6 s and so on, to the millisecond.
fn steady() -> Backoff {
    let mut backoff = Backoff::between(Duration::from_secs(10), Duration::from_secs(120));
    backoff.jitter = 0.0;
    backoff
}

fn lazy(target: String) -> Channel {
    Channel::builder(target, ChannelCredentials::insecure())
        .backoff(steady())
        .connect_lazy()
        .expect("a channel")
}

async fn failing(channel: &Channel) -> Status {
    call(channel, hello()).await.expect_err("there is no server")
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_calls_fail_at_once_with_its_error_and_nobody_dials_until_the_delay_is_over()
 {
    let time = StoppedTime::hold();
    let server = MuteServer::hanging_up().await;
    let channel = lazy(server.http());
    let first = failing(&channel).await;
    assert_eq!(first.code(), Code::Unavailable, "{first:?}");
    assert_eq!(connect_code(&first), "HTTP2_CLOSED_EARLY", "{first:?}");

    let almost = Duration::from_millis(9_999);
    for pause in [Duration::ZERO, Duration::from_secs(5), almost - Duration::from_secs(5)] {
        time.advance(pause).await;
        for _ in 0..10 {
            let again = failing(&channel).await;
            assert_eq!(again.message(), first.message());
            assert_eq!(connect_code(&again), connect_code(&first));
        }
        assert_eq!(server.dials().await, 1);
    }
    time.advance(Duration::from_millis(1)).await;
    failing(&channel).await;
    assert_eq!(server.dials().await, 2);
}

#[tokio::test(start_paused = true)]
async fn delays_grow_with_every_failure_and_begin_anew_after_a_success() {
    let time = StoppedTime::hold();
    let port = ClosedPort::new();
    let mute = MuteServer::hanging_up_on(port.listen());
    let channel = lazy(mute.http());
    failing(&channel).await;
    for (delay, dials) in [(10_000, 2), (16_000, 3)] {
        time.advance(Duration::from_millis(delay - 1)).await;
        failing(&channel).await;
        assert_eq!(mute.dials().await, dials - 1, "before {delay} ms");
        time.advance(Duration::from_millis(1)).await;
        failing(&channel).await;
        assert_eq!(mute.dials().await, dials, "after {delay} ms");
    }

    time.advance(Duration::from_millis(25_600)).await;
    let listener = mute.into_listener();
    let server = Recorder::on(listener, Answer::Reply);
    call(&channel, hello()).await.expect("an answer");
    server.stop().await;
    let refused = failing(&channel).await;
    assert_eq!(connect_code(&refused), "DIAL_REFUSED", "{refused:?}");

    let server = Recorder::on(port.listen(), Answer::Reply);
    time.advance(Duration::from_millis(9_999)).await;
    failing(&channel).await;
    time.advance(Duration::from_millis(1)).await;
    call(&channel, hello()).await.expect("an answer after the first delay and not the fourth");
    assert_eq!(server.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_ready_succeeds_when_the_server_appears() {
    let time = StoppedTime::hold();
    let port = ClosedPort::new();
    let channel = lazy(format!("http://{}", port.address()));
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, hello().wait_for_ready()).await }
    });
    let status = failing(&channel).await;
    assert_eq!(connect_code(&status), "DIAL_REFUSED", "a call that does not wait: {status:?}");

    let server = Recorder::on(port.listen(), Answer::Reply);
    time.advance(Duration::from_millis(9_999)).await;
    assert!(!waiting.is_finished() && server.calls().is_empty());
    time.advance(Duration::from_millis(1)).await;
    waiting.await.expect("joined").expect("an answer");
    assert_eq!((server.connections(), server.calls().len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_ready_outlives_a_dial_that_took_too_long() {
    let time = StoppedTime::hold();
    let mute = MuteServer::silent().await;
    let channel = lazy(mute.http());
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, hello().wait_for_ready()).await }
    });
    mute.dialled().await;
    time.advance(Duration::from_secs(10)).await;
    let status = failing(&channel).await;
    assert_eq!(connect_code(&status), "HTTP2_TIMEOUT", "a call that does not wait: {status:?}");

    let server = Recorder::on(mute.into_listener(), Answer::Reply);
    time.advance(Duration::from_secs(10)).await;
    waiting.await.expect("joined").expect("an answer");
    assert_eq!(server.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_in_vain_is_told_the_last_connection_error_at_its_deadline() {
    let time = StoppedTime::hold();
    let port = ClosedPort::new();
    let channel = lazy(format!("http://{}", port.address()));
    let waiting = tokio::spawn(async move {
        let mut request = hello().wait_for_ready();
        request.set_timeout(Duration::from_secs(60));
        call(&channel, request).await
    });
    time.settle().await;
    for _ in 0..59 {
        time.advance(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
    }
    time.advance(Duration::from_secs(1)).await;
    let status = waiting.await.expect("joined").expect_err("the deadline passed");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    assert!(status.message().contains("nobody listens there"), "{status:?}");
    assert!(status.message().contains("DIAL_REFUSED"), "{status:?}");
    match CallError::of(&status) {
        Some(CallError::DeadlineExceeded { during: CallPhase::Connecting, last: Some(last) }) => {
            assert_eq!(last.code(), "DIAL_REFUSED");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_joins_a_second_dial_is_told_why_the_first_one_failed() {
    let time = StoppedTime::hold();
    let port = ClosedPort::new();
    let channel = lazy(format!("http://{}", port.address()));
    failing(&channel).await;
    let server = MuteServer::silent_on(port.listen());
    time.advance(Duration::from_secs(10)).await;
    for wait in [true, false] {
        let channel = channel.clone();
        let waiting = tokio::spawn(async move {
            let mut request = hello();
            request.set_timeout(Duration::from_secs(2));
            call(&channel, if wait { request.wait_for_ready() } else { request }).await
        });
        server.dialled().await;
        time.settle().await;
        time.advance(Duration::from_secs(2)).await;
        let status = waiting.await.expect("joined").expect_err("the deadline passed");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert_eq!(ConnectError::of(&status).map(ConnectError::code), Some("DIAL_REFUSED"));
    }
}

#[tokio::test(start_paused = true)]
async fn waiting_until_ready_ends_with_the_error_of_the_dial() {
    let time = StoppedTime::hold();
    let port = ClosedPort::new();
    let channel = lazy(format!("http://{}", port.address()));
    let error = channel.ready().await.expect_err("nobody listens");
    assert_eq!(error.code(), "DIAL_REFUSED");

    let server = Recorder::on(port.listen(), Answer::Reply);
    let error = channel.ready().await.expect_err("it is too soon");
    assert_eq!(error.code(), "DIAL_REFUSED");
    time.advance(Duration::from_secs(10)).await;
    channel.ready().await.expect("connected");
    until("the server has it", || server.connections() == 1).await;
}
