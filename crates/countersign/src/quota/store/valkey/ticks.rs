use crate::quota::limit::Limit;
use crate::quota::meter::Allowance;

/// A limit and a cost as the script counts them.
///
/// Time is whole microseconds and parts of one, so many that what a cost of 1 takes is a whole
/// number of parts: nothing is ever rounded. The script counts by Lua's numbers, which are exact
/// up to 2⁵³, so whatever it is given is below 2⁵²: the parts of a microsecond, and the
/// microseconds that a burst takes. The microseconds of the clock are until the year 2112, and
/// with any burst on top stay below 2⁵³.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    burst: u64,
    cost: u64,
    /// Parts of a microsecond.
    parts: u64,
    /// Parts that a cost of 1 takes.
    step: u64,
}

/// A time, or a length of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticks {
    pub(super) whole: u64,
    pub(super) parts: u64,
}

impl Count {
    /// Lua's numbers are exact up to twice this.
    const MOST: u64 = 1 << 52;

    /// `None`: the limit is too fine or its burst too long.
    pub(super) fn new(limit: Limit, cost: u64) -> Option<Self> {
        let per_ns = u64::try_from(limit.per().as_nanos()).ok()?;
        let parts = limit.rate().checked_mul(1_000)?;
        let common = greatest_common_divisor(parts, per_ns);
        let (parts, step) = (parts / common, per_ns / common);
        let count = Self { burst: limit.burst(), cost, parts, step };
        let longest = u128::from(count.burst) * u128::from(step) / u128::from(parts);
        (parts < Self::MOST && longest < Self::MOST.into()).then_some(count)
    }

    /// Parts that make a microsecond.
    pub(super) fn parts(&self) -> u64 {
        self.parts
    }

    /// What the whole burst takes, rounded up.
    pub(super) fn capacity(&self) -> u64 {
        let Ticks { whole, parts } = self.length(self.burst);
        whole + u64::from(parts > 0)
    }

    /// What the cost takes; nothing for one that never passes.
    pub(super) fn taken(&self) -> Ticks {
        self.length(self.cost.min(self.burst))
    }

    /// How much later the bucket may be full and the cost still passes; `None` if it never does.
    pub(super) fn slack(&self) -> Option<Ticks> {
        self.burst.checked_sub(self.cost).map(|rest| self.length(rest))
    }

    /// A cost up to the burst.
    fn length(&self, cost: u64) -> Ticks {
        let all = u128::from(cost) * u128::from(self.step);
        let (whole, parts) = (all / u128::from(self.parts), all % u128::from(self.parts));
        let small = |number: u128| u64::try_from(number).expect("below 2⁵²");
        Ticks { whole: small(whole), parts: small(parts) }
    }

    /// What is said of a bucket that was full at a time, or is going to be. `took`: the cost is in
    /// that already.
    pub(super) fn allowance(&self, now: u64, full_at: Ticks, took: bool) -> Allowance {
        let burst = u128::from(self.burst) * u128::from(self.step);
        let owed = match full_at.whole.checked_sub(now) {
            Some(whole) => u128::from(whole) * u128::from(self.parts) + u128::from(full_at.parts),
            None => 0,
        };
        let remaining = burst.saturating_sub(owed) / u128::from(self.step);
        let remaining = u64::try_from(remaining).expect("at most the burst");
        let retry_after_ns = match self.slack() {
            _ if took => Some(0),
            None => None,
            Some(_) => {
                let rest = u128::from(self.burst - self.cost) * u128::from(self.step);
                let wait = owed.saturating_sub(rest).div_ceil(self.parts.into());
                Some(wait * 1_000)
            }
        };
        Allowance { allowed: retry_after_ns == Some(0), remaining, retry_after_ns }
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn count(rate: u64, per_ns: u64, burst: u64, cost: u64) -> Option<Count> {
        let limit = Limit::new(rate, Duration::from_nanos(per_ns)).expect("a limit");
        Count::new(limit.with_burst(burst), cost)
    }

    #[test]
    fn usual_limits_are_whole_and_odd_ones_have_parts() {
        let tenth = count(10, 1_000_000_000, 5, 2).expect("in range");
        assert_eq!((tenth.parts(), tenth.capacity()), (1, 500_000));
        assert_eq!(tenth.taken(), Ticks { whole: 200_000, parts: 0 });
        assert_eq!(tenth.slack(), Some(Ticks { whole: 300_000, parts: 0 }));
        let third = count(3, 1_000_000_000, 1, 1).expect("in range");
        assert_eq!((third.parts(), third.capacity()), (3, 333_334));
        assert_eq!(third.taken(), Ticks { whole: 333_333, parts: 1 });
        let fine = count(1_000, 1_500, 10, 1).expect("in range");
        assert_eq!(fine.taken(), Ticks { whole: 0, parts: 3 });
        assert_eq!((fine.parts(), fine.capacity()), (2_000, 1));
    }

    #[test]
    fn what_lua_cannot_count_is_refused() {
        for (rate, per_ns, burst) in [
            (1, u64::MAX / 2, 1),
            (1, 1_000_000_000, 1 << 34),
            (u64::MAX, 1_000_000_000, 1),
            ((1 << 52) + 1, 1, 1),
            (1, 1, u64::MAX),
        ] {
            assert_eq!(count(rate, per_ns, burst, 1), None, "{rate} {per_ns} {burst}");
        }
        assert!(count(1_000_000_000_000, 1_000_000_000, 1_000_000_000_000, 1).is_some());
        assert!(count(1, 86_400_000_000_000 * 365 * 100, 1, 1).is_some(), "once in a century");
    }

    #[test]
    fn what_is_said_is_what_is_left() {
        let third = count(3, 1_000_000_000, 2, 1).expect("in range");
        let at = |whole, parts| Ticks { whole, parts };
        for (full_at, took, expected) in [
            (at(0, 0), false, (true, 2, Some(0))),
            (at(1_000_000, 0), false, (true, 2, Some(0))),
            (at(1_333_333, 1), true, (true, 1, Some(0))),
            (at(1_666_666, 2), true, (true, 0, Some(0))),
            (at(1_666_666, 2), false, (false, 0, Some(333_334_000))),
            (at(1_333_333, 2), false, (false, 0, Some(1_000))),
            (at(1_333_333, 1), false, (true, 1, Some(0))),
        ] {
            let said = third.allowance(1_000_000, full_at, took);
            let said = (said.allowed, said.remaining, said.retry_after_ns);
            assert_eq!(said, expected, "{full_at:?} {took}");
        }
        let never = count(3, 1_000_000_000, 2, 3).expect("in range");
        let said = never.allowance(1, at(0, 0), false);
        assert_eq!((said.allowed, said.remaining, said.retry_after_ns), (false, 2, None));
    }
}
