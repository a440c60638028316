//! Each way in which a connection fails, as both ends read it, with TLS 1.2 and 1.3.

#[path = "support/ports.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod ports;

use std::time::Duration;

use countersign::tls::{HandshakeResult, TlsVersion};
use countersign::{
    ChannelCredentials, ClientCertificates, ClientTls, ConnectError, ConnectStage, Identity,
    Incoming, RootCertificates, ServerCredentials, ServerLimits, connect,
};
use countersign_testkit::greeter::TestServer;
use countersign_testkit::logs::Logs;
use countersign_testkit::pki::{Certificate, CertificateAuthority};
use countersign_testkit::wait::until;
use ports::ClosedPort;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const VERSIONS: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];

fn identity(certificate: &Certificate) -> Identity {
    Identity::from_pem(certificate.chain_pem(), certificate.key_pem())
}

fn roots(ca: &CertificateAuthority) -> RootCertificates {
    RootCertificates::from_pem(ca.certificate_pem())
}

fn client(ca: &CertificateAuthority) -> ClientTls {
    ClientTls::only_roots(roots(ca))
}

/// A TLS server in this version with this certificate.
async fn serve(
    certificate: &Certificate,
    version: TlsVersion,
    clients: ClientCertificates,
) -> (TestServer, ServerCredentials) {
    let credentials = ServerCredentials::tls(identity(certificate))
        .client_certificates(clients)
        .versions([version])
        .build()
        .expect("server credentials");
    let incoming = bind(&credentials).await;
    (TestServer::start(incoming, None), credentials)
}

async fn bind(credentials: &ServerCredentials) -> Incoming {
    credentials.bind("127.0.0.1:0").await.expect("bound")
}

async fn refused(target: String, tls: ClientTls) -> ConnectError {
    let outcome = connect(target, ChannelCredentials::tls(tls)).await;
    outcome.map(|_| "connected").expect_err("the connection fails")
}

/// What a row of the table expects.
struct Expected {
    code: &'static str,
    stage: ConnectStage,
    permanent: bool,
    /// Parts of the sentence that the client's user reads.
    says: &'static [&'static str],
    /// What the server counts.
    server: HandshakeResult,
    /// What the server's operator reads.
    log: &'static str,
}

/// Waits until the server has judged the handshake, which may be after the client has.
async fn counted(credentials: &ServerCredentials, result: HandshakeResult) {
    until(result.as_str(), || credentials.handshakes().get(result) > 0).await;
}

async fn check(
    name: &str,
    error: &ConnectError,
    expected: &Expected,
    credentials: &ServerCredentials,
    logs: &Logs,
) {
    assert_eq!(error.code(), expected.code, "{name}: {error}");
    assert_eq!(error.stage(), expected.stage, "{name}: {error}");
    assert_eq!(error.is_permanent(), expected.permanent, "{name}: {error}");
    for part in expected.says {
        assert!(error.to_string().contains(part), "{name}: {part:?} is not in: {error}");
    }
    assert!(!error.help().is_empty(), "{name}");
    counted(credentials, expected.server).await;
    let warned = logs.lines_with("WARN").iter().any(|line| line.contains(expected.log));
    assert!(warned, "{name}: {:?} is not in:\n{}", expected.log, logs.text());
}

#[tokio::test]
async fn a_good_certificate_connects() {
    let ca = CertificateAuthority::new("test CA");
    for version in VERSIONS {
        let (server, credentials) =
            serve(&ca.server(&["localhost"]), version, ClientCertificates::none()).await;
        connect(server.https("localhost"), ChannelCredentials::tls(client(&ca)))
            .await
            .expect("connected");
        counted(&credentials, HandshakeResult::Success).await;
    }
}

#[tokio::test]
async fn an_unknown_ca_is_named_with_its_issuer_and_what_is_trusted() {
    let (ca, other) = (CertificateAuthority::new("test CA"), CertificateAuthority::new("other CA"));
    for version in VERSIONS {
        let logs = Logs::collect();
        let (server, credentials) =
            serve(&ca.server(&["localhost"]), version, ClientCertificates::none()).await;
        let error = refused(server.https("localhost"), client(&other)).await;
        let expected = Expected {
            code: "TLS_UNKNOWN_ISSUER",
            stage: ConnectStage::Tls,
            permanent: true,
            says: &[
                "not signed by a CA you trust",
                "CN=test CA",
                "1 root from PEM bytes",
                "only_roots",
            ],
            server: HandshakeResult::CertificateAuthorityInvalid,
            log: "does not trust the CA of our certificate",
        };
        check("unknown CA", &error, &expected, &credentials, &logs).await;
    }
}

#[tokio::test]
async fn a_ca_that_was_made_anew_is_told_from_one_that_was_never_known() {
    let (ca, anew) = (CertificateAuthority::new("test CA"), CertificateAuthority::new("test CA"));
    let old = anew.client(&["spiffe://test/alice"]);
    for version in VERSIONS {
        let required = ClientCertificates::required(roots(&ca));
        let (server, _) = serve(&ca.server(&["localhost"]), version, required).await;
        let error = refused(server.https("localhost"), client(&anew)).await;
        assert_eq!(error.code(), "TLS_UNKNOWN_ISSUER", "{error}");
        assert!(error.to_string().contains("its key is another one"), "{error}");

        let tls = client(&ca).identity(identity(&old));
        let error = refused(server.https("localhost"), tls).await;
        assert_eq!(error.code(), "TLS_CLIENT_CERTIFICATE_REFUSED", "{error}");
        assert!(error.to_string().contains("made anew"), "{error}");
    }
}

#[tokio::test]
async fn a_wrong_name_lists_the_right_ones() {
    let ca = CertificateAuthority::new("test CA");
    for version in VERSIONS {
        let logs = Logs::collect();
        let (server, credentials) =
            serve(&ca.server(&["orders.example"]), version, ClientCertificates::none()).await;
        let error = refused(server.https("localhost"), client(&ca)).await;
        let expected = Expected {
            code: "TLS_NAME_MISMATCH",
            stage: ConnectStage::Tls,
            permanent: true,
            says: &["is for orders.example and not for localhost", "dial one of: orders.example"],
            server: HandshakeResult::CertificateVerificationFailed,
            log: "refused our certificate",
        };
        check("wrong name", &error, &expected, &credentials, &logs).await;
    }
}

#[tokio::test]
async fn dialling_by_an_address_that_is_not_in_the_certificate_says_so() {
    let ca = CertificateAuthority::new("test CA");
    for version in VERSIONS {
        let (server, _) =
            serve(&ca.server(&["localhost"]), version, ClientCertificates::none()).await;
        let error = refused(server.https("127.0.0.1"), client(&ca)).await;
        assert_eq!(error.code(), "TLS_NAME_MISMATCH");
        assert!(error.to_string().contains("dialled by the address 127.0.0.1"), "{error}");

        let named = ca.server(&["localhost", "127.0.0.1"]);
        let (server, _) = serve(&named, version, ClientCertificates::none()).await;
        connect(server.https("127.0.0.1"), ChannelCredentials::tls(client(&ca)))
            .await
            .expect("an address in the certificate connects");
    }
}

#[tokio::test]
async fn expired_and_not_yet_valid_are_told_apart_with_dates() {
    let ca = CertificateAuthority::new("test CA");
    for version in VERSIONS {
        let logs = Logs::collect();
        let expired = ca.issue().dns("localhost").for_server().expired().build();
        let (server, credentials) = serve(&expired, version, ClientCertificates::none()).await;
        let error = refused(server.https("localhost"), client(&ca)).await;
        let expected = Expected {
            code: "TLS_CERTIFICATE_EXPIRED",
            stage: ConnectStage::Tls,
            permanent: true,
            says: &["expired", "ago, at 20", "this clock says 20", "Z"],
            server: HandshakeResult::CertificateExpired,
            log: "says that our certificate is expired",
        };
        check("expired", &error, &expected, &credentials, &logs).await;

        let early = ca.issue().dns("localhost").for_server().not_yet_valid().build();
        let (server, _) = serve(&early, version, ClientCertificates::none()).await;
        let error = refused(server.https("localhost"), client(&ca)).await;
        assert_eq!(error.code(), "TLS_CERTIFICATE_NOT_YET_VALID");
        assert!(!error.is_permanent(), "time heals it");
        assert!(error.to_string().contains("is not valid for another"), "{error}");
    }
}

#[tokio::test]
async fn a_ca_certificate_used_as_a_leaf_is_named() {
    let ca = CertificateAuthority::new("test CA");
    for version in VERSIONS {
        let certificate = ca.issue().dns("localhost").for_server().as_ca().build();
        let (server, _) = serve(&certificate, version, ClientCertificates::none()).await;
        let error = refused(server.https("localhost"), client(&ca)).await;
        assert_eq!(error.code(), "TLS_CA_USED_AS_LEAF", "{error}");
        assert!(error.help().contains("countersign pki issue"), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_for_clients_is_no_servers() {
    let ca = CertificateAuthority::new("test CA");
    for version in VERSIONS {
        let certificate = ca.issue().dns("localhost").for_client().build();
        let (server, _) = serve(&certificate, version, ClientCertificates::none()).await;
        let error = refused(server.https("localhost"), client(&ca)).await;
        assert_eq!(error.code(), "TLS_WRONG_PURPOSE", "{error}");
    }
}

#[tokio::test]
async fn no_roots_and_garbage_roots_fail_when_they_are_loaded_and_name_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let garbage = folder.path().join("garbage.pem");
    std::fs::write(&garbage, "this is not PEM").expect("written");
    let key_only = folder.path().join("key.pem");
    let ca = CertificateAuthority::new("test CA");
    std::fs::write(&key_only, ca.server(&["localhost"]).key_pem()).expect("written");
    let missing = folder.path().join("missing.pem");
    let broken = folder.path().join("broken.pem");
    let half = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&broken, format!("{}{half}", ca.certificate_pem())).expect("written");

    for (file, says) in [
        (&garbage, "holds no certificate"),
        (&key_only, "holds no certificate"),
        (&missing, "cannot read"),
        (&broken, "certificate 2"),
    ] {
        let tls = ClientTls::only_roots(RootCertificates::from_pem_file(file));
        let early = tls.check().expect_err("refused when loaded").to_string();
        let error = refused("https://localhost:1".to_owned(), tls).await;
        for text in [early, error.to_string()] {
            assert!(text.contains(says), "{says:?} is not in: {text}");
            assert!(text.contains(&file.display().to_string()), "no file in: {text}");
        }
        assert_eq!(error.code(), "CREDENTIALS_UNUSABLE");
        assert_eq!(error.stage(), ConnectStage::Configure);
        assert!(error.is_permanent());
    }
    let none = ClientTls::only_roots(RootCertificates::default());
    let error = refused("https://localhost:1".to_owned(), none).await;
    assert!(error.to_string().contains("no root certificates to trust"), "{error}");
}

#[tokio::test]
async fn plaintext_to_a_tls_port_is_named_at_both_ends() {
    let ca = CertificateAuthority::new("test CA");
    for version in VERSIONS {
        let logs = Logs::collect();
        let (server, _) =
            serve(&ca.server(&["localhost"]), version, ClientCertificates::none()).await;
        let error = connect(server.http("localhost"), ChannelCredentials::insecure())
            .await
            .map(|_| "connected")
            .expect_err("the connection fails");
        assert_eq!(error.code(), "HTTP2_SERVER_SPEAKS_TLS", "{error}");
        assert_eq!(error.stage(), ConnectStage::Http2);
        assert!(error.is_permanent());
        assert!(error.to_string().contains("https://"), "{error}");
        assert_eq!(logs.lines_with("plaintext gRPC on a TLS port").len(), 1, "{}", logs.text());
    }
}

#[tokio::test]
async fn plaintext_http1_to_a_tls_port_gets_an_http1_answer() {
    let ca = CertificateAuthority::new("test CA");
    let logs = Logs::collect();
    let (server, _) =
        serve(&ca.server(&["localhost"]), TlsVersion::Tls13, ClientCertificates::none()).await;
    let mut io = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
    io.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("written");
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.expect("an answer and the end");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("this port speaks TLS"), "{answer}");
    assert_eq!(logs.lines_with("plaintext HTTP/1 on a TLS port").len(), 1, "{}", logs.text());
}

#[tokio::test]
async fn tls_to_a_plaintext_port_is_named_at_both_ends() {
    let ca = CertificateAuthority::new("test CA");
    for version in VERSIONS {
        let logs = Logs::collect();
        let server = TestServer::start(bind(&ServerCredentials::insecure()).await, None);
        let error = refused(server.https("localhost"), client(&ca).versions([version])).await;
        assert_eq!(error.code(), "TLS_SERVER_IS_PLAINTEXT", "{error}");
        assert!(error.is_permanent());
        assert!(error.to_string().contains("http://"), "{error}");
        assert_eq!(logs.lines_with("TLS on a plaintext port").len(), 1, "{}", logs.text());
    }
}

#[tokio::test]
async fn missing_foreign_and_expired_client_certificates_are_named_at_both_ends() {
    let ca = CertificateAuthority::new("test CA");
    let clients = CertificateAuthority::new("clients CA");
    let foreign = CertificateAuthority::new("foreign CA");
    let good = clients.client(&["spiffe://test/alice"]);
    let expired = clients.issue().uri("spiffe://test/alice").for_client().expired().build();
    let stranger = foreign.client(&["spiffe://test/alice"]);

    let rows = [
        (
            "missing",
            None,
            Expected {
                code: "TLS_CLIENT_CERTIFICATE_REQUIRED",
                stage: ConnectStage::Tls,
                permanent: true,
                says: &["requires a client certificate", "ClientTls::identity"],
                server: HandshakeResult::CertificateVerificationFailed,
                log: "the client showed no certificate and one is required",
            },
        ),
        (
            "foreign",
            Some(&stranger),
            Expected {
                code: "TLS_CLIENT_CERTIFICATE_UNKNOWN_ISSUER",
                stage: ConnectStage::Tls,
                permanent: true,
                says: &["rejected our client certificate", "does not know the CA"],
                server: HandshakeResult::CertificateAuthorityInvalid,
                log: "the client's certificate is not signed by a CA for clients",
            },
        ),
        (
            "expired",
            Some(&expired),
            Expected {
                code: "TLS_CLIENT_CERTIFICATE_EXPIRED",
                stage: ConnectStage::Tls,
                permanent: true,
                says: &["rejected our client certificate", "expired"],
                server: HandshakeResult::CertificateExpired,
                log: "the client's certificate expired",
            },
        ),
    ];
    for version in VERSIONS {
        for (name, certificate, expected) in &rows {
            let logs = Logs::collect();
            let required = ClientCertificates::required(roots(&clients));
            let (server, credentials) = serve(&ca.server(&["localhost"]), version, required).await;
            let mut tls = client(&ca);
            if let Some(certificate) = certificate {
                tls = tls.identity(identity(certificate));
            }
            let error = refused(server.https("localhost"), tls).await;
            check(name, &error, expected, &credentials, &logs).await;
        }
        let required = ClientCertificates::required(roots(&clients));
        let (server, _) = serve(&ca.server(&["localhost"]), version, required).await;
        let tls = client(&ca).identity(identity(&good));
        connect(server.https("localhost"), ChannelCredentials::tls(tls))
            .await
            .expect("the right certificate connects");
    }
}

#[tokio::test]
async fn a_silent_port_ends_in_a_timeout_at_the_client() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let ca = CertificateAuthority::new("test CA");
    let short = Duration::from_millis(200);

    let tls = ChannelCredentials::tls(client(&ca));
    let error = countersign::Channel::builder(format!("https://localhost:{port}"), tls)
        .handshake_timeout(short)
        .connect()
        .await
        .map(|_| "connected")
        .expect_err("nobody answers");
    assert_eq!((error.code(), error.is_permanent()), ("TLS_TIMEOUT", false), "{error}");

    let plain = ChannelCredentials::insecure();
    let error = countersign::Channel::builder(format!("http://localhost:{port}"), plain)
        .handshake_timeout(short)
        .connect()
        .await
        .map(|_| "connected")
        .expect_err("nobody answers");
    assert_eq!((error.code(), error.stage()), ("HTTP2_TIMEOUT", ConnectStage::Http2), "{error}");
}

#[tokio::test]
async fn a_silent_port_is_given_no_more_than_the_time_that_connecting_has_and_the_error_says_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let port = listener.local_addr().expect("an address").port();
    let ca = CertificateAuthority::new("test CA");
    let error_of = async |builder: countersign::ChannelBuilder| {
        let connecting = builder.connect_timeout(Duration::from_millis(200)).connect();
        connecting.await.map(|_| "connected").expect_err("nobody answers").to_string()
    };
    let tls = ChannelCredentials::tls(client(&ca));
    let tls = countersign::Channel::builder(format!("https://localhost:{port}"), tls);
    let plain = ChannelCredentials::insecure();
    let plain = countersign::Channel::builder(format!("http://localhost:{port}"), plain);
    for error in [error_of(tls).await, error_of(plain).await] {
        assert!(error.contains("_TIMEOUT]") && error.contains("ms"), "{error}");
        assert!(!error.contains("10s"), "it waited for 200 ms at most: {error}");
    }
}

#[tokio::test]
async fn a_silent_client_is_cut_at_the_deadline() {
    let ca = CertificateAuthority::new("test CA");
    let logs = Logs::collect();
    let credentials = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
        .build()
        .expect("server credentials")
        .limits(ServerLimits::default().handshake_timeout(Duration::from_millis(100)));
    let server = TestServer::start(bind(&credentials).await, None);
    let mut silent = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
    let mut half = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
    half.write_all(&[0x16, 3, 1, 2, 0]).await.expect("half a record");
    for io in [&mut silent, &mut half] {
        assert_eq!(io.read(&mut [0; 16]).await.unwrap_or(0), 0, "the server hangs up");
    }
    assert_eq!(credentials.handshakes().get(HandshakeResult::HandshakeTimeout), 2);
    assert_eq!(logs.lines_with("said nothing for 100ms").len(), 2, "{}", logs.text());
}

#[tokio::test]
async fn nobody_listening_and_an_unknown_name_are_told_apart() {
    let port = ClosedPort::new();
    let ca = CertificateAuthority::new("test CA");
    let error = refused(format!("https://{}", port.address()), client(&ca)).await;
    assert_eq!((error.code(), error.stage()), ("DIAL_REFUSED", ConnectStage::Dial), "{error}");
    let error = refused("https://no-such-host.invalid".to_owned(), client(&ca)).await;
    assert_eq!((error.code(), error.stage()), ("RESOLVE_FAILED", ConnectStage::Resolve), "{error}");
    assert!(!error.is_permanent());
}

#[tokio::test]
async fn other_protocols_than_http2_are_named() {
    for (greeting, code) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HTTP2_NOT_SPOKEN"),
        (b"220 mail.example ESMTP ready\r\n", "HTTP2_NOT_SPOKEN"),
        (b"", "HTTP2_CLOSED_EARLY"),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let answered = tokio::spawn(async move {
            let (mut io, _) = listener.accept().await.expect("accepted");
            let _ = io.read(&mut [0; 1024]).await;
            io.write_all(greeting).await.expect("written");
            // Hangs up in order: what was sent arrives.
            io.shutdown().await.expect("shut down");
            while io.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
        });
        let target = format!("http://127.0.0.1:{port}");
        let error = connect(target, ChannelCredentials::insecure())
            .await
            .map(|_| "connected")
            .expect_err("not HTTP/2");
        assert_eq!(error.code(), code, "{error}");
        answered.await.expect("answered");
    }
}

#[tokio::test]
async fn a_server_that_agrees_on_no_protocol_is_refused_unless_it_is_let_in_by_name() {
    use std::sync::Arc;
    let ca = CertificateAuthority::new("test CA");
    let certificate = ca.server(&["localhost"]);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(certificate.chain_der(), certificate.key_der())
        .expect("a server without ALPN");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let target = format!("https://localhost:{}", listener.local_addr().expect("address").port());
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            if let Ok(io) = acceptor.accept(io).await {
                let io = hyper_util::rt::TokioIo::new(io);
                let service = hyper::service::service_fn(|_| async {
                    Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
                });
                let executor = hyper_util::rt::TokioExecutor::new();
                tokio::spawn(
                    hyper::server::conn::http2::Builder::new(executor)
                        .serve_connection(io, service),
                );
            }
        }
    });
    let error = refused(target.clone(), client(&ca)).await;
    assert_eq!((error.code(), error.stage()), ("ALPN_NO_H2", ConnectStage::Alpn), "{error}");
    let tolerant = countersign::danger::allow_servers_without_alpn(client(&ca));
    connect(target, ChannelCredentials::tls(tolerant)).await.expect("let in by name");
}
