use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::Sleep;

use super::budget::{Budget, Full};
use super::drain::Drain;
use super::handshake::Door;
use super::io::{ServerIo, Socket};
use crate::credentials::ServerCredentials;
use crate::identity::PeerAddress;
#[cfg(unix)]
use crate::identity::UnixPeer;
use crate::tcp::{tune_accepted, tune_listener};
use crate::tls::HandshakeCounters;
use crate::transport::instant_after;
use crate::transport::warnings::Warnings;

impl ServerCredentials {
    /// Listens on an address; port 0 is one that the system chooses, see
    /// [`Incoming::local_addr`].
    ///
    /// # Errors
    ///
    /// What the system says, for instance that the port is taken.
    pub async fn bind(&self, address: impl ToSocketAddrs) -> io::Result<Incoming> {
        self.accept(TcpListener::bind(address).await?)
    }

    /// Accepts on a listener that is there already, for instance one that systemd handed over.
    ///
    /// On Linux the options that connections are to have (no delay, keep-alive, user timeout) are
    /// set on the listener, from which connections take them: whoever else accepts on it gets
    /// connections with them too.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub fn accept(&self, listener: TcpListener) -> io::Result<Incoming> {
        Incoming::sharing(&Shared::new(self), listener)
    }

    /// Listens on a Unix socket. The path must not exist; who may connect is decided by the
    /// permissions of its directory.
    ///
    /// # Errors
    ///
    /// What the system says, for instance that the path exists.
    #[cfg(unix)]
    pub fn bind_unix(&self, path: impl AsRef<Path>) -> io::Result<Incoming> {
        Ok(self.accept_unix(UnixListener::bind(path)?))
    }

    /// Accepts on a Unix listener that is there already.
    #[cfg(unix)]
    pub fn accept_unix(&self, listener: UnixListener) -> Incoming {
        Incoming::new(&Shared::new(self), Listener::Unix(listener), None)
    }
}

/// Connections that were let in: a stream for tonic's `serve_with_incoming_shutdown`.
///
/// Each handshake runs in a task of its own. Nothing runs before the stream is polled; dropping
/// it closes the listener and cuts every handshake, and connections that were let in go on. The
/// stream never ends and never yields an error: what keeps a peer out is logged, at most one
/// warning a second after the first ten, and counted.
#[must_use = "it does nothing by itself"]
pub struct Incoming {
    listener: Listener,
    address: Option<SocketAddr>,
    door: Arc<Door>,
    budget: Arc<Budget>,
    handshakes: JoinSet<Option<ServerIo>>,
    /// While handshakes come, a timer that is due before most of theirs. Whoever sets the earliest
    /// timer of a runtime has to wake its driver, which costs a system call and a turn of the
    /// event loop; without this one that would be nearly every handshake.
    pace: Option<Pin<Box<Sleep>>>,
    pause: Option<Pin<Box<Sleep>>>,
    pauses: u32,
}

enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener),
}

/// What listeners have in common that were made together.
#[derive(Clone)]
pub(super) struct Shared {
    door: Arc<Door>,
    budget: Arc<Budget>,
}

impl Shared {
    pub(super) fn new(credentials: &ServerCredentials) -> Self {
        Self {
            door: Arc::new(Door {
                security: credentials.security.clone(),
                http1: credentials.http1,
                timeout: credentials.limits.handshake_timeout,
                counters: credentials.counters.clone(),
                warnings: Warnings::new(),
                drain: Drain::new(),
            }),
            budget: Budget::new(credentials.limits.clone()),
        }
    }

    #[cfg(test)]
    pub(super) fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door)
    }

    pub(super) fn drain(&self) -> Drain {
        self.door.drain.clone()
    }

    pub(super) fn handshakes(&self) -> &HandshakeCounters {
        &self.door.counters
    }
}

impl Incoming {
    /// Accepts on a listener beside others that share limits, counters and end.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub(super) fn sharing(shared: &Shared, listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        tune_listener(&listener);
        Ok(Self::new(shared, Listener::Tcp(listener), Some(address)))
    }

    fn new(shared: &Shared, listener: Listener, address: Option<SocketAddr>) -> Self {
        Self {
            listener,
            address,
            door: Arc::clone(&shared.door),
            budget: Arc::clone(&shared.budget),
            handshakes: JoinSet::new(),
            pace: None,
            pause: None,
            pauses: 0,
        }
    }

    /// The address that is listened on; `None` for a Unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Ends this listener's connections in time.
    pub fn drain(&self) -> Drain {
        self.door.drain.clone()
    }

    /// The handshakes of this listener's credentials, counted as gRFC A118 says.
    pub fn handshakes(&self) -> &HandshakeCounters {
        &self.door.counters
    }

    /// The next connection that is let in, for servers other than tonic's. Cancel-safe.
    pub async fn next_connection(&mut self) -> ServerIo {
        std::future::poll_fn(|cx| self.poll_connection(cx)).await
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>) -> Poll<ServerIo> {
        self.keep_pace(cx);
        loop {
            // A handshake that is done makes room before another is begun.
            while let Poll::Ready(Some(done)) = self.handshakes.poll_join_next(cx) {
                match done {
                    Ok(Some(io)) => return Poll::Ready(io),
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "a handshake's task ended badly"),
                }
            }
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match std::task::ready!(self.listener.poll_accept(cx)) {
                Ok(accepted) => {
                    self.pauses = 0;
                    self.admit(accepted);
                }
                Err(error) if is_about_one_connection(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                Err(error) => self.begin_pause(&error),
            }
            self.keep_pace(cx);
        }
    }

    fn keep_pace(&mut self, cx: &mut Context<'_>) {
        const SHORTEST: Duration = Duration::from_secs(1);
        if self.pace.is_none() && !self.handshakes.is_empty() {
            let due = instant_after(self.door.timeout.max(SHORTEST));
            self.pace = Some(Box::pin(tokio::time::sleep_until(due)));
        }
        if self.pace.as_mut().is_some_and(|pace| pace.as_mut().poll(cx).is_ready()) {
            // The next handshake begins another.
            self.pace = None;
        }
    }

    fn admit(&mut self, accepted: Accepted) {
        let peer = accepted.peer();
        match self.budget.admit(peer.ip()) {
            Ok((place, turn)) => {
                let socket = accepted.into_socket();
                self.handshakes.spawn(Arc::clone(&self.door).open(socket, peer, place, turn));
            }
            Err(full) => {
                if let Some(withheld) = self.door.warnings.allow() {
                    let limits = self.budget.limits();
                    let (limit, most) = match full {
                        Full::Connections => ("max_connections", Some(limits.max_connections)),
                        Full::ConnectionsOfAddress => {
                            ("max_connections_per_address", limits.max_connections_per_address)
                        }
                    };
                    tracing::warn!(
                        %peer, result = "FULL", limit, most, withheld, "a connection was not let in"
                    );
                }
            }
        }
    }

    /// Leaves the listener alone for a while, for instance when there are no more descriptors:
    /// asking at once again would only burn the processor.
    fn begin_pause(&mut self, error: &io::Error) {
        const SHORTEST: Duration = Duration::from_millis(5);
        const LONGEST: Duration = Duration::from_secs(1);
        let pause = SHORTEST.saturating_mul(1 << self.pauses.min(16)).min(LONGEST);
        self.pauses = self.pauses.saturating_add(1);
        self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        if let Some(withheld) = self.door.warnings.allow() {
            tracing::warn!(
                %error, ?pause, withheld,
                "cannot accept connections; raise the limit on open files if that is it"
            );
        }
    }
}

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self {
            Self::Tcp(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, peer)| Accepted::Tcp(stream, peer))
            }
            #[cfg(unix)]
            Self::Unix(listener) => {
                listener.poll_accept(cx).map_ok(|(stream, _)| Accepted::Unix(stream))
            }
        }
    }
}

/// What the system handed over. Nothing more is asked about it before it has a place.
enum Accepted {
    Tcp(TcpStream, SocketAddr),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Accepted {
    fn peer(&self) -> PeerAddress {
        match self {
            Self::Tcp(_, peer) => PeerAddress::Tcp(*peer),
            #[cfg(unix)]
            Self::Unix(unix) => PeerAddress::Unix(match unix.peer_cred() {
                Ok(peer) => {
                    UnixPeer { uid: Some(peer.uid()), gid: Some(peer.gid()), pid: peer.pid() }
                }
                Err(_) => UnixPeer::default(),
            }),
        }
    }

    fn into_socket(self) -> Socket {
        match self {
            Self::Tcp(tcp, peer) => {
                tune_accepted(&tcp);
                Socket::tcp(tcp, peer)
            }
            #[cfg(unix)]
            Self::Unix(unix) => Socket::unix(unix),
        }
    }
}

/// Errors of `accept` that say nothing of the next connection (accept(2), "Error handling").
fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::ConnectionRefused
            | Kind::Interrupted
            | Kind::NetworkDown
            | Kind::NetworkUnreachable
            | Kind::HostUnreachable
            | Kind::TimedOut
    )
}

impl Stream for Incoming {
    type Item = io::Result<ServerIo>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_connection(cx).map(|io| Some(Ok(io)))
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("address", &self.address).finish_non_exhaustive()
    }
}
