//! Time that a test holds still.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::time::Duration;

use countersign_testkit::wait::until;

/// The runtime's time, standing still until it is moved. Sockets go on.
///
/// tokio's `pause` alone moves on by itself whenever every task waits, and tasks that wait for a
/// socket wait. A blocking task that runs keeps it from that.
#[derive(Debug)]
pub(crate) struct StoppedTime {
    _hold: mpsc::Sender<()>,
}

impl StoppedTime {
    /// Stops the time of this current-thread runtime, until it is dropped.
    pub(crate) fn begin() -> Self {
        tokio::time::pause();
        let (hold, held) = mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || {
            // It ends when the other end is dropped.
            let _ = held.recv();
        });
        Self { _hold: hold }
    }

    /// Moves it, once every task has done what it can do now.
    pub(crate) async fn advance(&self, by: Duration) {
        settle().await;
        tokio::time::advance(by).await;
        settle().await;
    }
}

impl Drop for StoppedTime {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}

/// Lets every task that can run do so.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// Fails when `future` takes more than a minute of real time, where it would hang.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let mut future = pin!(future);
    tokio::select! {
        biased;
        output = &mut future => output,
        () = until(what, || false) => unreachable!("it panics first"),
    }
}
