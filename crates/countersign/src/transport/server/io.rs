use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use super::budget::{Place, Standing};
use super::drain::Over;
use super::rewind::Rewind;
use crate::identity::PeerIdentity;
use crate::transport::gate::Memory;

/// tonic's own type for a TLS connection, which has no name without its TLS features.
pub(crate) type TlsConnectInfo = <TlsStream<TcpStream> as Connected>::ConnectInfo;

/// What was accepted, with its addresses: the system is asked for them once.
#[derive(Debug)]
pub(super) struct Socket {
    io: Transport,
    addresses: TcpConnectInfo,
}

#[derive(Debug)]
enum Transport {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Socket {
    pub(super) fn tcp(tcp: TcpStream, peer: SocketAddr) -> Self {
        let local_addr = tcp.local_addr().ok();
        let addresses = TcpConnectInfo { local_addr, remote_addr: Some(peer) };
        Self { io: Transport::Tcp(tcp), addresses }
    }

    #[cfg(unix)]
    pub(super) fn unix(unix: UnixStream) -> Self {
        let addresses = TcpConnectInfo { local_addr: None, remote_addr: None };
        Self { io: Transport::Unix(unix), addresses }
    }

    /// Ends both directions, and whatever waits for either.
    fn hang_up(&self) {
        let socket = match &self.io {
            Transport::Tcp(tcp) => socket2::SockRef::from(tcp),
            #[cfg(unix)]
            Transport::Unix(unix) => socket2::SockRef::from(unix),
        };
        // The peer may have done so before.
        let _ = socket.shutdown(std::net::Shutdown::Both);
    }

    pub(super) fn local_address(&self) -> Option<SocketAddr> {
        self.addresses.local_addr
    }
}

macro_rules! each {
    ($self:expr, $io:ident => $call:expr) => {
        match &mut $self.get_mut().io {
            Transport::Tcp($io) => $call,
            #[cfg(unix)]
            Transport::Unix($io) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => Pin::new(io).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

impl Connected for Socket {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.addresses.clone()
    }
}

/// What every request of a connection carries in its extensions. Cloning is one atomic
/// increment.
#[derive(Clone)]
pub struct ConnectionInfo {
    inner: Arc<InfoInner>,
}

struct InfoInner {
    peer: PeerIdentity,
    tonics_own: TonicsOwn,
    standing: Standing,
    memory: Memory,
}

/// What tonic's own listener would tell of a connection.
pub(super) enum TonicsOwn {
    Tcp(TcpConnectInfo),
    /// With the peer's certificates; the addresses are in it too.
    Tls(TlsConnectInfo),
}

impl TonicsOwn {
    pub(super) fn of_tls(tls: TlsConnectInfo) -> Self {
        // tonic's `peer_certs()` says `None` of a connection without certificates, and of one
        // that it knows nothing about.
        match tls.peer_certs().is_some() {
            true => Self::Tls(tls),
            false => Self::Tcp(tls.get_ref().clone()),
        }
    }
}

impl ConnectionInfo {
    pub(super) fn new(peer: PeerIdentity, tonics_own: TonicsOwn, standing: Standing) -> Self {
        let memory = Memory::default();
        Self { inner: Arc::new(InfoInner { peer, tonics_own, standing, memory }) }
    }

    /// What gates remember about the connection's calls.
    pub(crate) fn memory(&self) -> &Memory {
        &self.inner.memory
    }

    /// A call that came by it was let through: where that was one of somebody, it does not have to
    /// make room for others any more.
    #[inline]
    pub(crate) fn let_through(&self, is_somebody: impl FnOnce() -> bool) {
        self.inner.standing.let_through(is_somebody);
    }

    /// Who is at the other end of the connection.
    pub fn peer(&self) -> &PeerIdentity {
        &self.inner.peer
    }

    /// Puts tonic's own types beside ours, so that `remote_addr()` and `peer_certs()` work.
    pub(crate) fn put_tonics_own_into(&self, extensions: &mut http::Extensions) {
        // With client certificates both: without tonic's TLS features `remote_addr()` looks at
        // the first alone, and `peer_certs()` always at the second.
        match &self.inner.tonics_own {
            TonicsOwn::Tcp(tcp) => {
                extensions.insert(tcp.clone());
            }
            TonicsOwn::Tls(tls) => {
                extensions.insert(tls.get_ref().clone());
                extensions.insert(tls.clone());
            }
        }
    }
}

/// The connection that a request came by, if it is one of our listener's. axum wraps what it
/// puts into requests.
pub(crate) fn connection_info(extensions: &http::Extensions) -> Option<&ConnectionInfo> {
    let info = extensions.get::<ConnectionInfo>();
    #[cfg(feature = "axum")]
    let info = info.or_else(|| {
        extensions.get::<axum::extract::ConnectInfo<ConnectionInfo>>().map(|wrapped| &wrapped.0)
    });
    info
}

impl fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.inner.peer, f)
    }
}

/// A connection that was let in: its handshake is done and its HTTP/2 preface is there.
pub struct ServerIo {
    io: Io,
    info: ConnectionInfo,
    over: Over,
    cut: bool,
    _place: Place,
}

pub(super) enum Io {
    Plain(Rewind<Socket>),
    Tls(Box<Rewind<TlsStream<Rewind<Socket>>>>),
}

impl ServerIo {
    pub(super) fn new(io: Io, info: ConnectionInfo, over: Over, place: Place) -> Self {
        Self { io, info, over, cut: false, _place: place }
    }

    /// Who is at the other end.
    pub fn peer(&self) -> &PeerIdentity {
        self.info.peer()
    }

    /// Asked before every operation: a peer that always has something to say, or always takes
    /// what is said, is cut all the same.
    fn is_cut(&mut self) -> bool {
        if !self.cut && self.over.is_due() {
            self.cut();
        }
        self.cut
    }

    /// Waits for the cut where an operation waits. A peer that does not read may keep HTTP/2
    /// waiting to write alone, so each of them does.
    fn or_cut<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        std::task::ready!(self.over.poll(cx));
        self.cut();
        Poll::Ready(Err(time_is_over()))
    }

    fn cut(&mut self) {
        self.cut = true;
        // Reading and writing may wait in two tasks, and only one of them was woken by now.
        match &self.io {
            Io::Plain(io) => io.get_ref().hang_up(),
            Io::Tls(io) => io.get_ref().get_ref().0.get_ref().hang_up(),
        }
    }
}

fn time_is_over() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the connection had its time")
}

macro_rules! each_io {
    ($self:expr, $io:ident => $call:expr) => {
        match &mut $self.io {
            Io::Plain($io) => $call,
            Io::Tls($io) => {
                let $io = &mut **$io;
                $call
            }
        }
    };
}

impl AsyncRead for ServerIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_cut() {
            return Poll::Ready(Err(time_is_over()));
        }
        match each_io!(this, io => Pin::new(io).poll_read(cx, buf)) {
            Poll::Pending => this.or_cut(cx),
            read => read,
        }
    }
}

impl AsyncWrite for ServerIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_cut() {
            return Poll::Ready(Err(time_is_over()));
        }
        match each_io!(this, io => Pin::new(io).poll_write(cx, buf)) {
            Poll::Pending => this.or_cut(cx),
            written => written,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_cut() {
            return Poll::Ready(Err(time_is_over()));
        }
        match each_io!(this, io => Pin::new(io).poll_flush(cx)) {
            Poll::Pending => this.or_cut(cx),
            flushed => flushed,
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_cut() {
            // Nothing more is owed to a peer that had its time.
            return Poll::Ready(Ok(()));
        }
        match each_io!(this, io => Pin::new(io).poll_shutdown(cx)) {
            Poll::Pending => this.or_cut(cx),
            shut_down => shut_down,
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_cut() {
            return Poll::Ready(Err(time_is_over()));
        }
        match each_io!(this, io => Pin::new(io).poll_write_vectored(cx, bufs)) {
            Poll::Pending => this.or_cut(cx),
            written => written,
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Plain(io) => io.is_write_vectored(),
            Io::Tls(io) => io.is_write_vectored(),
        }
    }
}

impl Connected for ServerIo {
    type ConnectInfo = ConnectionInfo;

    fn connect_info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl fmt::Debug for ServerIo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIo").field("peer", self.peer()).finish_non_exhaustive()
    }
}
