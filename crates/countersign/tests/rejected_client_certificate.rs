//! Under TLS 1.3 a client has finished its handshake before the server has judged its
//! certificate. Whoever was rejected is told so all the same, every single time.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use countersign::tls::{HandshakeResult, TlsVersion};
use countersign::{
    ChannelCredentials, ClientCertificates, ClientTls, ConnectStage, ServerCredentials, connect,
};
use countersign_testkit::greeter::TestServer;
use countersign_testkit::pki::{Certificate, CertificateAuthority};
use countersign_testkit::wait::until;
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use support::{identity, roots};

const CONNECTIONS: usize = 1_000;
const AT_THE_SAME_TIME: usize = 16;

const MISSING: &str = "TLS_CLIENT_CERTIFICATE_REQUIRED";
const FOREIGN: &str = "TLS_CLIENT_CERTIFICATE_UNKNOWN_ISSUER";

/// A server's certificate, and clients that it knows and does not know.
struct Parties {
    ca: CertificateAuthority,
    clients: CertificateAuthority,
    server: Certificate,
    known: Certificate,
    foreign: Certificate,
}

impl Parties {
    fn new() -> Self {
        let ca = CertificateAuthority::new("test CA");
        let clients = CertificateAuthority::new("clients CA");
        let (server, known) = (ca.server(&["127.0.0.1"]), clients.client(&["spiffe://test/a"]));
        let foreign = CertificateAuthority::new("foreign CA").client(&["spiffe://test/a"]);
        Self { ca, clients, server, known, foreign }
    }

    fn showing(&self, certificate: Option<&Certificate>) -> ClientTls {
        let tls = ClientTls::only_roots(roots(&self.ca)).versions([TlsVersion::Tls13]);
        match certificate {
            Some(certificate) => tls.identity(identity(certificate)),
            None => tls,
        }
    }
}

/// How so many connections ended: code and stage, or `connected`, and how often.
async fn outcomes(address: SocketAddr, tls: &ClientTls, connections: usize) -> Outcomes {
    let target = format!("https://{address}");
    let begun = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..AT_THE_SAME_TIME {
        let (begun, target, tls) = (Arc::clone(&begun), target.clone(), tls.clone());
        workers.spawn(async move {
            let mut ended = Vec::new();
            while begun.fetch_add(1, Ordering::Relaxed) < connections {
                let credentials = ChannelCredentials::tls(tls.clone());
                ended.push(match connect(&target, credentials).await {
                    Ok(_) => ("connected", None),
                    Err(error) => (error.code(), Some(error.stage())),
                });
            }
            ended
        });
    }
    let mut counts = BTreeMap::new();
    for outcome in workers.join_all().await.into_iter().flatten() {
        *counts.entry(outcome).or_default() += 1;
    }
    counts
}

type Outcomes = BTreeMap<(&'static str, Option<ConnectStage>), usize>;

/// Every one of a thousand is told the exact reason.
fn are_all_told(outcomes: Outcomes, code: &'static str) {
    assert_eq!(outcomes, BTreeMap::from([((code, Some(ConnectStage::Tls)), CONNECTIONS)]));
}

async fn the_known_connect(address: SocketAddr, parties: &Parties) {
    let outcomes = outcomes(address, &parties.showing(Some(&parties.known)), 100).await;
    assert_eq!(outcomes, BTreeMap::from([(("connected", None), 100)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_server_tells_each_of_a_thousand_rejected_clients_why() {
    let parties = Parties::new();
    let credentials = ServerCredentials::tls(identity(&parties.server))
        .client_certificates(ClientCertificates::required(roots(&parties.clients)))
        .build()
        .expect("server credentials");
    let server = TestServer::start(credentials.bind("127.0.0.1:0").await.expect("bound"), None);
    for (certificate, code) in [(None, MISSING), (Some(&parties.foreign), FOREIGN)] {
        let tls = parties.showing(certificate);
        are_all_told(outcomes(server.address(), &tls, CONNECTIONS).await, code);
    }
    the_known_connect(server.address(), &parties).await;

    let thousand = u64::try_from(CONNECTIONS).expect("a number");
    let all = [
        (HandshakeResult::CertificateVerificationFailed, thousand),
        (HandshakeResult::CertificateAuthorityInvalid, thousand),
        (HandshakeResult::Success, 100),
    ];
    for (result, count) in all {
        // The client may hear of it before the server has counted it.
        let counted = || credentials.handshakes().get(result);
        until(result.as_str(), || counted() >= count).await;
        assert_eq!(counted(), count, "{result:?}");
    }
}

/// A server that drops a connection as soon as its handshake has failed, whatever the client
/// has sent meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_drops_the_rejected_at_once_tells_each_of_a_thousand_why() {
    let parties = Parties::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address");
    let _accepting = AbortOnDropHandle::new(tokio::spawn(accept(listener, config(&parties))));
    for (certificate, code) in [(None, MISSING), (Some(&parties.foreign), FOREIGN)] {
        let outcomes = outcomes(address, &parties.showing(certificate), CONNECTIONS).await;
        if cfg!(target_os = "linux") {
            are_all_told(outcomes, code);
            continue;
        }
        // Elsewhere the reset may overtake the alert, and then the reason is lost.
        let stages = [Some(ConnectStage::Tls), Some(ConnectStage::Http2)];
        assert!(outcomes.keys().all(|(_, stage)| stages.contains(stage)), "{outcomes:?}");
    }
    the_known_connect(address, &parties).await;
}

fn config(parties: &Parties) -> rustls::ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut known = rustls::RootCertStore::empty();
    known.add(parties.clients.certificate_der()).expect("a root");
    let verifier = WebPkiClientVerifier::builder_with_provider(known.into(), Arc::clone(&provider));
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(parties.server.chain_der(), parties.server.key_der())
        .expect("a certificate");
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

async fn accept(listener: TcpListener, config: rustls::ServerConfig) {
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    while let Ok((io, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // An error drops the socket.
            if let Ok(io) = acceptor.accept(io).await {
                let mut connection = h2::server::handshake(io).await.expect("HTTP/2");
                while let Some(Ok(_)) = connection.accept().await {}
            }
        });
    }
}
