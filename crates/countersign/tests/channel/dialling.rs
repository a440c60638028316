//! When a channel dials, and what it says when that fails.

use std::time::Duration;

use countersign::tls::HandshakeResult;
use countersign::{
    Backoff, CallError, Channel, ChannelCredentials, ClientTls, ConnectErrorKind,
    ServerCredentials, connect, connect_lazy,
};
use countersign_testkit::greeter::proto::HelloStreamRequest;
use countersign_testkit::greeter::{GreeterClient, TestServer};
use countersign_testkit::pki::CertificateAuthority;
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{
    Answer, ClosedPort, MuteServer, Recorder, call, connect_code, hello, showing, trusting,
};

#[test]
fn a_lazy_channel_needs_no_runtime() {
    let tls = ChannelCredentials::tls(ClientTls::system_roots());
    let channel = connect_lazy("https://orders.example", tls).expect("a channel");
    assert_eq!(channel.target(), "https://orders.example");
    assert!(format!("{channel:?}").contains("https://orders.example"), "{channel:?}");
}

#[test]
fn a_lazy_channel_is_refused_when_its_settings_can_never_work() {
    let tls = || ChannelCredentials::tls(ClientTls::system_roots());
    let good = "https://orders.example";
    let kind = |made: Result<Channel, countersign::ConnectError>| made.err().map(|it| it.kind());
    assert_eq!(kind(Channel::builder(good, tls()).connect_lazy()), None);
    assert_eq!(
        kind(Channel::builder("http://orders.example", tls()).connect_lazy()),
        Some(ConnectErrorKind::SchemeMismatch),
    );
    assert_eq!(
        kind(Channel::builder("ftp://orders.example", tls()).connect_lazy()),
        Some(ConnectErrorKind::InvalidTarget),
    );
    let authority = Channel::builder(good, tls()).authority("user@orders.example");
    assert_eq!(kind(authority.connect_lazy()), Some(ConnectErrorKind::InvalidTarget));
    let user_agent = Channel::builder(good, tls()).user_agent("orders\n");
    assert_eq!(kind(user_agent.connect_lazy()), Some(ConnectErrorKind::InvalidTarget));
}

#[tokio::test]
async fn a_lazy_channel_dials_with_its_first_call_and_not_before() {
    let server = MuteServer::hanging_up().await;
    let channel = connect_lazy(server.http(), ChannelCredentials::insecure()).expect("a channel");
    assert_eq!(server.dials().await, 0);
    let status = call(&channel, hello()).await.expect_err("nobody answers");
    assert_eq!(connect_code(&status), "HTTP2_CLOSED_EARLY", "{status:?}");
    assert_eq!(server.dials().await, 1);
}

#[tokio::test]
async fn connecting_and_the_first_call_of_a_lazy_channel_fail_with_the_same_error() {
    let (ca, other) = (CertificateAuthority::new("test CA"), CertificateAuthority::new("other CA"));
    let good = Recorder::bind(&showing(&ca.server(&["localhost"])), Answer::Reply).await;
    let named = Recorder::bind(&showing(&ca.server(&["orders.example"])), Answer::Reply).await;
    let (port, mute) = (ClosedPort::new(), MuteServer::hanging_up().await);
    let refused = format!("https://{}", port.address());

    for (name, target, trusted, code) in [
        ("good", good.https("localhost"), &ca, None),
        ("unknown CA", good.https("localhost"), &other, Some("TLS_UNKNOWN_ISSUER")),
        ("wrong name", named.https("localhost"), &ca, Some("TLS_NAME_MISMATCH")),
        ("closed port", refused, &ca, Some("DIAL_REFUSED")),
        ("hanging up", mute.https(), &ca, Some("TLS_SERVER_CLOSED")),
    ] {
        let eager = connect(target.clone(), trusting(trusted)).await;
        let lazy = connect_lazy(target, trusting(trusted)).expect("a channel");
        let called = call(&lazy, hello()).await;
        let Some(code) = code else {
            eager.expect(name);
            called.expect(name);
            continue;
        };
        let error = eager.map(|_| "connected").expect_err(name);
        assert_eq!(error.code(), code, "{name}: {error}");
        let status = called.expect_err(name);
        assert_eq!(status.code(), Code::Unavailable, "{name}: {status:?}");
        match CallError::of(&status) {
            Some(CallError::Connect(same)) => assert_eq!(same.to_string(), error.to_string()),
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(status.message(), error.to_string(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_first_calls_share_one_dial() {
    let ca = CertificateAuthority::new("test CA");
    let server = Recorder::bind(&showing(&ca.server(&["localhost"])), Answer::Reply).await;
    let channel = connect_lazy(server.https("localhost"), trusting(&ca)).expect("a channel");
    for outcome in fifty_calls(&channel).await {
        outcome.expect("an answer");
    }
    assert_eq!((server.connections(), server.calls().len()), (1, 50));
    assert_eq!(channel.handshakes().get(HandshakeResult::Success), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_first_calls_share_one_failure() {
    let (ca, other) = (CertificateAuthority::new("test CA"), CertificateAuthority::new("other CA"));
    let server = Recorder::bind(&showing(&ca.server(&["localhost"])), Answer::Reply).await;
    let hour = Duration::from_secs(3_600);
    // However late the last of the calls begins, it is not after the delay.
    let channel = Channel::builder(server.https("localhost"), trusting(&other))
        .backoff(Backoff::between(hour, hour))
        .connect_lazy()
        .expect("a channel");
    for outcome in fifty_calls(&channel).await {
        let status = outcome.expect_err("the server is not trusted");
        assert_eq!(connect_code(&status), "TLS_UNKNOWN_ISSUER", "{status:?}");
    }
    let results: Vec<u64> =
        HandshakeResult::ALL.iter().map(|result| channel.handshakes().get(*result)).collect();
    assert_eq!(results.iter().sum::<u64>(), 1, "{results:?}");
}

async fn fifty_calls(
    channel: &Channel,
) -> Vec<Result<countersign_testkit::greeter::proto::HelloReply, tonic::Status>> {
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let channel = channel.clone();
        calls.spawn(async move { call(&channel, hello()).await });
    }
    calls.join_all().await
}

#[tokio::test]
async fn a_generated_client_calls_over_a_channel_and_its_clones() {
    fn is_shared<T: Clone + Send + Sync + Unpin + 'static>(_: &T) {}

    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let server = TestServer::start(incoming, None);
    let channel =
        connect(server.http("127.0.0.1"), ChannelCredentials::insecure()).await.expect("connected");
    is_shared(&channel);
    let clone = channel.clone();
    let elsewhere = tokio::spawn(async move { call(&clone, hello()).await });
    assert_eq!(call(&channel, hello()).await.expect("an answer").message, "Hello, you");
    assert_eq!(elsewhere.await.expect("joined").expect("an answer").message, "Hello, you");

    let request = HelloStreamRequest { name: "you".to_owned(), count: 3 };
    let mut client = GreeterClient::new(channel);
    let mut replies = client.say_hello_stream(request).await.expect("a stream").into_inner();
    let mut count = 0;
    while let Some(reply) = replies.message().await.expect("a reply") {
        assert_eq!(reply.message, "Hello, you");
        count += 1;
    }
    assert_eq!(count, 3);
}

#[tokio::test]
async fn the_user_agent_is_ours_after_the_products_own() {
    let ours = concat!("grpc-rust-countersign/", env!("CARGO_PKG_VERSION"));
    let server = Recorder::plaintext(Answer::Reply).await;
    let builder = || Channel::builder(server.http(), ChannelCredentials::insecure());

    let plain = builder().connect().await.expect("connected");
    call(&plain, hello()).await.expect("an answer");
    assert_eq!(server.last().header("user-agent"), ours);

    let named = builder().user_agent("orders/1.2").connect().await.expect("connected");
    call(&named, hello()).await.expect("an answer");
    assert_eq!(server.last().header("user-agent"), format!("orders/1.2 {ours}"));
}

#[test]
fn what_is_no_target_is_told_without_what_may_be_secret() {
    for target in
        ["https://me:hunter2@orders.example", "https://orders.example/?key=hunter2", "me:hunter2@a"]
    {
        let tls = ChannelCredentials::tls(ClientTls::system_roots());
        for builder in [
            Channel::builder(target, ChannelCredentials::insecure()),
            Channel::builder(target, tls),
        ] {
            let builder_shown = format!("{builder:?}");
            let error = builder.connect_lazy().map(|_| ()).expect_err("no target");
            let shown = format!("{error} {error:?} {} {builder_shown}", error.target());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
