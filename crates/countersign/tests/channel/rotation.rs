//! Other credentials in mid-flight.

use std::time::Duration;

use countersign::tls::HandshakeResult;
use countersign::{
    Channel, ChannelCredentials, ClientCertificates, ClientRequestExt, ClientTls, Gate, Identity,
    MutualTls, Rules, ServerCredentials, connect, connect_lazy,
};
use countersign_testkit::greeter::proto::HelloStreamRequest;
use countersign_testkit::greeter::{GREETER, GreeterClient, TestServer};
use countersign_testkit::pki::CertificateAuthority;
use countersign_testkit::wait::until;
use tonic::Code;

use crate::support::{Proxy, StoppedTime, call, connect_code, hello, identity, roots, trusting};

const ALICE: &str = "spiffe://test/alice";
const BOB: &str = "spiffe://test/bob";

struct Office {
    ca: CertificateAuthority,
    clients: CertificateAuthority,
    server: TestServer,
    credentials: ServerCredentials,
}

impl Office {
    /// A server that lets nobody in without a certificate, and greets everyone by name.
    async fn open() -> Self {
        let ca = CertificateAuthority::new("test CA");
        let clients = CertificateAuthority::new("clients CA");
        let credentials = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
            .client_certificates(ClientCertificates::required(roots(&clients)))
            .build()
            .expect("server credentials");
        let gate = Gate::builder()
            .authenticate(MutualTls::new())
            .authorize(Rules::new().authenticated(GREETER))
            .build()
            .expect("a gate");
        let incoming = credentials.bind("127.0.0.1:0").await.expect("bound");
        let server = TestServer::start(incoming, Some(gate));
        Self { ca, clients, server, credentials }
    }

    fn target(&self) -> String {
        self.server.https("localhost")
    }

    fn credentials_of(&self, name: &str) -> ChannelCredentials {
        let certificate = self.clients.client(&[name]);
        let tls = ClientTls::only_roots(roots(&self.ca)).identity(identity(&certificate));
        ChannelCredentials::tls(tls)
    }

    /// How many connections were let in.
    fn connections(&self) -> u64 {
        self.credentials.handshakes().get(HandshakeResult::Success)
    }
}

async fn principal(channel: &Channel) -> String {
    call(channel, hello()).await.expect("an answer").principal
}

#[tokio::test]
async fn new_calls_use_new_credentials_and_a_call_in_flight_finishes_with_the_old() {
    let office = Office::open().await;
    let channel = connect(office.target(), office.credentials_of(ALICE)).await.expect("connected");
    // More than any window between the two ends holds: it stays in flight until it is read.
    let request = HelloStreamRequest { name: "x".repeat(1_000), count: 10_000 };
    let mut client = GreeterClient::new(channel.clone());
    let mut replies = client.say_hello_stream(request).await.expect("a stream").into_inner();
    assert_eq!(principal(&channel).await, ALICE);
    assert_eq!(office.connections(), 1);

    channel.replace_credentials(office.credentials_of(BOB)).expect("replaced");
    assert_eq!(principal(&channel.clone()).await, BOB, "a clone knows it too");
    assert_eq!(office.connections(), 2);

    let mut count = 0;
    while let Some(reply) = replies.message().await.expect("a reply") {
        assert_eq!(reply.principal, ALICE);
        count += 1;
    }
    assert_eq!(count, 10_000);
    assert_eq!(principal(&channel).await, BOB);
}

#[tokio::test]
async fn credentials_that_do_not_fit_the_scheme_are_refused_and_the_old_ones_stay() {
    let office = Office::open().await;
    let channel = connect(office.target(), office.credentials_of(ALICE)).await.expect("connected");
    let error = channel
        .replace_credentials(ChannelCredentials::insecure())
        .expect_err("https:// and no TLS");
    assert_eq!(error.code(), "SCHEME_MISMATCH");
    assert_eq!(principal(&channel).await, ALICE);
    assert_eq!(office.connections(), 1, "over the old connection");
}

#[tokio::test]
async fn credentials_that_the_server_refuses_replace_the_old_ones_all_the_same() {
    let office = Office::open().await;
    let channel = connect(office.target(), office.credentials_of(ALICE)).await.expect("connected");
    channel.replace_credentials(trusting(&office.ca)).expect("replaced");
    let status = call(&channel, hello()).await.expect_err("no certificate is shown");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(connect_code(&status), "TLS_CLIENT_CERTIFICATE_REQUIRED", "{status:?}");
    channel.replace_credentials(office.credentials_of(BOB)).expect("replaced");
    assert_eq!(principal(&channel).await, BOB, "without the delay after that failure");
}

#[tokio::test]
async fn a_call_that_waits_goes_on_with_the_new_credentials() {
    let office = Office::open().await;
    let channel = connect_lazy(office.target(), trusting(&office.ca)).expect("a channel");
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, hello().wait_for_ready()).await }
    });
    let refused = HandshakeResult::CertificateVerificationFailed;
    until("the server refuses", || channel.handshakes().get(refused) > 0).await;
    assert!(!waiting.is_finished());
    channel.replace_credentials(office.credentials_of(BOB)).expect("replaced");
    assert_eq!(waiting.await.expect("joined").expect("an answer").principal, BOB);
}

#[tokio::test(start_paused = true)]
async fn waiting_until_ready_goes_on_with_the_new_credentials() {
    // The silence does not end by itself.
    let _time = StoppedTime::hold();
    let office = Office::open().await;
    let proxy = Proxy::to(office.server.address()).await;
    proxy.fall_silent();
    let target = format!("https://localhost:{}", proxy.address().port());
    let channel = connect_lazy(target, office.credentials_of(ALICE)).expect("a channel");
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { channel.ready().await }
    });
    proxy.dialled(1).await;
    channel.replace_credentials(office.credentials_of(BOB)).expect("replaced");
    proxy.dialled(2).await;
    proxy.speak();
    waiting.await.expect("joined").expect("connected");
    assert_eq!(principal(&channel).await, BOB);
}

#[tokio::test(start_paused = true)]
async fn a_client_certificate_that_is_rotated_on_disk_is_shown_with_the_next_connection() {
    let time = StoppedTime::hold();
    let office = Office::open().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (chain, key) = (folder.path().join("client.crt"), folder.path().join("client.key"));
    let (alice, bob) = (office.clients.client(&[ALICE]), office.clients.client(&[BOB]));
    std::fs::write(&chain, alice.chain_pem()).expect("written");
    std::fs::write(&key, alice.key_pem()).expect("written");
    let identity = Identity::from_pem_files(&chain, &key);
    let tls = ClientTls::only_roots(roots(&office.ca)).identity(identity);
    let minute = Duration::from_secs(60);
    let builder = Channel::builder(office.target(), ChannelCredentials::tls(tls));
    let channel = builder.idle_timeout(minute).connect().await.expect("connected");
    assert_eq!(principal(&channel).await, ALICE);
    let next_connection = async |connections: u64| {
        for _ in 0..3 {
            time.advance(minute).await;
        }
        let name = principal(&channel).await;
        assert_eq!(office.connections(), connections);
        name
    };
    // Half of a rotation: the pair does not fit, so the last one stays.
    std::fs::write(&chain, bob.chain_pem()).expect("written");
    assert_eq!(next_connection(2).await, ALICE);
    std::fs::write(&key, bob.key_pem()).expect("written");
    assert_eq!(next_connection(3).await, BOB);
    // Gone altogether.
    std::fs::remove_file(&key).expect("removed");
    assert_eq!(next_connection(4).await, BOB);
}
