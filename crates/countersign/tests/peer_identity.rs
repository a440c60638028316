//! What a server knows of its peers, over real connections.

mod server_support;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use countersign::identity::{PeerAddress, PeerCertificate};
use countersign::{
    ChannelCredentials, ClientCertificates, ClientTls, ConnectError, PeerIdentity, PeerInfoLayer,
    SecurityLevel, ServerCredentials, ServerIo, ServerRequestExt, connect,
};
use countersign_testkit::greeter::proto::greeter_server::{Greeter, GreeterServer};
use countersign_testkit::greeter::proto::{
    HelloReply, HelloRequest, HelloStreamRequest, ResetReply, ResetRequest,
};
use countersign_testkit::greeter::{GreeterClient, TestServer};
use countersign_testkit::logs::Logs;
use countersign_testkit::pki::{Certificate, CertificateAuthority};
use server_support::guests::Guests;
use server_support::wire::{
    begin_http2, client_config, client_config_with, dial, last_words, provider, showing, tls,
    tls_and_http2,
};
use server_support::{identity, roots, tls_credentials};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::{Code, Request, Response, Status};
use x509_cert::der::Decode;

/// A server that asks for certificates of this CA, and lives without.
struct Stage {
    ca: CertificateAuthority,
    guests: Guests,
}

impl Stage {
    async fn set() -> Self {
        let ca = CertificateAuthority::new("test CA");
        let credentials = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
            .client_certificates(ClientCertificates::optional(roots(&ca)))
            .build()
            .expect("credentials");
        Self { guests: Guests::on_loopback(&credentials).await, ca }
    }

    /// Both ends of a connection of a client with this certificate.
    async fn meet(&mut self, certificate: &Certificate) -> (TlsStream<TcpStream>, ServerIo) {
        let config = showing(client_config(&self.ca), certificate);
        let client = tls_and_http2(self.guests.address(), &Arc::new(config)).await;
        (client.expect("connected"), self.guests.next().await)
    }

    async fn peer_with(&mut self, certificate: &Certificate) -> PeerIdentity {
        self.meet(certificate).await.1.peer().clone()
    }

    async fn peer_with_uris(&mut self, uris: &[&str]) -> PeerIdentity {
        let ca = self.ca.clone();
        let leaf = uris.iter().fold(ca.issue().for_client(), |leaf, uri| leaf.uri(uri));
        self.peer_with(&leaf.build()).await
    }
}

fn certificate_of(peer: &PeerIdentity) -> &PeerCertificate {
    peer.certificate().expect("a certificate")
}

// Certificates.

#[tokio::test]
async fn names_are_sorted_by_kind_and_kept_in_order_and_spelling() {
    let mut stage = Stage::set().await;
    let ca = stage.ca.clone();
    let addresses: [IpAddr; 2] = [[192, 0, 2, 7].into(), "2001:db8::7".parse().expect("IPv6")];
    let certificate = ca
        .issue()
        .for_client()
        .dns("Second.Example")
        .uri("spiffe://test/alice")
        .ip(addresses[0])
        .email("alice@example.org")
        .dns("first.example")
        .ip(addresses[1])
        .email("Alice@example.org")
        .build();
    let peer = stage.peer_with(&certificate).await;
    let known = certificate_of(&peer);
    assert_eq!(known.uris(), ["spiffe://test/alice"]);
    assert_eq!(known.dns_names(), ["Second.Example", "first.example"]);
    assert_eq!(known.emails(), ["alice@example.org", "Alice@example.org"]);
    assert_eq!(known.ip_addresses(), addresses);
    assert_eq!(peer.spiffe_id().map(ToString::to_string).as_deref(), Some("spiffe://test/alice"));

    let nameless = stage.peer_with(&ca.issue().for_client().build()).await;
    let known = certificate_of(&nameless);
    assert!(known.uris().is_empty() && known.dns_names().is_empty());
    assert!(known.emails().is_empty() && known.ip_addresses().is_empty());
    assert_eq!(nameless.spiffe_id(), None);
}

#[tokio::test]
async fn the_subject_is_written_as_rfc_4514_says() {
    let mut stage = Stage::set().await;
    let ca = stage.ca.clone();
    for (subject, written) in [
        (&[("C", "CH"), ("O", "Example"), ("CN", "orders")][..], "CN=orders,O=Example,C=CH"),
        (&[("O", "Example, Inc."), ("CN", "a+b")], r"CN=a\+b,O=Example\, Inc."),
        (&[("CN", " spaced ")], r"CN=\ spaced\ "),
        (&[("CN", r#"#1 "quoted" \ <x>;"#)], r#"CN=\#1 \"quoted\" \\ \<x\>\;"#),
        (&[("CN", "Zoë")], "CN=Zoë"),
        (&[], ""),
    ] {
        let certificate = ca.issue().for_client().subject(subject).build();
        let peer = stage.peer_with(&certificate).await;
        assert_eq!(certificate_of(&peer).subject(), written);
    }
}

#[tokio::test]
async fn serial_thumbprint_and_validity_are_the_leafs() {
    let mut stage = Stage::set().await;
    let alice = stage.ca.client(&["spiffe://test/alice"]);
    let peer = stage.peer_with(&alice).await;
    let known = certificate_of(&peer);
    let leaf = &alice.chain_der()[0];

    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf);
    assert_eq!(known.thumbprint().as_slice(), digest.as_ref());
    let parsed = x509_cert::Certificate::from_der(leaf).expect("a certificate");
    let serial = parsed.tbs_certificate().serial_number().as_bytes();
    let written: String = serial.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(known.serial(), written.strip_prefix("00").unwrap_or(&written));
    assert_eq!(known.not_before(), alice.not_before());
    assert_eq!(known.not_after(), alice.not_after());

    let again = stage.ca.client(&["spiffe://test/alice"]);
    let other = stage.peer_with(&again).await;
    assert_ne!(certificate_of(&other).thumbprint(), known.thumbprint(), "another certificate");
}

#[tokio::test]
async fn the_chain_is_what_the_peer_sent_leaf_first() {
    let mut stage = Stage::set().await;
    let intermediate = stage.ca.intermediate("test intermediate");
    let alice = intermediate.client(&["spiffe://test/alice"]);
    let peer = stage.peer_with(&alice).await;
    let sent: Vec<_> = alice.chain_der().iter().map(|der| der.to_vec()).collect();
    assert_eq!(sent.len(), 2);
    assert!(certificate_of(&peer).chain().eq(&sent));
    assert_eq!(peer.spiffe_id().expect("the leaf's").as_str(), "spiffe://test/alice");

    let direct = stage.ca.client(&["spiffe://test/alice"]);
    let peer = stage.peer_with(&direct).await;
    assert!(certificate_of(&peer).chain().eq([direct.chain_der()[0].as_ref()]));
}

#[tokio::test]
async fn a_client_that_shows_nothing_or_is_not_asked_has_no_certificate() {
    let mut stage = Stage::set().await;
    let anonymous = Arc::new(client_config(&stage.ca));
    let _client = tls_and_http2(stage.guests.address(), &anonymous).await.expect("connected");
    let peer = stage.guests.next().await.peer().clone();
    assert!(peer.certificate().is_none() && peer.spiffe_id().is_none());
    assert_eq!(peer.security_level(), SecurityLevel::PrivacyAndIntegrity);

    let mut guests = Guests::on_loopback(&tls_credentials(&stage.ca)).await;
    let alice = stage.ca.client(&["spiffe://test/alice"]);
    let config = Arc::new(showing(client_config(&stage.ca), &alice));
    let _client = tls_and_http2(guests.address(), &config).await.expect("connected");
    assert!(guests.next().await.peer().certificate().is_none(), "it was not asked");
}

// SPIFFE IDs.

#[tokio::test]
async fn exactly_one_uri_that_names_a_workload_is_a_spiffe_id() {
    let mut stage = Stage::set().await;
    let workload = "spiffe://foo.bar.com/workload/wl1";
    let peer = stage.peer_with_uris(&[workload]).await;
    let id = peer.spiffe_id().expect("SP-02");
    assert_eq!((id.as_str(), id.trust_domain()), (workload, "foo.bar.com"));

    let long_path = format!("spiffe://foo.bar.com/{}", "p".repeat(2050));
    let long_domain = format!("spiffe://{}/workload", "d".repeat(256));
    for (name, uris) in [
        ("SP-01: no URI", &[][..]),
        ("SP-03: no trust domain", &["spiffe:///workload/wl1"]),
        ("SP-03: no path", &["spiffe://foo.bar.com"]),
        ("SP-03: an empty path", &["spiffe://foo.bar.com/"]),
        ("SP-04: a long path", &[long_path.as_str()]),
        ("SP-04: a long trust domain", &[long_domain.as_str()]),
        ("SP-05: two SPIFFE IDs and another", &[workload, "spiffe://a/b", "https://a.example/"]),
        ("SP-05: a SPIFFE ID and another", &[workload, "https://foo.bar.com/"]),
        ("SP-05: another and a SPIFFE ID", &["https://foo.bar.com/", workload]),
        ("SP-05: two others", &["https://foo.bar.com/", "https://a.example/"]),
        ("the same twice", &[workload, workload]),
        ("another alone", &["https://foo.bar.com/workload/wl1"]),
        ("SP-07: a port", &["spiffe://foo.bar.com:443/workload/wl1"]),
        ("SP-07: a query", &["spiffe://foo.bar.com/workload/wl1?a=b"]),
        ("SP-07: a fragment", &["spiffe://foo.bar.com/workload/wl1#a"]),
        ("SP-07: an empty segment", &["spiffe://foo.bar.com//workload/wl1"]),
        ("SP-07: a parent segment", &["spiffe://foo.bar.com/workload/.."]),
        ("SP-07: a trailing slash", &["spiffe://foo.bar.com/workload/wl1/"]),
        ("SP-07: an upper-case trust domain", &["spiffe://Foo.bar.com/workload/wl1"]),
    ] {
        let peer = stage.peer_with_uris(uris).await;
        assert_eq!(peer.spiffe_id(), None, "{name}");
        assert_eq!(certificate_of(&peer).uris(), uris, "{name}: the names themselves stay");
    }
}

#[tokio::test]
async fn a_spiffe_id_of_an_issuer_is_not_the_peers() {
    let mut stage = Stage::set().await;
    let intermediate = stage.ca.intermediate("spiffe://test/intermediate");
    let peer = stage.peer_with(&intermediate.issue().for_client().dns("a.example").build()).await;
    assert_eq!(peer.spiffe_id(), None);
    assert_eq!(certificate_of(&peer).dns_names(), ["a.example"]);
}

// Connections.

#[tokio::test]
async fn the_facts_of_tls_are_those_that_the_client_negotiated() {
    let mut stage = Stage::set().await;
    for (version, name) in
        [(&rustls::version::TLS13, "TLSv1.3"), (&rustls::version::TLS12, "TLSv1.2")]
    {
        let config = Arc::new(client_config_with(&stage.ca, provider(), &[version]));
        let client = tls_and_http2(stage.guests.address(), &config).await.expect("connected");
        let io = stage.guests.next().await;
        let facts = io.peer().tls().expect("TLS");
        let state = client.get_ref().1;
        let suite = state.negotiated_cipher_suite().expect("a suite").suite();
        let group = state.negotiated_key_exchange_group().expect("a group").name();
        assert_eq!(facts.version, name);
        assert_eq!(facts.cipher_suite, format!("{suite:?}"));
        assert_eq!(facts.key_exchange_group, Some(format!("{group:?}").as_str()));
        assert_eq!(facts.server_name.as_deref(), Some("localhost"));
        assert_eq!(facts.application_protocol.as_deref(), Some("h2"));
        assert!(!facts.resumed);
    }
    let config = Arc::new(client_config_with(&stage.ca, provider(), &[&rustls::version::TLS13]));
    let _client = tls_and_http2(stage.guests.address(), &config).await.expect("connected");
    let io = stage.guests.next().await;
    let facts = io.peer().tls().expect("TLS");
    assert_eq!(facts.cipher_suite, "TLS13_AES_256_GCM_SHA384", "as people read it");
    assert_eq!(facts.key_exchange_group, Some("X25519MLKEM768"));
}

#[tokio::test]
async fn addresses_are_those_of_the_two_sockets() {
    let mut stage = Stage::set().await;
    let alice = stage.ca.client(&["spiffe://test/alice"]);
    let (client, io) = stage.meet(&alice).await;
    let from = client.get_ref().0.local_addr().expect("an address");
    assert_eq!(io.peer().address(), &PeerAddress::Tcp(from));
    assert_eq!(io.peer().address().to_string(), from.to_string());
    assert_eq!(io.peer().local_address(), Some(stage.guests.address()));
    assert_eq!(io.peer().security_level(), SecurityLevel::PrivacyAndIntegrity);
}

#[tokio::test]
async fn an_insecure_listener_promises_nothing() {
    let mut guests = Guests::on_loopback(&ServerCredentials::insecure()).await;
    let mut client = dial(guests.address()).await;
    begin_http2(&mut client).await;
    let io = guests.next().await;
    let peer = io.peer();
    assert_eq!(peer.security_level(), SecurityLevel::NoSecurity);
    assert!(peer.tls().is_none() && peer.certificate().is_none() && peer.spiffe_id().is_none());
    assert_eq!(peer.address().ip(), Some([127, 0, 0, 1].into()));
}

// Local credentials.

#[tokio::test]
async fn loopback_with_local_credentials_is_let_in_and_not_protected() {
    for listens in ["127.0.0.1:0", "[::1]:0"] {
        let incoming = ServerCredentials::local().bind(listens).await.expect("bound");
        let mut guests = Guests::of(incoming);
        let mut client = dial(guests.address()).await;
        begin_http2(&mut client).await;
        let io = guests.next().await;
        assert_eq!(io.peer().security_level(), SecurityLevel::NoSecurity, "LO-01: {listens}");
        let from = client.local_addr().expect("an address");
        assert_eq!(io.peer().address(), &PeerAddress::Tcp(from));
    }
}

#[tokio::test]
async fn loopback_as_ipv6_writes_ipv4_is_loopback() {
    let Ok(incoming) = ServerCredentials::local().bind("[::]:0").await else {
        return; // Without IPv6 there is no such address.
    };
    let mut guests = Guests::of(incoming);
    let port = guests.address().port();
    let mut client = dial(SocketAddr::from(([127, 0, 0, 1], port))).await;
    begin_http2(&mut client).await;
    assert_eq!(guests.next().await.peer().security_level(), SecurityLevel::NoSecurity);
}

/// An address of this machine that is not loopback, if it has one. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

#[tokio::test]
async fn local_credentials_refuse_a_peer_that_comes_by_another_address() {
    // A machine without a network has no such peer; the rule itself has a test beside it.
    let Some(own) = own_address() else { return };
    let logs = Logs::collect();
    let incoming = ServerCredentials::local().bind((own, 0)).await.expect("bound");
    let mut guests = Guests::of(incoming);
    let mut client = dial(guests.address()).await;
    begin_http2(&mut client).await;
    assert_eq!(last_words(&mut client).await, b"");
    assert!(guests.nobody_else());
    assert_eq!(logs.lines_with("NOT_LOCAL").len(), 1, "{}", logs.text());

    // The same connection, with credentials that do not ask where it comes from.
    let incoming = ServerCredentials::insecure().bind((own, 0)).await.expect("bound");
    let mut guests = Guests::of(incoming);
    let mut client = dial(guests.address()).await;
    begin_http2(&mut client).await;
    assert_eq!(guests.next().await.peer().address().ip(), Some(own));
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use tokio::net::UnixStream;

    /// A client's end, the server's, and the file between.
    async fn meet(
        credentials: &ServerCredentials,
    ) -> (UnixStream, Guests, std::fs::Metadata, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let incoming = credentials.bind_unix(&path).expect("bound");
        assert_eq!(incoming.local_addr(), None);
        let client = UnixStream::connect(&path).await.expect("connected");
        let file = std::fs::metadata(&path).expect("a file");
        (client, Guests::of(incoming), file, folder)
    }

    #[tokio::test]
    async fn a_unix_peer_is_the_process_that_the_kernel_names() {
        for (credentials, level) in [
            (ServerCredentials::local(), SecurityLevel::PrivacyAndIntegrity),
            (ServerCredentials::insecure(), SecurityLevel::NoSecurity),
        ] {
            let (mut client, mut guests, file, _folder) = meet(&credentials).await;
            begin_http2(&mut client).await;
            let io = guests.next().await;
            let PeerAddress::Unix(peer) = io.peer().address() else {
                panic!("not a Unix peer: {:?}", io.peer().address());
            };
            // Whoever made the socket's file is us.
            assert_eq!((peer.uid, peer.gid), (Some(file.uid()), Some(file.gid())));
            let process = i32::try_from(std::process::id()).expect("a process number");
            assert_eq!(peer.pid, Some(process));
            assert_eq!(io.peer().security_level(), level, "{credentials:?}");
            assert_eq!(io.peer().local_address(), None);
            assert_eq!(io.peer().address().ip(), None);
        }
    }

    #[tokio::test]
    async fn tls_over_a_unix_socket_knows_the_process_and_the_certificate() {
        let ca = CertificateAuthority::new("test CA");
        let credentials = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
            .client_certificates(ClientCertificates::required(roots(&ca)))
            .build()
            .expect("credentials");
        let (client, mut guests, file, _folder) = meet(&credentials).await;
        let config = showing(client_config(&ca), &ca.client(&["spiffe://test/alice"]));
        let mut client = tls(client, &Arc::new(config), "localhost").await.expect("TLS");
        begin_http2(&mut client).await;
        let io = guests.next().await;
        let PeerAddress::Unix(peer) = io.peer().address() else { panic!("not a Unix peer") };
        assert_eq!(peer.uid, Some(file.uid()));
        let id = io.peer().spiffe_id().map(ToString::to_string);
        assert_eq!(id.as_deref(), Some("spiffe://test/alice"));
    }

    #[tokio::test]
    async fn a_call_over_a_unix_socket_with_local_credentials_at_both_ends_succeeds() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let incoming = ServerCredentials::local().bind_unix(&path).expect("bound");
        let _server = TestServer::start(incoming, None);
        let target = format!("unix:{}", path.display());
        let channel = connect(target, ChannelCredentials::local()).await.expect("connected");
        GreeterClient::new(channel).say_hello(hello()).await.expect("greeted");
    }
}

// Handlers.

fn hello() -> HelloRequest {
    HelloRequest { name: "you".to_owned() }
}

/// Answers with what the request says of its peer.
struct Mirror;

#[tonic::async_trait]
impl Greeter for Mirror {
    async fn say_hello(
        &self,
        request: Request<HelloRequest>,
    ) -> Result<Response<HelloReply>, Status> {
        let peer = request.peer_identity()?;
        let name = peer.spiffe_id().map(ToString::to_string).unwrap_or_default();
        let message = format!(
            "{} {} {:?}",
            peer.address(),
            peer.security_level(),
            request.remote_addr().map(|address| address.to_string())
        );
        Ok(Response::new(HelloReply { message, principal: name }))
    }

    type SayHelloStreamStream = tonic::codegen::tokio_stream::Empty<Result<HelloReply, Status>>;

    async fn say_hello_stream(
        &self,
        _request: Request<HelloStreamRequest>,
    ) -> Result<Response<Self::SayHelloStreamStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn reset(&self, _request: Request<ResetRequest>) -> Result<Response<ResetReply>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

#[tokio::test]
async fn a_handler_knows_the_peer_of_its_request() {
    let ca = CertificateAuthority::new("test CA");
    let credentials = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
        .client_certificates(ClientCertificates::optional(roots(&ca)))
        .build()
        .expect("credentials");
    for (with_layer, shows) in [(false, false), (true, false), (true, true)] {
        let incoming = credentials.bind("127.0.0.1:0").await.expect("bound");
        let port = incoming.local_addr().expect("an address").port();
        let (mut server, mirror) =
            (tonic::transport::Server::builder(), GreeterServer::new(Mirror));
        let serving = match with_layer {
            true => tokio::spawn(
                server.layer(PeerInfoLayer).add_service(mirror).serve_with_incoming(incoming),
            ),
            false => tokio::spawn(server.add_service(mirror).serve_with_incoming(incoming)),
        };
        let mut tls = ClientTls::only_roots(roots(&ca));
        if shows {
            tls = tls.identity(identity(&ca.client(&["spiffe://test/alice"])));
        }
        let target = format!("https://localhost:{port}");
        let channel = connect(target, ChannelCredentials::tls(tls)).await.expect("connected");
        let reply = GreeterClient::new(channel).say_hello(hello()).await.expect("answered");
        let HelloReply { message, principal } = reply.into_inner();
        assert_eq!(principal, if shows { "spiffe://test/alice" } else { "" });
        let words: Vec<_> = message.split(' ').collect();
        assert!(words[0].starts_with("127.0.0.1:"), "{message}");
        assert_eq!(words[1], "PrivacyAndIntegrity");
        // tonic's own knowledge is there where the layer puts it, and is the same.
        let tonics = if with_layer { format!("Some({:?})", words[0]) } else { "None".to_owned() };
        assert_eq!(words[2], tonics);
        serving.abort();
    }
}

#[tokio::test]
async fn a_handler_behind_another_listener_is_told_that_nothing_is_known() {
    let incoming = tonic::transport::server::TcpIncoming::bind(([127, 0, 0, 1], 0).into());
    let incoming = incoming.expect("bound");
    let address = incoming.local_addr().expect("an address");
    let mut server = tonic::transport::Server::builder();
    let server = server.add_service(GreeterServer::new(Mirror));
    let serving = tokio::spawn(server.serve_with_incoming(incoming));
    let channel = connect(format!("http://{address}"), ChannelCredentials::insecure()).await;
    let channel = channel.expect("connected");
    let status = GreeterClient::new(channel).say_hello(hello()).await.expect_err("unknown");
    assert_eq!(status.code(), Code::Internal, "{status:?}");
    assert!(status.message().contains("no peer identity"), "{status:?}");
    assert!(ConnectError::of(&status).is_none());
    serving.abort();
}
