//! Floors for limiting how often a caller may call. Our own limits come with a later capability.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::{Quota, RateLimiter};
use rustix::time::{ClockId, clock_gettime};

use super::{Subject, repeat};

/// The `governor` crate, keyed by the caller's name (36 characters), going round `callers`.
pub fn governor(callers: u32) -> Box<dyn Subject> {
    let quota = Quota::per_second(NonZeroU32::MAX);
    let limiter = RateLimiter::keyed(quota);
    let names: Vec<String> =
        (0..callers).map(|n| format!("spiffe://prod.example/callers/{n:06}")).collect();
    let mut next = 0;
    repeat(move || {
        let allowed = limiter.check_key(&names[next]).is_ok();
        next = if next + 1 == names.len() { 0 } else { next + 1 };
        assert!(allowed, "the quota is never used up");
    })
}

/// The least that a limit can be: a generic cell rate algorithm in one atomic word that is at
/// hand, by the coarse clock.
pub fn one_word() -> Box<dyn Subject> {
    let limit = OneWord::new(Duration::from_nanos(1), Duration::from_secs(1));
    repeat(move || assert!(limit.allow(), "the quota is never used up"))
}

/// The time at which the caller's next call is due, in nanoseconds.
struct OneWord {
    due: AtomicU64,
    period: u64,
    burst: u64,
}

impl OneWord {
    fn new(period: Duration, burst: Duration) -> Self {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self { due: AtomicU64::new(0), period: nanos(period), burst: nanos(burst) }
    }

    fn allow(&self) -> bool {
        let now = coarse_nanos();
        self.due
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
                let next = due.max(now) + self.period;
                (next <= now + self.burst).then_some(next)
            })
            .is_ok()
    }
}

fn coarse_nanos() -> u64 {
    let time = clock_gettime(ClockId::MonotonicCoarse);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_limits() {
        let limit = OneWord::new(Duration::from_secs(3_600), Duration::from_secs(7_200));
        assert!(limit.allow() && limit.allow());
        assert!(!limit.allow());
    }
}
