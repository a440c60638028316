//! A call's deadline covers all of it: dialling, credentials, and the answer to its last byte.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use countersign::credentials::{
    CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
};
use countersign::{
    CallCredentials, CallError, CallPhase, Channel, ChannelCredentials, ClientTls, Resolve,
    SecurityLevel,
};
use countersign_testkit::greeter::GreeterClient;
use countersign_testkit::greeter::proto::HelloStreamRequest;
use countersign_testkit::pki::CertificateAuthority;
use countersign_testkit::wait::until;
use tokio::task::JoinHandle;
use tonic::{Code, Request, Status};

use crate::support::{Answer, MuteServer, Recorder, StoppedTime, call, hello, roots};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn within<T>(deadline: Duration, mut request: Request<T>) -> Request<T> {
    request.set_timeout(deadline);
    request
}

fn calling(channel: &Channel, deadline: Duration) -> JoinHandle<Result<(), Status>> {
    let channel = channel.clone();
    tokio::spawn(async move { call(&channel, within(deadline, hello())).await.map(|_| ()) })
}

/// What the call was waiting for.
fn phase(status: &Status) -> CallPhase {
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    match CallError::of(status) {
        Some(CallError::DeadlineExceeded { during, .. }) => *during,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_covers_dialling_a_silent_server() {
    let time = StoppedTime::hold();
    let ca = CertificateAuthority::new("test CA");
    for secure in [false, true] {
        let server = MuteServer::silent().await;
        let channel = match secure {
            true => {
                let tls = ClientTls::only_roots(roots(&ca));
                Channel::builder(server.https(), ChannelCredentials::tls(tls))
            }
            false => Channel::builder(server.http(), ChannelCredentials::insecure()),
        };
        let channel = channel.connect_lazy().expect("a channel");

        let calling_briefly = calling(&channel, 2 * SECOND);
        server.dialled().await;
        time.advance(2 * SECOND - MILLISECOND).await;
        assert!(!calling_briefly.is_finished());
        time.advance(MILLISECOND).await;
        let status = calling_briefly.await.expect("joined").expect_err("the deadline passed");
        assert_eq!(phase(&status), CallPhase::Connecting, "secure: {secure}");

        // The dial goes on for those who have the time, and then it is the handshake's timeout.
        let calling_at_leisure = calling(&channel, 30 * SECOND);
        time.advance(7 * SECOND).await;
        assert!(!calling_at_leisure.is_finished());
        time.advance(SECOND).await;
        let status = calling_at_leisure.await.expect("joined").expect_err("nobody answers");
        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_covers_the_head_of_the_answer() {
    let time = StoppedTime::hold();
    let server = Recorder::plaintext(Answer::Nothing).await;
    let channel = connected(&server).await;
    let calling = calling(&channel, 2 * SECOND);
    server.called(1).await;
    time.advance(2 * SECOND - MILLISECOND).await;
    assert!(!calling.is_finished());
    time.advance(MILLISECOND).await;
    let status = calling.await.expect("joined").expect_err("the deadline passed");
    assert_eq!(phase(&status), CallPhase::Response);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_covers_a_streamed_answer_to_its_end() {
    let time = StoppedTime::hold();
    let server = Recorder::plaintext(Answer::Held).await;
    let mut client = GreeterClient::new(connected(&server).await);
    let stream = || within(2 * SECOND, Request::new(HelloStreamRequest::default()));

    let mut late = client.say_hello_stream(stream()).await.expect("a stream").into_inner();
    late.message().await.expect("a message").expect("one message");
    time.advance(2 * SECOND - MILLISECOND).await;
    let mut in_time = client.say_hello_stream(stream()).await.expect("a stream").into_inner();
    in_time.message().await.expect("a message").expect("one message");
    time.advance(MILLISECOND).await;
    let status = late.message().await.expect_err("the deadline passed");
    assert_eq!(phase(&status), CallPhase::Response);

    server.release();
    assert!(in_time.message().await.expect("the end").is_none());
}

#[tokio::test]
async fn a_call_whose_deadline_has_passed_is_not_sent() {
    let server = Recorder::plaintext(Answer::Reply).await;
    let channel = connected(&server).await;
    let status = call(&channel, within(Duration::ZERO, hello())).await.expect_err("no time");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    call(&channel, within(60 * SECOND, hello())).await.expect("an answer");
    assert_eq!(server.calls().len(), 1, "the first was not sent");
}

#[tokio::test(start_paused = true)]
async fn the_server_is_told_what_is_left_after_connecting_and_authenticating() {
    let time = StoppedTime::hold();
    let server = Recorder::plaintext(Answer::Reply).await;
    let slow = Slow::default();
    let names = SlowNames { takes: 3 * SECOND, address: server.address(), asked: slow.clone() };
    let credentials = ChannelCredentials::local().with_call_credentials(slow.clone());
    let channel = Channel::builder("http://orders.example", credentials)
        .resolver(names)
        .connect_lazy()
        .expect("a channel");
    let first = calling(&channel, 10 * SECOND);
    // What sockets do meanwhile takes none of the time.
    slow.asked(1).await;
    time.advance(3 * SECOND).await;
    slow.asked(2).await;
    time.advance(4 * SECOND).await;
    first.await.expect("joined").expect("an answer");
    assert_eq!(server.last().header("grpc-timeout"), "3000000u");

    let second = calling(&channel, 10 * SECOND);
    slow.asked(3).await;
    time.advance(4 * SECOND).await;
    second.await.expect("joined").expect("an answer");
    assert_eq!(server.last().header("grpc-timeout"), "6000000u", "connected already");

    let without = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, hello()).await }
    });
    slow.asked(4).await;
    time.advance(4 * SECOND).await;
    without.await.expect("joined").expect("an answer");
    assert_eq!(server.last().header("grpc-timeout"), "", "no deadline");

    let never = calling(&channel, 3 * SECOND);
    slow.asked(5).await;
    time.advance(3 * SECOND).await;
    let status = never.await.expect("joined").expect_err("the deadline passed");
    assert_eq!(phase(&status), CallPhase::Credentials);
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_channels_call_timeout_is_for_calls_without_a_deadline_of_their_own() {
    let _time = StoppedTime::hold();
    let server = Recorder::plaintext(Answer::Reply).await;
    let channel = Channel::builder(server.http(), ChannelCredentials::insecure())
        .call_timeout(5 * SECOND)
        .connect()
        .await
        .expect("connected");
    call(&channel, hello()).await.expect("an answer");
    assert_eq!(server.last().header("grpc-timeout"), "5000000u");
    for (own, sent) in [(2 * SECOND, "2000000u"), (60 * SECOND, "60000000u")] {
        call(&channel, within(own, hello())).await.expect("an answer");
        assert_eq!(server.last().header("grpc-timeout"), sent);
    }
}

#[tokio::test(start_paused = true)]
async fn the_channels_call_timeout_ends_a_call() {
    let time = StoppedTime::hold();
    let server = Recorder::plaintext(Answer::Nothing).await;
    let channel = Channel::builder(server.http(), ChannelCredentials::insecure())
        .call_timeout(5 * SECOND)
        .connect()
        .await
        .expect("connected");
    let unbounded = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, hello()).await }
    });
    let patient = calling(&channel, 60 * SECOND);
    server.called(2).await;
    time.advance(5 * SECOND).await;
    let status = unbounded.await.expect("joined").expect_err("the deadline passed");
    assert_eq!(phase(&status), CallPhase::Response);
    assert!(!patient.is_finished());
}

async fn connected(server: &Recorder) -> Channel {
    countersign::connect(server.http(), ChannelCredentials::insecure()).await.expect("connected")
}

/// Credentials that are fetched for four seconds, and how often somebody had to wait.
#[derive(Clone, Debug, Default)]
struct Slow {
    asked: Arc<AtomicUsize>,
}

impl Slow {
    /// Waits until so many have begun to wait.
    async fn asked(&self, times: usize) {
        until("somebody has to wait", || self.asked.load(Ordering::SeqCst) == times).await;
    }

    async fn wait(&self, time: Duration) {
        let waited = tokio::time::sleep(time);
        self.asked.fetch_add(1, Ordering::SeqCst);
        waited.await;
    }
}

#[countersign::async_trait]
impl CallCredentials for Slow {
    async fn get_metadata(
        &self,
        _call: &CallDetails,
        _security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        self.wait(4 * SECOND).await;
        Ok(metadata.insert("x-key", "value")?)
    }

    fn minimum_channel_security_level(&self) -> SecurityLevel {
        SecurityLevel::NoSecurity
    }
}

/// Names that are looked up for so long.
#[derive(Debug)]
struct SlowNames {
    takes: Duration,
    address: SocketAddr,
    asked: Slow,
}

#[countersign::async_trait]
impl Resolve for SlowNames {
    async fn resolve(&self, _host: &str, _port: u16) -> std::io::Result<Vec<SocketAddr>> {
        self.asked.wait(self.takes).await;
        Ok(vec![self.address])
    }
}
