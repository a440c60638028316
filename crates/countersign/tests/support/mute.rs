use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex};

use countersign_testkit::wait::until;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// A listener that takes connections and never says a word.
pub(crate) struct MuteServer {
    listener: StdListener,
    seen: Arc<Mutex<Seen>>,
    barriers: Mutex<Vec<SocketAddr>>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Seen {
    accepted: Vec<SocketAddr>,
    closed: Vec<SocketAddr>,
}

#[derive(Clone, Copy)]
enum Manner {
    Silent,
    HangingUp,
}

impl MuteServer {
    /// Keeps every connection open.
    pub(crate) async fn silent() -> Self {
        Self::silent_on(TcpListener::bind("127.0.0.1:0").await.expect("bound"))
    }

    /// Keeps every connection open, where somebody listened already.
    pub(crate) fn silent_on(listener: TcpListener) -> Self {
        Self::start(listener, Manner::Silent)
    }

    /// Closes every connection at once.
    pub(crate) async fn hanging_up() -> Self {
        Self::hanging_up_on(TcpListener::bind("127.0.0.1:0").await.expect("bound"))
    }

    /// Closes every connection at once, where somebody listened already.
    pub(crate) fn hanging_up_on(listener: TcpListener) -> Self {
        Self::start(listener, Manner::HangingUp)
    }

    fn start(listener: TcpListener, manner: Manner) -> Self {
        let listener = listener.into_std().expect("a listener");
        let accepting = TcpListener::from_std(listener.try_clone().expect("a second handle"));
        let accepting = accepting.expect("inside a runtime");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(accept(accepting, manner, Arc::clone(&seen)));
        let barriers = Mutex::new(Vec::new());
        Self { listener, seen, barriers, _accepting: AbortOnDropHandle::new(task) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }

    pub(crate) fn http(&self) -> String {
        format!("http://{}", self.address())
    }

    pub(crate) fn https(&self) -> String {
        format!("https://{}", self.address())
    }

    /// How many connections there were. None that was begun before is missed: they are accepted
    /// in order, and one more is made and waited for.
    pub(crate) async fn dials(&self) -> usize {
        let barrier = TcpStream::connect(self.address()).await.expect("connected");
        let address = barrier.local_addr().expect("an address");
        self.barriers.lock().expect("never poisoned").push(address);
        until("the barrier is accepted", || self.accepted().contains(&address)).await;
        let barriers = self.barriers.lock().expect("never poisoned");
        self.accepted().iter().filter(|address| !barriers.contains(address)).count()
    }

    /// Waits for a connection.
    pub(crate) async fn dialled(&self) {
        until("somebody dials", || !self.accepted().is_empty()).await;
    }

    /// Waits until the peers of so many connections closed them.
    pub(crate) async fn left(&self, connections: usize) {
        let closed = || self.seen.lock().expect("never poisoned").closed.len();
        until("the peer hangs up", || closed() >= connections).await;
    }

    fn accepted(&self) -> Vec<SocketAddr> {
        self.seen.lock().expect("never poisoned").accepted.clone()
    }

    /// Leaves the port to somebody who speaks.
    pub(crate) fn into_listener(self) -> TcpListener {
        TcpListener::from_std(self.listener).expect("inside a runtime")
    }
}

async fn accept(listener: TcpListener, manner: Manner, seen: Arc<Mutex<Seen>>) {
    let mut open = JoinSet::new();
    while let Ok((mut io, address)) = listener.accept().await {
        seen.lock().expect("never poisoned").accepted.push(address);
        if let Manner::Silent = manner {
            let seen = Arc::clone(&seen);
            open.spawn(async move {
                while io.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
                seen.lock().expect("never poisoned").closed.push(address);
            });
        }
    }
}
