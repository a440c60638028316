use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::atomic::{Pace, PaceError};
use super::limit::Limit;
use super::map::MeterMap;
use crate::identity::{PeerAddress, Principal, Source};

/// How often each caller may call, and how often an address may fail to prove one.
///
/// What is not limited here is not limited. Clones share their buckets, so that several gates
/// with one quota allow no more than one. Time is the runtime's, which does not step.
///
/// ```
/// use std::time::Duration;
/// use countersign::quota::{Limit, Quota};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let quota = Quota::new()
///     .per_caller(Limit::new(100, Duration::from_secs(1))?.with_burst(20))?
///     .failures_per_address(Limit::new(10, Duration::from_secs(60))?)?;
/// # drop(quota);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a quota does nothing until a gate has it"]
pub struct Quota {
    began: Instant,
    callers: Option<Arc<MeterMap>>,
    failures: Option<Arc<MeterMap>>,
}

impl Quota {
    /// How many callers are told apart while they owe; more are refused until one does not.
    pub const MAX_CALLERS: NonZeroUsize = NonZeroUsize::new(1_000_000).expect("not zero");
    /// How many addresses are told apart while they owe. Failures of more are not counted, or a
    /// flood from many addresses could lock everybody out.
    pub const MAX_ADDRESSES: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");

    /// Limits nothing yet.
    pub fn new() -> Self {
        Self { began: Instant::now(), callers: None, failures: None }
    }

    /// How often a proven caller may call, whatever and over whichever connection. A caller is
    /// its name and the authenticator that proved it, so that a fresh token fills no bucket.
    ///
    /// # Errors
    ///
    /// The whole burst takes longer to earn than a meter can count.
    pub fn per_caller(mut self, limit: Limit) -> Result<Self, PaceError> {
        self.callers = Some(Arc::new(MeterMap::new(Pace::new(limit)?, Self::MAX_CALLERS)));
        Ok(self)
    }

    /// How often a credential from one address may be bad before others from there are refused
    /// unseen. A burst of 0 counts as 1.
    ///
    /// Whoever shares an address shares its failures: leave it off behind a proxy. An IPv6 /64
    /// is one address, and so is a user over a Unix socket. Callers whose connection has proven
    /// them already, calls without credentials and public methods are not held up. What is being
    /// looked at at the same moment is not counted yet.
    ///
    /// # Errors
    ///
    /// The whole burst takes longer to earn than a meter can count.
    pub fn failures_per_address(mut self, limit: Limit) -> Result<Self, PaceError> {
        let pace = Pace::new(limit.with_burst(limit.burst().max(1)))?;
        self.failures = Some(Arc::new(MeterMap::new(pace, Self::MAX_ADDRESSES)));
        Ok(self)
    }

    /// Takes one call from a caller's bucket. `Err`: it is empty, and when it is worth trying
    /// again, if ever.
    pub(crate) fn take(&self, caller: &Principal) -> Result<(), Option<Duration>> {
        let Some(callers) = &self.callers else { return Ok(()) };
        let allowance = take(callers, (caller.authenticator(), caller.name()), self.now());
        if allowance.allowed { Ok(()) } else { Err(allowance.retry_after()) }
    }

    /// How long an address has to wait before a credential from there is looked at.
    pub(crate) fn wait(&self, address: &PeerAddress) -> Option<Duration> {
        let (failures, source) = self.failures.as_ref().zip(Source::of(address))?;
        let wait = failures.wait(failures.key(source), self.now());
        (!wait.is_zero()).then_some(wait)
    }

    /// A credential from an address was bad.
    pub(crate) fn failed(&self, address: &PeerAddress) {
        if let Some((failures, source)) = self.failures.as_ref().zip(Source::of(address)) {
            take(failures, source, self.now());
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self::new()
    }
}

fn take(map: &MeterMap, who: impl Hash, now: Duration) -> super::Allowance {
    map.take(map.key(who), now, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_minute(times: u64) -> Limit {
        Limit::new(times, Duration::from_secs(60)).expect("a limit")
    }

    fn tcp(address: &str) -> PeerAddress {
        PeerAddress::Tcp(address.parse().expect("an address"))
    }

    #[tokio::test(start_paused = true)]
    async fn each_caller_has_a_bucket_and_time_fills_it() {
        let quota = Quota::new().per_caller(a_minute(2)).expect("a quota");
        let alice = || Principal::new("alice", "tokens");
        // A name means nothing without who says so.
        for caller in [alice(), Principal::new("bob", "tokens"), Principal::new("alice", "keys")] {
            for _ in 0..2 {
                assert_eq!(quota.take(&caller), Ok(()), "{caller:?}");
            }
            assert_eq!(quota.clone().take(&caller), Err(Some(Duration::from_secs(30))));
        }
        tokio::time::advance(Duration::from_millis(29_999)).await;
        assert_eq!(quota.take(&alice()), Err(Some(Duration::from_millis(1))));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(quota.take(&alice()), Ok(()));
        quota.take(&alice()).expect_err("one and no more");
        assert_eq!(Quota::new().take(&alice()), Ok(()), "without a limit");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_fails_waits_and_its_neighbours_do_not() {
        let quota = Quota::new().failures_per_address(a_minute(2)).expect("a quota");
        let there = tcp("192.0.2.1:1000");
        for _ in 0..2 {
            assert_eq!(quota.wait(&there), None);
            quota.failed(&there);
        }
        let half_a_minute = Some(Duration::from_secs(30));
        for (address, wait) in [
            ("192.0.2.1:2000", half_a_minute),
            ("[::ffff:192.0.2.1]:1", half_a_minute),
            ("192.0.2.2:1000", None),
        ] {
            assert_eq!(quota.wait(&tcp(address)), wait, "{address}");
        }
        // More failures do not make it longer.
        quota.failed(&there);
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(quota.wait(&there), None);

        let network = tcp("[2001:db8::1]:1");
        for _ in 0..2 {
            quota.failed(&network);
        }
        assert_eq!(quota.wait(&tcp("[2001:db8::ffff:2]:1")), half_a_minute);
        assert_eq!(quota.wait(&tcp("[2001:db8:0:1::1]:1")), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_nothing_still_limits_failures() {
        let limit = a_minute(1).with_burst(0);
        let quota = Quota::new().failures_per_address(limit).expect("a quota");
        let there = tcp("192.0.2.1:1000");
        assert_eq!(quota.wait(&there), None);
        quota.failed(&there);
        assert_eq!(quota.wait(&there), Some(Duration::from_secs(60)));
    }
}
