//! Waiting for what another task or the kernel is about to do.

use std::time::Duration;

/// Waits until `condition` holds, asking every millisecond.
///
/// # Panics
///
/// When it does not hold within a minute of real time.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if condition() {
            return;
        }
        // In a thread of its own, so that a paused clock does not pass the time instead.
        let pause = tokio::task::spawn_blocking(|| std::thread::park_timeout(TICK));
        pause.await.expect("a pause cannot fail");
    }
    panic!("waited in vain: {what}");
}

const TICK: Duration = Duration::from_millis(1);
