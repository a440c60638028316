//! What a call carries to prove itself: when it is asked for, where it may travel, how it fails.
//!
//! IDs are those of the acceptance cases; where ours differs from grpc-go's, the name says how.

#[cfg(unix)]
#[path = "support/pipe.rs"]
mod pipe;
#[path = "support/reached.rs"]
mod support;

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign::credentials::{
    CallCredentialsError, CallCredentialsErrorKind, CallDetails, CallMetadata, ChannelSecurityInfo,
};
use countersign::identity::PeerAddress;
use countersign::{
    ApiKey, Backoff, BearerToken, CallCredentials, CallError, CallPhase, Channel,
    ChannelCredentials, ClientRequestExt, CompositeCallCredentials, ConnectError, ConnectErrorKind,
    ConnectStage, Gate, Rules, SecurityLevel, ServerCredentials, ServerRequestExt, StaticTokens,
    async_trait, connect, connect_lazy,
};
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{Greeter, GreeterClient, SAY_HELLO};
use countersign_testkit::pki::CertificateAuthority;
use countersign_testkit::wait::until;
use futures_util::FutureExt as _;
#[cfg(unix)]
use pipe::Pipe;
use support::{Reached, Served, collect_logs, greeter, identity, keep_logs_awake, serve, trusting};
use tonic::service::Routes;
use tonic::{Code, Request, Status};
use tower_layer::Layer;

use SecurityLevel::{IntegrityOnly, NoSecurity, PrivacyAndIntegrity};

const TOKEN: &str = "correct-horse-battery-staple";

// --- what the tests have in common ---------------------------------------------------------------

type Give = dyn Fn(&CallDetails, &ChannelSecurityInfo, &mut CallMetadata) -> Given + Send + Sync;
type Given = Result<(), CallCredentialsError>;

/// Call credentials that do what a test says, and count how often they are asked.
#[derive(Clone)]
struct Fake {
    need: SecurityLevel,
    asked: Arc<AtomicUsize>,
    give: Arc<Give>,
}

impl Fake {
    fn new(
        give: impl Fn(&CallDetails, &ChannelSecurityInfo, &mut CallMetadata) -> Given
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self { need: PrivacyAndIntegrity, asked: Arc::default(), give: Arc::new(give) }
    }

    /// Sends one entry.
    fn sending(key: &'static str, value: &'static str) -> Self {
        Self::new(move |_, _, metadata| Ok(metadata.insert(key, value)?))
    }

    /// Fails with this.
    fn failing(kind: CallCredentialsErrorKind, text: &'static str) -> Self {
        Self::new(move |_, _, _| Err(CallCredentialsError::new(kind, text)))
    }

    fn needing(mut self, need: SecurityLevel) -> Self {
        self.need = need;
        self
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Fake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fake")
    }
}

#[async_trait]
impl CallCredentials for Fake {
    async fn get_metadata(
        &self,
        call: &CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Given {
        self.asked.fetch_add(1, Ordering::SeqCst);
        (self.give)(call, security, metadata)
    }

    fn minimum_channel_security_level(&self) -> SecurityLevel {
        self.need
    }
}

/// A greeter over TLS that notes what reaches it.
struct Stage {
    ca: CertificateAuthority,
    server: Served,
    reached: Reached,
}

/// To whom credentials are given.
#[derive(Clone, Copy, Debug)]
enum Way {
    Channel,
    Call,
}

const BOTH_WAYS: [Way; 2] = [Way::Channel, Way::Call];

impl Stage {
    async fn new() -> Self {
        let ca = CertificateAuthority::new("test CA");
        let reached = Reached::default();
        let certificate = ca.server(&["localhost", "orders.example", "*.test.example.com"]);
        let credentials = ServerCredentials::tls(identity(&certificate)).build();
        let incoming = credentials.expect("server credentials").bind("127.0.0.1:0").await;
        let server = serve(incoming.expect("bound"), greeter(&reached));
        Self { ca, server, reached }
    }

    fn tls(&self) -> ChannelCredentials {
        ChannelCredentials::tls(trusting(&self.ca))
    }

    async fn channel(&self, credentials: ChannelCredentials) -> Channel {
        connect(self.server.https("localhost"), credentials).await.expect("connected")
    }

    /// One call with these credentials, given in this way.
    async fn call(&self, way: Way, credentials: impl CallCredentials) -> Result<(), Status> {
        match way {
            Way::Channel => {
                let channel = self.channel(self.tls().with_call_credentials(credentials)).await;
                greet(&channel, hello()).await
            }
            Way::Call => {
                let channel = self.channel(self.tls()).await;
                greet(&channel, hello().call_credentials(credentials)).await
            }
        }
    }
}

fn hello() -> Request<HelloRequest> {
    Request::new(HelloRequest { name: "you".to_owned() })
}

async fn greet(channel: &Channel, request: Request<HelloRequest>) -> Result<(), Status> {
    GreeterClient::new(channel.clone()).say_hello(request).await.map(drop)
}

/// A greeter on a Unix socket, or on an address of this machine.
fn local(folder: &Path) -> (Served, Reached, String) {
    let path = folder.join("greeter.sock");
    let reached = Reached::default();
    let incoming = ServerCredentials::local().bind_unix(&path).expect("bound");
    (serve(incoming, greeter(&reached)), reached, format!("unix:{}", path.display()))
}

async fn plaintext(credentials: ServerCredentials, address: &str) -> (Served, Reached) {
    let reached = Reached::default();
    let incoming = credentials.bind(address).await.expect("bound");
    (serve(incoming, greeter(&reached)), reached)
}

fn is_insecure(status: &Status) -> bool {
    matches!(CallError::of(status), Some(CallError::Insecure { .. }))
}

// --- metadata ------------------------------------------------------------------------------------

#[tokio::test]
async fn text_and_binary_metadata_arrive_as_they_were_given() {
    // CC-01 (channel), CC-02 (call), CC-09: keys are lower case on the wire.
    let stage = Stage::new().await;
    for way in BOTH_WAYS {
        let credentials = Fake::new(|_, _, metadata| {
            metadata.insert("Test-Key", "test value")?;
            Ok(metadata.insert_bin("Test-Key2-Bin", &[1, 2, 3])?)
        });
        stage.call(way, credentials).await.expect("sent");
        assert_eq!(stage.reached.last_values("test-key"), ["test value"], "{way:?}");
        let request = stage.reached.last_request();
        let binary = request.metadata().get_bin("test-key2-bin").expect("binary");
        assert_eq!(binary.to_bytes().expect("base64").as_ref(), [1, 2, 3], "{way:?}");
    }
    greet(&stage.channel(stage.tls()).await, hello()).await.expect("sent");
    assert_eq!(stage.reached.last_values("test-key"), [""; 0], "and not without credentials");
}

#[tokio::test]
async fn credentials_of_a_call_replace_those_of_the_channel() {
    // CC-03; grpc-go sends both.
    let stage = Stage::new().await;
    let channels = Fake::sending("authorization", "Bearer of-the-channel");
    let calls = Fake::sending("authorization", "Bearer of-the-call");
    let channel = stage.channel(stage.tls().with_call_credentials(channels.clone())).await;
    greet(&channel, hello().call_credentials(calls.clone())).await.expect("sent");
    assert_eq!(stage.reached.last_values("authorization"), ["Bearer of-the-call"]);
    assert_eq!((channels.asked(), calls.asked()), (0, 1));
    greet(&channel, hello()).await.expect("sent");
    assert_eq!(stage.reached.last_values("authorization"), ["Bearer of-the-channel"]);
    assert_eq!((channels.asked(), calls.asked()), (1, 1));
}

#[tokio::test]
async fn a_second_pair_of_channel_credentials_replaces_the_first() {
    let stage = Stage::new().await;
    let (first, second) = (Fake::sending("first", "1"), Fake::sending("second", "2"));
    let both = stage.tls().with_call_credentials(first.clone()).with_call_credentials(second);
    greet(&stage.channel(both).await, hello()).await.expect("sent");
    assert_eq!(first.asked(), 0);
    assert_eq!(stage.reached.last_values("second"), ["2"]);
}

#[tokio::test]
async fn credentials_that_are_exchanged_in_a_living_channel_count_from_the_next_call() {
    let stage = Stage::new().await;
    let with = |value| stage.tls().with_call_credentials(Fake::sending("authorization", value));
    let channel = stage.channel(with("Bearer old")).await;
    for value in ["Bearer old", "Bearer new", "Bearer newer"] {
        channel.replace_credentials(with(value)).expect("they fit the target");
        greet(&channel, hello()).await.expect("sent");
        assert_eq!(stage.reached.last_values("authorization"), [value]);
    }
}

#[tokio::test]
async fn metadata_that_may_not_be_sent_fails_the_call_and_names_its_key() {
    // CC-04, CC-11: reserved keys are refused, where grpc-go lets credentials write them.
    let stage = Stage::new().await;
    type Insert = fn(&mut CallMetadata) -> Given;
    let rows: [(&str, Insert); 15] = [
        ("bad key", |it| Ok(it.insert("bad key", "value")?)),
        ("key", |it| Ok(it.insert("key", "a\u{1}b")?)),
        ("key", |it| Ok(it.insert("key", "a\r\nb: c")?)),
        ("key", |it| Ok(it.insert("key", "ä")?)),
        ("key-bin", |it| Ok(it.insert("key-bin", "value")?)),
        ("key", |it| Ok(it.insert_bin("key", &[1])?)),
        (":path", |it| Ok(it.insert(":path", "/other.Service/Method")?)),
        (":authority", |it| Ok(it.insert(":authority", "other")?)),
        ("content-type", |it| Ok(it.insert("content-type", "text/html")?)),
        ("Content-Type", |it| Ok(it.insert("Content-Type", "text/html")?)),
        ("te", |it| Ok(it.insert("te", "gzip")?)),
        ("host", |it| Ok(it.insert("host", "other")?)),
        ("user-agent", |it| Ok(it.insert("user-agent", "other")?)),
        ("grpc-timeout", |it| Ok(it.insert("grpc-timeout", "1H")?)),
        ("connection", |it| Ok(it.insert("connection", "close")?)),
    ];
    for (key, insert) in rows {
        for way in BOTH_WAYS {
            let credentials = Fake::new(move |_, _, metadata| insert(metadata));
            let status = stage.call(way, credentials).await.expect_err(key);
            assert_eq!(status.code(), Code::Internal, "{key}, {way:?}");
            assert!(status.message().contains(&format!("{key:?}")), "{key}: {status:?}");
        }
    }
    assert_eq!(stage.reached.count(), 0, "nothing of it left");
    let good = Fake::sending("good-key", "value");
    stage.call(Way::Call, good).await.expect("the next key is as good as any");
}

#[tokio::test]
async fn authorization_set_by_hand_and_credentials_together_are_refused() {
    let stage = Stage::new().await;
    let by_hand = || {
        let mut request = hello();
        request.metadata_mut().insert("authorization", "Bearer by-hand".parse().expect("ASCII"));
        request
    };
    let channel = stage.channel(stage.tls()).await;
    greet(&channel, by_hand()).await.expect("one is fine");
    assert_eq!(stage.reached.last_values("authorization"), ["Bearer by-hand"]);

    let token = || BearerToken::new(TOKEN).expect("a token");
    let with_token = stage.channel(stage.tls().with_call_credentials(token())).await;
    let mut twice = by_hand();
    twice.metadata_mut().append("authorization", "Bearer again".parse().expect("ASCII"));
    for (name, channel, request) in [
        ("the call's", &channel, by_hand().call_credentials(token())),
        ("the channel's", &with_token, by_hand()),
        ("two by hand", &channel, twice),
    ] {
        let status = greet(channel, request).await.expect_err(name);
        assert_eq!(status.code(), Code::Internal, "{name}");
        let error = CallError::of(&status).expect("ours");
        assert!(matches!(error, CallError::ManyAuthorizations { count: 2 }), "{name}: {error}");
    }
    assert_eq!(stage.reached.count(), 1);

    // Credentials that write something else go together with it.
    let key = ApiKey::new(TOKEN).expect("a key");
    greet(&channel, by_hand().call_credentials(key)).await.expect("two keys");
    assert_eq!(stage.reached.last_values("authorization"), ["Bearer by-hand"]);
    assert_eq!(stage.reached.last_values("x-api-key"), [TOKEN]);
}

#[tokio::test]
async fn credentials_add_nothing_to_what_the_request_has_already() {
    // grpc-go sends both values.
    let stage = Stage::new().await;
    let channel = stage.channel(stage.tls()).await;
    let with_key = |name| {
        let mut request = hello();
        request.metadata_mut().insert("x-api-key", "by-hand".parse().expect("ASCII"));
        let key = ApiKey::new(TOKEN).expect("a key").under(name).expect("a name");
        request.call_credentials(key)
    };
    let status = greet(&channel, with_key("x-api-key")).await.expect_err("two values");
    assert_eq!((status.code(), stage.reached.count()), (Code::Internal, 0));
    let Some(CallError::Metadata(error)) = CallError::of(&status) else { panic!("{status:?}") };
    assert_eq!(error.key(), "x-api-key");
    greet(&channel, with_key("x-other-key")).await.expect("two keys");
    assert_eq!(stage.reached.last_values("x-api-key"), ["by-hand"]);
}

#[tokio::test]
async fn credentials_are_never_put_into_hpacks_tables() {
    // "Never indexed" (RFC 7541 §6.2.3): the first byte says so, then comes the name, by its
    // number in the static table or as text. `x-api-key` is in Huffman's code.
    const AUTHORIZATION: &[u8] = &[0x1f, 23 - 15];
    const API_KEY: &[u8] = &[0x10, 0x87, 0xf2, 0xb0, 0xeb, 0x32, 0xdd, 0x4b, 0xeb];
    const API_KEY_INDEXED: &[u8] = &[0x40, 0x87, 0xf2, 0xb0, 0xeb, 0x32, 0xdd, 0x4b, 0xeb];

    let request = |key, value: &str| {
        let mut request = hello();
        request.metadata_mut().insert(key, value.parse().expect("ASCII"));
        request
    };
    let token = BearerToken::new(TOKEN).expect("a token");
    let key = ApiKey::new(TOKEN).expect("a key");
    let fake = Fake::sending("authorization", "Bearer x");
    for (name, request, expected) in [
        ("bearer token", hello().call_credentials(token), AUTHORIZATION),
        ("API key", hello().call_credentials(key), API_KEY),
        ("anybody's", hello().call_credentials(fake), AUTHORIZATION),
        ("by hand", request("authorization", "Bearer x"), AUTHORIZATION),
        ("other metadata is indexed", request("x-api-key", "no secret"), API_KEY_INDEXED),
    ] {
        let block = header_block(request).await;
        let found = block.windows(expected.len()).any(|window| window == expected);
        assert!(found, "{name}: {block:02x?}");
    }
}

/// The header block of one call, as it comes over a Unix socket.
async fn header_block(request: Request<HelloRequest>) -> Vec<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    const HEADERS: u8 = 1;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("raw.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("bound");
    let target = format!("unix:{}", path.display());
    let channel = connect_lazy(target, ChannelCredentials::local()).expect("a channel");
    let calling = tokio::spawn(async move { greet(&channel, request).await });

    let (mut io, _) = listener.accept().await.expect("accepted");
    io.write_all(b"\0\0\0\x04\0\0\0\0\0").await.expect("SETTINGS");
    io.read_exact(&mut [0; 24]).await.expect("the preface");
    loop {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.expect("a frame");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("small")];
        io.read_exact(&mut payload).await.expect("the whole frame");
        if head[3] == HEADERS {
            calling.abort();
            return payload;
        }
    }
}

// --- failures ------------------------------------------------------------------------------------

#[tokio::test]
async fn a_failure_keeps_its_code_and_text_unless_the_code_belongs_to_applications() {
    // CC-05, CC-06, gRFC A54. A failure that says OK, or a code that does not exist, is none.
    let stage = Stage::new().await;
    for code in (0..=16).chain([-1, 17, 99]) {
        let expected = match code {
            0 | 3 | 5 | 6 | 9 | 10 | 11 | 15 => Code::Internal,
            code => Code::from_i32(code),
        };
        for way in BOTH_WAYS {
            let kind = CallCredentialsErrorKind::Code(code);
            let status = stage.call(way, Fake::failing(kind, "this error")).await;
            let status = status.expect_err("it failed");
            assert_eq!(status.code(), expected, "{code}, {way:?}");
            match Code::from_i32(code) == expected {
                true => assert_eq!(status.message(), "this error", "{code}, {way:?}"),
                false => {
                    let was = format!("{:?}: this error", Code::from_i32(code));
                    assert!(status.message().ends_with(&was), "{code}: {}", status.message());
                }
            }
            let error = CallError::of(&status).expect("ours and not the server's");
            assert!(matches!(error, CallError::Credentials(_)), "{error:?}");
        }
    }
    assert_eq!(stage.reached.count(), 0);
}

#[tokio::test]
async fn a_failure_without_a_code_is_unavailable_or_unauthenticated_by_its_kind() {
    // CC-07; grpc-go answers by the place where the credentials were given.
    let stage = Stage::new().await;
    for way in BOTH_WAYS {
        for (kind, code, transient) in [
            (CallCredentialsErrorKind::Transient, Code::Unavailable, true),
            (CallCredentialsErrorKind::Permanent, Code::Unauthenticated, false),
            (CallCredentialsErrorKind::Code(14), Code::Unavailable, true),
        ] {
            let status = stage.call(way, Fake::failing(kind, "no token today")).await;
            let status = status.expect_err("it failed");
            assert_eq!((status.code(), status.message()), (code, "no token today"), "{way:?}");
            let Some(CallError::Credentials(error)) = CallError::of(&status) else {
                panic!("{status:?}")
            };
            assert_eq!((error.kind(), error.is_transient()), (kind, transient));
        }
    }
}

#[tokio::test]
async fn a_failure_made_from_a_status_keeps_it() {
    let stage = Stage::new().await;
    for (status, code) in [
        (Status::unavailable("this error is fine"), Code::Unavailable),
        (Status::not_found("this error is bad"), Code::Internal),
    ] {
        let text = status.message().to_owned();
        let credentials = Fake::new(move |_, _, _| Err(status.clone().into()));
        let failed = stage.call(Way::Call, credentials).await.expect_err("it failed");
        assert_eq!(failed.code(), code);
        assert!(failed.message().contains(&text), "{}", failed.message());
    }
}

#[tokio::test]
async fn a_failed_call_is_not_tried_again_and_the_next_one_asks_anew() {
    // CC-13 without a retry policy; §2.6: not even a call that waits for a connection waits.
    let stage = Stage::new().await;
    let first = AtomicUsize::new(0);
    let credentials = Fake::new(move |_, _, metadata| match first.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Err(CallCredentialsError::transient("try again")),
        _ => Ok(metadata.insert("authorization", "Bearer x")?),
    });
    let channel = stage.channel(stage.tls().with_call_credentials(credentials.clone())).await;
    for (asked, request) in [(1, hello()), (2, hello().wait_for_ready())] {
        let status = greet(&channel, request).await.expect_err("no token");
        assert_eq!((status.code(), credentials.asked()), (Code::Unavailable, asked));
    }
    greet(&channel, hello()).await.expect("a token");
    assert_eq!((credentials.asked(), stage.reached.count()), (3, 1));
}

#[tokio::test]
async fn a_call_that_waits_asks_again_when_the_credentials_say_so() {
    let stage = Stage::new().await;
    let failing = |error: fn() -> CallCredentialsError| {
        let first = AtomicUsize::new(0);
        Fake::new(move |_, _, metadata| match first.fetch_add(1, Ordering::SeqCst) {
            0..3 => Err(error()),
            _ => Ok(metadata.insert("authorization", "Bearer x")?),
        })
    };
    let soon = || CallCredentialsError::transient("try again").with_retry_after(Duration::ZERO);
    let credentials = failing(soon);
    let request = || hello().call_credentials(credentials.clone());
    let channel = stage.channel(stage.tls()).await;
    let status = greet(&channel, request()).await.expect_err("it does not wait");
    assert_eq!((status.code(), credentials.asked()), (Code::Unavailable, 1));
    greet(&channel, request().wait_for_ready()).await.expect("it waits");
    assert_eq!((credentials.asked(), stage.reached.count()), (4, 1));
    assert_eq!(stage.reached.last_values("authorization"), ["Bearer x"]);

    let hour = Duration::from_secs(3_600);
    for (name, credentials, code) in [
        (
            "after the deadline",
            failing(|| {
                let hour = Duration::from_secs(3_600);
                CallCredentialsError::transient("later").with_retry_after(hour)
            }),
            Code::Unavailable,
        ),
        (
            "permanent",
            failing(|| CallCredentialsError::permanent("no").with_retry_after(Duration::ZERO)),
            Code::Unauthenticated,
        ),
    ] {
        let mut request = hello().call_credentials(credentials.clone()).wait_for_ready();
        request.set_timeout(hour / 2);
        let status = greet(&channel, request).await.expect_err(name);
        assert_eq!((status.code(), credentials.asked()), (code, 1), "{name}");
        assert!(matches!(CallError::of(&status), Some(CallError::Credentials(_))), "{name}");
    }
}

// --- what credentials are told -------------------------------------------------------------------

#[tokio::test]
async fn credentials_know_the_call_they_are_asked_for() {
    // CC-08, CC-10.
    let stage = Stage::new().await;
    let seen: Arc<Mutex<Vec<(CallDetails, ChannelSecurityInfo)>>> = Arc::default();
    let notes = Arc::clone(&seen);
    let credentials = Fake::new(move |call, security, _| {
        let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push((call.clone(), security.clone()));
        Ok(())
    });
    let channel = stage.channel(stage.tls().with_call_credentials(credentials.clone())).await;
    let own = format!("localhost:{}", stage.server.address().port());
    // The channel's own credentials go to the channel's authority alone; others are given along.
    let given =
        |authority: &str| hello().authority(authority).call_credentials(credentials.clone());
    for (request, authority, host) in [
        (hello(), own.as_str(), own.as_str()),
        (hello().wait_for_ready(), &own, &own),
        (given("orders.example:443"), "orders.example:443", "orders.example"),
        (given("orders.example:8443"), "orders.example:8443", "orders.example:8443"),
    ] {
        greet(&channel, request).await.expect("sent");
        let (call, security) =
            seen.lock().unwrap_or_else(PoisonError::into_inner).pop().expect("asked");
        assert_eq!((call.path(), call.method_name()), (SAY_HELLO, "SayHello"));
        assert_eq!(call.authority(), authority);
        assert_eq!(call.service_url(), format!("https://{host}/countersign.demo.v1.Greeter"));
        assert_eq!(security, ChannelSecurityInfo::new("tls", PrivacyAndIntegrity));
    }
}

#[tokio::test]
async fn credentials_are_asked_after_there_is_a_connection_and_once_for_each_call() {
    // CC-08 with wait-for-ready.
    let folder = tempfile::tempdir().expect("a folder");
    let target = format!("unix:{}", folder.path().join("greeter.sock").display());
    let credentials = Fake::sending("authorization", "Bearer x");
    let local_credentials = ChannelCredentials::local().with_call_credentials(credentials.clone());
    let channel = Channel::builder(target, local_credentials)
        .backoff(Backoff::between(Duration::from_millis(1), Duration::from_millis(10)))
        .connect_lazy()
        .expect("a channel");
    let status = greet(&channel, hello()).await.expect_err("nobody listens");
    assert_eq!((status.code(), credentials.asked()), (Code::Unavailable, 0));

    let waiting = channel.clone();
    let waiting = tokio::spawn(async move { greet(&waiting, hello().wait_for_ready()).await });
    channel.ready().await.expect_err("nobody listens");
    assert_eq!(credentials.asked(), 0);
    let (_server, reached, _) = local(folder.path());
    waiting.await.expect("called").expect("answered");
    assert_eq!(credentials.asked(), 1);
    greet(&channel, hello()).await.expect("answered");
    assert_eq!((credentials.asked(), reached.count()), (2, 2));
}

#[tokio::test]
async fn what_credentials_give_at_once_is_not_asked_for_again() {
    #[derive(Debug, Default)]
    struct AtOnce {
        now: AtomicUsize,
        later: AtomicUsize,
    }
    #[async_trait]
    impl CallCredentials for AtOnce {
        async fn get_metadata(
            &self,
            _call: &CallDetails,
            _security: &ChannelSecurityInfo,
            metadata: &mut CallMetadata,
        ) -> Given {
            self.later.fetch_add(1, Ordering::SeqCst);
            Ok(metadata.insert("authorization", "Bearer later")?)
        }
        fn get_metadata_now(
            &self,
            _call: &CallDetails,
            _security: &ChannelSecurityInfo,
            metadata: &mut CallMetadata,
        ) -> Result<bool, CallCredentialsError> {
            match self.now.fetch_add(1, Ordering::SeqCst) {
                0 => return Ok(false),
                1 => metadata.insert("authorization", "Bearer now")?,
                _ => return Err(CallCredentialsError::transient("not now")),
            }
            Ok(true)
        }
    }
    let stage = Stage::new().await;
    let credentials = Arc::new(AtOnce::default());
    let both = stage.tls().with_call_credentials(Arc::clone(&credentials));
    let channel = stage.channel(both).await;
    for expected in ["Bearer later", "Bearer now"] {
        greet(&channel, hello()).await.expect("sent");
        assert_eq!(stage.reached.last_values("authorization"), [expected]);
        assert_eq!(credentials.later.load(Ordering::SeqCst), 1);
    }
    let status = greet(&channel, hello()).await.expect_err("it failed at once");
    assert_eq!((status.code(), stage.reached.count()), (Code::Unavailable, 2));
    assert_eq!(credentials.later.load(Ordering::SeqCst), 1);
}

// --- where credentials may travel ----------------------------------------------------------------

#[tokio::test]
async fn credentials_travel_over_connections_that_protect_them_and_are_not_asked_over_others() {
    // SL-01 to SL-04 with the levels that connections have; a level that is not known is
    // `NoSecurity`, which grpc-go lets pass.
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (_unix, _, unix) = local(folder.path());
    let (tcp, _) = plaintext(ServerCredentials::local(), "127.0.0.1:0").await;
    let (plain, _) = plaintext(ServerCredentials::insecure(), "127.0.0.1:0").await;
    let channels = [
        ("tls", stage.channel(stage.tls()).await, PrivacyAndIntegrity),
        (
            "unix",
            connect(unix, ChannelCredentials::local()).await.expect("connected"),
            PrivacyAndIntegrity,
        ),
        (
            "loopback",
            connect(tcp.address().to_string(), ChannelCredentials::local())
                .await
                .expect("connected"),
            NoSecurity,
        ),
        (
            "insecure",
            connect(plain.http("127.0.0.1"), ChannelCredentials::insecure())
                .await
                .expect("connected"),
            NoSecurity,
        ),
    ];
    for (name, channel, have) in channels {
        for need in [NoSecurity, IntegrityOnly, PrivacyAndIntegrity] {
            let credentials = Fake::sending("authorization", "Bearer x").needing(need);
            let outcome = greet(&channel, hello().call_credentials(credentials.clone())).await;
            if have >= need {
                outcome.unwrap_or_else(|status| panic!("{name}, {need}: {status}"));
                assert_eq!(credentials.asked(), 1, "{name}, {need}");
                continue;
            }
            let status = outcome.expect_err("too little protection");
            assert_eq!(status.code(), Code::Unauthenticated, "{name}, {need}");
            assert_eq!(credentials.asked(), 0, "{name}, {need}");
            let Some(CallError::Insecure { have: had, need: needed, .. }) = CallError::of(&status)
            else {
                panic!("{name}, {need}: {status:?}")
            };
            assert_eq!((*had, *needed), (have, need), "{name}, {need}");
        }
    }
}

#[tokio::test]
async fn a_bearer_token_and_an_api_key_never_leave_over_plaintext() {
    // JW-03, JW-05.
    let (tcp, local_reached) = plaintext(ServerCredentials::local(), "127.0.0.1:0").await;
    let (plain, plain_reached) = plaintext(ServerCredentials::insecure(), "127.0.0.1:0").await;
    let token = || BearerToken::new(TOKEN).expect("a token");
    // Was it read, the call would fail with `UNAVAILABLE`.
    let file = || BearerToken::from_file("no/such/file");
    let key = || ApiKey::new(TOKEN).expect("a key");

    let insecure =
        connect(plain.http("127.0.0.1"), ChannelCredentials::insecure()).await.expect("connected");
    let loopback = |credentials: ChannelCredentials<_>| {
        let target = tcp.address().to_string();
        async move { connect(target, credentials).await.expect("connected") }
    };
    let local = ChannelCredentials::local;
    for (name, channel, request) in [
        ("token, insecure, call", insecure.clone(), hello().call_credentials(token())),
        ("file, insecure, call", insecure.clone(), hello().call_credentials(file())),
        ("key, insecure, call", insecure.clone(), hello().call_credentials(key())),
        ("token, loopback, call", loopback(local()).await, hello().call_credentials(token())),
        (
            "token, loopback, channel",
            loopback(local().with_call_credentials(token())).await,
            hello(),
        ),
        ("file, loopback, channel", loopback(local().with_call_credentials(file())).await, hello()),
        ("key, loopback, channel", loopback(local().with_call_credentials(key())).await, hello()),
    ] {
        let status = greet(&channel, request).await.expect_err(name);
        assert_eq!(status.code(), Code::Unauthenticated, "{name}");
        assert!(is_insecure(&status), "{name}: {status:?}");
        let sentence = "cannot send secure credentials on an insecure connection";
        assert!(status.message().contains(sentence), "{name}: {}", status.message());
    }
    assert_eq!((local_reached.count(), plain_reached.count()), (0, 0));
    greet(&insecure, hello()).await.expect("without credentials it is only a call");
}

#[tokio::test]
async fn tls_with_credentials_cannot_be_pointed_at_a_plaintext_target() {
    // JW-04: an error before anything is sent. For insecure credentials it does not compile.
    let stage = Stage::new().await;
    let with_token = || stage.tls().with_call_credentials(Fake::sending("authorization", "x"));
    let error = connect_lazy("http://localhost:1", with_token()).expect_err("refused");
    assert_eq!(error.kind(), ConnectErrorKind::SchemeMismatch);
    connect_lazy("https://localhost:1", with_token()).expect("a channel");
}

#[tokio::test]
async fn tls_alone_both_and_credentials_alone_work() {
    // CC-12.
    let stage = Stage::new().await;
    let fake = || Fake::sending("authorization", "Bearer x");
    greet(&stage.channel(stage.tls()).await, hello()).await.expect("TLS alone");
    assert_eq!(stage.reached.last_values("authorization"), [""; 0]);
    stage.call(Way::Channel, fake()).await.expect("both");
    assert_eq!(stage.reached.last_values("authorization"), ["Bearer x"]);

    // IN-01: only what needs no protection, and only by the call.
    let (plain, reached) = plaintext(ServerCredentials::insecure(), "127.0.0.1:0").await;
    let channel = connect(plain.http("127.0.0.1"), ChannelCredentials::insecure());
    let channel = channel.await.expect("connected");
    let harmless = fake().needing(NoSecurity);
    greet(&channel, hello().call_credentials(harmless)).await.expect("credentials alone");
    assert_eq!(reached.last_values("authorization"), ["Bearer x"]);
    let request = reached.last_request();
    assert_eq!(request.peer_identity().expect("ours").security_level(), NoSecurity);
    let status = greet(&channel, hello().call_credentials(fake())).await.expect_err("the twin");
    assert!(is_insecure(&status), "{status:?}");
    assert_eq!(reached.count(), 1);
}

// --- this machine alone --------------------------------------------------------------------------

#[tokio::test]
async fn a_loopback_address_is_local_and_protects_nothing() {
    // LO-01.
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let reached = Reached::default();
        let bound = ServerCredentials::local().bind(address).await;
        let incoming = match bound {
            Ok(incoming) => incoming,
            // A machine may be without IPv6, and not without IPv4.
            Err(_) if address.starts_with('[') => continue,
            Err(error) => panic!("{address}: {error}"),
        };
        let server = serve(incoming, greeter(&reached));
        let port = server.address().port();
        let mut targets = vec![server.address().to_string()];
        if address.starts_with("127") {
            targets.extend([format!("localhost:{port}"), format!("dns:///localhost:{port}")]);
        }
        for target in targets {
            let channel = connect(target.clone(), ChannelCredentials::local()).await;
            let channel = channel.unwrap_or_else(|error| panic!("{target}: {error}"));
            let credentials = Fake::new(|_, security, metadata| {
                let level = security.security_level();
                Ok(metadata
                    .insert("as-seen", &format!("{} {level}", security.security_protocol()))?)
            });
            let credentials = credentials.needing(NoSecurity);
            greet(&channel, hello().call_credentials(credentials)).await.expect(&target);
            assert_eq!(reached.last_values("as-seen"), ["local NoSecurity"], "{target}");
            let peer = reached.last_request().peer_identity().expect("ours").clone();
            assert_eq!(peer.security_level(), NoSecurity, "{target}");
            assert!(matches!(peer.address(), PeerAddress::Tcp(_)), "{peer:?}");
        }
    }
}

#[tokio::test]
async fn a_unix_socket_is_local_and_carries_tokens() {
    // LO-02, AZ-27: grpc-go's gate fails over Unix sockets.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("greeter.sock");
    let gate = Gate::builder()
        .authenticate(StaticTokens::new().with_token("ci", TOKEN))
        .authorize(Rules::new().authenticated("*"))
        .build()
        .expect("a gate");
    let reached = Reached::default();
    let incoming = ServerCredentials::local().bind_unix(&path).expect("bound");
    let _server = serve(incoming, gate.layer(reached.layer(Routes::new(Greeter.service()))));
    for target in [format!("unix:{}", path.display()), format!("unix://{}", path.display())] {
        let token = BearerToken::new(TOKEN).expect("a token");
        let credentials = ChannelCredentials::local().with_call_credentials(token);
        let channel = connect(target, credentials).await.expect("connected");
        greet(&channel, hello()).await.expect("let in");
        let request = reached.last_request();
        assert_eq!(request.principal().expect("known").name(), "ci");
        let peer = request.peer_identity().expect("ours");
        assert_eq!(peer.security_level(), PrivacyAndIntegrity);
        let PeerAddress::Unix(process) = peer.address() else { panic!("{peer:?}") };
        assert!(process.uid.is_some() && process.pid.is_some(), "{process:?}");

        let bad = BearerToken::new("correct-horse-battery-stable").expect("a token");
        let status = greet(&channel, hello().call_credentials(bad)).await.expect_err("another");
        assert_eq!(status.code(), Code::Unauthenticated);
        assert!(CallError::of(&status).is_none(), "it is the server that says so");
    }
}

#[tokio::test]
async fn local_credentials_go_to_no_other_machine() {
    // LO-03, client side: nothing is dialled.
    for target in ["192.168.0.1:1", "ipv4:192.168.0.1:1", "ipv6:[2001:db8::1]:1"] {
        let error = connect(target, ChannelCredentials::local()).await.expect_err(target);
        assert_eq!(error.kind(), ConnectErrorKind::NotLocal, "{target}");
        assert_eq!(error.stage(), ConnectStage::Dial);
        assert!(error.to_string().contains("not on this machine"), "{error}");
    }
    let token = Fake::sending("authorization", "Bearer x");
    let credentials = ChannelCredentials::local().with_call_credentials(token.clone());
    let channel = connect_lazy("192.168.0.1:1", credentials).expect("a channel");
    let status = greet(&channel, hello()).await.expect_err("not local");
    assert_eq!((status.code(), token.asked()), (Code::Unavailable, 0));
    let error = ConnectError::of(&status).expect("a connection error");
    assert_eq!(error.kind(), ConnectErrorKind::NotLocal);
}

#[tokio::test]
async fn local_server_credentials_let_in_nobody_from_another_address() {
    // LO-03, server side. From this machine's own outer address, if it has one: such a connection
    // does not leave the machine, and is not from a loopback address either.
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    let outer = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr());
    let Ok(outer) = outer.map(|address| address.ip()) else { return };
    if outer.is_loopback() {
        return;
    }
    let logs = collect_logs();
    let (server, reached) = plaintext(ServerCredentials::local(), "0.0.0.0:0").await;
    let port = server.address().port();
    let insecure = ChannelCredentials::insecure;
    let channel = connect_lazy(format!("http://{outer}:{port}"), insecure()).expect("a channel");
    let status = greet(&channel, hello()).await.expect_err("not local");
    assert_eq!((status.code(), reached.count()), (Code::Unavailable, 0));
    until("the operator is told", || !logs.lines_with("NOT_LOCAL").is_empty()).await;

    let channel = connect(format!("http://127.0.0.1:{port}"), insecure()).await;
    greet(&channel.expect("connected"), hello()).await.expect("let in");
}

// --- the authority of one call -------------------------------------------------------------------

#[tokio::test]
async fn a_call_may_be_addressed_to_what_the_servers_certificate_vouches_for() {
    // AU-A1, AU-A2, AU-A3.
    let stage = Stage::new().await;
    let channel = stage.channel(stage.tls()).await;
    let credentials = Fake::sending("authorization", "Bearer x");
    let addressed = |authority: &str| {
        let request = hello().authority(authority).call_credentials(credentials.clone());
        let channel = channel.clone();
        async move { greet(&channel, request).await }
    };
    for authority in [
        "auth.test.example.com",
        "auth.test.example.com:8010",
        "orders.example",
        "AUTH.test.example.com",
    ] {
        addressed(authority).await.expect(authority);
        let uri = stage.reached.last().uri;
        assert_eq!(uri.authority().map(|it| it.as_str()), Some(authority));
    }
    let (asked, reached) = (credentials.asked(), stage.reached.count());
    for authority in [
        "auth.example.com",
        "auth.example.com:8443",
        "a.b.test.example.com",
        "test.example.com",
        "127.0.0.1",
        "user@orders.example",
        "",
    ] {
        let status = addressed(authority).await.expect_err(authority);
        assert_eq!(status.code(), Code::Unavailable, "{authority}");
        let error = CallError::of(&status).expect("ours");
        assert!(matches!(error, CallError::Authority { .. }), "{error:?}");
    }
    assert_eq!((credentials.asked(), stage.reached.count()), (asked, reached));
    greet(&channel, hello()).await.expect("the channel is as good as before");
}

#[tokio::test]
async fn an_intermediates_name_is_nobodys_authority() {
    // AU-A3.
    let root = CertificateAuthority::new("root.example");
    let issuing = root.intermediate("issuing.example");
    let reached = Reached::default();
    let incoming = ServerCredentials::tls(identity(&issuing.server(&["localhost", "*.a.example"])))
        .build()
        .expect("server credentials")
        .bind("127.0.0.1:0")
        .await
        .expect("bound");
    let server = serve(incoming, greeter(&reached));
    let channel = connect(server.https("localhost"), ChannelCredentials::tls(trusting(&root)));
    let channel = channel.await.expect("connected");
    greet(&channel, hello().authority("x.a.example")).await.expect("the leaf's wildcard");
    for authority in ["issuing.example", "root.example"] {
        let status = greet(&channel, hello().authority(authority)).await.expect_err(authority);
        assert_eq!((status.code(), reached.count()), (Code::Unavailable, 1), "{authority}");
    }
}

#[tokio::test]
async fn without_tls_a_call_may_be_addressed_to_anything() {
    // AU-A1 for local and insecure credentials: there is nothing that could be proven.
    let folder = tempfile::tempdir().expect("a folder");
    let (_unix, unix_reached, unix) = local(folder.path());
    let (plain, plain_reached) = plaintext(ServerCredentials::insecure(), "127.0.0.1:0").await;
    let local_channel = connect(unix, ChannelCredentials::local()).await.expect("connected");
    let insecure = connect(plain.http("localhost"), ChannelCredentials::insecure());
    let insecure = insecure.await.expect("connected");
    for (channel, reached) in [(local_channel, unix_reached), (insecure, plain_reached)] {
        for authority in ["auth.test.example.com", "auth.test.example.com:8010"] {
            greet(&channel, hello().authority(authority)).await.expect("sent");
            let uri = reached.last().uri;
            assert_eq!(uri.authority().map(|it| it.as_str()), Some(authority));
        }
        let status = greet(&channel, hello().authority("a b")).await.expect_err("no authority");
        assert_eq!((status.code(), reached.count()), (Code::Unavailable, 2));
    }
}

// --- waiting -------------------------------------------------------------------------------------

/// Credentials that never come, and count who asked and who went away.
#[derive(Clone, Debug, Default)]
struct Never {
    asked: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
}

struct Leaving(Arc<AtomicUsize>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl CallCredentials for Never {
    async fn get_metadata(
        &self,
        _call: &CallDetails,
        _security: &ChannelSecurityInfo,
        _metadata: &mut CallMetadata,
    ) -> Given {
        let _leaving = Leaving(Arc::clone(&self.left));
        self.asked.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_deadline_that_passes_while_credentials_are_waited_for_ends_the_call_and_sends_nothing() {
    // JW-15.
    let stage = Stage::new().await;
    let channel = stage.channel(stage.tls()).await;
    let never = Never::default();
    for way in ["by itself", "in a composite"] {
        let mut request = match way {
            "by itself" => hello().call_credentials(never.clone()),
            _ => {
                let key = ApiKey::new(TOKEN).expect("a key");
                hello().call_credentials(CompositeCallCredentials::new(key, never.clone()))
            }
        };
        request.set_timeout(Duration::from_millis(30));
        // The time goes by when there is nothing left to do but wait, and not before.
        tokio::time::pause();
        let status = greet(&channel, request).await.expect_err("too late");
        tokio::time::resume();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{way}");
        let Some(CallError::DeadlineExceeded { during, .. }) = CallError::of(&status) else {
            panic!("{way}: {status:?}")
        };
        assert_eq!(*during, CallPhase::Credentials, "{way}");
    }
    let counts = [&never.asked, &never.left].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(counts, [2, 2], "what was asked was dropped");

    // Others are unaffected, also with a deadline, and tell the server what is left of it.
    let mut request = hello().call_credentials(Fake::sending("authorization", "Bearer x"));
    request.set_timeout(Duration::from_secs(3_600));
    greet(&channel, request).await.expect("in time");
    assert_eq!(stage.reached.count(), 1);
    let [left] = &stage.reached.last_values("grpc-timeout")[..] else { panic!("one deadline") };
    let left: u64 = left.strip_suffix('m').and_then(|it| it.parse().ok()).expect("milliseconds");
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
}

#[tokio::test]
async fn a_call_whose_credentials_come_too_late_is_not_sent() {
    /// Gives metadata a minute later.
    #[derive(Debug)]
    struct Late;
    #[async_trait]
    impl CallCredentials for Late {
        async fn get_metadata(
            &self,
            _call: &CallDetails,
            _security: &ChannelSecurityInfo,
            metadata: &mut CallMetadata,
        ) -> Given {
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(60)).await;
            tokio::time::resume();
            Ok(metadata.insert("authorization", "Bearer late")?)
        }
    }
    // §2.1: when nothing of the deadline is left, the call fails here and nothing is sent.
    let stage = Stage::new().await;
    let channel = stage.channel(stage.tls()).await;
    for (deadline, in_time) in [(30, false), (3_600, true)] {
        let mut request = hello().call_credentials(Late);
        request.set_timeout(Duration::from_secs(deadline));
        match greet(&channel, request).await {
            Ok(()) => assert!(in_time),
            Err(status) => {
                assert!(!in_time, "{status:?}");
                assert_eq!(status.code(), Code::DeadlineExceeded);
                let Some(CallError::DeadlineExceeded { during, .. }) = CallError::of(&status)
                else {
                    panic!("{status:?}")
                };
                assert_eq!(*during, CallPhase::Credentials);
            }
        }
    }
    assert_eq!(stage.reached.count(), 1);
}

#[tokio::test]
async fn a_call_that_goes_away_takes_its_asking_with_it() {
    let stage = Stage::new().await;
    let channel = stage.channel(stage.tls()).await;
    let never = Never::default();
    let (request, calling) = (hello().call_credentials(never.clone()), channel.clone());
    let calling = tokio::spawn(async move { greet(&calling, request).await });
    until("the credentials are asked", || never.asked.load(Ordering::SeqCst) == 1).await;
    assert_eq!(never.left.load(Ordering::SeqCst), 0);
    calling.abort();
    until("they are let go", || never.left.load(Ordering::SeqCst) == 1).await;
    greet(&channel, hello()).await.expect("others are unaffected");
    assert_eq!(stage.reached.count(), 1);
}

// --- several -------------------------------------------------------------------------------------

fn details() -> (CallDetails, ChannelSecurityInfo) {
    let call = CallDetails::new("orders.example", SAY_HELLO);
    (call, ChannelSecurityInfo::new("tls", PrivacyAndIntegrity))
}

/// What credentials give by themselves, without a connection.
async fn given_by(
    credentials: &impl CallCredentials,
) -> Result<CallMetadata, CallCredentialsError> {
    keep_logs_awake();
    let (call, security) = details();
    let mut metadata = CallMetadata::default();
    if !credentials.get_metadata_now(&call, &security, &mut metadata)? {
        credentials.get_metadata(&call, &security, &mut metadata).await?;
    }
    Ok(metadata)
}

#[tokio::test]
async fn several_credentials_are_asked_in_order_and_all_arrive() {
    let stage = Stage::new().await;
    let (call, key) = (Fake::sending("third", "3"), ApiKey::new(TOKEN).expect("a key"));
    let composite = CompositeCallCredentials::new(
        BearerToken::new(TOKEN).expect("a token"),
        CompositeCallCredentials::new(Fake::sending("second", "2"), call),
    )
    .and(key);
    let metadata = given_by(&composite).await.expect("all of them");
    let keys = r#"["authorization", "second", "third", "x-api-key"]"#;
    assert_eq!(format!("{metadata:?}"), keys);
    for way in BOTH_WAYS {
        stage.call(way, composite.clone()).await.expect("sent");
        let bearer = format!("Bearer {TOKEN}");
        for (key, value) in
            [("authorization", &*bearer), ("second", "2"), ("third", "3"), ("x-api-key", TOKEN)]
        {
            assert_eq!(stage.reached.last_values(key), [value], "{way:?}");
        }
    }
}

#[tokio::test]
async fn the_first_failure_of_several_ends_it() {
    let stage = Stage::new().await;
    let failing = Fake::failing(CallCredentialsErrorKind::Transient, "not now");
    let (before, after) = (Fake::sending("before", "1"), Fake::sending("after", "2"));
    let composite = CompositeCallCredentials::new(before.clone(), failing).and(after.clone());
    let status = stage.call(Way::Channel, composite).await.expect_err("one of them failed");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "not now"));
    assert_eq!((before.asked(), after.asked(), stage.reached.count()), (1, 0, 0));
}

#[tokio::test]
async fn two_credentials_that_write_one_key_fail_the_call() {
    // grpc-go lets the last one win.
    let stage = Stage::new().await;
    let token = || BearerToken::new(TOKEN).expect("a token");
    for (name, composite) in [
        ("another", CompositeCallCredentials::new(token(), Fake::sending("Authorization", "x"))),
        ("itself", CompositeCallCredentials::new(token(), token())),
    ] {
        let status = stage.call(Way::Call, composite).await.expect_err(name);
        assert_eq!(status.code(), Code::Internal, "{name}");
        assert!(status.message().contains("\"authorization\""), "{}", status.message());
    }
    assert_eq!(stage.reached.count(), 0);
    let differ = CompositeCallCredentials::new(token(), Fake::sending("authorization2", "x"));
    stage.call(Way::Call, differ).await.expect("two keys");
}

#[tokio::test]
async fn several_credentials_need_what_the_neediest_of_them_needs() {
    // The composite's level is the highest of theirs (gRFC L62).
    let fake = |need| Fake::sending("authorization", "x").needing(need);
    for (first, second, both) in [
        (NoSecurity, NoSecurity, NoSecurity),
        (NoSecurity, IntegrityOnly, IntegrityOnly),
        (PrivacyAndIntegrity, NoSecurity, PrivacyAndIntegrity),
        (IntegrityOnly, PrivacyAndIntegrity, PrivacyAndIntegrity),
    ] {
        let composite = CompositeCallCredentials::new(fake(first), fake(second));
        assert_eq!(composite.minimum_channel_security_level(), both);
        let three = CompositeCallCredentials::new(fake(NoSecurity), composite);
        assert_eq!(three.minimum_channel_security_level(), both);
    }
    let (tcp, reached) = plaintext(ServerCredentials::local(), "127.0.0.1:0").await;
    let (harmless, secret) = (fake(NoSecurity), fake(PrivacyAndIntegrity));
    let composite = CompositeCallCredentials::new(harmless.clone(), secret.clone());
    let credentials = ChannelCredentials::local().with_call_credentials(composite);
    let channel = connect(tcp.address().to_string(), credentials).await.expect("connected");
    let status = greet(&channel, hello()).await.expect_err("too little protection");
    assert!(is_insecure(&status), "{status:?}");
    assert_eq!((harmless.asked(), secret.asked(), reached.count()), (0, 0, 0));
    greet(&channel, hello().call_credentials(harmless)).await.expect("by itself it may");
}

// --- tokens and keys -----------------------------------------------------------------------------

#[tokio::test]
async fn a_bearer_token_arrives_exactly_once_either_way() {
    // JW-02.
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, TOKEN).expect("written");
    for way in BOTH_WAYS {
        for token in [BearerToken::new(TOKEN).expect("a token"), BearerToken::from_file(&path)] {
            stage.call(way, token).await.expect("sent");
            let values = stage.reached.last_values("authorization");
            assert_eq!(values, [format!("Bearer {TOKEN}")], "{way:?}");
        }
    }
}

#[tokio::test]
async fn an_api_key_is_sent_under_its_own_key_or_another() {
    let stage = Stage::new().await;
    let key = || ApiKey::new(TOKEN).expect("a key");
    for way in BOTH_WAYS {
        stage.call(way, key()).await.expect("sent");
        assert_eq!(stage.reached.last_values("x-api-key"), [TOKEN], "{way:?}");
        stage.call(way, key().under("X-Orders-Key").expect("a name")).await.expect("sent");
        assert_eq!(stage.reached.last_values("x-orders-key"), [TOKEN], "{way:?}");
        assert_eq!(stage.reached.last_values("x-api-key"), [""; 0], "{way:?}");
        assert_eq!(stage.reached.last_values("authorization"), [""; 0], "{way:?}");
    }
    for name in ["content-type", ":path", "grpc-status", "a b", "", "ä", "x-orders-key-bin"] {
        let error = key().under(name).expect_err(name);
        assert_eq!(error.kind(), CallCredentialsErrorKind::Code(13), "{name:?}");
    }
}

#[test]
fn what_cannot_be_a_token_or_a_key_is_refused_when_it_is_given() {
    let longest = "t".repeat(BearerToken::MAX_BYTES);
    for text in ["", " ", "a b", "a\n", "\ta", "a\0", "tökén"] {
        let token = BearerToken::new(text).expect_err(text);
        let key = ApiKey::new(text).expect_err(text);
        for error in [token, key] {
            assert_eq!(error.kind(), CallCredentialsErrorKind::Permanent, "{text:?}");
        }
    }
    let error = BearerToken::new(format!("{longest}t")).expect_err("too long");
    assert_eq!(error.to_string(), "the token is longer than 16 KiB");
    BearerToken::new(longest).expect("just short enough");
    ApiKey::new(TOKEN).expect("a key");
}

#[tokio::test]
async fn a_token_file_is_trimmed_and_fails_by_what_is_wrong_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let token = || BearerToken::from_file(&file);
    let longest = "t".repeat(BearerToken::MAX_BYTES);

    // JW-01, JW-06: no error before there is a call.
    let error = given_by(&token()).await.expect_err("there is no file");
    assert_eq!(error.kind(), CallCredentialsErrorKind::Transient);
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
    assert!(std::error::Error::source(&error).is_some(), "what the system says");

    use CallCredentialsErrorKind::Permanent;
    let over = format!("{longest}t");
    for (name, contents, expected) in [
        ("as it is", TOKEN.as_bytes(), Ok(TOKEN)),
        ("newline at the end (JW-13)", b"abc\n", Ok("abc")),
        ("white space around it (JW-13)", b" \r\n\tabc\t\r\n\r\n", Ok("abc")),
        // Opaque tokens are tokens too: nothing is asked of its parts.
        ("two parts (JW-08)", b"invalid.jwt", Ok("invalid.jwt")),
        ("longest", longest.as_bytes(), Ok(&longest)),
        ("empty (JW-07)", b"", Err(Permanent)),
        ("white space (JW-07)", b"   \n\t  ", Err(Permanent)),
        ("two words (JW-08)", b"bad contents", Err(Permanent)),
        ("two lines", b"abc\ndef\n", Err(Permanent)),
        ("not ASCII", "tökén".as_bytes(), Err(Permanent)),
        ("not text at all", b"\xff\xfe\x00", Err(Permanent)),
        ("too long", over.as_bytes(), Err(Permanent)),
    ] {
        std::fs::write(&file, contents).expect("written");
        let outcome = given_by(&token()).await;
        match (outcome, expected) {
            (Ok(metadata), Ok(token)) => {
                let value = format!("Bearer {token}");
                assert_eq!(metadata.get("authorization"), Some(value.as_bytes()), "{name}");
            }
            (Err(error), Err(kind)) => {
                assert_eq!(error.kind(), kind, "{name}");
                let said = error.to_string();
                assert!(said.contains(&file.display().to_string()), "{name}: {said}");
            }
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_token_file_decides_the_calls_status() {
    let stage = Stage::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let token = BearerToken::from_file(&file);
    let channel = stage.channel(stage.tls().with_call_credentials(token)).await;
    let code = || async { greet(&channel, hello()).await.err().map(|status| status.code()) };
    assert_eq!(code().await, Some(Code::Unavailable), "missing (JW-06)");
    std::fs::write(&file, "\n").expect("written");
    assert_eq!(code().await, Some(Code::Unauthenticated), "empty (JW-07)");
    std::fs::write(&file, format!("{TOKEN}\n")).expect("written");
    assert_eq!(code().await, None, "as soon as it is there");
    assert_eq!(stage.reached.last_values("authorization"), [format!("Bearer {TOKEN}")]);
    assert_eq!(stage.reached.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_token_file_is_read_again_after_a_minute_and_not_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let token = BearerToken::from_file(&file);
    let shared = token.clone();
    let sent = |token: &BearerToken| {
        let token = token.clone();
        async move {
            let metadata = given_by(&token).await.expect("a token");
            String::from_utf8(metadata.get("authorization").expect("it").to_vec()).expect("ASCII")
        }
    };
    let is_known = || {
        let (call, security) = details();
        token.get_metadata_now(&call, &security, &mut CallMetadata::default()).expect("no error")
    };
    let minute = BearerToken::REREAD_AFTER;
    let instant = Duration::from_millis(1);
    assert_eq!(minute, Duration::from_secs(60));

    assert!(!is_known(), "nothing is read before the first call");
    std::fs::write(&file, "one").expect("written");
    assert_eq!(sent(&token).await, "Bearer one");
    std::fs::write(&file, "two").expect("written");
    tokio::time::advance(minute - instant).await;
    assert!(is_known());
    assert_eq!(sent(&token).await, "Bearer one");
    tokio::time::advance(instant).await;
    assert!(!is_known(), "its minute is over");
    assert_eq!(sent(&token).await, "Bearer two");
    assert_eq!(sent(&shared).await, "Bearer two", "clones share what was read");

    // What happens to the file takes nothing from the calls, and is looked at once a minute.
    for (name, damage) in
        [("gone", None), ("emptied", Some("")), ("half written", Some("two words"))]
    {
        match damage {
            None => std::fs::remove_file(&file).expect("removed"),
            Some(contents) => std::fs::write(&file, contents).expect("written"),
        }
        tokio::time::advance(minute).await;
        assert_eq!(sent(&token).await, "Bearer two", "{name}");
        assert!(is_known(), "{name}: not read again by every call");
        std::fs::write(&file, "too early").expect("written");
        assert_eq!(sent(&token).await, "Bearer two", "{name}");
    }
    std::fs::write(&file, "three").expect("written");
    tokio::time::advance(minute).await;
    assert_eq!(sent(&token).await, "Bearer three");
}

#[tokio::test(start_paused = true)]
async fn the_log_says_that_a_token_file_cannot_be_read_any_more() {
    let logs = collect_logs();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, TOKEN).expect("written");
    let token = BearerToken::from_file(&file);
    given_by(&token).await.expect("a token");
    assert_eq!(logs.lines_with("WARN").len(), 0, "{}", logs.text());
    std::fs::remove_file(&file).expect("removed");
    tokio::time::advance(BearerToken::REREAD_AFTER).await;
    given_by(&token).await.expect("the last one");
    given_by(&token).await.expect("the last one");
    let warnings = logs.lines_with("WARN");
    let [warning] = &warnings[..] else { panic!("{}", logs.text()) };
    assert!(warning.contains("keeping the last token"), "{warning}");
    assert!(warning.contains(&file.display().to_string()), "{warning}");
}

#[cfg(unix)]
#[test]
fn a_token_file_that_hangs_holds_up_one_thread_and_no_call_that_has_a_token() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .max_blocking_threads(2)
        .build()
        .expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let (file, pipe) = (folder.path().join("token"), Pipe::new(folder.path().join("pipe")));
    let hangs = BearerToken::from_file(pipe.path());
    let known = BearerToken::from_file(&file);
    let sent = |metadata: CallMetadata| {
        String::from_utf8(metadata.get("authorization").expect("it").to_vec()).expect("ASCII")
    };
    runtime.block_on(async {
        std::fs::write(&file, "one").expect("written");
        assert_eq!(sent(given_by(&known).await.expect("a token")), "Bearer one");
        std::fs::remove_file(&file).expect("removed");
        std::os::unix::fs::symlink(pipe.path(), &file).expect("linked");
        // Without a token calls wait, and give up under their own deadlines.
        for _ in 0..10 {
            assert!(given_by(&hangs).now_or_never().is_none());
        }
        let other = tokio::task::spawn_blocking(|| "other work");
        assert_eq!(other.await.expect("no panic"), "other work");
        let waits = tokio::spawn({
            let hangs = hangs.clone();
            async move { given_by(&hangs).await.map(|_| ()) }
        });
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_secs(10)).await;
        let error = waits.await.expect("no panic").expect_err("there is no token");
        assert_eq!(error.kind(), CallCredentialsErrorKind::Transient);
        assert!(error.to_string().contains("does not come back"), "{error}");
        // With one, whoever reads waits, and nobody else.
        tokio::time::advance(BearerToken::REREAD_AFTER).await;
        let reads = tokio::spawn({
            let known = known.clone();
            async move { given_by(&known).await.map(sent) }
        });
        tokio::task::yield_now().await;
        let others = given_by(&known).now_or_never().expect("at once").expect("the last one");
        assert_eq!(sent(others), "Bearer one");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(reads.await.expect("no panic").expect("the last one"), "Bearer one");
        tokio::time::advance(BearerToken::REREAD_AFTER).await;
        let next = given_by(&known).now_or_never().expect("at once").expect("the last one");
        assert_eq!(sent(next), "Bearer one", "and the reading that hangs is not begun again");
    });
}
