//! Warnings that a stranger can cause, without letting the stranger fill the disk.

use std::sync::Mutex;

use tokio::time::Instant;

/// So many warnings at once, and so many a second afterwards.
#[derive(Debug)]
pub(crate) struct Warnings {
    burst: f64,
    per_second: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: f64,
    at: Instant,
    withheld: u64,
}

impl Warnings {
    /// Ten at once and one a second: for what strangers cause.
    pub(crate) fn new() -> Self {
        Self::of(10.0, 1.0)
    }

    /// A hundred at once and ten a second: for what callers cause whom we know by name.
    pub(crate) fn of_the_known() -> Self {
        Self::of(100.0, 10.0)
    }

    fn of(burst: f64, per_second: f64) -> Self {
        let state = State { left: burst, at: Instant::now(), withheld: 0 };
        Self { burst, per_second, state: Mutex::new(state) }
    }

    /// `Some` when a warning may be written: how many were withheld since the last one.
    pub(crate) fn allow(&self) -> Option<u64> {
        let mut state = self.state.lock().expect("never poisoned");
        let now = Instant::now();
        let grown = now.duration_since(state.at).as_secs_f64() * self.per_second;
        state.left = (state.left + grown).min(self.burst);
        state.at = now;
        if state.left < 1.0 {
            state.withheld += 1;
            return None;
        }
        state.left -= 1.0;
        Some(std::mem::take(&mut state.withheld))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_counted_and_not_written() {
        let warnings = Warnings::new();
        assert_eq!((0..100).filter(|_| warnings.allow().is_some()).count(), 10);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(warnings.allow(), Some(90));
        assert_eq!(warnings.allow(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_known_may_cause_more_and_not_without_end() {
        let warnings = Warnings::of_the_known();
        assert_eq!((0..1_000).filter(|_| warnings.allow().is_some()).count(), 100);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(warnings.allow(), Some(900));
        assert_eq!((0..1_000).filter(|_| warnings.allow().is_some()).count(), 9);
    }
}
