//! tonic as it comes.
//!
//! This workspace does not allow tonic's own TLS features. In their place stands the same
//! tokio-rustls acceptor, used as tonic uses it: each handshake in a task of a join set, no
//! deadline, and accept errors handed on.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::service::InterceptorLayer;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::echo::Echo;
use super::jwt::Verifier;
use super::{MAX_CONCURRENT_STREAMS, Outcome, announce, tls};
use crate::options::{Kind, ServeOptions};

/// hyper's own bounds, which tonic's builder switches off.
pub(super) fn builder() -> Server {
    Server::builder()
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .http2_max_local_error_reset_streams(Some(1024))
}

pub(super) async fn serve(options: &ServeOptions) -> Outcome {
    let echo = Echo { work: options.work };
    let listener = TcpListener::bind((options.address, 0)).await?;
    let address = listener.local_addr()?;
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    if options.kind == Kind::TonicPlain {
        announce(address)?;
        builder().add_service(echo).serve_with_incoming(incoming).await?;
        return Ok(());
    }
    let acceptor = tls::acceptor(options)?;
    let incoming = Accepted { incoming, acceptor, handshakes: JoinSet::new() };
    if options.kind == Kind::TonicTlsJwt {
        let layer = InterceptorLayer::new(Verifier::new(options)?);
        announce(address)?;
        builder().layer(layer).add_service(echo).serve_with_incoming(incoming).await?;
    } else {
        announce(address)?;
        builder().add_service(echo).serve_with_incoming(incoming).await?;
    }
    Ok(())
}

/// Connections whose handshake is done.
struct Accepted {
    incoming: TcpIncoming,
    acceptor: TlsAcceptor,
    handshakes: JoinSet<io::Result<TlsStream<TcpStream>>>,
}

impl Stream for Accepted {
    type Item = io::Result<TlsStream<TcpStream>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            while let Poll::Ready(Some(done)) = this.handshakes.poll_join_next(cx) {
                // A handshake that failed is the client's to notice.
                if let Ok(Ok(stream)) = done {
                    return Poll::Ready(Some(Ok(stream)));
                }
            }
            match ready!(Pin::new(&mut this.incoming).poll_next(cx)) {
                Some(Ok(stream)) => {
                    let acceptor = this.acceptor.clone();
                    this.handshakes.spawn(async move { acceptor.accept(stream).await });
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}
