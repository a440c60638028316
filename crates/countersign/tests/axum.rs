//! `axum::serve` over our listener.

mod server_support;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use countersign::{ClientCertificates, ConnectionInfo, Incoming, ServerCredentials};
use countersign_testkit::pki::CertificateAuthority;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use server_support::ports::ClosedPort;
use server_support::time::within;
use server_support::wire::{client_config, dial, last_words, showing, tls};
use server_support::{identity, roots};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Says who asks, and over what.
async fn who(ConnectInfo(info): ConnectInfo<ConnectionInfo>) -> String {
    let peer = info.peer();
    let protocol = peer.tls().and_then(|tls| tls.application_protocol.clone());
    format!(
        "{} {} {}",
        peer.address(),
        protocol.unwrap_or_default(),
        peer.spiffe_id().map(ToString::to_string).unwrap_or_default()
    )
}

/// A server that stops when the sender is dropped.
fn serve(incoming: Incoming) -> (oneshot::Sender<()>, JoinHandle<std::io::Result<()>>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let app = Router::new().route("/who", get(who));
    let server = axum::serve(incoming, app.into_make_service_with_connect_info::<ConnectionInfo>())
        .with_graceful_shutdown(async move { drop(stopped.await) });
    (stop, tokio::spawn(async move { server.await }))
}

/// What the handler says to a client with these settings.
async fn ask(address: SocketAddr, config: ClientConfig) -> (SocketAddr, String) {
    let io = dial(address).await;
    let from = io.local_addr().expect("an address");
    let io = tls(io, &Arc::new(config), "localhost").await.expect("TLS");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::get("https://localhost/who").body(Empty::<&[u8]>::new());
    let answer = within("an answer", sender.send_request(request.expect("a request"))).await;
    let body = answer.expect("an answer").into_body().collect().await.expect("a body");
    (from, String::from_utf8(body.to_bytes().into()).expect("text"))
}

fn credentials(ca: &CertificateAuthority, clients: ClientCertificates) -> ServerCredentials {
    ServerCredentials::tls(identity(&ca.server(&["localhost"])))
        .client_certificates(clients)
        .build()
        .expect("credentials")
}

#[tokio::test]
async fn axum_serves_http2_over_tls_and_its_handlers_know_the_peer() {
    let ca = CertificateAuthority::new("test CA");
    let credentials = credentials(&ca, ClientCertificates::optional(roots(&ca)));
    let port = ClosedPort::new();
    let incoming = credentials.accept(port.listen()).expect("a listener");
    let address = port.address();
    let (stop, served) = serve(incoming);

    let (from, said) = ask(address, client_config(&ca)).await;
    assert_eq!(said, format!("{from} h2 "));
    let alice = ca.client(&["spiffe://test/alice"]);
    let (from, said) = ask(address, showing(client_config(&ca), &alice)).await;
    assert_eq!(said, format!("{from} h2 spiffe://test/alice"));

    drop(stop);
    within("axum's server ends", served).await.expect("no panic").expect("served");
    let refused = TcpStream::connect(address).await.expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn axum_never_sees_a_client_without_the_certificate_that_is_required() {
    let ca = CertificateAuthority::new("test CA");
    let credentials = credentials(&ca, ClientCertificates::required(roots(&ca)));
    let incoming = credentials.bind("127.0.0.1:0").await.expect("bound");
    let address = incoming.local_addr().expect("an address");
    let (_stop, _served) = serve(incoming);

    let config = Arc::new(client_config(&ca));
    // With TLS 1.3 the client believes that it is in until it reads.
    let mut io = tls(dial(address).await, &config, "localhost").await.expect("TLS");
    assert_eq!(last_words(&mut io).await, b"");
    let alice = ca.client(&["spiffe://test/alice"]);
    let (from, said) = ask(address, showing(client_config(&ca), &alice)).await;
    assert_eq!(said, format!("{from} h2 spiffe://test/alice"));
}

#[tokio::test]
async fn axum_serves_http1_where_it_is_allowed() {
    let ca = CertificateAuthority::new("test CA");
    let credentials = credentials(&ca, ClientCertificates::none());
    let mut config = client_config(&ca);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    for (credentials, served) in [(credentials.clone(), false), (credentials.allow_http1(), true)] {
        let incoming = credentials.bind("127.0.0.1:0").await.expect("bound");
        let address = incoming.local_addr().expect("an address");
        let (_stop, _served) = serve(incoming);
        let io = dial(address).await;
        let from = io.local_addr().expect("an address");
        let handshake = tls(io, &config, "localhost").await;
        assert_eq!(handshake.is_ok(), served);
        let Ok(mut io) = handshake else { continue };
        let request = b"GET /who HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        io.write_all(request).await.expect("written");
        let told = String::from_utf8(last_words(&mut io).await).expect("text");
        assert!(told.starts_with("HTTP/1.1 200 OK\r\n"), "{told}");
        assert!(told.ends_with(&format!("\r\n\r\n{from} http/1.1 ")), "{told}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn axum_serves_a_unix_socket() {
    use axum::serve::Listener;
    use countersign::identity::PeerAddress;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let incoming = ServerCredentials::local().bind_unix(&path).expect("bound");
    let address = Listener::local_addr(&incoming).expect("what is known of it");
    assert_eq!(address, PeerAddress::Unknown);
    let (_stop, _served) = serve(incoming);
    let io = tokio::net::UnixStream::connect(&path).await.expect("connected");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = http::Request::get("http://localhost/who").body(Empty::<&[u8]>::new());
    let answer = within("an answer", sender.send_request(request.expect("a request"))).await;
    let body = answer.expect("an answer").into_body().collect().await.expect("a body").to_bytes();
    assert!(body.starts_with(b"unix:uid="), "{body:?}");
}
