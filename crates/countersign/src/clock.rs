//! Wall-clock time, handed in.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// The source of wall-clock time for every validity check.
///
/// Validity uses this clock; waiting uses the runtime's timer.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current time. It may step backwards.
    fn now(&self) -> SystemTime;
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
        SystemTime::now()
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> SystemTime {
        C::now(self)
    }
}
