//! What peers and surroundings may do to us, and what it must not lead to.

#[path = "support/ports.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod ports;
#[path = "support/time.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod time;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use countersign::credentials::{
    CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
};
use countersign::{
    Authenticator, Backoff, CallCredentials, CallError, Channel, ChannelCredentials,
    ClientCertificates, ClientRequestExt, ClientTls, ConnectErrorKind, Gate, Identity, MutualTls,
    Principal, Resolve, RootCertificates, Rules, ServerCredentials, ServerLimits, StaticTokens,
    async_trait, authentication, connect,
};
use countersign_testkit::clock::ManualClock;
use countersign_testkit::greeter::proto::{HelloRequest, HelloStreamRequest};
use countersign_testkit::greeter::{GREETER, GreeterClient, TestServer};
use countersign_testkit::pki::{Certificate, CertificateAuthority};
use ports::ClosedPort;
use time::StoppedTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::{Code, Request};

fn identity(certificate: &Certificate) -> Identity {
    Identity::from_pem(certificate.chain_pem(), certificate.key_pem())
}

fn roots(ca: &CertificateAuthority) -> RootCertificates {
    RootCertificates::from_pem(ca.certificate_pem())
}

fn hello() -> Request<HelloRequest> {
    Request::new(HelloRequest { name: "you".to_owned() })
}

async fn plain_server(gate: Option<Gate>) -> TestServer {
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    TestServer::start(incoming, gate)
}

/// A `HelloStreamRequest` with a long name and many replies, framed.
fn endless_stream() -> Vec<u8> {
    let name = "x".repeat(60_000);
    let mut message = vec![0x0a, 0xe0, 0xd4, 0x03];
    message.extend(name.as_bytes());
    message.extend([0x10, 0xc0, 0x84, 0x3d]);
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).expect("short").to_be_bytes());
    framed.extend(message);
    framed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stopped_reading_does_not_outlast_the_grace() {
    let server = plain_server(None).await;
    let tcp = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
    let (mut send, mut connection) = h2::client::Builder::new()
        .initial_window_size(1 << 30)
        .initial_connection_window_size(1 << 30)
        .handshake::<_, bytes::Bytes>(tcp)
        .await
        .expect("HTTP/2");
    let request =
        http::Request::post("http://localhost/countersign.demo.v1.Greeter/SayHelloStream")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
    let (response, mut body) = send.send_request(request, false).expect("sent");
    body.send_data(endless_stream().into(), true).expect("sent");
    // The connection is driven until the head of the response is there, and then never again.
    let mut response = pin!(response);
    let head = std::future::poll_fn(|cx| {
        let _ = Pin::new(&mut connection).poll(cx);
        response.as_mut().poll(cx)
    });
    let _open = head.await.expect("a response");
    let stopped =
        tokio::time::timeout(Duration::from_secs(10), server.stop(Duration::from_millis(500)));
    stopped.await.expect("the grace is the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_always_has_more_to_say_does_not_outlast_the_deadline() {
    let server = plain_server(None).await;
    let channel =
        connect(server.http("127.0.0.1"), ChannelCredentials::insecure()).await.expect("connected");
    let mut greeter = GreeterClient::new(channel);
    let mut deadline = Duration::from_millis(1500);
    // The beginning may take a busy machine longer than that.
    let mut replies = loop {
        let stream = HelloStreamRequest { name: "you".to_owned(), count: u32::MAX };
        let mut request = Request::new(stream);
        request.set_timeout(deadline);
        match greeter.say_hello_stream(request).await {
            Ok(begun) => break begun.into_inner(),
            Err(late) => assert_eq!(late.code(), Code::DeadlineExceeded, "{late}"),
        }
        deadline *= 2;
        assert!(deadline < Duration::from_secs(60), "it does not even begin");
    };
    let end = loop {
        match replies.message().await {
            Ok(Some(_)) => tokio::task::yield_now().await,
            Ok(None) => panic!("the stream ended by itself"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::DeadlineExceeded, "{end}");
}

#[derive(Debug)]
struct PanicsUntilMended(Arc<AtomicBool>);

#[async_trait]
impl Resolve for PanicsUntilMended {
    async fn resolve(&self, _host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        assert!(self.0.load(Ordering::Relaxed), "not mended yet");
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
    }
}

#[tokio::test]
async fn a_resolver_that_panics_fails_calls_and_not_the_channel() {
    let server = plain_server(None).await;
    let is_mended = Arc::new(AtomicBool::new(false));
    let channel = Channel::builder(server.http("greeter.test"), ChannelCredentials::insecure())
        .resolver(PanicsUntilMended(Arc::clone(&is_mended)))
        .backoff(Backoff::between(Duration::from_millis(1), Duration::from_millis(1)))
        .connect_lazy()
        .expect("a channel");
    let error = channel.ready().await.expect_err("the resolver panicked");
    assert_eq!(error.kind(), ConnectErrorKind::ResolveFailed, "{error}");
    is_mended.store(true, Ordering::Relaxed);
    let mut greeter = GreeterClient::new(channel);
    greeter.say_hello(hello().wait_for_ready()).await.expect("the next time is good");
}

#[test]
fn a_call_outside_of_a_runtime_is_an_error_and_the_channel_stays_good() {
    let port = ClosedPort::new();
    let target = format!("http://{}", port.address());
    let channel =
        countersign::connect_lazy(target, ChannelCredentials::insecure()).expect("a channel");
    {
        let mut ready = pin!(channel.ready());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match ready.as_mut().poll(&mut cx) {
            std::task::Poll::Ready(Err(error)) => {
                assert_eq!(error.kind(), ConnectErrorKind::NoRuntime, "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let error = runtime.expect("a runtime").block_on(channel.ready()).expect_err("nobody listens");
    assert_eq!(error.kind(), ConnectErrorKind::Refused, "{error}");
}

#[test]
fn a_runtime_that_went_away_during_a_dial_does_not_take_the_channel_with_it() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let target = format!("http://{}", silent.local_addr().expect("an address"));
    let channel = Channel::builder(target, ChannelCredentials::insecure())
        .handshake_timeout(Duration::from_millis(50))
        .backoff(Backoff::between(Duration::from_millis(1), Duration::from_millis(1)))
        .connect_lazy()
        .expect("a channel");
    let first = runtime();
    first.block_on(async {
        let mut ready = pin!(channel.ready());
        let poll = std::future::poll_fn(|cx| std::task::Poll::Ready(ready.as_mut().poll(cx)));
        assert!(poll.await.is_pending(), "it dials");
    });
    drop(first);
    let error = runtime().block_on(async {
        let mut last = channel.ready().await;
        for _ in 0..100 {
            match &last {
                Err(error) if error.kind() == ConnectErrorKind::SettingsTimeout => break,
                _ => last = channel.ready().await,
            }
            tokio::time::timeout(Duration::from_millis(5), std::future::pending::<()>())
                .await
                .expect_err("for ever");
        }
        last.expect_err("nobody answers")
    });
    assert_eq!(error.kind(), ConnectErrorKind::SettingsTimeout, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_every_connection_at_once_is_left_alone() {
    // However long twenty calls take, no delay is over by then.
    let _time = StoppedTime::hold();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let target = format!("http://{}", listener.local_addr().expect("an address"));
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut io, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let _ = io.read(&mut [0; 24]).await;
            let _ = io.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
        }
    });
    let channel = countersign::connect_lazy(target, ChannelCredentials::insecure());
    let mut greeter = GreeterClient::new(channel.expect("a channel"));
    let mut last = None;
    for _ in 0..20 {
        last = Some(greeter.say_hello(hello()).await.expect_err("it never answers"));
    }
    let status = last.expect("twenty");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(accepted.load(Ordering::Relaxed) <= 4, "{accepted:?} connections for 20 calls");
}

/// Shows its token in `Debug`, as a hasty implementation does.
#[derive(Debug)]
struct Naive {
    token: String,
}

#[async_trait]
impl CallCredentials for Naive {
    async fn get_metadata(
        &self,
        _call: &CallDetails,
        _security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        metadata.insert("authorization", &self.token)?;
        Ok(())
    }
}

#[tokio::test]
async fn a_hasty_debug_does_not_reach_the_status() {
    let server = plain_server(None).await;
    let channel =
        connect(server.http("127.0.0.1"), ChannelCredentials::insecure()).await.expect("connected");
    let request = hello().call_credentials(Naive { token: "Bearer hunter2".to_owned() });
    let status = GreeterClient::new(channel).say_hello(request).await.expect_err("withheld");
    assert!(matches!(CallError::of(&status), Some(CallError::Insecure { .. })));
    assert!(!format!("{status:?} {status}").contains("hunter2"), "{status:?}");
}

#[tokio::test]
async fn the_channels_credentials_do_not_go_to_another_authority() {
    let ca = CertificateAuthority::new("test CA");
    let server = ServerCredentials::tls(identity(&ca.server(&["localhost", "*.tenants.test"])));
    let gate = Gate::builder()
        .authenticate(StaticTokens::new().with_token("alice", "right"))
        .authorize(Rules::new().authenticated(GREETER))
        .build()
        .expect("a gate");
    let incoming = server.build().expect("credentials").bind("127.0.0.1:0").await.expect("bound");
    let server = TestServer::start(incoming, Some(gate));
    let token = || countersign::BearerToken::new("right").expect("a token");
    let credentials =
        ChannelCredentials::tls(ClientTls::only_roots(roots(&ca))).with_call_credentials(token());
    let channel = connect(server.https("localhost"), credentials).await.expect("connected");
    let mut greeter = GreeterClient::new(channel);

    greeter.say_hello(hello()).await.expect("its own authority");
    let other = greeter.say_hello(hello().authority("b.tenants.test")).await;
    assert_eq!(other.expect_err("no token").code(), Code::Unauthenticated);
    let given = hello().authority("b.tenants.test").call_credentials(token());
    greeter.say_hello(given).await.expect("a token that was given for it");
    let foreign = greeter.say_hello(hello().authority("b.elsewhere.test")).await;
    assert_eq!(foreign.expect_err("not in the certificate").code(), Code::Unavailable);
}

/// Vouches in another's name.
#[derive(Debug)]
struct Impostor;

impl Authenticator for Impostor {
    fn name(&self) -> &str {
        "impostor"
    }

    fn reads(&self) -> authentication::EvidenceKinds {
        authentication::EvidenceKinds { authorization: true, ..Default::default() }
    }

    fn authenticate_now(
        &self,
        evidence: &authentication::Evidence<'_>,
    ) -> Option<authentication::Outcome> {
        Some(Ok(Some(evidence.accept(Principal::new("root", MutualTls::NAME)))))
    }
}

#[tokio::test]
async fn an_authenticator_cannot_vouch_in_the_name_of_another() {
    let gate = Gate::builder()
        .authenticate(Impostor)
        .authenticate(MutualTls::new())
        .authorize(Rules::new().authenticated_by(GREETER, [MutualTls::NAME]))
        .build()
        .expect("a gate");
    let server = plain_server(Some(gate)).await;
    let channel =
        connect(server.http("127.0.0.1"), ChannelCredentials::insecure()).await.expect("connected");
    let mut request = hello();
    request.metadata_mut().insert("authorization", "Bearer x".parse().expect("a value"));
    let status = GreeterClient::new(channel).say_hello(request).await.expect_err("refused");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_does_not_outlive_the_certificate_that_speaks_for_it() {
    let time = StoppedTime::hold();
    let ca = CertificateAuthority::new("test CA");
    let client = ca.client(&["spiffe://test/alice"]);
    // The clock stands just before the end.
    let clock = ManualClock::new(client.not_after() - Duration::from_secs(60));
    let serve = async |clock: &ManualClock| {
        let credentials = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
            .client_certificates(ClientCertificates::required(roots(&ca)))
            .clock(clock.clone())
            .build()
            .expect("server credentials");
        TestServer::start(credentials.bind("127.0.0.1:0").await.expect("bound"), None)
    };
    let tls = || ClientTls::only_roots(roots(&ca)).identity(identity(&client)).clock(clock.clone());
    let lasting = serve(&clock).await;
    let channel = connect(lasting.https("localhost"), ChannelCredentials::tls(tls())).await;
    GreeterClient::new(channel.expect("connected")).say_hello(hello()).await.expect("still valid");

    clock.set(client.not_after() - Duration::from_secs(2));
    let ending = serve(&clock).await;
    let channel = connect(ending.https("localhost"), ChannelCredentials::tls(tls())).await;
    let mut greeter = GreeterClient::new(channel.expect("connected"));
    let mut replies = greeter
        .say_hello_stream(HelloStreamRequest { name: "you".to_owned(), count: u32::MAX })
        .await
        .expect("begun")
        .into_inner();
    time.advance(Duration::from_millis(1_999)).await;
    for _ in 0..1_000 {
        replies.message().await.expect("still valid").expect("no end");
    }
    time.advance(Duration::from_millis(1)).await;
    let end = loop {
        match replies.message().await {
            Ok(Some(_)) => tokio::task::yield_now().await,
            Ok(None) => panic!("the stream ended by itself"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unavailable, "{end}");
}

#[tokio::test]
async fn strangers_make_room_for_callers_and_callers_do_not() {
    let gate = Gate::builder()
        .authenticate(StaticTokens::new().with_token("alice", "right"))
        .authorize(Rules::new().authenticated(GREETER))
        .build()
        .expect("a gate");
    let credentials =
        ServerCredentials::insecure().limits(ServerLimits::default().max_connections(2));
    let incoming = credentials.bind("127.0.0.1:0").await.expect("bound");
    let server = TestServer::start(incoming, Some(gate));
    let caller = async || {
        let mut request = hello();
        request.metadata_mut().insert("authorization", "Bearer right".parse().expect("a value"));
        let target = server.http("127.0.0.1");
        let channel = connect(target, ChannelCredentials::insecure()).await?;
        let greeted = GreeterClient::new(channel.clone()).say_hello(request).await;
        greeted.expect("the token is right");
        Ok::<_, countersign::ConnectError>(channel)
    };
    let _first = caller().await.expect("room");
    let mut stranger = tokio::net::TcpStream::connect(server.address()).await.expect("room");
    stranger
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .expect("written");
    assert!(stranger.read(&mut [0; 64]).await.expect("its SETTINGS") > 0, "it was let in");

    let _second = caller().await.expect("the stranger made room");
    let mut rest = Vec::new();
    // However it is hung up on, it is hung up on.
    let _ = stranger.read_to_end(&mut rest).await;
    caller().await.expect_err("callers keep their places");
}

/// A health check is a call that anybody may make: it buys nobody a place for good.
#[tokio::test]
async fn who_was_let_through_as_nobody_makes_room_for_callers_and_not_for_others_like_it() {
    const PUBLIC: &str = "/countersign.demo.v1.Greeter/SayHelloStream";
    let gate = Gate::builder()
        .authenticate(StaticTokens::new().with_token("alice", "right"))
        .authorize(Rules::new().public(PUBLIC).authenticated(GREETER))
        .build()
        .expect("a gate");
    let credentials =
        ServerCredentials::insecure().limits(ServerLimits::default().max_connections(3));
    let incoming = credentials.bind("127.0.0.1:0").await.expect("bound");
    let server = TestServer::start(incoming, Some(gate));
    let dial = async || connect(server.http("127.0.0.1"), ChannelCredentials::insecure()).await;
    let anybody = async || {
        let channel = dial().await?;
        let request = HelloStreamRequest { name: "you".to_owned(), count: u32::MAX };
        let replies = GreeterClient::new(channel.clone()).say_hello_stream(request).await;
        let mut replies = replies.expect("everybody may").into_inner();
        replies.message().await.expect("a reply");
        Ok::<_, countersign::ConnectError>((channel, replies))
    };
    let caller = async || {
        let mut request = hello();
        request.metadata_mut().insert("authorization", "Bearer right".parse().expect("a value"));
        let channel = dial().await?;
        let greeted = GreeterClient::new(channel.clone()).say_hello(request).await;
        greeted.expect("the token is right");
        Ok::<_, countersign::ConnectError>(channel)
    };
    let mut guests = vec![anybody().await.expect("room")];
    guests.push(anybody().await.expect("room"));
    guests.push(anybody().await.expect("room"));
    anybody().await.expect_err("nothing tells any of them from another");
    drop(guests.pop());
    let mut callers = Vec::new();
    let room = async || loop {
        // The place of the one that left is free in a moment.
        match caller().await {
            Ok(caller) => return caller,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    callers.push(tokio::time::timeout(Duration::from_secs(20), room()).await.expect("room"));
    for (_, mut replies) in guests {
        callers.push(caller().await.expect("one of them made room"));
        while let Ok(reply) = replies.message().await {
            reply.expect("it does not end well");
        }
    }
    caller().await.expect_err("callers keep their places");
    anybody().await.expect_err("and from others as well");
}

#[tokio::test]
async fn without_a_gate_a_client_certificate_keeps_the_place_and_whoever_has_none_makes_room() {
    let ca = CertificateAuthority::new("test CA");
    let credentials = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
        .client_certificates(ClientCertificates::optional(roots(&ca)))
        .build()
        .expect("server credentials")
        .limits(ServerLimits::default().max_connections(2));
    // Its layer is `PeerInfoLayer`.
    let server = TestServer::start(credentials.bind("127.0.0.1:0").await.expect("bound"), None);
    let streams = async |tls: ClientTls| {
        let channel = connect(server.https("localhost"), ChannelCredentials::tls(tls)).await?;
        let request = HelloStreamRequest { name: "you".to_owned(), count: u32::MAX };
        let replies = GreeterClient::new(channel.clone()).say_hello_stream(request).await;
        let mut replies = replies.expect("everybody may").into_inner();
        replies.message().await.expect("a reply");
        Ok::<_, countersign::ConnectError>((channel, replies))
    };
    let anybody = || ClientTls::only_roots(roots(&ca));
    let somebody = || anybody().identity(identity(&ca.client(&["orders"])));
    let (_guest, mut cut) = streams(anybody()).await.expect("room");
    let (_first, mut lives) = streams(somebody()).await.expect("room");
    let second = streams(somebody()).await.expect("the one without a certificate made room");
    while let Ok(reply) = cut.message().await {
        reply.expect("it does not end well");
    }
    streams(somebody()).await.expect_err("certificates keep their places");
    streams(anybody()).await.expect_err("and from others as well");
    lives.message().await.expect("it lives").expect("a reply");
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_agreed_on_http1_and_says_nothing_is_cut_at_the_deadline() {
    let time = StoppedTime::hold();
    let ca = CertificateAuthority::new("test CA");
    let limits = ServerLimits::default().handshake_timeout(Duration::from_secs(1));
    let credentials = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
        .build()
        .expect("server credentials")
        .limits(limits)
        .allow_http1();
    let server = TestServer::start(credentials.bind("127.0.0.1:0").await.expect("bound"), None);
    let mut store = rustls::RootCertStore::empty();
    store.add(ca.certificate_der()).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tcp = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
    let name = "localhost".try_into().expect("a name");
    let mut silent =
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("TLS");
    time.advance(Duration::from_secs(1)).await;
    assert_eq!(silent.read(&mut [0; 16]).await.unwrap_or(0), 0, "the server hangs up");
}

#[tokio::test]
async fn durations_without_an_end_do_not_overflow() {
    let limits = ServerLimits::default().handshake_timeout(Duration::MAX);
    let credentials = ServerCredentials::insecure().limits(limits);
    let server = TestServer::start(credentials.bind("127.0.0.1:0").await.expect("bound"), None);
    let channel = Channel::builder(server.http("127.0.0.1"), ChannelCredentials::insecure())
        .connect_timeout(Duration::MAX)
        .handshake_timeout(Duration::MAX)
        .idle_timeout(Duration::MAX)
        .max_connection_age(Duration::MAX)
        .call_timeout(Duration::MAX)
        .connect()
        .await
        .expect("connected");
    GreeterClient::new(channel).say_hello(hello()).await.expect("greeted");
    server.stop(Duration::MAX).await;
}

#[tokio::test]
async fn names_that_are_no_words_end_the_connection_and_prefixes_tell_kinds_apart() {
    let ca = CertificateAuthority::new("test CA");
    let credentials = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
        .client_certificates(ClientCertificates::required(roots(&ca)))
        .build()
        .expect("server credentials");
    let gate = Gate::builder()
        .authenticate(MutualTls::new())
        .authorize(Rules::new().authenticated(GREETER))
        .build()
        .expect("a gate");
    let server =
        TestServer::start(credentials.bind("127.0.0.1:0").await.expect("bound"), Some(gate));
    let greet = async |client: Certificate| {
        let tls = ClientTls::only_roots(roots(&ca)).identity(identity(&client));
        let channel =
            connect(server.https("localhost"), ChannelCredentials::tls(tls)).await.ok()?;
        let greeted = GreeterClient::new(channel).say_hello(hello()).await.ok()?;
        Some(greeted.into_inner().principal)
    };
    let uri = |uri: &str| ca.issue().uri(uri).for_client().build();
    assert_eq!(greet(uri("dns:admin.test")).await.as_deref(), Some("uri:dns:admin.test"));
    assert_eq!(greet(ca.client(&["admin.test"])).await.as_deref(), Some("dns:admin.test"));
    assert_eq!(greet(uri("urn:x y")).await, None);
    assert_eq!(greet(uri("urn:x\ny")).await, None);
}
