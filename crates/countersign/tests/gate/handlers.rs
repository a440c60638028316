use std::net::SocketAddr;
use std::sync::Arc;

use countersign::identity::PeerAddress;
use countersign::{
    ChannelCredentials, ClientCertificates, Gate, MutualTls, PeerInfoLayer, Principal, Rules,
    SecurityLevel, ServerCredentials, ServerRequestExt, StaticTokens, connect,
};
use countersign_testkit::greeter::SAY_HELLO;
use countersign_testkit::pki::{Certificate, CertificateAuthority};
use tonic::Code;
use tonic::transport::server::{Connected, TcpIncoming};
use tower_layer::Layer;

use super::scripted::Scripted;
use super::support::{
    RawClient, Reached, behind_tls, channel, collect_logs, greeter, identity, roots, serve,
    serve_on, trusting,
};
use super::{
    API_KEY, BEARER, RESET, behind, gate, greet, malformed, missing, refused, told, told_raw,
};

#[tokio::test]
async fn a_credential_that_somebody_reads_is_gone_before_the_handler() {
    const OTHER: (&str, &str) = ("x-other", "stays");
    let rules = || Rules::new().optional(SAY_HELLO).public(RESET);
    let reads_tokens = gate(rules());
    let reads_certificates = Gate::builder().authenticate(MutualTls::new());
    let reads_certificates = reads_certificates.authorize(rules()).build().expect("a gate");
    let reads_authorization = Gate::builder().authenticate(Scripted::accepting("slow"));
    let reads_authorization = reads_authorization.authorize(rules()).build().expect("a gate");

    struct Row {
        name: &'static str,
        gate: Gate,
        keeps: &'static [&'static str],
    }
    for Row { name, gate, keeps } in [
        Row { name: "tokens", gate: reads_tokens, keeps: &[] },
        Row { name: "certificates", gate: reads_certificates, keeps: &[BEARER.0, API_KEY.0] },
        Row { name: "authorization alone", gate: reads_authorization, keeps: &[API_KEY.0] },
    ] {
        let (server, reached) = behind(gate).await;
        let mut client = RawClient::connect(&server).await;
        for credential in [BEARER, API_KEY] {
            // Also where nobody looks at it.
            for path in [SAY_HELLO, RESET] {
                let answer = client.call(path, &[credential, OTHER]).await;
                assert_eq!(answer.grpc().code(), Code::Ok, "{name}");
                let stays = reached.last().headers.contains_key(credential.0);
                assert_eq!(stays, keeps.contains(&credential.0), "{name}: {}", credential.0);
                assert_eq!(reached.last_values("x-other"), ["stays"], "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_credential_that_nobody_reads_is_no_second_one() {
    let reads_authorization = Gate::builder()
        .authenticate(Scripted::accepting("scripted"))
        .authorize(Rules::new().authenticated(SAY_HELLO))
        .build()
        .expect("a gate");
    let reads_both = gate(Rules::new().authenticated(SAY_HELLO));
    for (gate, expected) in
        [(reads_authorization, refused(Code::Ok, "")), (reads_both, malformed())]
    {
        let (server, _) = behind(gate).await;
        let answer = RawClient::connect(&server).await.call(SAY_HELLO, &[BEARER, API_KEY]).await;
        assert_eq!(told_raw(&answer), expected);
    }
}

#[tokio::test]
async fn a_handler_asks_for_the_principal_and_is_told_when_there_is_none() {
    let rules = Rules::new().public(RESET).optional(SAY_HELLO);
    let (server, reached) = behind(gate(rules)).await;
    let mut client = RawClient::connect(&server).await;
    let principal = || reached.last_request().principal().cloned();

    client.call(SAY_HELLO, &[BEARER]).await;
    assert_eq!(principal().expect("known"), Principal::new("ci", StaticTokens::NAME));
    client.call(SAY_HELLO, &[]).await;
    assert_eq!(principal().expect_err("optional").code(), Code::Unauthenticated);
    // Public: nobody looked at the token, so it proves nobody.
    client.call(RESET, &[BEARER]).await;
    assert_eq!(principal().expect_err("public").code(), Code::Unauthenticated);

    // Without a gate it is the server's own mistake.
    let without = tonic::Request::new(());
    assert_eq!(without.principal().expect_err("no gate").code(), Code::Internal);
    assert_eq!(without.auth_context().expect_err("no gate").code(), Code::Internal);
    assert_eq!(without.peer_identity().expect_err("no listener").code(), Code::Internal);
}

/// tonic's own type for a TLS connection, which has no name without its TLS features.
type TlsConnectInfo =
    <tokio_rustls::server::TlsStream<tokio::net::TcpStream> as Connected>::ConnectInfo;

/// The client's certificates by tonic's own type, as its `peer_certs()` reads them.
fn tonics_certificates(request: &tonic::Request<()>) -> Option<usize> {
    request.extensions().get::<TlsConnectInfo>()?.peer_certs().map(|chain| chain.len())
}

#[tokio::test]
async fn tonics_own_connection_info_is_there_behind_a_gate_and_behind_its_layer_alone() {
    let ca = CertificateAuthority::new("test CA");
    let certificate = ca.client(&["spiffe://test/alice"]);
    let tls = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
        .client_certificates(ClientCertificates::optional(roots(&ca)))
        .build()
        .expect("server credentials");
    for (name, credentials) in [("TLS", tls), ("plaintext", ServerCredentials::insecure())] {
        let is_tls = name == "TLS";
        let mut seen = Vec::new();
        for layer in ["gate", "layer", "neither"] {
            let reached = Reached::default();
            let incoming = credentials.bind("127.0.0.1:0").await.expect("bound");
            let service = greeter(&reached);
            let server = match layer {
                "gate" => serve(incoming, gate(Rules::new().public("*")).layer(service)),
                "layer" => serve(incoming, PeerInfoLayer.layer(service)),
                _ => serve(incoming, service),
            };
            let channel = match is_tls {
                true => channel(&server, trusting(&ca).identity(identity(&certificate))).await,
                false => connect(server.http("localhost"), ChannelCredentials::insecure())
                    .await
                    .expect("connected"),
            };
            greet(&channel, &[]).await.expect("let in");
            let request = reached.last_request();
            let peer = request.peer_identity().expect("our listener's").clone();
            let PeerAddress::Tcp(address) = peer.address() else { panic!("{peer:?}") };
            assert_eq!(peer.spiffe_id().is_some(), is_tls, "{name}, {layer}");
            seen.push((
                layer,
                request.remote_addr() == Some(*address),
                tonics_certificates(&request),
            ));
        }
        let certificates = is_tls.then_some(1);
        let expected =
            [("gate", true, certificates), ("layer", true, certificates), ("neither", false, None)];
        assert_eq!(seen, expected, "{name}");
    }
}

#[tokio::test]
async fn over_a_plaintext_listener_that_is_not_ours_the_peer_is_unknown() {
    let logs = collect_logs();
    let reached = Reached::default();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
    let address: SocketAddr = incoming.local_addr().expect("an address");
    let gate = gate(Rules::new().authenticated(SAY_HELLO));
    let server = serve_on(Some(address), incoming, gate.layer(greeter(&reached)));
    let mut client = RawClient::connect(&server).await;

    assert_eq!(told_raw(&client.call(SAY_HELLO, &[]).await), missing());
    assert_eq!(logs.lines_with("peer=unknown").len(), 1, "{}", logs.text());
    assert_eq!(reached.count(), 0);

    // A token proves what it proves anywhere, and the connection nothing.
    assert_eq!(client.call(SAY_HELLO, &[BEARER]).await.grpc().code(), Code::Ok);
    let request = reached.last_request();
    let caller = request.auth_context().expect("a gate").caller().expect("known").clone();
    assert_eq!(caller.security_level(), SecurityLevel::NoSecurity);
    assert_eq!(request.peer_identity().expect_err("not ours").code(), Code::Internal);
    assert!(request.remote_addr().is_some(), "tonic's own is left as it was");
}

#[tokio::test]
async fn over_a_tls_listener_that_is_not_ours_a_verified_certificate_counts_for_nothing() {
    let ca = CertificateAuthority::new("test CA");
    let certificate = ca.client(&["spiffe://test/alice"]);
    let showing = || trusting(&ca).identity(identity(&certificate));
    let rules = || Rules::new().optional(SAY_HELLO);

    let reached = Reached::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let acceptor = tls_acceptor(&ca, &ca.server(&["localhost"]));
    let (connections, incoming) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            if connections.send(acceptor.accept(io).await).await.is_err() {
                return;
            }
        }
    });
    let incoming = tokio_stream::wrappers::ReceiverStream::new(incoming);
    let server = serve_on(Some(address), incoming, gate(rules()).layer(greeter(&reached)));
    let outcome = greet(&channel(&server, showing()).await, &[]).await;
    assert_eq!(told(&outcome), r#"passes as """#);
    // It was there, and verified by somebody whom the gate does not know.
    assert_eq!(tonics_certificates(&reached.last_request()), Some(1));

    let (server, _) = behind_tls(&ca, &gate(rules())).await;
    let outcome = greet(&channel(&server, showing()).await, &[]).await;
    assert_eq!(told(&outcome), r#"passes as "spiffe://test/alice""#);
}

/// Somebody else's TLS, which insists on certificates of this CA.
fn tls_acceptor(ca: &CertificateAuthority, server: &Certificate) -> tokio_rustls::TlsAcceptor {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut clients = rustls::RootCertStore::empty();
    clients.add(ca.certificate_der()).expect("a root");
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(clients),
        Arc::clone(&provider),
    );
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(server.chain_der(), server.key_der())
        .expect("a server");
    config.alpn_protocols = vec![b"h2".to_vec()];
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}
