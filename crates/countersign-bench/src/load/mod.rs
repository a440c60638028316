//! The load generator: connections × streams × callers, every reply checked.
//!
//! Requests are made beforehand, so that the generator has time to spare and the server is what
//! limits. It counts refusals and fails a sample at the first reply that is not as expected.

mod connect;
mod request;
mod tls;

use std::future::poll_fn;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::task::JoinSet;

pub(crate) use connect::{Handshake, connect, from, handshake, handshake_alone, shake_and_leave};
pub(crate) use request::{Expect, Prepared, echo_message, prepare};
pub(crate) use tls::{Tls, hello_bytes};

use crate::launch::Server;

/// What goes wrong with load.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot connect")]
    Connect(#[from] std::io::Error),
    #[error("HTTP/2 failed")]
    Http2(#[from] h2::Error),
    #[error("the server chose {0}, which was not asked for")]
    Negotiated(String),
    #[error("a reply was not as expected: {0}")]
    Reply(String),
    #[error("the sample took more than {} s", .0.as_secs())]
    Timeout(Duration),
    #[error("a task of the load ended badly")]
    Task(#[from] tokio::task::JoinError),
}

/// What was counted in a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Replies whose status and body were checked and right, refusals among them.
    pub(crate) checked: u64,
    /// Replies that refused the call.
    pub(crate) refused: u64,
}

/// The form of a load.
#[derive(Clone)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    pub(crate) streams: usize,
    /// `None` is plaintext.
    pub(crate) tls: Option<Tls>,
    /// In turn, one per caller.
    pub(crate) requests: Arc<[Prepared]>,
    /// Whether strangers have a connection of their own beside each.
    pub(crate) strangers: bool,
}

/// A connection of callers, and beside it one of strangers if there are any.
#[derive(Clone)]
struct Connection {
    callers: SendRequest<Bytes>,
    strangers: Option<SendRequest<Bytes>>,
}

/// Where strangers come from.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Connections that are open and ready to load a server.
pub(crate) struct Generator {
    shape: Shape,
    connections: Vec<Connection>,
    drivers: JoinSet<()>,
}

impl Generator {
    /// Opens the connections.
    pub(crate) async fn open(shape: Shape, server: &Server) -> Result<Self, LoadError> {
        let mut drivers = JoinSet::new();
        let mut connections = Vec::with_capacity(shape.connections);
        let (address, tls) = (server.address(), shape.tls.as_ref());
        for _ in 0..shape.connections {
            let callers = connect(None, address, tls, &mut drivers).await?;
            let strangers = match shape.strangers {
                true => Some(connect(Some(ELSEWHERE), address, tls, &mut drivers).await?),
                false => None,
            };
            connections.push(Connection { callers, strangers });
        }
        Ok(Self { shape, connections, drivers })
    }

    /// Sends so many requests in all, and checks every reply.
    ///
    /// # Errors
    ///
    /// The first reply that is not as expected, or the time limit.
    pub(crate) async fn run(&self, requests: usize, limit: Duration) -> Result<Tally, LoadError> {
        self.run_these(&self.shape.requests, requests, limit).await.map(|(tally, _)| tally)
    }

    /// The same with requests other than the shape's; says too how long each reply took that was not a refusal.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub(crate) async fn run_these(
        &self,
        these: &Arc<[Prepared]>,
        requests: usize,
        limit: Duration,
    ) -> Result<(Tally, Vec<Duration>), LoadError> {
        let taken = Arc::new(AtomicUsize::new(0));
        let mut callers = JoinSet::new();
        for connection in &self.connections {
            for _ in 0..self.shape.streams {
                let all = Arc::clone(these);
                callers.spawn(stream(connection.clone(), all, Arc::clone(&taken), requests));
            }
        }
        let all = async {
            let (mut tally, mut latencies) = (Tally::default(), Vec::with_capacity(requests));
            while let Some(done) = callers.join_next().await {
                let (one, took) = done??;
                tally.checked += one.checked;
                tally.refused += one.refused;
                latencies.extend(took);
            }
            Ok((tally, latencies))
        };
        tokio::time::timeout(limit, all).await.map_err(|_| LoadError::Timeout(limit))?
    }

    /// Sends one request on each connection, one after another.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    pub(crate) async fn run_one_each(&self, limit: Duration) -> Result<(), LoadError> {
        let all = async {
            for connection in &self.connections {
                let mut connection = connection.callers.clone().ready().await?;
                request::exchange(&mut connection, &self.shape.requests[0]).await?;
            }
            Ok(())
        };
        tokio::time::timeout(limit, all).await.map_err(|_| LoadError::Timeout(limit))?
    }

    /// Closes the connections.
    pub(crate) async fn close(mut self) {
        self.connections.clear();
        let end = async { while self.drivers.join_next().await.is_some() {} };
        // A server that does not let go is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(1), end).await;
    }
}

/// One stream after another on a connection, as long as there are requests left.
async fn stream(
    mut connection: Connection,
    requests: Arc<[Prepared]>,
    taken: Arc<AtomicUsize>,
    total: usize,
) -> Result<(Tally, Vec<Duration>), LoadError> {
    let (mut tally, mut latencies) = (Tally::default(), Vec::new());
    loop {
        let number = taken.fetch_add(1, Ordering::Relaxed);
        if number >= total {
            return Ok((tally, latencies));
        }
        let request = &requests[number % requests.len()];
        let sending = match &mut connection.strangers {
            Some(strangers) if request.stranger => strangers,
            _ => &mut connection.callers,
        };
        let begun = Instant::now();
        poll_fn(|cx| sending.poll_ready(cx)).await?;
        let refused = request::exchange(sending, request).await?;
        tally.checked += 1;
        tally.refused += u64::from(refused);
        if !refused {
            latencies.push(begun.elapsed());
        }
    }
}
