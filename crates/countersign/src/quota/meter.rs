use std::time::Duration;

use super::limit::Limit;

/// What a meter says of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Whether the call may pass.
    pub allowed: bool,
    /// How many calls of cost 1 would still pass now.
    pub remaining: u64,
    /// When the same call would pass if nothing else did until then, in nanoseconds: 0 for a
    /// call that passes, `None` for one that costs more than the burst and never will.
    pub retry_after_ns: Option<u128>,
}

impl Allowance {
    /// When the same call would pass, as [`retry_after_ns`](Self::retry_after_ns). What no
    /// `Duration` can say is the longest one.
    pub fn retry_after(&self) -> Option<Duration> {
        const SECOND: u128 = 1_000_000_000;
        let ns = self.retry_after_ns?;
        let rest = u32::try_from(ns % SECOND).expect("less than a second");
        Some(u64::try_from(ns / SECOND).map_or(Duration::MAX, |whole| Duration::new(whole, rest)))
    }
}

/// One caller's state, exact for every limit and cost: rates that do not divide their period
/// leave no rounding behind, however many calls there are.
///
/// ```
/// use std::time::Duration;
/// use countersign::quota::{Limit, Meter};
///
/// # fn main() -> Result<(), countersign::quota::InvalidLimit> {
/// let mut meter = Meter::new(Limit::new(3, Duration::from_secs(1))?.with_burst(1));
/// assert!(meter.take(Duration::ZERO, 1).allowed);
/// let refused = meter.take(Duration::ZERO, 1);
/// // A third of a second, rounded up to the nanosecond at which it passes.
/// assert_eq!(refused.retry_after(), Some(Duration::from_nanos(333_333_334)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    limit: Limit,
    /// When the bucket is full again: nanoseconds and, behind them, parts of one, of which the
    /// rate makes a whole.
    full_at: Ticks,
}

/// A time or a length of time, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Ticks {
    ns: u128,
    parts: u64,
}

impl Meter {
    /// The last nanosecond that is told from others. A burst's whole length is at most
    /// (2⁶⁴-1)² nanoseconds; after this time that is less than 2¹²⁸.
    const LAST_NS: u128 = (1 << 65) - 2;

    /// A full bucket.
    pub fn new(limit: Limit) -> Self {
        Self { limit, full_at: Ticks::default() }
    }

    /// The limit.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// Takes `cost` from the bucket, or refuses and takes nothing.
    ///
    /// `now` counts from any beginning that stays the same. What is beyond 1,169 years counts
    /// as that.
    pub fn take(&mut self, now: Duration, cost: u64) -> Allowance {
        self.take_at(now.as_nanos(), cost)
    }

    /// The same, at a time in nanoseconds.
    pub fn take_at(&mut self, now: u128, cost: u64) -> Allowance {
        let burst = self.limit.burst();
        let now = Ticks { ns: now.min(Self::LAST_NS), parts: 0 };
        let start = self.full_at.max(now);
        if cost > burst {
            return Allowance {
                allowed: false,
                remaining: self.remaining(now),
                retry_after_ns: None,
            };
        }
        // It passes as soon as what is left in the bucket is its cost.
        let passes_at = start.saturating_sub(self.length(burst - cost), self.limit.rate());
        if passes_at <= now {
            self.full_at = start.add(self.length(cost), self.limit.rate());
            let remaining = self.remaining(now);
            return Allowance { allowed: true, remaining, retry_after_ns: Some(0) };
        }
        let wait = passes_at.ns - now.ns + u128::from(passes_at.parts > 0);
        Allowance { allowed: false, remaining: self.remaining(now), retry_after_ns: Some(wait) }
    }

    /// How many calls of cost 1 would pass at a time.
    fn remaining(&self, now: Ticks) -> u64 {
        let (rate, per) = (u128::from(self.limit.rate()), u128::from(self.limit.per_ns()));
        let owed = self.full_at.max(now).saturating_sub(now, self.limit.rate());
        // More than the burst is owed only where time went backwards; so much more that it is
        // out of range, only where it went back very far.
        let owed = owed.ns.checked_mul(rate).and_then(|parts| parts.checked_add(owed.parts.into()));
        let whole = u128::from(self.limit.burst()) * per;
        let left = whole.saturating_sub(owed.unwrap_or(u128::MAX)) / per;
        u64::try_from(left).unwrap_or(u64::MAX)
    }

    /// How long it takes to earn `cost`.
    fn length(&self, cost: u64) -> Ticks {
        let rate = u128::from(self.limit.rate());
        let parts = u128::from(cost) * u128::from(self.limit.per_ns());
        let rest = u64::try_from(parts % rate).expect("less than a rate of 64 bits");
        Ticks { ns: parts / rate, parts: rest }
    }
}

impl Ticks {
    fn add(self, other: Self, rate: u64) -> Self {
        let (parts, carry) = match self.parts.checked_sub(rate - other.parts) {
            Some(parts) => (parts, 1),
            None => (self.parts + other.parts, 0),
        };
        Self { ns: self.ns + other.ns + carry, parts }
    }

    fn saturating_sub(self, other: Self, rate: u64) -> Self {
        if self <= other {
            return Self::default();
        }
        match self.parts.checked_sub(other.parts) {
            Some(parts) => Self { ns: self.ns - other.ns, parts },
            None => Self { ns: self.ns - other.ns - 1, parts: rate - (other.parts - self.parts) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(rate: u64, per_ns: u64, burst: u64) -> Limit {
        Limit::new(rate, Duration::from_nanos(per_ns)).expect("a limit").with_burst(burst)
    }

    fn told(allowance: Allowance) -> (bool, u64, Option<u128>) {
        (allowance.allowed, allowance.remaining, allowance.retry_after_ns)
    }

    #[test]
    fn a_burst_is_used_up_and_earned_back() {
        let mut meter = Meter::new(limit(10, 1_000_000_000, 5));
        for (now, cost, expected) in [
            (0, 1, (true, 4, Some(0))),
            (0, 4, (true, 0, Some(0))),
            (0, 1, (false, 0, Some(100_000_000))),
            (99_999_999, 1, (false, 0, Some(1))),
            (100_000_000, 1, (true, 0, Some(0))),
            (250_000_000, 3, (false, 1, Some(150_000_000))),
            (250_000_000, 1, (true, 0, Some(0))),
            (250_000_000, 0, (true, 0, Some(0))),
            (250_000_000, 6, (false, 0, None)),
            (10_000_000_000, 6, (false, 5, None)),
            (10_000_000_000, 5, (true, 0, Some(0))),
        ] {
            assert_eq!(told(meter.take_at(now, cost)), expected, "{now} {cost}");
        }
    }

    #[test]
    fn a_rate_that_does_not_divide_its_period_does_not_drift() {
        // A seventh of a second is no whole number of nanoseconds; seven of them are.
        let mut meter = Meter::new(limit(7, 1_000_000_000, 7));
        for second in 1..10_000 {
            let now = second * 1_000_000_000;
            for call in 0..7 {
                assert_eq!(told(meter.take_at(now, 1)), (true, 6 - call, Some(0)), "{second}");
            }
            let next = now + 1_000_000_000;
            assert_eq!(told(meter.take_at(next - 1, 7)), (false, 6, Some(1)), "{second}");
        }
    }

    #[test]
    fn a_burst_of_nothing_allows_what_costs_nothing() {
        let mut meter = Meter::new(limit(1, 1, 0));
        assert_eq!(told(meter.take_at(9, 1)), (false, 0, None));
        assert_eq!(told(meter.take_at(9, 0)), (true, 0, Some(0)));
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let max = u64::MAX;
        let late = u128::MAX;
        let mut meter = Meter::new(limit(1, max, max));
        assert_eq!(told(meter.take_at(late, max)), (true, 0, Some(0)));
        let wait = u128::from(max);
        assert_eq!(told(meter.take_at(late, 1)), (false, 0, Some(wait)));
        assert_eq!(meter.take_at(0, max).remaining, 0, "time went back to the beginning");
        let mut meter = Meter::new(limit(max, 1, max));
        assert_eq!(told(meter.take_at(0, max)), (true, 0, Some(0)));
        assert_eq!(told(meter.take_at(0, max)), (false, 0, Some(1)));
        assert_eq!(told(meter.take_at(1, max)), (true, 0, Some(0)));
        let mut meter = Meter::new(limit(max, max, max));
        assert_eq!(told(meter.take_at(late, max)), (true, 0, Some(0)));
        assert_eq!(told(meter.take_at(late, 1)), (false, 0, Some(1)));
    }

    /// The textbook, with times multiplied by the rate so that nothing is ever divided.
    #[test]
    fn it_is_the_textbook_whatever_the_numbers() {
        let mut state = 0x1234_5678_9abc_def1_u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let (mut passed, mut refused) = (0, 0);
        for _ in 0..400 {
            let size = 1 << random(40);
            let (rate, per, burst) = (random(size) + 1, random(size) + 1, random(20));
            let mut meter = Meter::new(limit(rate, per, burst));
            let [rate, per, burst] = [rate, per, burst].map(i128::from);
            let (mut now, mut full_at) = (0_i128, 0_i128);
            for _ in 0..50 {
                let most = u64::try_from(per / rate * 3 + 2).expect("small");
                // One step in eight goes back.
                let step = i128::from(random(most));
                now = if random(8) == 0 { (now - step).max(0) } else { now + step };
                let cost = random(23);
                let needed = full_at.max(now * rate) + i128::from(cost) * per;
                let over = needed - now * rate - burst * per;
                let expected = over <= 0;
                if expected {
                    full_at = needed;
                }
                let owed = (full_at - now * rate).max(0);
                let left = (burst * per - owed).max(0) / per;
                let wait = match i128::from(cost) > burst {
                    true => None,
                    false if expected => Some(0),
                    false => Some(u128::try_from((over + rate - 1) / rate).expect("positive")),
                };
                let told = told(meter.take_at(u128::try_from(now).expect("positive"), cost));
                let left = u64::try_from(left).expect("at most the burst");
                assert_eq!(told, (expected, left, wait), "{rate} {per} {burst} {now} {cost}");
                *(if expected { &mut passed } else { &mut refused }) += 1;
            }
        }
        assert!(passed > 2_000 && refused > 2_000, "{passed} {refused}");
    }

    #[test]
    fn time_that_goes_backwards_makes_nobody_wait_shorter() {
        let mut meter = Meter::new(limit(10, 1_000_000_000, 1));
        assert!(meter.take_at(1_000_000_000, 1).allowed);
        assert_eq!(told(meter.take_at(500_000_000, 1)), (false, 0, Some(600_000_000)));
        assert!(meter.take_at(1_100_000_000, 1).allowed);
    }
}
