//! Limiting how often a caller may call: our meters, the `governor` crate, and the least that it
//! can cost.

use std::any::Any;
use std::num::{NonZeroU32, NonZeroUsize};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use countersign::Principal;
use countersign::quota::{Limit, MeterKey, MeterMap, Pace, Quota, QuotaCall};
use governor::RateLimiter;
use rustix::time::{ClockId, clock_gettime};

use super::{Subject, Turn, repeat};

/// Callers that come in turn, by name (36 characters).
#[derive(Clone, Debug)]
pub struct Callers {
    names: Rc<[String]>,
}

impl Callers {
    /// So many.
    pub fn new(count: usize) -> Self {
        let names = (0..count).map(|n| format!("spiffe://prod.example/callers/{n:06}"));
        Self { names: names.collect() }
    }

    /// The `governor` crate, keyed by the caller's name, by its own clock.
    pub fn governor(&self) -> Box<dyn Subject> {
        let limiter = RateLimiter::keyed(governor::Quota::per_second(NonZeroU32::MAX));
        let names = Rc::clone(&self.names);
        for name in &*names {
            assert!(limiter.check_key(name).is_ok(), "the quota is never used up");
        }
        let mut turn = Turn::among(names.len());
        repeat(move || {
            assert!(limiter.check_key(&names[turn.next()]).is_ok(), "the quota is never used up");
        })
    }

    /// Our quota, asked as a gate asks it for callers that it remembers: their meters are kept
    /// with them, and the time is the coarse clock's.
    pub fn quota(&self) -> Box<dyn Subject> {
        let quota = Quota::new().per_caller(generous()).expect("in range");
        let callers: Vec<Principal> =
            self.names.iter().map(|name| Principal::new(name.as_str(), "jwt")).collect();
        // Whoever comes again is remembered.
        for caller in callers.iter().chain(&callers) {
            drop(quota.admit(QuotaCall::by(caller)).expect("there is room"));
        }
        let mut turn = Turn::among(callers.len());
        repeat(move || {
            let told = quota.admit(QuotaCall::by(&callers[turn.next()]));
            assert!(told.is_ok(), "the quota is never used up");
        })
    }

    /// Our map of meters, with the caller's name hashed for each call, by the monotonic clock.
    pub fn meters_by_name(&self) -> Box<dyn Subject> {
        let (meters, began, names) = (self.meters(), Instant::now(), Rc::clone(&self.names));
        let mut turn = Turn::among(names.len());
        repeat(move || {
            let key = meters.key(("jwt", names[turn.next()].as_str()));
            let told = meters.take(key, began.elapsed(), 1);
            assert!(told.allowed, "the quota is never used up");
        })
    }

    /// The same where the caller's key is remembered with the caller.
    pub fn meters_by_key(&self) -> Box<dyn Subject> {
        let began = Instant::now();
        self.meters_with_key(move || began.elapsed())
    }

    /// The same by the coarse clock, whose steps are of 1 to 4 ms.
    pub fn meters_by_key_and_coarse_clock(&self) -> Box<dyn Subject> {
        self.meters_with_key(|| Duration::from_nanos(coarse_nanos()))
    }

    fn meters_with_key(&self, now: impl Fn() -> Duration + 'static) -> Box<dyn Subject> {
        let meters = self.meters();
        let key = |name: &String| meters.key(("jwt", name.as_str()));
        let keys: Vec<MeterKey> = self.names.iter().map(key).collect();
        let mut turn = Turn::among(keys.len());
        repeat(move || {
            let told = meters.take(keys[turn.next()], now(), 1);
            assert!(told.allowed, "the quota is never used up");
        })
    }

    /// All of them have a place.
    fn meters(&self) -> MeterMap {
        let meters = meters(self.names.len());
        for name in &*self.names {
            let told = meters.take(meters.key(("jwt", name.as_str())), Duration::from_nanos(1), 1);
            assert!(told.allowed, "there is room");
        }
        meters
    }
}

/// A billion calls a second, which is never used up here.
fn generous() -> Limit {
    Limit::new(1_000_000_000, Duration::from_secs(1)).expect("a rate")
}

fn pace() -> Pace {
    Pace::new(generous()).expect("in range")
}

/// Room for all callers.
fn meters(callers: usize) -> MeterMap {
    // A map's parts are not filled evenly, and here nobody may be without a place.
    MeterMap::new(pace(), NonZeroUsize::new(2 * callers + 1_024).expect("not zero"))
}

/// Gives so many callers a place in our map of meters, and keeps it: for what a place takes.
pub fn hold_meters(callers: usize) -> Box<dyn Any> {
    // As full as a gate's can be: its parts fill unevenly, so a few callers find no place.
    let bound = NonZeroUsize::new(callers).expect("somebody");
    let meters = MeterMap::new(pace(), bound);
    for caller in 0..callers {
        meters.take(meters.key(("jwt", caller)), Duration::from_nanos(1), 1);
    }
    Box::new(meters)
}

/// The same by `governor`, which keeps the names.
pub fn hold_governor(callers: usize) -> Box<dyn Any> {
    let limiter = RateLimiter::keyed(governor::Quota::per_second(NonZeroU32::MAX));
    for n in 0..callers {
        let passed = limiter.check_key(&format!("spiffe://prod.example/callers/{n:06}"));
        assert!(passed.is_ok(), "the quota is never used up");
    }
    Box::new(limiter)
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
