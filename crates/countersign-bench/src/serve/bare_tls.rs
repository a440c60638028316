//! A handshake by tokio-rustls, one HTTP/2 SETTINGS frame, and nothing else: the floor of a
//! connection.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{Outcome, announce, tls};
use crate::options::ServeOptions;

/// An empty SETTINGS frame (RFC 9113 §6.5).
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

pub(super) async fn serve(options: &ServeOptions) -> Outcome {
    let acceptor = tls::acceptor(options)?;
    let listener = TcpListener::bind((options.address, 0)).await?;
    announce(listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        // A connection that breaks is the client's to notice.
        tokio::spawn(async move { connection(stream, acceptor).await.ok() });
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    stream.write_all(&SETTINGS).await?;
    stream.flush().await?;
    let mut buffer = [0; 256];
    while stream.read(&mut buffer).await? > 0 {}
    stream.shutdown().await
}
