use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::limit::Limit;
use super::meter::Allowance;

/// A limit made ready for meters of eight bytes.
///
/// Time is counted in parts of a nanosecond, so many that the limit's interval is a whole number
/// of them; that is exact for rates that divide their period but for a factor of at most 16, as
/// all usual ones do. For others the interval is rounded up to a 16th of a nanosecond: never
/// more than the rate is allowed, and less by under one call in 16 times the interval's
/// nanoseconds. Good for 18 years from the beginning; after that everything is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    limit: Limit,
    /// Units of time in a nanosecond.
    units: u64,
    /// What a cost of 1 takes.
    interval: u64,
    /// What the whole burst takes.
    capacity: u64,
    exact: bool,
}

/// The burst takes longer to earn than 9 years, or more than a meter of eight bytes can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a burst of {} at {} in {:?} takes too long to earn", .limit.burst(), .limit.rate(), .limit.per())]
pub struct PaceError {
    limit: Limit,
}

const FINEST: u64 = 16;

impl Pace {
    /// Makes a limit ready.
    ///
    /// # Errors
    ///
    /// The whole burst takes longer to earn than there is room for.
    pub fn new(limit: Limit) -> Result<Self, PaceError> {
        let common = greatest_common_divisor(limit.rate(), limit.per_ns());
        let exact = limit.rate() / common;
        let candidates = [(exact, exact <= FINEST), (FINEST, true), (4, true), (1, true)];
        for (units, _) in candidates.into_iter().filter(|(_, fine)| *fine) {
            let parts = u128::from(limit.per_ns()) * u128::from(units);
            let Ok(interval) = u64::try_from(parts.div_ceil(limit.rate().into())) else {
                continue;
            };
            let Some(capacity) = interval.checked_mul(limit.burst()) else { continue };
            if capacity <= u64::MAX / 2 {
                let exact = parts % u128::from(limit.rate()) == 0;
                return Ok(Self { limit, units, interval, capacity, exact });
            }
        }
        Err(PaceError { limit })
    }

    /// The limit.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Whether nothing was rounded.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    fn units_at(&self, now: Duration) -> u64 {
        let units = now.as_nanos().saturating_mul(self.units.into());
        u64::try_from(units).unwrap_or(u64::MAX)
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// One caller's state in eight bytes, for any number of threads, without a lock.
///
/// Exact as [`Meter`](super::Meter) is, within what [`Pace`] says: however many threads take at
/// once, no more passes than one thread would get.
#[derive(Debug, Default)]
pub struct AtomicMeter {
    /// When the bucket is full again, in the pace's units.
    full_at: AtomicU64,
}

impl AtomicMeter {
    /// A full bucket.
    pub const fn new() -> Self {
        Self { full_at: AtomicU64::new(0) }
    }

    /// Takes `cost` from the bucket, or refuses and takes nothing. `pace` is the same each time.
    pub fn take(&self, pace: &Pace, now: Duration, cost: u64) -> Allowance {
        let now = pace.units_at(now);
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        let refused = |full_at: u64, retry_after_ns| Allowance {
            allowed: false,
            remaining: remaining(pace, full_at, now),
            retry_after_ns,
        };
        if cost > pace.limit.burst() {
            return refused(full_at, None);
        }
        // A cost within the burst takes no longer than the capacity.
        let length = cost * pace.interval;
        loop {
            let start = full_at.max(now);
            let passes_at = start.saturating_sub(pace.capacity - length);
            let wait = passes_at.saturating_sub(now);
            if wait > 0 {
                return refused(full_at, Some(wait.div_ceil(pace.units).into()));
            }
            // Only the end of the count stops it here.
            let Some(next) = start.checked_add(length) else { return refused(full_at, None) };
            // The number is all there is; no other memory is handed over with it.
            match self.full_at.compare_exchange_weak(
                full_at,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    let remaining = remaining(pace, next, now);
                    return Allowance { allowed: true, remaining, retry_after_ns: Some(0) };
                }
                Err(changed) => full_at = changed,
            }
        }
    }

    /// How long until a cost of 1 would pass; zero where it would now, and where the burst is 0
    /// and it never will.
    pub fn wait(&self, pace: &Pace, now: Duration) -> Duration {
        let now = pace.units_at(now);
        let start = self.full_at.load(Ordering::Relaxed).max(now);
        let passes_at = start.saturating_sub(pace.capacity.saturating_sub(pace.interval));
        Duration::from_nanos(passes_at.saturating_sub(now).div_ceil(pace.units))
    }

    /// Whether the bucket is full, so that a new meter says the same.
    pub fn is_full(&self, pace: &Pace, now: Duration) -> bool {
        self.full_at.load(Ordering::Relaxed) <= pace.units_at(now)
    }
}

fn remaining(pace: &Pace, full_at: u64, now: u64) -> u64 {
    pace.capacity.saturating_sub(full_at.saturating_sub(now)) / pace.interval
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Meter;

    fn limit(rate: u64, per_ns: u64, burst: u64) -> Limit {
        Limit::new(rate, Duration::from_nanos(per_ns)).expect("a limit").with_burst(burst)
    }

    #[test]
    fn eight_bytes_say_what_the_exact_meter_says() {
        assert_eq!(size_of::<AtomicMeter>(), 8);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let (mut passed, mut refused) = (0, 0);
        for (rate, per, burst) in [
            (10, 1_000_000_000, 5),
            (1, 1, 1),
            (3, 1_000_000_000, 2),
            (7, 1_000_000_000, 100),
            (16, 999_999_937, 3),
            (1_000_000, 86_400_000_000_000, 1_000),
            (5, 60_000_000_000, 0),
        ] {
            let pace = Pace::new(limit(rate, per, burst)).expect("in range");
            assert!(pace.is_exact(), "{rate} {per}");
            let (atomic, mut exact) = (AtomicMeter::new(), Meter::new(pace.limit()));
            let mut now = 0_u64;
            for _ in 0..4_000 {
                now += random(3 * per / rate + 2);
                let cost = random(burst + 3);
                // A thread's look at the clock may be older than another's.
                let at = Duration::from_nanos(now.saturating_sub(random(2) * random(per)));
                let told = atomic.take(&pace, at, cost);
                assert_eq!(told, exact.take(at, cost), "{rate} {per} {burst} {now} {cost}");
                *(if told.allowed { &mut passed } else { &mut refused }) += 1;
            }
        }
        assert!(passed > 1_000 && refused > 1_000, "{passed} {refused}");
    }

    #[test]
    fn what_cannot_be_exact_is_stricter_and_hardly_so() {
        let pace = Pace::new(limit(997, 1_000_000_000, 10)).expect("in range");
        assert!(!pace.is_exact());
        let meter = AtomicMeter::new();
        let mut passed = 0_u64;
        for at in (0..10_000_000_000).step_by(100_000) {
            passed += u64::from(meter.take(&pace, Duration::from_nanos(at), 1).allowed);
        }
        assert!((9_970..=9_980).contains(&passed), "{passed}");
        Pace::new(limit(1, u64::MAX, 1)).expect_err("584 years for one call");
        Pace::new(limit(1, 1_000_000_000, u64::MAX)).expect_err("an age for the burst");
    }

    #[test]
    fn two_threads_get_no_more_than_one() {
        let pace = Pace::new(limit(1_000, 1_000_000_000, 500)).expect("in range");
        for _ in 0..20 {
            let meter = AtomicMeter::new();
            let passed = std::sync::atomic::AtomicU64::new(0);
            std::thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        for call in 0..5_000_u64 {
                            // A second goes by for both, so a thousand are earned.
                            let now = Duration::from_nanos(call * 200_000);
                            if meter.take(&pace, now, 1).allowed {
                                passed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
            let passed = passed.into_inner();
            // The last look at the clock is 0.9998 s after the first.
            assert!((1_400..=1_499).contains(&passed), "{passed}");
        }
    }

    #[test]
    fn the_end_of_the_count_lets_nobody_pass() {
        let pace = Pace::new(limit(1, 1_000_000_000, 1)).expect("in range");
        let meter = AtomicMeter::new();
        assert!(!meter.take(&pace, Duration::MAX, 1).allowed);
    }
}
