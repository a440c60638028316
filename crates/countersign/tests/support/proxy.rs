use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use countersign_testkit::wait::until;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Stands between a channel and its server, and can swallow what they say.
pub(crate) struct Proxy {
    address: SocketAddr,
    forwarding: watch::Sender<bool>,
    accepted: Arc<AtomicUsize>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let forwarding = watch::Sender::new(true);
        let accepted = Arc::new(AtomicUsize::new(0));
        let task =
            tokio::spawn(accept(listener, server, forwarding.subscribe(), Arc::clone(&accepted)));
        Self { address, forwarding, accepted, _accepting: AbortOnDropHandle::new(task) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits for so many connections.
    pub(crate) async fn dialled(&self, times: usize) {
        until("somebody dials", || self.accepted.load(Ordering::SeqCst) >= times).await;
    }

    /// Keeps all connections open, and forwards nothing any more.
    pub(crate) fn fall_silent(&self) {
        self.forwarding.send_replace(false);
    }

    /// Forwards again, what was held back first.
    pub(crate) fn speak(&self) {
        self.forwarding.send_replace(true);
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    forwarding: watch::Receiver<bool>,
    accepted: Arc<AtomicUsize>,
) {
    let mut open = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        accepted.fetch_add(1, Ordering::SeqCst);
        let server = TcpStream::connect(server).await.expect("connected");
        let (client_in, client_out) = client.into_split();
        let (server_in, server_out) = server.into_split();
        open.spawn(forward(client_in, server_out, forwarding.clone()));
        open.spawn(forward(server_in, client_out, forwarding.clone()));
    }
}

async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut forwarding: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if forwarding.wait_for(|on| *on).await.is_err() {
            return;
        }
        let outcome = match read {
            0 => to.shutdown().await,
            _ => to.write_all(&buffer[..read]).await,
        };
        if read == 0 || outcome.is_err() {
            return;
        }
    }
}
