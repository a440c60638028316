//! Connections: with h2 on top for calls, or by hand for handshakes.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{LoadError, Tls};

/// The client's connection preface and an empty SETTINGS frame (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// The frame type of SETTINGS.
const SETTINGS: u8 = 4;
/// For one handshake: far more than any takes.
const LIMIT: Duration = Duration::from_secs(30);

/// Opens a connection for calls, from an address of one's choice or the system's; what drives it
/// is added to `drivers`.
pub(crate) async fn connect(
    source: Option<Ipv4Addr>,
    address: SocketAddr,
    tls: Option<&Tls>,
    drivers: &mut JoinSet<()>,
) -> Result<SendRequest<Bytes>, LoadError> {
    let stream = match source {
        None => dial(address).await?,
        Some(source) => from(source, address).await?,
    };
    match tls {
        None => speak(stream, drivers).await,
        Some(tls) => speak(secure(stream, tls).await?, drivers).await,
    }
}

async fn speak<Stream>(
    stream: Stream,
    drivers: &mut JoinSet<()>,
) -> Result<SendRequest<Bytes>, LoadError>
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (send, connection) = Builder::new()
        .initial_window_size(1024 * 1024)
        .initial_connection_window_size(16 * 1024 * 1024)
        .enable_push(false)
        .handshake(stream)
        .await?;
    drivers.spawn(async move {
        // What breaks a connection shows at its streams.
        let _ = connection.await;
    });
    Ok(send)
}

async fn dial(address: SocketAddr) -> Result<TcpStream, LoadError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn secure(stream: TcpStream, tls: &Tls) -> Result<TlsStream<TcpStream>, LoadError> {
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    let stream = connector.connect(Tls::name(), stream).await?;
    tls.check(stream.get_ref().1, true)?;
    Ok(stream)
}

/// A connection that goes as far as the server's SETTINGS.
#[derive(Clone)]
pub(crate) struct Handshake {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Tls,
    /// The address to come from; `None` is the system's choice.
    pub(crate) source: Option<Ipv4Addr>,
}

/// Connects, shakes hands, sends the preface, and waits for the server's first SETTINGS.
///
/// `first` is the connection that later ones resume; it is full or not.
pub(crate) async fn handshake(
    way: &Handshake,
    first: bool,
) -> Result<TlsStream<TcpStream>, LoadError> {
    within(async {
        let mut stream = shake_hands(way, first).await?;
        send_preface(&mut stream).await?;
        Ok(stream)
    })
    .await
}

/// Connects and shakes hands, and that is all; where sessions are resumed, it waits for the ticket
/// of the next one.
pub(crate) async fn handshake_alone(
    way: &Handshake,
    first: bool,
) -> Result<TlsStream<TcpStream>, LoadError> {
    within(async {
        let mut stream = shake_hands(way, first).await?;
        if way.tls.is_resumed() {
            take_ticket(&mut stream).await?;
        }
        Ok(stream)
    })
    .await
}

/// Shakes hands on a connection and leaves it there: whatever comes next is not encrypted.
pub(crate) async fn shake_and_leave(
    way: &Handshake,
    stream: TcpStream,
) -> Result<TcpStream, LoadError> {
    let connector = TlsConnector::from(Arc::clone(&way.tls.config));
    let stream = within(async { Ok(connector.connect(Tls::name(), stream).await?) }).await?;
    Ok(stream.into_inner().0)
}

/// Reads until a session ticket is there. The server has nothing else to say.
async fn take_ticket(stream: &mut TlsStream<TcpStream>) -> Result<(), LoadError> {
    let mut byte = [0];
    poll_fn(|cx| {
        let mut buffer = ReadBuf::new(&mut byte);
        let read = Pin::new(&mut *stream).poll_read(cx, &mut buffer);
        match (stream.get_ref().1.tls13_tickets_received(), read) {
            (1.., _) => Poll::Ready(Ok(())),
            (0, Poll::Pending) => Poll::Pending,
            (0, Poll::Ready(Err(error))) => Poll::Ready(Err(error.into())),
            (0, Poll::Ready(Ok(()))) => {
                Poll::Ready(Err(LoadError::Negotiated("no session ticket".to_owned())))
            }
        }
    })
    .await
}

async fn within<T>(work: impl Future<Output = Result<T, LoadError>>) -> Result<T, LoadError> {
    tokio::time::timeout(LIMIT, work).await.map_err(|_| LoadError::Timeout(LIMIT))?
}

async fn shake_hands(way: &Handshake, first: bool) -> Result<TlsStream<TcpStream>, LoadError> {
    let stream = match way.source {
        None => dial(way.address).await?,
        Some(source) => from(source, way.address).await?,
    };
    let connector = TlsConnector::from(Arc::clone(&way.tls.config));
    let stream = connector.connect(Tls::name(), stream).await?;
    way.tls.check(stream.get_ref().1, first)?;
    Ok(stream)
}

/// The client's side of HTTP/2's beginning.
async fn send_preface<Stream>(stream: &mut Stream) -> Result<(), LoadError>
where
    Stream: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(PREFACE).await?;
    stream.flush().await?;
    let mut header = [0; 9];
    stream.read_exact(&mut header).await?;
    if header[3] != SETTINGS {
        return Err(LoadError::Reply(format!("a first frame of type {}", header[3])));
    }
    Ok(())
}

/// A connection from a loopback address of one's choice.
pub(crate) async fn from(source: Ipv4Addr, address: SocketAddr) -> Result<TcpStream, LoadError> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
