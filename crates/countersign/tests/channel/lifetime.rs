//! How connections come to their end, and what comes after them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::credentials::{
    CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
};
use countersign::{
    Backoff, CallCredentials, CallError, ChannelCredentials, Keepalive, SecurityLevel,
    ServerCredentials, connect,
};
use countersign_testkit::greeter::TestServer;
use countersign_testkit::wait::until;
use tokio::sync::watch;
use tonic::Code;

use crate::support::{
    Answer, ClosedPort, Proxy, Recorder, StoppedTime, call, connect_code, finishes, held, hello,
    kernel_has_its_turn, plaintext,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_channel_reconnects_when_its_server_restarts_on_the_same_port() {
    let time = StoppedTime::hold();
    let credentials = ServerCredentials::insecure();
    let port = ClosedPort::new();
    let listen = || credentials.accept(port.listen()).expect("a listener");
    let server = TestServer::start(listen(), None);
    let channel = plaintext(server.http("127.0.0.1"))
        .backoff(Backoff::between(SECOND, SECOND))
        .connect()
        .await
        .expect("connected");
    call(&channel, hello()).await.expect("an answer");

    server.stop(SECOND).await;
    let status = call(&channel, hello()).await.expect_err("there is no server");
    assert_eq!(connect_code(&status), "DIAL_REFUSED", "{status:?}");

    let _server = TestServer::start(listen(), None);
    time.advance(2 * SECOND).await;
    call(&channel, hello()).await.expect("an answer");
}

#[tokio::test]
async fn a_call_that_never_left_goes_to_another_connection_with_fresh_credentials() {
    let port = ClosedPort::new();
    let goes = Recorder::on(port.listen(), Answer::Reply);
    let stays = Recorder::plaintext(Answer::Reply).await;
    let tokens = Tokens::default();
    let credentials = ChannelCredentials::local().with_call_credentials(tokens.clone());
    let target = format!("ipv4:{},{}", goes.address(), stays.address());
    let channel = connect(target, credentials).await.expect("connected");
    let calling = tokio::spawn(async move { call(&channel, hello()).await });
    until("credentials are asked", || tokens.asked() == 1).await;
    goes.stop().await;
    tokens.given.send_replace(true);
    calling.await.expect("joined").expect("an answer");
    assert_eq!((tokens.asked(), stays.calls().len()), (2, 1));
    let sent: Vec<_> = stays.last().headers.get_all("x-token").iter().cloned().collect();
    assert_eq!(sent, ["2"], "the second token and it alone");
}

#[tokio::test]
async fn a_call_that_left_is_not_sent_a_second_time() {
    let port = ClosedPort::new();
    let goes = Recorder::on(port.listen(), Answer::Nothing);
    let stays = Recorder::plaintext(Answer::Reply).await;
    let target = format!("ipv4:{},{}", goes.address(), stays.address());
    let channel = plaintext(target).connect().await.expect("connected");
    let calling = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, hello()).await }
    });
    goes.called(1).await;
    drop(goes);
    let status = calling.await.expect("joined").expect_err("the connection is lost");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(matches!(CallError::of(&status), Some(CallError::Transport { .. })), "{status:?}");
    assert_eq!(stays.calls().len(), 0);

    call(&channel, hello()).await.expect("the next call goes to the other server");
}

/// Numbers its tokens, and gives none out before it may.
#[derive(Clone, Debug, Default)]
struct Tokens {
    asked: Arc<AtomicUsize>,
    given: watch::Sender<bool>,
}

impl Tokens {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[countersign::async_trait]
impl CallCredentials for Tokens {
    async fn get_metadata(
        &self,
        _call: &CallDetails,
        _security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let _ = self.given.subscribe().wait_for(|given| *given).await;
        Ok(metadata.insert("x-token", &number.to_string())?)
    }

    fn minimum_channel_security_level(&self) -> SecurityLevel {
        SecurityLevel::NoSecurity
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_the_next_call_dials_again() {
    let time = StoppedTime::hold();
    let server = Recorder::plaintext(Answer::Reply).await;
    let builder = plaintext(server.http()).idle_timeout(60 * SECOND);
    let channel = builder.connect().await.expect("connected");
    server.open(1).await;
    time.advance(60 * SECOND - MILLISECOND).await;
    call(&channel, hello()).await.expect("an answer");
    assert_eq!(server.connections(), 1);
    // That was a call, and the time begins anew.
    time.advance(60 * SECOND - MILLISECOND).await;
    call(&channel, hello()).await.expect("an answer");
    assert_eq!(server.connections(), 1);

    time.advance(60 * SECOND).await;
    time.advance(60 * SECOND).await;
    server.open(0).await;
    call(&channel, hello()).await.expect("an answer");
    assert_eq!(server.connections(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_call_on_it_is_not_idle() {
    let time = StoppedTime::hold();
    let server = Recorder::plaintext(Answer::Held).await;
    let builder = plaintext(server.http()).idle_timeout(60 * SECOND);
    let channel = builder.connect().await.expect("connected");
    let replies = held(&channel).await;
    for _ in 0..10 {
        time.advance(60 * SECOND).await;
    }
    server.release();
    finishes(replies).await;
    call(&channel, hello()).await.expect("an answer");
    assert_eq!(server.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_never_idle_for_too_long_stays_without_a_timeout() {
    let time = StoppedTime::hold();
    let server = Recorder::plaintext(Answer::Reply).await;
    for (name, builder) in [
        ("none", plaintext(server.http()).idle_timeout(None)),
        ("the longest", plaintext(server.http()).idle_timeout(Duration::MAX)),
    ] {
        let before = server.connections();
        let channel = builder.connect().await.expect(name);
        time.advance(24 * 3_600 * SECOND).await;
        call(&channel, hello()).await.expect(name);
        assert_eq!(server.connections(), before + 1, "{name}");
    }
}

#[tokio::test]
async fn the_longest_durations_there_are_mean_never() {
    let port = ClosedPort::new();
    let server = Recorder::on(port.listen(), Answer::Reply);
    let channel = plaintext(server.http())
        .backoff(Backoff::between(Duration::MAX, Duration::MAX))
        .connect_timeout(Duration::MAX)
        .handshake_timeout(Duration::MAX)
        .idle_timeout(Duration::MAX)
        .max_connection_age(Duration::MAX)
        .call_timeout(Duration::MAX)
        .connect()
        .await
        .expect("connected");
    call(&channel, hello()).await.expect("an answer");
    server.stop().await;
    for _ in 0..2 {
        let status = call(&channel, hello()).await.expect_err("there is no server");
        assert_eq!(connect_code(&status), "DIAL_REFUSED", "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_connection_finishes_its_calls_while_a_new_one_takes_over() {
    let time = StoppedTime::hold();
    let server = Recorder::plaintext(Answer::Held).await;
    let builder = plaintext(server.http()).max_connection_age(100 * SECOND);
    let channel = builder.connect().await.expect("connected");
    let old = held(&channel).await;
    // A tenth earlier or later.
    time.advance(89 * SECOND).await;
    let young = held(&channel).await;
    assert_eq!(server.connections(), 1);

    time.advance(22 * SECOND).await;
    let new = held(&channel).await;
    assert_eq!(server.connections(), 2);
    assert_eq!(server.last().connection, 1);
    server.open(2).await;
    server.release();
    for replies in [old, young, new] {
        finishes(replies).await;
    }
    server.open(1).await;
    call(&channel, hello()).await.expect("an answer");
    assert_eq!(server.last().connection, 1);
}

#[tokio::test(start_paused = true)]
async fn keepalive_finds_out_that_a_server_has_vanished() {
    let time = StoppedTime::hold();
    let server = Recorder::plaintext(Answer::Held).await;
    let proxy = Proxy::to(server.address()).await;
    let keepalive = Keepalive { interval: 10 * SECOND, timeout: 5 * SECOND, while_idle: false };
    let with = plaintext(proxy.http()).keepalive(keepalive).connect().await.expect("connected");
    let without = plaintext(proxy.http()).connect().await.expect("connected");

    let (mut lost, mut waits) = (held(&with).await, held(&without).await);
    // As long as pings are answered, nothing is lost.
    for _ in 0..60 {
        pass_one_second(&time).await;
    }
    proxy.fall_silent();
    let losing = tokio::spawn(async move { lost.message().await });
    let waiting = tokio::spawn(async move { waits.message().await });
    for _ in 0..20 {
        pass_one_second(&time).await;
    }
    assert!(losing.is_finished(), "an interval and a timeout have passed");
    let status = losing.await.expect("joined").expect_err("the server has vanished");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(matches!(CallError::of(&status), Some(CallError::Transport { .. })), "{status:?}");
    assert!(!waiting.is_finished(), "nobody asked");

    proxy.speak();
    server.release();
    call(&with, hello()).await.expect("a new connection");
    assert!(waiting.await.expect("joined").expect("the end").is_none());
}

#[tokio::test(start_paused = true)]
async fn keepalive_while_idle_spares_the_next_call_the_discovery() {
    let time = StoppedTime::hold();
    let server = Recorder::plaintext(Answer::Reply).await;
    let proxy = Proxy::to(server.address()).await;
    let keepalive = Keepalive { interval: 10 * SECOND, timeout: 5 * SECOND, while_idle: true };
    let channel = plaintext(proxy.http()).keepalive(keepalive).connect().await.expect("connected");
    call(&channel, hello()).await.expect("an answer");
    proxy.fall_silent();
    for _ in 0..20 {
        pass_one_second(&time).await;
    }
    proxy.speak();
    call(&channel, hello()).await.expect("an answer");
    assert_eq!(server.last().connection, 1);
}

/// A second in which sockets have their turn too.
async fn pass_one_second(time: &StoppedTime) {
    kernel_has_its_turn().await;
    time.advance(SECOND).await;
}

#[tokio::test]
async fn a_call_with_an_open_request_is_cancelled_when_its_answer_is_dropped() {
    let server = Recorder::plaintext(Answer::Held).await;
    let mut channel = plaintext(server.http()).connect().await.expect("connected");
    let endless = tokio_stream::pending::<Result<http_body::Frame<bytes::Bytes>, tonic::Status>>();
    let body = tonic::body::Body::new(http_body_util::StreamBody::new(endless));
    let request = http::Request::post("/countersign.demo.v1.Greeter/SayHello").body(body);
    let response = tower_service::Service::call(&mut channel, request.expect("a request")).await;
    drop(response.expect("a head"));
    until("the server notices", || server.cancelled() == 1).await;
}
