//! Wall-clock time, handed in.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;
#[cfg(target_os = "linux")]
use std::time::{Duration, UNIX_EPOCH};

/// The source of wall-clock time for every validity check.
///
/// Validity uses this clock; waiting uses the runtime's timer.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current time. It may step backwards.
    fn now(&self) -> SystemTime;
}

/// The operating system's clock.
///
/// On Linux the coarse one, at a fifth of the price: it is late by a tick, 1 to 10 ms, on a machine
/// that was paused by more until its next tick, and never early. What was made on the same machine
/// and is valid from this moment on may so be early for as long, where no leeway is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[inline]
    fn now(&self) -> SystemTime {
        system()
    }
}

#[cfg(target_os = "linux")]
#[inline]
fn system() -> SystemTime {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    // Nobody's clock stands before 1970; one that says so makes everything expired.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(u64::MAX >> 2);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    UNIX_EPOCH + Duration::new(seconds, nanoseconds)
}

#[cfg(not(target_os = "linux"))]
fn system() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    SystemTime::now()
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> SystemTime {
        C::now(self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "what it is compared with")]
    fn the_systems_clock_is_hardly_late_and_never_early() {
        let before = SystemTime::now();
        let now = SystemClock.now();
        assert!(now <= SystemTime::now());
        // A machine that was paused makes up for it with its next tick.
        assert!(now >= before - Duration::from_secs(1));
    }
}
