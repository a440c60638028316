use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;

use super::bucket::Bucket;
use crate::quota::atomic::Pace;
use crate::quota::limit::Limit;
use crate::quota::map::MeterMap;
use crate::quota::meter::Allowance;

/// This gate's own part of what a fleet may let pass, for while nobody can ask the store.
///
/// Each limit's rate is divided among the gates, exactly, and so is its burst, rounded down but
/// never to nothing. Buckets are full at first: when the store goes away, a caller may once get
/// another burst's part from each gate.
#[derive(Debug)]
pub(super) struct Share {
    gates: NonZeroU32,
    began: Instant,
    /// One for each limit; a fleet's configuration has few.
    limits: RwLock<Vec<(Limit, Option<Arc<MeterMap>>)>>,
}

impl Share {
    /// How many limits are told apart. By more than that nothing is let pass.
    const MOST_LIMITS: usize = 256;
    /// How many owing callers for each limit.
    const MOST_CALLERS: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

    pub(super) fn of(gates: NonZeroU32) -> Self {
        Self { gates, began: Instant::now(), limits: RwLock::new(Vec::new()) }
    }

    /// Takes from each bucket's part. Where one has not enough, the call is refused, and what was
    /// taken from those before it is not given back.
    pub(super) fn take(&self, buckets: &[Bucket<'_>], names: &[String]) -> Vec<Allowance> {
        let now = self.began.elapsed();
        let mut passes = true;
        let mut take = |(bucket, name): (&Bucket<'_>, &String)| {
            let cost = if passes { bucket.taken() } else { 0 };
            let allowance = match self.meters(bucket.limit()) {
                Some(meters) => meters.take(meters.key(name), now, cost),
                None => Allowance { allowed: false, remaining: 0, retry_after_ns: Some(0) },
            };
            passes &= allowance.allowed;
            allowance
        };
        buckets.iter().zip(names).map(&mut take).collect()
    }

    fn meters(&self, limit: Limit) -> Option<Arc<MeterMap>> {
        let find = |limits: &[(Limit, Option<Arc<MeterMap>>)]| {
            limits.iter().find(|(known, _)| *known == limit).map(|(_, meters)| meters.clone())
        };
        let known = find(&self.limits.read().unwrap_or_else(PoisonError::into_inner));
        if let Some(meters) = known {
            return meters;
        }
        let mut limits = self.limits.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(meters) = find(&limits) {
            return meters;
        }
        if limits.len() >= Self::MOST_LIMITS {
            return None;
        }
        let pace = part(limit, self.gates).and_then(|limit| Pace::new(limit).ok());
        let meters = pace.map(|pace| Arc::new(MeterMap::new(pace, Self::MOST_CALLERS)));
        limits.push((limit, meters.clone()));
        meters
    }
}

/// One gate's part of a limit; `None` if that is less than can be counted.
fn part(limit: Limit, gates: NonZeroU32) -> Option<Limit> {
    let per = limit.per().as_nanos().checked_mul(gates.get().into())?;
    let per = Duration::from_nanos(u64::try_from(per).ok()?);
    let least = limit.burst().min(1);
    let burst = (limit.burst() / u64::from(gates.get())).max(least);
    Some(Limit::new(limit.rate(), per).ok()?.with_burst(burst))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gates(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).expect("some")
    }

    fn limit(rate: u64, burst: u64) -> Limit {
        Limit::new(rate, Duration::from_secs(1)).expect("a limit").with_burst(burst)
    }

    fn take(share: &Share, buckets: &[Bucket<'_>]) -> Vec<bool> {
        let names: Vec<String> = buckets.iter().map(Bucket::name).collect();
        share.take(buckets, &names).iter().map(|said| said.allowed).collect()
    }

    #[test]
    fn a_part_is_exact_in_rate_and_never_nothing_at_once() {
        let third = part(limit(10, 7), gates(3)).expect("a part");
        assert_eq!((third.rate(), third.per(), third.burst()), (10, Duration::from_secs(3), 2));
        assert_eq!(part(limit(1, 2), gates(50)).map(|part| part.burst()), Some(1));
        assert_eq!(part(limit(1, 0), gates(2)).map(|part| part.burst()), Some(0));
        let slow = Limit::new(1, Duration::from_secs(86_400 * 365)).expect("a limit");
        assert_eq!(part(slow, gates(u32::MAX)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn each_caller_gets_its_part_and_no_more() {
        let share = Share::of(gates(2));
        let of = |caller: &'static str| Bucket::new(limit(10, 4)).entry("caller", caller);
        for caller in ["alice", "bob"] {
            let passed = (0..10).filter(|_| take(&share, &[of(caller)]) == [true]).count();
            assert_eq!(passed, 2, "{caller}");
        }
        tokio::time::advance(Duration::from_millis(199)).await;
        assert_eq!(take(&share, &[of("alice")]), [false]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(take(&share, &[of("alice")]), [true]);
        assert_eq!(take(&share, &[of("alice")]), [false]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_by_one_bucket_takes_nothing_from_those_after_it() {
        let share = Share::of(gates(1));
        let narrow = Bucket::new(limit(1, 1)).entry("caller", "alice");
        let wide = Bucket::new(limit(5, 2)).entry("tenant", "shop");
        let both = [narrow, wide.clone()];
        assert_eq!(take(&share, &both), [true, true]);
        assert_eq!(take(&share, &both), [false, true]);
        assert_eq!(take(&share, std::slice::from_ref(&wide)), [true]);
        assert_eq!(take(&share, &[wide]), [false]);
    }

    #[tokio::test(start_paused = true)]
    async fn limits_that_cannot_be_counted_let_nothing_pass() {
        let share = Share::of(gates(u32::MAX));
        let slow = Limit::new(1, Duration::from_secs(86_400 * 365)).expect("a limit");
        assert_eq!(take(&share, &[Bucket::new(slow)]), [false]);
        let share = Share::of(gates(1));
        for rate in 1..=300 {
            let expected = rate <= 256;
            assert_eq!(take(&share, &[Bucket::new(limit(rate, 1))]), [expected], "{rate}");
        }
    }
}
