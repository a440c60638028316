use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

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

    /// Completes when the connection that holds it has to end.
    pub(super) fn over(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let mut deadline = self.deadline.subscribe();
        // A listener may be dropped while its connections go on: then nothing can cut them.
        Box::pin(async move {
            loop {
                let known = *deadline.borrow_and_update();
                let changed = match known {
                    Some(at) => tokio::select! {
                        () = tokio::time::sleep_until(at) => return,
                        changed = deadline.changed() => changed,
                    },
                    None => deadline.changed().await,
                };
                match (changed, known) {
                    (Ok(()), _) => {}
                    (Err(_), Some(at)) => return tokio::time::sleep_until(at).await,
                    (Err(_), None) => std::future::pending().await,
                }
            }
        })
    }
}
