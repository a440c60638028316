//! A token endpoint and metadata server on this machine, and a gRPC server to call.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use countersign::StaticTokens;
use countersign::{ClientTls, Gate, Identity, RootCertificates, Rules, ServerCredentials};
use countersign_testkit::greeter::{GREETER, TestServer};
use countersign_testkit::pki::CertificateAuthority;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What every endpoint gives.
pub(crate) const TOKEN: &str = "a-token-of-google";

/// What a refusing endpoint says, which no caller may see.
pub(crate) const WORDS: &str = "hunter2";

/// Answers whatever it is asked with a token, or with a status.
pub(crate) struct Endpoint {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    task: JoinHandle<()>,
}

impl Endpoint {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let status = Arc::new(AtomicU16::new(200));
        let told = Arc::clone(&status);
        let task = tokio::spawn(async move {
            loop {
                let (io, _) = listener.accept().await.expect("accepted");
                let told = Arc::clone(&told);
                let service =
                    service_fn(move |request| answer(request, told.load(Ordering::SeqCst)));
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(io), service);
                tokio::spawn(serving);
            }
        });
        Self { address, status, task }
    }

    /// From now on, answers with this status.
    pub(crate) fn answer_with(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    _request: Request<Incoming>,
    status: u16,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match status {
        200 => format!(
            r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":3600,
                "issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}}"#
        ),
        _ => WORDS.to_owned(),
    };
    let answer = Response::builder().status(status).header("content-type", "application/json");
    Ok(answer.body(Full::new(Bytes::from(body))).expect("an answer"))
}

/// A server behind TLS that knows the token as alice's, and how to trust it.
pub(crate) async fn server() -> (TestServer, ClientTls) {
    let ca = CertificateAuthority::new("test CA");
    let certificate = ca.server(&["localhost"]);
    let identity = Identity::from_pem(certificate.chain_pem(), certificate.key_pem());
    let gate = Gate::builder()
        .authenticate(StaticTokens::new().with_token("alice", TOKEN))
        .authorize(Rules::new().authenticated(GREETER))
        .build()
        .expect("a gate");
    let credentials = ServerCredentials::tls(identity).build().expect("credentials");
    let incoming = credentials.bind("127.0.0.1:0").await.expect("bound");
    let trust = ClientTls::only_roots(RootCertificates::from_pem(ca.certificate_pem()));
    (TestServer::start(incoming, Some(gate)), trust)
}
