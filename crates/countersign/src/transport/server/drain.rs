use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::transport::instant_after;

/// Ends a listener's connections in time.
///
/// tonic's own shutdown lets calls finish and waits for them without a bound. This one tells it
/// when to begin, and cuts what is left when the grace is over.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn run(credentials: countersign::ServerCredentials, greeter: tonic::service::Routes)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// # let stop = std::future::pending();
/// let incoming = credentials.bind("127.0.0.1:8443").await?;
/// let shutdown = incoming.drain().after(stop, Duration::from_secs(30));
/// countersign::server_builder()
///     .add_routes(greeter)
///     .serve_with_incoming_shutdown(incoming, shutdown)
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Drain {
    deadline: watch::Sender<Option<Instant>>,
}

impl Drain {
    pub(super) fn new() -> Self {
        Self { deadline: watch::Sender::new(None) }
    }

    /// Waits for `signal`, and then cuts every connection of the listener that is still open
    /// after `grace`.
    ///
    /// Give the future to `serve_with_incoming_shutdown`: when it completes, the listener closes,
    /// handshakes are cut, and calls in flight have `grace` to finish.
    pub fn after<F>(&self, signal: F, grace: Duration) -> impl Future<Output = ()> + Send + use<F>
    where
        F: Future<Output = ()> + Send,
    {
        let drain = self.clone();
        async move {
            signal.await;
            drain.start(grace);
        }
    }

    /// Cuts every connection of the listener that is still open after `grace`. A later call can
    /// only bring the end nearer.
    pub fn start(&self, grace: Duration) {
        let deadline = instant_after(grace);
        self.deadline.send_modify(|known| {
            *known = Some(known.map_or(deadline, |known| known.min(deadline)));
        });
    }

    /// For a connection, to know when it has to end: when it is drained, at `latest`, or when
    /// `room` says that it has to make room.
    pub(super) fn over(&self, latest: Option<Instant>, room: oneshot::Receiver<()>) -> Over {
        let mut changes = self.deadline.subscribe();
        let known = *changes.borrow_and_update();
        let wait = Box::pin(over(self.deadline.subscribe(), latest));
        Over { known, changes, wait, latest, room: Some(room) }
    }
}

/// When a connection has to end.
pub(super) struct Over {
    known: Option<Instant>,
    changes: watch::Receiver<Option<Instant>>,
    wait: Pin<Box<dyn Future<Output = ()> + Send>>,
    latest: Option<Instant>,
    room: Option<oneshot::Receiver<()>>,
}

impl Over {
    /// Whether it has to end now. A few atomic loads as long as nothing is drained.
    pub(super) fn is_due(&mut self) -> bool {
        // An error means that there will be no more changes; the last one counts.
        if self.changes.has_changed().unwrap_or(true) {
            self.known = *self.changes.borrow_and_update();
        }
        match self.room.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(())) => return true,
            // Dropped without a word: it keeps its place from now on.
            Some(Err(oneshot::error::TryRecvError::Closed)) => self.room = None,
            Some(Err(oneshot::error::TryRecvError::Empty)) | None => {}
        }
        let ends = [self.known, self.latest];
        ends.into_iter().flatten().min().is_some_and(|at| at <= Instant::now())
    }

    /// Ready when it has to end. Only the last task that asked is woken.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(room) = &mut self.room {
            match Pin::new(room).poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(()),
                Poll::Ready(Err(_)) => self.room = None,
                Poll::Pending => {}
            }
        }
        self.wait.as_mut().poll(cx)
    }
}

/// Waits until a connection is drained, or until `latest`. Every idle connection keeps one of
/// these, so there is room for one timer in it.
async fn over(mut deadline: watch::Receiver<Option<Instant>>, latest: Option<Instant>) {
    loop {
        let known = *deadline.borrow_and_update();
        let end = known.into_iter().chain(latest).min();
        let changed = match end {
            Some(at) => match timeout_at(at, deadline.changed()).await {
                Ok(changed) => changed,
                Err(_) => return,
            },
            None => deadline.changed().await,
        };
        match (changed, end) {
            (Ok(()), _) => {}
            (Err(_), Some(at)) => return sleep_until(at).await,
            // A listener may be dropped while its connections go on: then nothing can cut them.
            (Err(_), None) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_keeps_room_for_one_timer() {
        let drain = Drain::new();
        let wait = over(drain.deadline.subscribe(), Some(instant_after(Duration::ZERO)));
        assert!(size_of_val(&wait) <= 400, "{} bytes", size_of_val(&wait));
    }
}
