use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::issuer::DevIssuer;

/// How many connections are answered at a time; more wait.
const MAX_CONNECTIONS: usize = 64;

/// How long a connection lasts, whatever it does.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers until it is dropped, and every connection with it.
pub(super) async fn serve(listener: TcpListener, issuer: DevIssuer) {
    let issuer = Arc::new(issuer);
    let mut open = JoinSet::new();
    loop {
        while open.len() >= MAX_CONNECTIONS {
            open.join_next().await;
        }
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((io, _)) => {
                    open.spawn(connection(io, Arc::clone(&issuer)));
                }
                // Out of file descriptors, perhaps: it gets better when something is closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = open.join_next() => {}
        }
    }
}

async fn connection(io: TcpStream, issuer: Arc<DevIssuer>) {
    let service = service_fn(move |request| {
        let issuer = Arc::clone(&issuer);
        async move { Ok::<_, Infallible>(issuer.answer(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(io), service);
    // A client that goes away, says nothing or breaks HTTP is its own affair.
    let _ = tokio::time::timeout(CONNECTION_LIFE, served).await;
}
