use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use countersign::{Incoming, ServerCredentials};
use countersign_testkit::wait::until;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::StreamBody;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

/// A server that writes down what reaches it, and answers every call in the same way.
pub(crate) struct Recorder {
    address: Option<SocketAddr>,
    log: Arc<Log>,
    released: watch::Sender<bool>,
    stopped: watch::Sender<bool>,
    serving: AbortOnDropHandle<()>,
}

/// How every call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// One empty message and `OK`.
    Reply,
    /// Not at all.
    Nothing,
    /// One empty message; the rest comes when it is [released](Recorder::release).
    Held,
}

/// One call as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// The number of its connection, from 0.
    pub(crate) connection: usize,
    pub(crate) scheme: String,
    pub(crate) authority: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

impl Seen {
    /// A header, and the empty text when there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
}

#[derive(Default)]
struct Log {
    connections: AtomicUsize,
    open: AtomicUsize,
    cancelled: AtomicUsize,
    calls: Mutex<Vec<Seen>>,
}

impl Recorder {
    /// In plaintext, on loopback.
    pub(crate) async fn plaintext(answer: Answer) -> Self {
        Self::bind(&ServerCredentials::insecure(), answer).await
    }

    pub(crate) async fn bind(credentials: &ServerCredentials, answer: Answer) -> Self {
        Self::start(credentials.bind("127.0.0.1:0").await.expect("bound"), answer)
    }

    /// In plaintext, where somebody listened already.
    pub(crate) fn on(listener: TcpListener, answer: Answer) -> Self {
        let incoming = ServerCredentials::insecure().accept(listener).expect("a listener");
        Self::start(incoming, answer)
    }

    pub(crate) fn start(incoming: Incoming, answer: Answer) -> Self {
        let address = incoming.local_addr();
        let log = Arc::new(Log::default());
        let (released, stopped) = (watch::Sender::new(false), watch::Sender::new(false));
        let how = How { answer, released: released.subscribe(), stopped: stopped.subscribe() };
        let task = tokio::spawn(serve(incoming, how, Arc::clone(&log)));
        Self { address, log, released, stopped, serving: AbortOnDropHandle::new(task) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("a TCP listener")
    }

    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.address())
    }

    /// `https://` and the port, by this host name.
    pub(crate) fn https(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address().port())
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.log.connections.load(Ordering::SeqCst)
    }

    /// Waits until so many connections are open.
    pub(crate) async fn open(&self, connections: usize) {
        let open = || self.log.open.load(Ordering::SeqCst);
        until("connections come and go", || open() == connections).await;
    }

    pub(crate) fn calls(&self) -> Vec<Seen> {
        self.log.calls.lock().expect("never poisoned").clone()
    }

    /// Waits until so many calls arrived.
    pub(crate) async fn called(&self, calls: usize) {
        until("calls arrive", || self.calls().len() >= calls).await;
    }

    /// How many calls were given up before they were answered.
    pub(crate) fn cancelled(&self) -> usize {
        self.log.cancelled.load(Ordering::SeqCst)
    }

    /// The last call that arrived.
    pub(crate) fn last(&self) -> Seen {
        self.calls().pop().expect("a call")
    }

    /// Ends the answers that are held with `OK`, and those to come at once.
    pub(crate) fn release(&self) {
        self.released.send_replace(true);
    }

    /// Stops listening, says goodbye on every connection, and waits until all have ended.
    pub(crate) async fn stop(self) {
        self.stopped.send_replace(true);
        self.serving.await.expect("served");
    }
}

#[derive(Clone)]
struct How {
    answer: Answer,
    released: watch::Receiver<bool>,
    stopped: watch::Receiver<bool>,
}

async fn serve(mut incoming: Incoming, mut how: How, log: Arc<Log>) {
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = incoming.next_connection() => accepted,
            _ = how.stopped.wait_for(|stopped| *stopped) => break,
        };
        let io = TokioIo::new(accepted);
        let connection = log.connections.fetch_add(1, Ordering::SeqCst);
        log.open.fetch_add(1, Ordering::SeqCst);
        let (log, how) = (Arc::clone(&log), how.clone());
        open.spawn(async move {
            let (log, answer, released) = (&log, how.answer, how.released);
            let service = hyper::service::service_fn(|request| {
                log.calls.lock().expect("never poisoned").push(seen(connection, &request));
                respond(answer, released.clone(), Unanswered(Arc::clone(log)))
            });
            let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let mut serving = std::pin::pin!(http2.serve_connection(io, service));
            let mut stopped = how.stopped;
            let goodbye = async { stopped.wait_for(|stopped| *stopped).await.is_ok() };
            // It ends as its peer likes; the tests look at what the peer makes of it.
            let is_ended = tokio::select! {
                _ = &mut serving => true,
                _ = goodbye => false,
            };
            if !is_ended {
                serving.as_mut().graceful_shutdown();
                let _ = serving.await;
            }
            log.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
    drop(incoming);
    open.join_all().await;
}

fn seen<B>(connection: usize, request: &http::Request<B>) -> Seen {
    let uri = request.uri();
    Seen {
        connection,
        scheme: uri.scheme_str().unwrap_or_default().to_owned(),
        authority: uri.authority().map(ToString::to_string).unwrap_or_default(),
        path: uri.path().to_owned(),
        headers: request.headers().clone(),
    }
}

type Body = StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>;

/// Counts a call as cancelled when it is dropped.
struct Unanswered(Arc<Log>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.cancelled.fetch_add(1, Ordering::SeqCst);
    }
}

async fn respond(
    answer: Answer,
    mut released: watch::Receiver<bool>,
    unanswered: Unanswered,
) -> Result<http::Response<Body>, Infallible> {
    if answer == Answer::Nothing {
        std::future::pending::<()>().await;
    }
    let (frames, body) = mpsc::channel(2);
    tokio::spawn(async move {
        // A caller that is gone wants no more frames.
        let _ = frames.send(Ok(Frame::data(Bytes::from_static(&[0; 5])))).await;
        if answer == Answer::Held {
            tokio::select! {
                _ = released.wait_for(|released| *released) => {}
                () = frames.closed() => return,
            }
        }
        std::mem::forget(unanswered);
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a value"));
        let _ = frames.send(Ok(Frame::trailers(trailers))).await;
    });
    let response = http::Response::builder().header("content-type", "application/grpc");
    Ok(response.body(StreamBody::new(ReceiverStream::new(body))).expect("a response"))
}
