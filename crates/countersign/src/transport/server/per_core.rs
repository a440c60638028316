use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::drain::Drain;
use super::incoming::{Incoming, Shared};
use crate::credentials::ServerCredentials;
use crate::tls::HandshakeCounters;

impl ServerCredentials {
    /// Listens for [one runtime per core](PerCore). `cores` is how many; `None` takes all that
    /// the system gives this process. Blocks on name resolution if the address is a name.
    ///
    /// # Errors
    ///
    /// What the system says, for instance that the port is taken.
    pub fn bind_per_core(
        &self,
        address: impl ToSocketAddrs,
        cores: impl Into<Option<NonZeroUsize>>,
    ) -> io::Result<PerCore> {
        let cores = match cores.into() {
            Some(cores) => cores.get(),
            None => std::thread::available_parallelism()?.get(),
        };
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
        for address in address.to_socket_addrs()? {
            match listen(address, cores) {
                Ok(listeners) => {
                    let address = listeners[0].local_addr()?;
                    return Ok(PerCore { listeners, address, shared: Shared::new(self) });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A listener for each of several cores, all on one port.
///
/// Each gets a thread with a current-thread runtime of its own. On a multi-thread runtime tonic
/// writes once per response, because a woken connection's task runs at once; on a
/// current-thread one responses are gathered, which costs a good deal less CPU where many small
/// calls share a connection (`countersign-bench` measures it).
///
/// Credentials, limits, counters and whatever the closure shares (a gate, its caches) are common
/// to all. What to know before choosing it:
///
/// * A connection stays on its core. The kernel spreads connections, not calls: with a handful
///   of connections some cores may idle.
/// * A handler that computes for long holds up every connection of its core. Give such work to
///   `spawn_blocking`, or to a multi-thread runtime by its `Handle`.
/// * `tokio::task::block_in_place` panics on a current-thread runtime.
/// * On Linux each core has a socket of its own (`SO_REUSEPORT`), and other processes of the same
///   user can listen on the port too. Elsewhere the cores share one socket.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn run(credentials: countersign::ServerCredentials, gate: countersign::Gate,
/// #     greeter: tonic::service::Routes) -> Result<(), Box<dyn std::error::Error>> {
/// let workers = credentials.bind_per_core("0.0.0.0:8443", None)?.serve(move |worker| {
///     let (gate, greeter) = (gate.clone(), greeter.clone());
///     async move {
///         let (incoming, shutdown) = worker.into_parts();
///         countersign::server_builder()
///             .layer(gate)
///             .add_routes(greeter)
///             .serve_with_incoming_shutdown(incoming, shutdown)
///             .await
///     }
/// })?;
/// # let stop = std::future::pending::<()>();
/// stop.await;
/// workers.shutdown(Duration::from_secs(30));
/// workers.wait().await?;
/// # Ok(())
/// # }
/// ```
pub struct PerCore {
    listeners: Vec<TcpListener>,
    address: SocketAddr,
    shared: Shared,
}

impl PerCore {
    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The handshakes on all cores, counted as gRFC A118 says.
    pub fn handshakes(&self) -> &HandshakeCounters {
        self.shared.handshakes()
    }

    /// Starts a thread per core, and in each the future that `serve` makes for it.
    ///
    /// The threads end when that future does. One that ends before [`Workers::shutdown`], with an
    /// error or without, shuts the others down: a server that answers on some of its sockets
    /// only would fail at random.
    ///
    /// # Errors
    ///
    /// When a thread or its runtime cannot be started; those that were are stopped.
    pub fn serve<Serve, Served, E>(self, serve: Serve) -> io::Result<Workers>
    where
        Serve: Fn(Worker) -> Served + Send + Sync + 'static,
        Served: Future<Output = Result<(), E>>,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let serve = Arc::new(serve);
        let (stop, stopped) = watch::channel(false);
        let (ended, endings) = mpsc::unbounded_channel();
        let mut workers = Workers {
            threads: Vec::new(),
            endings,
            stop,
            drain: self.shared.drain(),
            address: self.address,
        };
        for (core, listener) in self.listeners.into_iter().enumerate() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (shared, serve) = (self.shared.clone(), Arc::clone(&serve));
            let (stopped, listeners) = (stopped.clone(), ended.clone());
            let work = move || {
                let mut ended = Ended { outcome: None, listeners };
                let outcome = runtime.block_on(async {
                    let listener = tokio::net::TcpListener::from_std(listener)?;
                    let incoming = Incoming::sharing(&shared, listener)?;
                    serve(Worker { incoming, stopped, core }).await.map_err(Into::into)
                });
                ended.outcome = Some(outcome);
                // Connections that were cut leave tasks that are at their end.
                runtime.shutdown_timeout(Duration::from_secs(1));
            };
            let thread =
                std::thread::Builder::new().name(format!("countersign-{core}")).spawn(work)?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }
}

impl fmt::Debug for PerCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerCore")
            .field("address", &self.address)
            .field("cores", &self.listeners.len())
            .finish_non_exhaustive()
    }
}

/// One core's part.
#[derive(Debug)]
pub struct Worker {
    incoming: Incoming,
    stopped: watch::Receiver<bool>,
    core: usize,
}

impl Worker {
    /// Which core it is, from 0. Threads are not pinned: the number only tells them apart.
    pub fn core(&self) -> usize {
        self.core
    }

    /// The connections of this core, and the future that completes at shutdown: the two
    /// arguments of tonic's `serve_with_incoming_shutdown`.
    pub fn into_parts(self) -> (Incoming, impl Future<Output = ()> + Send + use<>) {
        let mut stopped = self.stopped;
        (self.incoming, async move {
            // The other end gone means the same.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        })
    }
}

/// The threads of [`PerCore::serve`]. Dropping it cuts everything at once.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    endings: mpsc::UnboundedReceiver<Ending>,
    stop: watch::Sender<bool>,
    drain: Drain,
    address: SocketAddr,
}

type Ending = Option<Result<(), Box<dyn Error + Send + Sync>>>;

/// Tells how a thread ended, once: `None` is a panic.
struct Ended {
    outcome: Ending,
    listeners: mpsc::UnboundedSender<Ending>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        // Nobody may be left to hear it.
        let _ = self.listeners.send(self.outcome.take());
    }
}

/// Why serving on several cores ended badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// One worker's future failed; the others were shut down.
    #[error("a worker ended with an error")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    /// One worker ended without being asked to; the others were shut down.
    #[error("a worker ended before the shutdown")]
    EndedEarly,
    /// One worker panicked; the others were shut down.
    #[error("a worker panicked")]
    Panicked,
}

impl Workers {
    /// The address that is listened on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Takes no new connections, and cuts those that are still open after `grace`.
    pub fn shutdown(&self, grace: Duration) {
        self.drain.start(grace);
        self.stop.send_replace(true);
    }

    /// Waits until all have ended.
    ///
    /// # Errors
    ///
    /// The first worker that ended badly, or before it was asked to.
    pub async fn wait(mut self) -> Result<(), WorkerError> {
        let mut first = Ok(());
        for _ in 0..self.threads.len() {
            let ending = self.endings.recv().await.flatten();
            let asked = *self.stop.borrow();
            let outcome = match ending {
                None => Err(WorkerError::Panicked),
                Some(Err(error)) => Err(WorkerError::Failed(error)),
                Some(Ok(())) if !asked => Err(WorkerError::EndedEarly),
                Some(Ok(())) => Ok(()),
            };
            if !asked {
                self.shutdown(Duration::ZERO);
            }
            if first.is_ok() {
                first = outcome;
            }
        }
        first
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shutdown(Duration::ZERO);
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers")
            .field("address", &self.address)
            .field("cores", &self.threads.len())
            .finish_non_exhaustive()
    }
}

/// As many listeners on one port as there are cores, ready for a runtime.
fn listen(address: SocketAddr, cores: usize) -> io::Result<Vec<TcpListener>> {
    const BACKLOG: i32 = 1024;
    let first = socket(address)?;
    first.bind(&address.into())?;
    first.listen(BACKLOG)?;
    let first: TcpListener = first.into();
    // With port 0 the first one's choice is everybody's.
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..cores {
        let next = if cfg!(target_os = "linux") {
            let next = socket(address)?;
            next.bind(&address.into())?;
            next.listen(BACKLOG)?;
            next.into()
        } else {
            listeners[0].try_clone()?
        };
        listeners.push(next);
    }
    Ok(listeners)
}

fn socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(true)?;
    Ok(socket)
}
