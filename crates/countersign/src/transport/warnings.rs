//! Warnings that a stranger can cause, without letting the stranger fill the disk.

use std::sync::Mutex;

use tokio::time::Instant;

/// At most [`BURST`](Self::BURST) warnings at once and one a second afterwards.
#[derive(Debug)]
pub(crate) struct Warnings {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: f64,
    at: Instant,
    withheld: u64,
}

impl Warnings {
    const BURST: f64 = 10.0;
    const PER_SECOND: f64 = 1.0;

    pub(crate) fn new() -> Self {
        let state = State { left: Self::BURST, at: Instant::now(), withheld: 0 };
        Self { state: Mutex::new(state) }
    }

    /// `Some` when a warning may be written: how many were withheld since the last one.
    pub(crate) fn allow(&self) -> Option<u64> {
        let mut state = self.state.lock().expect("never poisoned");
        let now = Instant::now();
        let grown = now.duration_since(state.at).as_secs_f64() * Self::PER_SECOND;
        state.left = (state.left + grown).min(Self::BURST);
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
}
