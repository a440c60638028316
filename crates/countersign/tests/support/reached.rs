//! Servers that note what reaches them, and a client that sends what it is told to.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use base64::Engine;
use bytes::Bytes;
use countersign::{
    Channel, ChannelCredentials, ClientCertificates, ClientTls, Gate, Identity, Incoming,
    RootCertificates, ServerCredentials, connect,
};
use countersign_testkit::greeter::Greeter;
use countersign_testkit::logs::Logs;
use countersign_testkit::pki::{Certificate, CertificateAuthority};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::server::Connected;
use tonic_types::StatusExt;
use tower_layer::Layer;
use tower_service::Service;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

pub(crate) fn identity(certificate: &Certificate) -> Identity {
    Identity::from_pem(certificate.chain_pem(), certificate.key_pem())
}

pub(crate) fn roots(ca: &CertificateAuthority) -> RootCertificates {
    RootCertificates::from_pem(ca.certificate_pem())
}

/// Client settings that trust this CA alone.
pub(crate) fn trusting(ca: &CertificateAuthority) -> ClientTls {
    ClientTls::only_roots(roots(ca))
}

/// Keeps log lines from being lost to what other tests do at the same time. To be called before
/// the code under test can log.
///
/// While tracing knows of one collector at most, a line that is first reached on a thread without
/// a collector is switched off for the whole process. Two that stay keep it from that.
pub(crate) fn keep_logs_awake() {
    static AWAKE: OnceLock<[tracing::Dispatch; 2]> = OnceLock::new();
    AWAKE.get_or_init(|| {
        [(), ()].map(|()| {
            let collector = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::DEBUG)
                .with_writer(std::io::sink)
                .finish();
            tracing::Dispatch::new(collector)
        })
    });
}

/// The log of this thread, from `DEBUG` up.
pub(crate) fn collect_logs() -> Logs {
    keep_logs_awake();
    Logs::collect()
}

/// A greeter that notes what reaches it.
pub(crate) fn greeter(reached: &Reached) -> Recording<Routes> {
    reached.layer(Routes::new(Greeter.service()))
}

/// A greeter behind a gate, over TLS that asks for certificates and insists on none.
pub(crate) async fn behind_tls(ca: &CertificateAuthority, gate: &Gate) -> (Served, Reached) {
    let reached = Reached::default();
    let incoming = ServerCredentials::tls(identity(&ca.server(&["localhost"])))
        .client_certificates(ClientCertificates::optional(roots(ca)))
        .build()
        .expect("server credentials")
        .bind("127.0.0.1:0")
        .await
        .expect("bound");
    (serve(incoming, gate.layer(greeter(&reached))), reached)
}

/// A channel to it, with these settings.
pub(crate) async fn channel(server: &Served, tls: ClientTls) -> Channel {
    let credentials = ChannelCredentials::tls(tls);
    connect(server.https("localhost"), credentials).await.expect("connected")
}

/// A service on a listener, until this is dropped.
pub(crate) struct Served {
    address: Option<SocketAddr>,
    task: JoinHandle<()>,
}

/// Serves over a listener of ours.
pub(crate) fn serve<S, B>(incoming: Incoming, service: S) -> Served
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    serve_on(incoming.local_addr(), incoming, service)
}

/// Serves over anybody's listener.
pub(crate) fn serve_on<S, B, I, Io>(address: Option<SocketAddr>, incoming: I, service: S) -> Served
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError> + Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
    I: Stream<Item = std::io::Result<Io>> + Send + 'static,
    Io: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    keep_logs_awake();
    let served = tonic::transport::Server::builder()
        // More than anybody's default, so that it is never HTTP/2 that refuses a long header.
        .http2_max_header_list_size(64 * 1024)
        .serve_with_incoming(service, incoming);
    let task = tokio::spawn(async move {
        // Ends with the test.
        let _ = served.await;
    });
    Served { address, task }
}

impl Served {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("a TCP listener")
    }

    pub(crate) fn https(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address().port())
    }

    pub(crate) fn http(&self, host: &str) -> String {
        format!("http://{host}:{}", self.address().port())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What reached a service, call by call. A layer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reached {
    calls: Arc<Mutex<Vec<http::request::Parts>>>,
}

impl Reached {
    pub(crate) fn count(&self) -> usize {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The head of the last call.
    pub(crate) fn last(&self) -> http::request::Parts {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.last().expect("a call reached the service").clone()
    }

    /// The last call as its handler sees it, without its message.
    pub(crate) fn last_request(&self) -> tonic::Request<()> {
        tonic::Request::from_http(Request::from_parts(self.last(), ()))
    }

    /// The last call's values under a metadata key.
    pub(crate) fn last_values(&self, key: &str) -> Vec<String> {
        let shown = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
        self.last().headers.get_all(key).iter().map(shown).collect()
    }
}

impl<S> Layer<S> for Reached {
    type Service = Recording<S>;

    fn layer(&self, inner: S) -> Recording<S> {
        Recording { reached: self.clone(), inner }
    }
}

/// The service of [`Reached`].
#[derive(Clone, Debug)]
pub(crate) struct Recording<S> {
    reached: Reached,
    inner: S,
}

impl<S, B> Service<Request<B>> for Recording<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let (parts, body) = request.into_parts();
        let calls = &self.reached.calls;
        calls.lock().unwrap_or_else(PoisonError::into_inner).push(parts.clone());
        self.inner.call(Request::from_parts(parts, body))
    }
}

pub(crate) type RawBody = UnsyncBoxBody<Bytes, Infallible>;

/// An HTTP/2 client that sends what it is told to, and is no gRPC client at all.
pub(crate) struct RawClient {
    sender: http2::SendRequest<RawBody>,
}

/// The whole of a response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl RawClient {
    /// Speaks plaintext to a listener.
    pub(crate) async fn connect(server: &Served) -> Self {
        let io = tokio::net::TcpStream::connect(server.address()).await.expect("connected");
        io.set_nodelay(true).expect("a socket option");
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .max_header_list_size(64 * 1024)
            .handshake(TokioIo::new(io))
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        Self { sender }
    }

    /// Sends one empty gRPC message.
    pub(crate) async fn call(&mut self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = grpc_request(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(empty_message()).expect("a request")).await
    }

    pub(crate) async fn send(&mut self, request: Request<RawBody>) -> Answer {
        let (head, body) = self.begin(request).await.into_parts();
        let body = body.collect().await.expect("the whole body");
        let trailers = body.trailers().cloned().unwrap_or_default();
        Answer { status: head.status, headers: head.headers, body: body.to_bytes(), trailers }
    }

    /// The head of the response, and a body to be read.
    pub(crate) async fn begin(
        &mut self,
        request: Request<RawBody>,
    ) -> Response<hyper::body::Incoming> {
        self.sender.send_request(request).await.expect("a response")
    }
}

/// A gRPC request to this path, without its body.
pub(crate) fn grpc_request(path: &str) -> http::request::Builder {
    let uri = http::Uri::builder()
        .scheme("http")
        .authority("localhost")
        .path_and_query(path)
        .build()
        .expect("a URI");
    Request::post(uri).header("content-type", "application/grpc").header("te", "trailers")
}

/// One gRPC message of no bytes.
pub(crate) fn empty_message() -> RawBody {
    Full::new(Bytes::from_static(&[0; 5])).boxed_unsync()
}

impl Answer {
    /// The gRPC status, from the trailers or, when there are none, from the headers.
    pub(crate) fn grpc(&self) -> Status {
        Status::from_header_map(&self.trailers)
            .or_else(|| Status::from_header_map(&self.headers))
            .expect("a gRPC status")
    }

    /// Everything in it but the time and the decision's ID.
    pub(crate) fn without_decision(&self) -> String {
        // Without a decision there is nothing to leave out.
        let decision = decision_of(&self.grpc()).unwrap_or_else(|| "\0".to_owned());
        let mut text = format!("{} {:?} {:?}\n", self.status, self.body, self.trailers);
        for (name, value) in self.headers.iter().filter(|(name, _)| *name != "date") {
            let mut value = value.as_bytes().to_vec();
            if name.as_str().ends_with("-bin") {
                value = base64::engine::general_purpose::STANDARD_NO_PAD
                    .decode(value.trim_ascii_end().strip_suffix(b"=").unwrap_or(&value))
                    .expect("base64");
            }
            let value = value.escape_ascii().to_string().replace(&decision, "DECISION");
            text += &format!("{name}: {value}\n");
        }
        text
    }
}

/// `ErrorInfo.reason` of a status, or nothing.
pub(crate) fn reason_of(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The ID of the decision that a status tells.
pub(crate) fn decision_of(status: &Status) -> Option<String> {
    status.get_details_error_info()?.metadata.get("decision").cloned()
}

/// What `www-authenticate` says in a status' metadata.
pub(crate) fn challenges_of(status: &Status) -> Vec<String> {
    let values = status.metadata().get_all("www-authenticate");
    values.iter().map(|value| value.to_str().expect("ASCII").to_owned()).collect()
}
