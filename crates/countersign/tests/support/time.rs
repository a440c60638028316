use std::sync::mpsc;
use std::time::Duration;

use countersign_testkit::wait::until;

/// Timers that stand still until the test moves them, while sockets go on.
///
/// tokio's paused clock by itself jumps to the next timer as soon as no task can run; with a
/// socket, that is whenever the kernel takes a moment. It does not jump while blocking work is
/// under way, and this value is such work. For tests with `start_paused = true`, which makes time
/// begin on a full millisecond: timers know no less.
pub(crate) struct StoppedTime {
    _held: mpsc::Sender<()>,
}

impl StoppedTime {
    /// Holds the paused time of the current runtime.
    pub(crate) fn hold() -> Self {
        let (held, dropped) = mpsc::channel::<()>();
        // Not forever: a test that waits in vain then fails by its own timers.
        tokio::task::spawn_blocking(move || dropped.recv_timeout(Duration::from_secs(240)));
        Self { _held: held }
    }

    /// Moves the time, and lets the tasks run that waited for it.
    pub(crate) async fn advance(&self, by: Duration) {
        tokio::time::advance(by).await;
        self.settle().await;
    }

    /// Lets every task run that can, so that what was spawned is waiting for the time by now.
    pub(crate) async fn settle(&self) {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
}

/// Lets the kernel deliver what is under way, for tests in which nothing is to happen. Where
/// something is, wait for that.
pub(crate) async fn kernel_has_its_turn() {
    let mut turns = 0;
    until("the kernel has its turn", || {
        turns += 1;
        turns > 3
    })
    .await;
}
