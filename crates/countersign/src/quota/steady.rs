use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Time that never steps back, for quotas to count in.
///
/// ```
/// use std::time::Duration;
/// use countersign::identity::Principal;
/// use countersign::quota::{Limit, Quota, QuotaCall, SteadyClock};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = SteadyClock::by_hand();
/// let once = Limit::new(1, Duration::from_secs(60))?;
/// let quota = Quota::new().with_clock(clock.clone()).per_caller(once)?;
/// let alice = Principal::new("alice", "tokens");
/// assert!(quota.admit(QuotaCall::by(&alice)).is_ok());
/// assert!(quota.admit(QuotaCall::by(&alice)).is_err());
/// clock.advance(Duration::from_secs(60));
/// assert!(quota.admit(QuotaCall::by(&alice)).is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SteadyClock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System,
    Runtime(tokio::time::Instant),
    Hand(Arc<AtomicU64>),
}

impl SteadyClock {
    /// The system's, by its coarse clock where there is one (Linux), at a fifth of the price.
    ///
    /// It goes by ticks of 1 to 10 ms. So in any length of time callers get what it allows and
    /// at most what one tick does: half a call, at a hundred a second and 4 ms.
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// tokio's, which tests can pause.
    pub fn of_runtime() -> Self {
        Self(Kind::Runtime(tokio::time::Instant::now()))
    }

    /// One that stands still until [`advance`](Self::advance). Clones share their time.
    pub fn by_hand() -> Self {
        Self(Kind::Hand(Arc::default()))
    }

    /// Moves time forward. Does nothing to a clock that is not moved by hand.
    pub fn advance(&self, by: Duration) {
        if let Kind::Hand(now) = &self.0 {
            now.fetch_add(nanoseconds(by), Ordering::Relaxed);
        }
    }

    /// Nanoseconds from a beginning that stays the same.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        match &self.0 {
            Kind::System => system_nanoseconds(),
            Kind::Runtime(began) => nanoseconds(began.elapsed()),
            Kind::Hand(now) => now.load(Ordering::Relaxed),
        }
    }

    /// How much later than the truth it may be.
    pub(super) fn lag(&self) -> Duration {
        match self.0 {
            Kind::System => Duration::from_millis(COARSE_MS),
            Kind::Runtime(_) | Kind::Hand(_) => Duration::ZERO,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A tick of the slowest kernels, by which the coarse clock goes.
#[cfg(target_os = "linux")]
const COARSE_MS: u64 = 10;
#[cfg(not(target_os = "linux"))]
const COARSE_MS: u64 = 0;

/// From the machine's start. Suspended time does not count on Linux: nobody calls meanwhile.
#[cfg(target_os = "linux")]
#[inline]
fn system_nanoseconds() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    // Neither is ever negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or_default()
}

#[cfg(not(target_os = "linux"))]
fn system_nanoseconds() -> u64 {
    use std::sync::OnceLock;
    use std::time::Instant;
    // A beginning, and nothing that anybody could configure.
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    nanoseconds(BEGAN.get_or_init(Instant::now).elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_time_goes_on_and_a_hands_stands_still() {
        let (system, hand) = (SteadyClock::system(), SteadyClock::by_hand());
        let began = system.now();
        assert!(began > 0);
        hand.advance(Duration::from_secs(1));
        assert_eq!(hand.clone().now(), 1_000_000_000);
        system.advance(Duration::from_secs(1_000_000));
        let gone = system.now() - began;
        assert!(gone < 1_000_000_000_000_000, "{gone}");
    }
}
