//! Requests of our own: to whom, what they may cost, and what their failures say.

#[cfg(unix)]
#[path = "support/pipe.rs"]
mod pipe;
#[path = "support/ports.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod ports;
#[path = "support/time.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod time;

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use countersign::fetch::{FetchError, FetchLimits, HttpClient, HttpsClient};
use countersign::tls::{TlsFailure, TlsFailureKind};
use countersign::{ClientTls, Identity, RootCertificates};
use countersign_testkit::pki::{Certificate, CertificateAuthority};
use countersign_testkit::wait::until;
use http::{Method, Request, Response, StatusCode};
#[cfg(unix)]
use pipe::Pipe;
use ports::ClosedPort;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::StoppedTime;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// What a server says to each request, and what it does then.
#[derive(Clone)]
enum Script {
    /// Says it and closes.
    Say(Vec<u8>),
    /// Says it and keeps the connection.
    SayAndStay(Vec<u8>),
    /// Says it, and then one byte a second for ever.
    Drip(Vec<u8>),
    /// Closes the connection instead of reading.
    HangUp,
}

/// A server with a script.
struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<String>>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Server {
    async fn plain(script: Script) -> Self {
        Self::start(script, None).await
    }

    async fn tls(script: Script, config: ServerConfig) -> Self {
        Self::start(script, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn start(script: Script, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let closed = Arc::new(AtomicUsize::new(0));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let counts = (Arc::clone(&accepted), Arc::clone(&closed), Arc::clone(&heard));
        let accepting = tokio::spawn(async move {
            let (accepted, closed, heard) = counts;
            let mut open = tokio::task::JoinSet::new();
            while let Ok((io, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let (script, tls) = (script.clone(), tls.clone());
                let (closed, heard) = (Arc::clone(&closed), Arc::clone(&heard));
                open.spawn(async move {
                    match tls {
                        None => play(io, script, &heard).await,
                        Some(tls) => {
                            if let Ok(io) = tls.accept(io).await {
                                play(io, script, &heard).await;
                            }
                        }
                    }
                    closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        let accepting = AbortOnDropHandle::new(accepting);
        Self { address, accepted, closed, heard, _accepting: accepting }
    }

    fn url(&self, scheme: &str, host: &str) -> String {
        format!("{scheme}://{host}:{}/keys?tenant=hunter2", self.address.port())
    }

    fn http(&self) -> String {
        self.url("http", "127.0.0.1")
    }

    fn https(&self) -> String {
        self.url("https", "localhost")
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }

    async fn heard(&self) -> String {
        self.heard.lock().await.concat()
    }
}

async fn play<S>(mut io: S, script: Script, heard: &Mutex<Vec<String>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (first, drips, stays) = match script {
        Script::HangUp => return,
        Script::Say(bytes) => (bytes, false, false),
        Script::SayAndStay(bytes) => (bytes, false, true),
        Script::Drip(bytes) => (bytes, true, true),
    };
    let mut request = Vec::new();
    // A ClientHello (22) is as good as a whole request: who speaks TLS hears plaintext.
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.first() != Some(&22) {
        let mut more = [0; 4096];
        match io.read(&mut more).await {
            Ok(0) | Err(_) => return,
            Ok(read) => request.extend_from_slice(&more[..read]),
        }
    }
    heard.lock().await.push(String::from_utf8_lossy(&request).into_owned());
    if io.write_all(&first).await.is_err() || io.flush().await.is_err() {
        return;
    }
    let (mut reader, mut writer) = tokio::io::split(io);
    if drips {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            let mut byte = [0];
            tokio::select! {
                _ = reader.read(&mut byte) => return,
                _ = second.tick() => if writer.write_all(b"x").await.is_err() { return },
            }
        }
    }
    if stays {
        while reader.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
    }
    let _ = writer.shutdown().await;
}

fn answer(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn server_config(
    certificate: &Certificate,
    clients: Option<&CertificateAuthority>,
) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = CertificateDer::pem_slice_iter(certificate.chain_pem().as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem().as_bytes()).expect("a key");
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(ca.certificate_der()).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let mut config = builder.with_single_cert(chain, key).expect("a certificate");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

fn trusting(ca: &CertificateAuthority) -> ClientTls {
    ClientTls::only_roots(RootCertificates::from_pem(ca.certificate_pem()))
}

/// For servers without TLS: its trust is never looked at.
fn plain_client() -> HttpsClient {
    HttpsClient::new(ClientTls::only_roots(RootCertificates::from_pem("")))
}

fn get(url: &str) -> Request<Bytes> {
    let builder = Request::get(url).header("authorization", "Bearer hunter2");
    builder.body(Bytes::new()).expect("a request")
}

async fn fetch(client: &HttpsClient, url: &str) -> Result<Response<Bytes>, FetchError> {
    let answer = client.send(get(url), FetchLimits::default()).await;
    if let Err(error) = &answer {
        let mut told = format!("{error} {error:?}");
        let mut next = error.source();
        while let Some(cause) = next {
            told += &format!(" {cause} {cause:?}");
            next = cause.source();
        }
        assert!(!told.contains("hunter2"), "{told}");
    }
    answer
}

/// The kind of TLS failure behind an error.
fn tls_failure(error: &FetchError) -> Option<TlsFailureKind> {
    Some(error.source()?.downcast_ref::<TlsFailure>()?.kind())
}

#[tokio::test]
async fn an_https_answer_is_read_whole() {
    let ca = CertificateAuthority::new("test CA");
    let config = server_config(&ca.server(&["localhost"]), None);
    let server = Server::tls(Script::Say(answer("some keys")), config).await;
    let client = HttpsClient::new(trusting(&ca));
    let answer = fetch(&client, &server.https()).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.body(), "some keys");
    let heard = server.heard().await.to_ascii_lowercase();
    assert!(heard.starts_with("get /keys?tenant=hunter2 http/1.1\r\n"), "{heard}");
    assert!(
        heard.contains(&format!("\r\nhost: localhost:{}\r\n", server.address.port())),
        "{heard}"
    );
    assert!(heard.contains("\r\nauthorization: bearer hunter2\r\n"), "{heard}");
}

#[tokio::test]
async fn a_body_is_sent_with_its_length_and_a_foreign_host_header_is_not() {
    let server = Server::plain(Script::Say(answer("{}"))).await;
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://127.0.0.1:{}", server.address.port()))
        .header("host", "elsewhere.example")
        .body(Bytes::from_static(b"token=x"))
        .expect("a request");
    plain_client().send(request, FetchLimits::default()).await.expect("an answer");
    let heard = server.heard().await.to_ascii_lowercase();
    assert!(heard.starts_with("post / http/1.1\r\n"), "{heard}");
    assert!(heard.contains("\r\ncontent-length: 7\r\n"), "{heard}");
    assert!(!heard.contains("elsewhere"), "{heard}");
}

#[tokio::test]
async fn a_server_of_another_ca_is_not_asked() {
    let (ca, other) = (CertificateAuthority::new("test CA"), CertificateAuthority::new("other CA"));
    let config = server_config(&other.server(&["localhost"]), None);
    let server = Server::tls(Script::Say(answer("{}")), config).await;
    let error =
        fetch(&HttpsClient::new(trusting(&ca)), &server.https()).await.expect_err("refused");
    assert_eq!(tls_failure(&error), Some(TlsFailureKind::UnknownIssuer), "{error:?}");
    assert_eq!(server.heard().await, "");
}

#[tokio::test]
async fn a_server_of_another_name_is_not_asked() {
    let ca = CertificateAuthority::new("test CA");
    let config = server_config(&ca.server(&["id.example"]), None);
    let server = Server::tls(Script::Say(answer("{}")), config).await;
    let error =
        fetch(&HttpsClient::new(trusting(&ca)), &server.https()).await.expect_err("refused");
    assert_eq!(tls_failure(&error), Some(TlsFailureKind::NameMismatch), "{error:?}");
    assert_eq!(server.heard().await, "");
}

#[tokio::test]
async fn a_server_without_tls_is_not_asked_over_https() {
    let ca = CertificateAuthority::new("test CA");
    let server = Server::plain(Script::Say(answer("{}"))).await;
    let error =
        fetch(&HttpsClient::new(trusting(&ca)), &server.https()).await.expect_err("refused");
    assert_eq!(tls_failure(&error), Some(TlsFailureKind::PeerIsPlaintext), "{error:?}");
    assert!(!server.heard().await.contains("keys"));
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_asked_for() {
    let ca = CertificateAuthority::new("test CA");
    let config = server_config(&ca.server(&["localhost"]), Some(&ca));
    let server = Server::tls(Script::Say(answer("{}")), config).await;
    let ours = ca.client(&["resource-server"]);
    let identity = Identity::from_pem(ours.chain_pem(), ours.key_pem());
    let client = HttpsClient::new(trusting(&ca).identity(identity));
    fetch(&client, &server.https()).await.expect("an answer");

    // The verdict on a missing certificate comes after the handshake, and is named all the same.
    let error =
        fetch(&HttpsClient::new(trusting(&ca)), &server.https()).await.expect_err("refused");
    assert_eq!(tls_failure(&error), Some(TlsFailureKind::ClientCertificateRequired), "{error:?}");
}

#[tokio::test]
async fn a_server_that_speaks_http_2_alone_is_told_apart() {
    let ca = CertificateAuthority::new("test CA");
    let mut config = server_config(&ca.server(&["localhost"]), None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let server = Server::tls(Script::Say(answer("{}")), config).await;
    let client = HttpsClient::new(trusting(&ca));
    let error = fetch(&client, &server.https()).await.expect_err("refused");
    assert_eq!(tls_failure(&error), Some(TlsFailureKind::NoApplicationProtocol), "{error:?}");
    let told = error.source().expect("a cause").to_string();
    assert!(told.contains("http/1.1"), "{told}");

    // One that knows nothing of ALPN speaks what it always did.
    let mut config = server_config(&ca.server(&["localhost"]), None);
    config.alpn_protocols.clear();
    let server = Server::tls(Script::Say(answer("some keys")), config).await;
    assert_eq!(fetch(&client, &server.https()).await.expect("an answer").body(), "some keys");
}

#[tokio::test(start_paused = true)]
async fn rotated_roots_count_a_minute_later_and_broken_ones_never() {
    let time = StoppedTime::hold();
    let (old, new) = (CertificateAuthority::new("old CA"), CertificateAuthority::new("new CA"));
    let server = |ca: &CertificateAuthority| {
        let config = server_config(&ca.server(&["localhost"]), None);
        Server::tls(Script::Say(answer("{}")), config)
    };
    let (old_server, new_server) = (server(&old).await, server(&new).await);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, old.certificate_pem()).expect("written");
    let roots = RootCertificates::from_pem_file(&path);
    let client = HttpsClient::new(ClientTls::only_roots(roots));
    fetch(&client, &old_server.https()).await.expect("an answer");
    assert!(fetch(&client, &new_server.https()).await.is_err());

    std::fs::write(&path, new.certificate_pem()).expect("written");
    assert!(fetch(&client, &new_server.https()).await.is_err(), "not read again so soon");
    time.advance(Duration::from_secs(60)).await;
    fetch(&client, &new_server.https()).await.expect("an answer");
    assert!(fetch(&client, &old_server.https()).await.is_err());

    std::fs::write(&path, "").expect("written");
    time.advance(Duration::from_secs(60)).await;
    fetch(&client, &new_server.https()).await.expect("the last good roots stay");
}

#[cfg(unix)]
#[tokio::test]
async fn however_many_ask_at_the_same_time_files_are_read_once() {
    let ca = CertificateAuthority::new("test CA");
    let config = server_config(&ca.server(&["localhost"]), None);
    let server = Server::tls(Script::Say(answer("{}")), config).await;
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = Pipe::new(folder.path().join("ca.pem"));
    let roots = RootCertificates::from_pem_file(pipe.path());
    let client = HttpsClient::new(ClientTls::only_roots(roots));
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let (client, url) = (client.clone(), server.https());
            tokio::spawn(async move { fetch(&client, &url).await.map(|_| ()) })
        })
        .collect();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    // Whoever reads a pipe takes what is in it.
    std::fs::write(pipe.path(), ca.certificate_pem()).expect("written");
    for one in asking {
        one.await.expect("no panic").expect("an answer");
    }
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_found_without_a_connection() {
    let server = Server::plain(Script::HangUp).await;
    let client = plain_client();
    let error = fetch(&client, &server.https()).await.expect_err("no roots");
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error:?}");
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn plaintext_is_spoken_on_this_machine() {
    let server = Server::plain(Script::Say(answer("some keys"))).await;
    let answer = fetch(&plain_client(), &server.http()).await.expect("an answer");
    assert_eq!(answer.body(), "some keys");
}

#[test]
fn plaintext_to_another_machine_is_refused_before_anything_is_done() {
    let client = plain_client();
    for url in [
        "http://192.0.2.1/keys",
        "http://id.example/keys",
        "http://localhost.id.example/",
        "http://me:hunter2@localhost/",
        "https://me:hunter2@id.example/?hunter2",
        "/keys",
    ] {
        // Without a runtime: whoever touched the network would panic, and the first poll decides.
        let mut sent = pin!(fetch(&client, url));
        match sent.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(FetchError::Url { .. })) => {}
            other => panic!("{url}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let target = Server::plain(Script::Say(answer("stolen"))).await;
    let redirect =
        format!("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", target.http());
    let server = Server::plain(Script::Say(redirect.into_bytes())).await;
    let answer = fetch(&plain_client(), &server.http()).await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(target.accepted(), 0);
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_not_read() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n".to_vec();
    // It never comes: the length alone decides.
    let server = Server::plain(Script::SayAndStay(head)).await;
    let error = fetch(&plain_client(), &server.http()).await.expect_err("too large");
    assert!(matches!(error, FetchError::TooLarge { max_bytes: 524_288, .. }), "{error:?}");
    until("the connection is closed", || server.closed() == 1).await;
}

#[tokio::test]
async fn a_body_of_no_said_length_ends_at_the_limit() {
    let exact = FetchLimits::default().max_bytes;
    let allowed = chunked(exact);
    let server = Server::plain(Script::Say(allowed)).await;
    let answer = fetch(&plain_client(), &server.http()).await.expect("an answer");
    assert_eq!(answer.body().len(), exact);

    for (name, body) in [
        ("one byte more", chunked(exact + 1)),
        ("1 MiB", chunked(1024 * 1024)),
        ("1 MiB until the end", {
            let mut whole = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
            whole.resize(whole.len() + 1024 * 1024, b'x');
            whole
        }),
    ] {
        let server = Server::plain(Script::SayAndStay(body)).await;
        let error = fetch(&plain_client(), &server.http()).await.expect_err(name);
        assert!(matches!(error, FetchError::TooLarge { .. }), "{name}: {error:?}");
    }
}

fn chunked(size: usize) -> Vec<u8> {
    let mut whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    whole.extend_from_slice(format!("{size:x}\r\n").as_bytes());
    whole.resize(whole.len() + size, b'x');
    whole.extend_from_slice(b"\r\n0\r\n\r\n");
    whole
}

#[tokio::test]
async fn a_head_without_end_is_not_read_for_ever() {
    let mut endless = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
    endless.resize(1024 * 1024, b'x');
    let mut many = b"HTTP/1.1 200 OK\r\n".to_vec();
    for _ in 0..200 {
        many.extend_from_slice(b"a: b\r\n");
    }
    many.extend_from_slice(b"content-length: 0\r\n\r\n");
    for (name, head) in [("one header of 1 MiB", endless), ("200 headers", many)] {
        let server = Server::plain(Script::SayAndStay(head)).await;
        let error = fetch(&plain_client(), &server.http()).await.expect_err(name);
        assert!(matches!(error, FetchError::Unreachable { .. }), "{name}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn time_covers_all_from_the_name_to_the_last_byte() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec();
    for (name, script) in [
        ("silence", Script::SayAndStay(Vec::new())),
        ("half a head", Script::SayAndStay(b"HTTP/1.1 200".to_vec())),
        ("half a body", Script::SayAndStay(head.clone())),
        // Each byte comes in time, and all of them do not.
        ("byte by byte", Script::Drip(head)),
    ] {
        let time = StoppedTime::hold();
        let server = Server::plain(script).await;
        let (client, url) = (plain_client(), server.http());
        let mut fetching = pin!(fetch(&client, &url));
        let mut seconds = 0;
        let error = loop {
            tokio::select! {
                biased;
                answer = &mut fetching => break answer.expect_err(name),
                () = until("the server has heard", || {
                    server.heard.try_lock().is_ok_and(|heard| !heard.is_empty())
                }) => {}
            }
            assert!(seconds < 10, "{name}: it goes on and on");
            seconds += 1;
            time.advance(Duration::from_secs(1)).await;
        };
        assert!(matches!(error, FetchError::Timeout { .. }), "{name}: {error:?}");
        assert!((5..=6).contains(&seconds), "{name}: {seconds} s");
        until("the connection is closed", || server.closed() == 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn time_covers_the_handshake() {
    let time = StoppedTime::hold();
    let ca = CertificateAuthority::new("test CA");
    // Says nothing, not even a ServerHello.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bound");
    let url = format!("https://{}/", listener.local_addr().expect("an address"));
    let client = HttpsClient::new(trusting(&ca));
    let fetching = AbortOnDropHandle::new(tokio::spawn(async move { fetch(&client, &url).await }));
    let (mut io, _) = listener.accept().await.expect("a connection");
    let mut hello = [0; 5];
    io.read_exact(&mut hello).await.expect("a ClientHello");
    time.advance(Duration::from_secs(5)).await;
    let error = fetching.await.expect("a task").expect_err("nothing comes");
    assert!(matches!(error, FetchError::Timeout { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let ca = CertificateAuthority::new("test CA");
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"keys\":".to_vec();
    for (name, script) in [
        ("at once", Script::HangUp),
        ("without a word", Script::Say(Vec::new())),
        ("in the head", Script::Say(b"HTTP/1.1 200 OK\r\ncont".to_vec())),
        ("in the body", Script::Say(half)),
        (
            "in a chunk",
            Script::Say(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n64\r\n{".to_vec()),
        ),
        ("not HTTP", Script::Say(b"220 mail.example ESMTP\r\n".to_vec())),
    ] {
        let server = Server::plain(script.clone()).await;
        let error = fetch(&plain_client(), &server.http()).await.expect_err(name);
        assert!(matches!(error, FetchError::Unreachable { .. }), "{name}: {error:?}");

        let config = server_config(&ca.server(&["localhost"]), None);
        let server = Server::tls(script, config).await;
        let client = HttpsClient::new(trusting(&ca));
        let error = fetch(&client, &server.https()).await.expect_err(name);
        assert!(matches!(error, FetchError::Unreachable { .. }), "TLS, {name}: {error:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_an_error_with_the_host_in_it() {
    let port = ClosedPort::new();
    let address = port.address();
    let error = fetch(&plain_client(), &format!("http://{address}/")).await.expect_err("nobody");
    assert_eq!(error.to_string(), format!("cannot reach {address}"));
}

#[tokio::test]
async fn letting_go_closes_the_connection() {
    let server = Server::plain(Script::SayAndStay(Vec::new())).await;
    let (client, url) = (plain_client(), server.http());
    let fetching = tokio::spawn(async move { fetch(&client, &url).await });
    until("it is asked", || server.heard.try_lock().is_ok_and(|heard| !heard.is_empty())).await;
    assert_eq!(server.closed(), 0);
    fetching.abort();
    until("the connection is closed", || server.closed() == 1).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_blamed_on_the_handshake() {
    let ca = CertificateAuthority::new("test CA");
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"keys\":".to_vec();
    for (name, script) in [
        ("at once", Script::HangUp),
        ("without a word", Script::Say(Vec::new())),
        ("in the head", Script::Say(b"HTTP/1.1 200 OK\r\ncont".to_vec())),
        ("in the body", Script::Say(half)),
    ] {
        let config = server_config(&ca.server(&["localhost"]), None);
        let server = Server::tls(script, config).await;
        let error = fetch(&HttpsClient::new(trusting(&ca)), &server.https()).await;
        let error = error.expect_err(name);
        assert_eq!(tls_failure(&error), None, "{name}: {error:?}");
        let words = chain(&error);
        assert!(!words.contains("handshake"), "{name}: {words}");
    }
}

fn chain(error: &dyn Error) -> String {
    let more = error.source().map(|source| format!(": {}", chain(source)));
    format!("{error}{}", more.unwrap_or_default())
}
