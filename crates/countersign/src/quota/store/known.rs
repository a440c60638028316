use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use quick_cache::sync::Cache;
use tokio::time::Instant;

use crate::quota::meter::Allowance;

/// Which buckets the store has said to be empty, and until when.
///
/// Buckets are told apart by 64 bits of a keyed hash. When too many are empty, some are
/// forgotten; a call that would have been refused here is then refused by the store.
#[derive(Debug)]
pub(super) struct Known {
    hasher: RandomState,
    empty: Cache<u64, Empty>,
}

#[derive(Clone, Copy, Debug)]
struct Empty {
    /// The least that was too much, and what was said of it then.
    cost: u64,
    said: Allowance,
    at: Instant,
    believed_until: Instant,
}

impl Known {
    const MOST: usize = 65_536;
    /// The store is believed for so long. Somebody may have changed a limit or deleted a key.
    pub(super) const BELIEVED: Duration = Duration::from_secs(10);

    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), empty: Cache::new(Self::MOST) }
    }

    /// What the store would say of a bucket that it has called empty; `None` where it has to be
    /// asked.
    pub(super) fn refusal(&self, name: &str, cost: u64) -> Option<Allowance> {
        let empty = self.empty.get(&self.hasher.hash_one(name))?;
        let now = Instant::now();
        if cost < empty.cost || empty.believed_until <= now {
            return None;
        }
        let since = (now - empty.at).as_nanos();
        let left = empty.said.retry_after_ns.map(|said| said.saturating_sub(since));
        Some(Allowance { retry_after_ns: left, ..empty.said })
    }

    /// The store has refused so much.
    pub(super) fn note(&self, name: &str, cost: u64, said: Allowance) {
        let at = Instant::now();
        let wait = said.retry_after().unwrap_or(Self::BELIEVED).min(Self::BELIEVED);
        if !wait.is_zero() {
            let empty = Empty { cost, said, at, believed_until: at + wait };
            self.empty.insert(self.hasher.hash_one(name), empty);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u128 = 1_000_000_000;

    fn refused(retry_after_ns: Option<u128>) -> Allowance {
        Allowance { allowed: false, remaining: 1, retry_after_ns }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_empty_is_known_until_it_is_not() {
        let known = Known::new();
        known.note("a", 3, refused(Some(SECOND)));
        let still = Some(refused(Some(SECOND)));
        for (name, cost, said) in [("a", 3, still), ("a", 4, still), ("a", 2, None), ("b", 3, None)]
        {
            assert_eq!(known.refusal(name, cost), said, "{name} {cost}");
        }
        tokio::time::advance(Duration::from_millis(999)).await;
        assert_eq!(known.refusal("a", 3), Some(refused(Some(1_000_000))));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(known.refusal("a", 3), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_store_is_not_believed_for_ever() {
        let known = Known::new();
        known.note("a", 1, refused(Some(u128::MAX)));
        known.note("b", 1, refused(None));
        known.note("c", 1, refused(Some(0)));
        tokio::time::advance(Known::BELIEVED - Duration::from_millis(1)).await;
        let told = |name| known.refusal(name, 1).map(|said| said.retry_after());
        assert!(told("a").flatten().is_some_and(|left| left > Known::BELIEVED));
        assert_eq!(told("b"), Some(None), "never");
        assert_eq!(told("c"), None, "nobody knows until when");
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!((told("a"), told("b")), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_forgotten_and_takes_no_more_room() {
        let known = Known::new();
        for caller in 0..3 * Known::MOST {
            known.note(&caller.to_string(), 1, refused(Some(SECOND)));
        }
        assert!(known.empty.len() <= Known::MOST, "{}", known.empty.len());
    }
}
