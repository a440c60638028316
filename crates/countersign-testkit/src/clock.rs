//! A clock that moves when the test moves it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Wall-clock time that stands still until a test moves it.
///
/// Clones share one time: keep one and hand the other to the code under test.
///
/// ```
/// use countersign_testkit::clock::ManualClock;
/// use std::time::{Duration, SystemTime};
///
/// let clock = ManualClock::new(SystemTime::UNIX_EPOCH);
/// let shared = clock.clone();
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(shared.now(), SystemTime::UNIX_EPOCH + Duration::from_secs(60));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<Mutex<SystemTime>>,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: SystemTime) -> Self {
        Self { now: Arc::new(Mutex::new(now)) }
    }

    /// The time that this clock shows.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the clock forward.
    ///
    /// # Panics
    ///
    /// If the time leaves the range of [`SystemTime`].
    pub fn advance(&self, by: Duration) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    /// Puts the clock at a time, which may lie in its past: wall clocks step backwards too.
    pub fn set(&self, now: SystemTime) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl countersign::Clock for ManualClock {
    fn now(&self) -> SystemTime {
        ManualClock::now(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

    #[test]
    fn the_clock_stands_still_until_it_is_moved() {
        let clock = ManualClock::new(EPOCH);
        assert_eq!(clock.now(), clock.now());
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now(), EPOCH + Duration::from_secs(5));
    }

    #[test]
    fn clones_show_the_same_time() {
        let clock = ManualClock::new(EPOCH);
        let shared = clock.clone();
        shared.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), EPOCH + Duration::from_secs(1));
    }

    #[test]
    fn the_clock_can_step_backwards() {
        let clock = ManualClock::new(EPOCH + Duration::from_secs(10));
        clock.set(EPOCH);
        assert_eq!(clock.now(), EPOCH);
    }

    #[test]
    fn a_panic_elsewhere_does_not_stop_the_clock() {
        let clock = ManualClock::new(EPOCH);
        let shared = clock.clone();
        let _ = std::thread::spawn(move || shared.advance(Duration::MAX)).join();
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), EPOCH + Duration::from_secs(1));
    }
}
