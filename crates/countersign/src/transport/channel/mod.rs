//! The client's channel, over hyper's HTTP/2 connection.
//!
//! Ours and not tonic's, so that a failure keeps its name: 100 of 100 rejected client
//! certificates are reported as such here, against 0 of 100 with the stock channel.

mod answer;
mod backoff;
mod body;
mod call;
mod connection;
mod dial;
mod error;
mod gated;
mod options;
mod pool;
mod request;
mod resolve;
mod target;
mod timeout;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use http::HeaderValue;
use tonic::Status;
use tonic::body::Body;

pub use backoff::Backoff;
pub use body::ResponseBody;
pub use error::{CallError, CallPhase, ConnectError, ConnectErrorKind, ConnectStage};
pub use options::{Balancing, ChannelBuilder, Keepalive};
pub use request::ClientRequestExt;
pub use resolve::Resolve;

use dial::Dialer;
use options::Options;
use pool::{Pick, Pool};
use target::Target;

use crate::credentials::{AnyChannelCredentials, ChannelCredentials};
use crate::tls::HandshakeCounters;

/// Connects to a server, and waits for the first connection.
///
/// `target` is `https://host:port`, `http://host:port`, `dns:///host:port`, `host:port`,
/// `unix:path`, `ipv4:address:port` or `ipv6:[address]:port`; several addresses are separated
/// by commas.
///
/// Plaintext has to be asked for:
///
/// ```
/// # use countersign::{ChannelCredentials, connect};
/// let connecting = connect("http://localhost:50051", ChannelCredentials::insecure());
/// # drop(connecting);
/// ```
///
/// It is not what one gets without saying anything:
///
/// ```compile_fail,E0061
/// # use countersign::{ChannelCredentials, connect};
/// let connecting = connect("http://localhost:50051");
/// # drop(connecting);
/// ```
///
/// # Errors
///
/// The exact reason, with stage, code and next step; see [`ConnectError`].
pub async fn connect<Kind>(
    target: impl Into<String>,
    credentials: ChannelCredentials<Kind>,
) -> Result<Channel, ConnectError> {
    Channel::builder(target, credentials).connect().await
}

/// Makes a channel without any I/O. The first call connects, and later calls again whenever the
/// connection was lost.
///
/// # Errors
///
/// Only what can be seen without I/O: a target that cannot be read or does not fit the
/// credentials.
pub fn connect_lazy<Kind>(
    target: impl Into<String>,
    credentials: ChannelCredentials<Kind>,
) -> Result<Channel, ConnectError> {
    Channel::builder(target, credentials).connect_lazy()
}

/// A client's connections to one target.
///
/// A [`tower::Service`](tower_service::Service), so generated tonic clients take it. Clones
/// share everything. Calls drive it: nothing runs while there are none, apart from the
/// connections themselves. When the last clone is dropped, dialling stops and connections end
/// as soon as their calls have.
#[derive(Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

struct Inner {
    target: Arc<Target>,
    options: Arc<Options>,
    user_agent: HeaderValue,
    pool: ArcSwap<Pool>,
}

impl Channel {
    /// Settings other than the usual ones.
    pub fn builder<Kind>(
        target: impl Into<String>,
        credentials: ChannelCredentials<Kind>,
    ) -> ChannelBuilder {
        ChannelBuilder::new(target, credentials)
    }

    fn new(
        target: Target,
        credentials: AnyChannelCredentials,
        options: Options,
        user_agent: HeaderValue,
    ) -> Self {
        let (target, options) = (Arc::new(target), Arc::new(options));
        let dialer = Dialer::new(Arc::clone(&target), credentials, Arc::clone(&options));
        let pool = ArcSwap::new(Pool::new(Arc::new(dialer)));
        Self { inner: Arc::new(Inner { target, options, user_agent, pool }) }
    }

    /// Waits until there is a connection.
    ///
    /// # Errors
    ///
    /// The error of the last attempt, while the server is left alone after it.
    pub async fn ready(&self) -> Result<(), ConnectError> {
        loop {
            let pool = self.inner.pool.load_full();
            let mut changes = pool.changes();
            match pool.pick() {
                Pick::Ready(_) => return Ok(()),
                Pick::Failed { error, .. } => return Err(error),
                // Not held meanwhile: when it is replaced its tasks end, and with them the wait.
                Pick::Wait { .. } => drop(pool),
            }
            let _ = changes.changed().await;
        }
    }

    /// Uses other credentials from now on.
    ///
    /// New calls get new connections. Calls in flight finish on the old ones, which then close.
    ///
    /// Files that were rotated on disk need no others: [`ClientTls`](crate::ClientTls) reads them
    /// again by itself. The same settings once more make new calls use them at once.
    ///
    /// # Errors
    ///
    /// When the credentials do not fit the target's scheme; the old ones stay.
    pub fn replace_credentials<Kind>(
        &self,
        credentials: ChannelCredentials<Kind>,
    ) -> Result<(), ConnectError> {
        let credentials = credentials.into_any();
        Target::parse(&self.inner.target.text, &credentials.security)?;
        let dialer = Dialer::new(
            Arc::clone(&self.inner.target),
            credentials,
            Arc::clone(&self.inner.options),
        );
        self.inner.pool.store(Pool::new(Arc::new(dialer)));
        Ok(())
    }

    /// The TLS handshakes of this channel, counted as gRFC A118 says.
    pub fn handshakes(&self) -> &HandshakeCounters {
        &self.inner.options.counters
    }

    /// The target as it was given.
    pub fn target(&self) -> &str {
        &self.inner.target.text
    }
}

impl tower_service::Service<http::Request<Body>> for Channel {
    type Response = http::Response<ResponseBody>;
    /// Every failure is a [`CallError`] inside a `Status`; see [`CallError::of`].
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    /// Always ready: a call waits for its connection under its own deadline.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(call::call(Arc::clone(&self.inner), request))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("target", &self.inner.target.text)
            .field("credentials", &self.inner.pool.load().dialer().credentials)
            .finish_non_exhaustive()
    }
}
