//! The h2 crate alone, in plaintext or over tokio-rustls: what a call or a connection costs before
//! any framework.

use std::io;

use bytes::{Bytes, BytesMut};
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{MAX_CONCURRENT_STREAMS, Outcome, announce, tls};
use crate::options::{Kind, ServeOptions};

pub(super) async fn serve(options: &ServeOptions) -> Outcome {
    let acceptor = match options.kind {
        Kind::BareH2Tls => Some(tls::acceptor(options)?),
        _ => None,
    };
    let listener = TcpListener::bind((options.address, 0)).await?;
    announce(listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // A connection that breaks is the client's to notice.
        match acceptor.clone() {
            None => tokio::spawn(async move { connection(stream).await.ok() }),
            Some(acceptor) => tokio::spawn(async move { secured(stream, acceptor).await.ok() }),
        };
    }
}

async fn secured(stream: TcpStream, acceptor: TlsAcceptor) -> io::Result<()> {
    connection(acceptor.accept(stream).await?).await.map_err(io::Error::other)
}

async fn connection<S>(stream: S) -> Result<(), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = Builder::new()
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        // As hyper has it.
        .initial_window_size(1024 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_frame_size(16 * 1024)
        .handshake::<_, Bytes>(stream)
        .await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        tokio::spawn(async move { answer(request, respond).await.ok() });
    }
    Ok(())
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    let mut echo = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        echo.extend_from_slice(&data);
    }
    let mut response = Response::new(());
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut stream: SendStream<Bytes> = respond.send_response(response, false)?;
    stream.send_data(echo.freeze(), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
