use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::{FetchError, FetchLimits, HttpClient, Url};
use crate::tcp::tune_tcp;
use crate::tls::{Alpn, ClientHandshake, ClientTls, NotLoaded, ReloadedClientTls};

type Cause = Box<dyn Error + Send + Sync>;

/// HTTP/1.1 over the same TLS as everything else here: names are verified, and a client
/// certificate is shown where one was given (RFC 8705 §2).
///
/// Every request has a connection of its own. An http URL is asked without TLS if its host is an
/// address of this machine, or `localhost` and resolves to nothing else. Redirects are answers
/// like others; proxies are not looked for. Answers have at most 100 headers of 64 KiB together.
///
/// Certificates and keys are read at the first request, and again a minute later at the
/// earliest, so that rotated files count without a restart; while they cannot be read, the last
/// that could be stay.
///
/// ```
/// use countersign::ClientTls;
/// use countersign::fetch::HttpsClient;
///
/// let client = HttpsClient::new(ClientTls::system_roots());
/// ```
#[derive(Clone)]
pub struct HttpsClient {
    inner: Arc<Inner>,
}

struct Inner {
    tls: ReloadedClientTls,
}

impl HttpsClient {
    /// The most bytes of an answer's head.
    const MAX_HEAD_BYTES: usize = 64 * 1024;

    /// Makes a client. Reads nothing and needs no runtime.
    pub fn new(tls: ClientTls) -> Self {
        let tls = tls.alpn(Alpn::Http1);
        Self { inner: Arc::new(Inner { tls: ReloadedClientTls::new(tls) }) }
    }

    async fn ask(
        &self,
        url: &Url,
        request: Request<Bytes>,
        limits: FetchLimits,
    ) -> Result<Response<Bytes>, FetchError> {
        let unreachable =
            |source: Cause| FetchError::Unreachable { host: url.host_and_port(), source };
        // First, so that settings that cannot be used are found without a connection.
        let handshake = match url.is_tls() {
            true => Some(self.handshake(url).await.map_err(unreachable)?),
            false => None,
        };
        let addresses = resolve(url).await.map_err(|error| unreachable(error.into()))?;
        if !addresses.iter().all(|address| url.may_dial(*address)) {
            return Err(url.refused());
        }
        let io = dial(addresses).await.map_err(|error| unreachable(error.into()))?;
        tune_tcp(&io);
        match handshake {
            None => exchange(io, url, request, limits, unreachable).await,
            Some(handshake) => {
                let io = handshake.run(io).await.map_err(|failure| unreachable(failure.into()))?;
                // With TLS 1.3 the server's verdict on our certificate comes after the handshake.
                exchange(io, url, request, limits, |cause| unreachable(explain(&handshake, cause)))
                    .await
            }
        }
    }

    async fn handshake(&self, url: &Url) -> Result<ClientHandshake, Cause> {
        let loaded = self.inner.tls.get().await.map_err(|error| match error {
            NotLoaded::Unusable(error) => Cause::from(error),
            NotLoaded::CutOff(error) => error.into(),
        })?;
        Ok(loaded.handshake(url.authority())?)
    }
}

#[async_trait]
impl HttpClient for HttpsClient {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: FetchLimits,
    ) -> Result<Response<Bytes>, FetchError> {
        let url = Url::try_from(request.uri())?;
        timeout(limits.timeout, self.ask(&url, request, limits)).await.unwrap_or_else(|_| {
            Err(FetchError::Timeout { host: url.host_and_port(), timeout: limits.timeout })
        })
    }
}

impl fmt::Debug for HttpsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsClient").field("tls", self.inner.tls.settings()).finish()
    }
}

async fn resolve(url: &Url) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = match url.authority().ip() {
        Some(address) => vec![SocketAddr::new(address, url.port())],
        None => tokio::net::lookup_host((url.authority().host(), url.port())).await?.collect(),
    };
    match addresses.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address")),
        false => Ok(addresses),
    }
}

/// Dials the addresses, each 250 ms after the one before or as soon as that failed (RFC 8305 §5).
async fn dial(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    const STAGGER: Duration = Duration::from_millis(250);
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.into_iter();
    let mut last = io::Error::from(io::ErrorKind::NotConnected);
    loop {
        let is_last = match waiting.next() {
            Some(address) => {
                attempts.spawn(TcpStream::connect(address));
                waiting.len() == 0
            }
            None => true,
        };
        let next = async {
            match is_last {
                true => Some(attempts.join_next().await),
                false => timeout(STAGGER, attempts.join_next()).await.ok(),
            }
        };
        match next.await {
            Some(Some(Ok(Ok(io)))) => return Ok(io),
            Some(Some(Ok(Err(error)))) => last = error,
            Some(Some(Err(error))) => last = error.into(),
            Some(None) if is_last => return Err(last),
            Some(None) | None => {}
        }
    }
}

/// One request and its answer over a connection that is closed afterwards.
async fn exchange<S>(
    io: S,
    url: &Url,
    request: Request<Bytes>,
    limits: FetchLimits,
    unreachable: impl Fn(Cause) -> FetchError,
) -> Result<Response<Bytes>, FetchError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let too_large =
        || FetchError::TooLarge { host: url.host_and_port(), max_bytes: limits.max_bytes };
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HttpsClient::MAX_HEAD_BYTES)
        .max_headers(100)
        .handshake(TokioIo::new(io))
        .await
        .map_err(|error| unreachable(error.into()))?;
    // Aborted with this future, which is what closes the connection.
    let _running = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = origin_form(url, request).map_err(&unreachable)?;
    let answer = sender.send_request(request).await.map_err(|error| unreachable(error.into()))?;
    let (head, body) = answer.into_parts();
    // Told at once when the server says so itself, and found out while reading otherwise.
    let least = body.size_hint().lower();
    if usize::try_from(least).map_or(true, |least| least > limits.max_bytes) {
        return Err(too_large());
    }
    let body =
        Limited::new(body, limits.max_bytes).collect().await.map_err(|error| match error
            .is::<LengthLimitError>(
        ) {
            true => too_large(),
            false => unreachable(error),
        })?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

/// The request as HTTP/1.1 wants it (RFC 9112 §3.2.1, §3.2).
fn origin_form(url: &Url, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, Cause> {
    let (mut head, body) = request.into_parts();
    let path = url.uri().path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse::<Uri>()?;
    head.headers.insert(HOST, HeaderValue::from_str(url.authority().as_str())?);
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(Request::from_parts(head, Full::new(body)))
}

/// Puts what TLS has to say about an I/O error in the place of it, if it has.
fn explain(handshake: &ClientHandshake, cause: Cause) -> Cause {
    let mut next: Option<&(dyn Error + 'static)> = Some(&*cause);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return match handshake.explain_later(error) {
                Some(failure) => failure.into(),
                None => cause,
            };
        }
        next = error.source();
    }
    cause
}
