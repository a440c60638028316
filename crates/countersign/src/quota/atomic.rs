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

    /// A time, as meters count it.
    pub(super) fn at(&self, now: Duration) -> Ticks {
        let seconds = now.as_secs().saturating_mul(1_000_000_000);
        self.at_ns(seconds.saturating_add(now.subsec_nanos().into()))
    }

    /// The same from nanoseconds.
    #[inline]
    pub(super) fn at_ns(&self, now: u64) -> Ticks {
        Ticks(now.saturating_mul(self.units))
    }

    /// How long it takes to earn a cost; `None` where the burst never holds as much.
    #[inline]
    fn length(&self, cost: u64) -> Option<u64> {
        // A cost within the burst takes no longer than the capacity.
        (cost <= self.limit.burst()).then(|| cost * self.interval)
    }

    #[cold]
    fn refused(&self, wait: u64) -> Refused {
        Refused(wait.div_ceil(self.units))
    }
}

/// A time in a pace's units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticks(u64);

/// What a meter gave, and what has to be known to give it back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    length: u64,
    /// When the bucket is full again.
    due: u64,
}

/// A meter gave nothing, and how long it will not, in nanoseconds. The later is the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Refused(u64);

impl Refused {
    /// It never will.
    pub(super) const NEVER: Self = Self(u64::MAX);

    pub(super) fn until(wait: Duration) -> Self {
        Self(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn retry_after(self) -> Option<Duration> {
        (self != Self::NEVER).then(|| Duration::from_nanos(self.0))
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
        self.take_at(pace, pace.at(now), cost)
    }

    /// The same at a time as meters count it.
    #[inline]
    pub(super) fn take_at(&self, pace: &Pace, now: Ticks, cost: u64) -> Allowance {
        match self.try_take(pace, now, cost) {
            Ok(taken) => {
                let remaining = remaining(pace, taken.due, now.0);
                Allowance { allowed: true, remaining, retry_after_ns: Some(0) }
            }
            Err(refused) => self.told(pace, now, refused),
        }
    }

    #[cold]
    fn told(&self, pace: &Pace, now: Ticks, refused: Refused) -> Allowance {
        let remaining = self.remaining(pace, now);
        let retry_after_ns = refused.retry_after().map(|wait| wait.as_nanos());
        Allowance { allowed: false, remaining, retry_after_ns }
    }

    /// The same, without counting what is left.
    #[inline]
    pub(super) fn try_take(&self, pace: &Pace, now: Ticks, cost: u64) -> Result<Taken, Refused> {
        let Some(length) = pace.length(cost) else { return Err(Refused::NEVER) };
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            let start = full_at.max(now.0);
            let wait = start.saturating_sub(pace.capacity - length).saturating_sub(now.0);
            if wait > 0 {
                return Err(pace.refused(wait));
            }
            // Only the end of the count stops it here.
            let Some(due) = start.checked_add(length) else { return Err(Refused::NEVER) };
            // The number is all there is; no other memory is handed over with it.
            match self.full_at.compare_exchange_weak(
                full_at,
                due,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(Taken { length, due }),
                Err(changed) => full_at = changed,
            }
        }
    }

    /// Whether [`try_take`](Self::try_take) would pass. Takes nothing.
    #[inline]
    pub(super) fn would_take(&self, pace: &Pace, now: Ticks, cost: u64) -> Result<(), Refused> {
        let Some(length) = pace.length(cost) else { return Err(Refused::NEVER) };
        let start = self.full_at.load(Ordering::Relaxed).max(now.0);
        match start.saturating_sub(pace.capacity - length).saturating_sub(now.0) {
            0 => Ok(()),
            wait => Err(pace.refused(wait)),
        }
    }

    /// Gives back what was taken, as if it never had been.
    ///
    /// Only what time has not given back by itself: until `due` the bucket was never full, so
    /// that whatever others took since was added to what is given back. After that it may have
    /// been full in between, and giving back would give twice.
    pub(super) fn give_back(&self, taken: Taken, now: Ticks) {
        if now.0 < taken.due {
            self.update(|full_at| full_at.saturating_sub(taken.length));
        }
    }

    /// Takes an amount whether or not it is there. What is not is owed, and until it is earned
    /// nothing passes.
    pub(super) fn charge(&self, pace: &Pace, now: Ticks, amount: u64) {
        let length = amount.saturating_mul(pace.interval);
        self.update(|full_at| full_at.max(now.0).saturating_add(length));
    }

    fn update(&self, change: impl Fn(u64) -> u64) {
        // Never fails, since something is always put in its place.
        let _ = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| Some(change(full_at)));
    }

    /// How many calls of cost 1 would pass.
    pub(super) fn remaining(&self, pace: &Pace, now: Ticks) -> u64 {
        remaining(pace, self.full_at.load(Ordering::Relaxed), now.0)
    }

    /// How long until a cost of 1 would pass; zero where it would now, and where the burst is 0
    /// and it never will.
    pub fn wait(&self, pace: &Pace, now: Duration) -> Duration {
        let refused = self.would_take(pace, pace.at(now), 1).err();
        refused.and_then(Refused::retry_after).unwrap_or_default()
    }

    /// The same state in another place. What is taken from the one is not from the other.
    pub(super) fn copied(&self) -> Self {
        Self { full_at: AtomicU64::new(self.full_at.load(Ordering::Relaxed)) }
    }

    /// Whether the bucket is full, so that a new meter says the same.
    pub fn is_full(&self, pace: &Pace, now: Duration) -> bool {
        self.full_by(pace.at(now))
    }

    pub(super) fn full_by(&self, now: Ticks) -> bool {
        self.full_at.load(Ordering::Relaxed) <= now.0
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

    #[test]
    fn what_is_given_back_was_never_taken() {
        let pace = Pace::new(limit(1, 1_000_000_000, 3)).expect("in range");
        let at = |seconds: u64| pace.at(Duration::from_secs(seconds));
        let meter = AtomicMeter::new();
        let first = meter.try_take(&pace, at(10), 2).expect("within the burst");
        meter.try_take(&pace, at(10), 1).expect("the rest");
        meter.give_back(first, at(11));
        // Two of the three at 10, one earned since.
        assert_eq!(meter.remaining(&pace, at(11)), 3);
        assert_eq!(meter.remaining(&pace, at(10)), 2);
    }

    #[test]
    fn what_time_gave_back_is_not_given_back_twice() {
        let pace = Pace::new(limit(1, 1_000_000_000, 3)).expect("in range");
        let at = |seconds: u64| pace.at(Duration::from_secs(seconds));
        let meter = AtomicMeter::new();
        let first = meter.try_take(&pace, at(10), 2).expect("within the burst");
        // By 12 the bucket was full again; then somebody takes everything.
        meter.try_take(&pace, at(20), 3).expect("the whole burst");
        meter.give_back(first, at(20));
        assert_eq!(meter.remaining(&pace, at(20)), 0);
    }

    #[test]
    fn a_debt_is_paid_before_anything_passes() {
        let pace = Pace::new(limit(10, 1_000_000_000, 5)).expect("in range");
        let meter = AtomicMeter::new();
        let at = |ms: u64| pace.at(Duration::from_millis(ms));
        meter.charge(&pace, at(0), 25);
        // Twenty more than there was: two seconds, and a tenth for the one that is asked for.
        let wait = Refused::until(Duration::from_millis(2_100));
        assert_eq!(meter.would_take(&pace, at(0), 1), Err(wait));
        assert!(meter.would_take(&pace, at(2_099), 1).is_err());
        assert_eq!(meter.would_take(&pace, at(2_100), 1), Ok(()));
        meter.charge(&pace, at(2_100), u64::MAX);
        assert!(meter.try_take(&pace, at(1_000_000_000), 1).is_err());
    }
}
