//! A listener whose connections the test gets to hold.

use std::net::SocketAddr;

use countersign::{Incoming, ServerCredentials, ServerIo};
use countersign_testkit::wait::until;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Polls a listener as a server does, and hands over whom it lets in.
#[derive(Debug)]
pub(crate) struct Guests {
    address: Option<SocketAddr>,
    let_in: mpsc::UnboundedReceiver<ServerIo>,
    polling: JoinHandle<()>,
}

impl Guests {
    pub(crate) fn of(mut incoming: Incoming) -> Self {
        let (door, let_in) = mpsc::unbounded_channel();
        let address = incoming.local_addr();
        let polling = tokio::spawn(async move {
            loop {
                let io = incoming.next_connection().await;
                if door.send(io).is_err() {
                    return;
                }
            }
        });
        Self { address, let_in, polling }
    }

    /// Those of a new listener on loopback.
    pub(crate) async fn on_loopback(credentials: &ServerCredentials) -> Self {
        Self::of(credentials.bind("127.0.0.1:0").await.expect("bound"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("a TCP listener")
    }

    /// The next connection that is let in.
    pub(crate) async fn next(&mut self) -> ServerIo {
        let mut next = None;
        until("a connection is let in", || {
            next = self.let_in.try_recv().ok();
            next.is_some()
        })
        .await;
        next.expect("it was waited for")
    }

    /// Whether nobody else was let in so far.
    pub(crate) fn nobody_else(&mut self) -> bool {
        self.let_in.try_recv().is_err()
    }

    /// Drops the listener. Connections that were handed over stay.
    pub(crate) async fn close(&mut self) {
        self.polling.abort();
        until("the listener is dropped", || self.polling.is_finished()).await;
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        self.polling.abort();
    }
}
