use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// How long the same evidence over the same connection proves the same caller without another
/// look.
///
/// An authenticator grants one with [`Authenticated::leased`](super::Authenticated::leased). It
/// ends at a time, and at once when what it was granted by has changed.
/// Cloning is one atomic increment.
#[derive(Clone, Debug)]
pub struct Lease {
    until: Option<SystemTime>,
    granted: Option<Arc<Vec<(Generation, u64)>>>,
}

impl Lease {
    /// Until further notice: for evidence that nothing but time changes, and time does not end.
    pub fn unlimited() -> Self {
        Self { until: None, granted: None }
    }

    /// Until a time, exclusive.
    pub fn until(until: SystemTime) -> Self {
        Self { until: Some(until), granted: None }
    }

    /// Ends also when the generation advances; may be said of several. Read it *before* looking
    /// at what it stands for: a change in between then ends the lease, and not the change after.
    #[must_use]
    pub fn within(mut self, generation: &Generation, seen: u64) -> Self {
        let granted = self.granted.get_or_insert_default();
        Arc::make_mut(granted).push((generation.clone(), seen));
        self
    }

    /// Holds as long as both do.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let until = self.until.into_iter().chain(other.until).min();
        let granted = match (self.granted, other.granted) {
            (Some(mut all), Some(more)) => {
                Arc::make_mut(&mut all).extend(more.iter().cloned());
                Some(all)
            }
            (one, other) => one.or(other),
        };
        Self { until, granted }
    }

    /// Whether it still holds.
    pub fn holds(&self, now: SystemTime) -> bool {
        self.until.is_none_or(|until| now < until) && self.is_current()
    }

    /// Whether nothing changed since it was granted, whatever the time.
    pub fn is_current(&self) -> bool {
        let mut granted = self.granted.iter().flat_map(|granted| granted.iter());
        granted.all(|(generation, seen)| generation.now() == *seen)
    }

    /// Whether anything could end it.
    pub(crate) fn may_end(&self) -> bool {
        self.until.is_some() || self.granted.is_some()
    }

    /// When it ends by itself.
    pub fn ends_at(&self) -> Option<SystemTime> {
        self.until
    }
}

/// Counts the changes of something that proofs rest on: key sets, lists of revoked tokens.
/// Cloning shares the count.
#[derive(Clone, Debug, Default)]
pub struct Generation {
    count: Arc<AtomicU64>,
}

impl Generation {
    /// Starts to count.
    pub fn new() -> Self {
        Self::default()
    }

    /// The count.
    pub fn now(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Ends every lease that was granted within it. Call it *after* the change can be seen.
    pub fn advance(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_lease_ends_in_time_and_by_change() {
        let (now, later) = (UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(1));
        assert!(Lease::unlimited().holds(later));
        assert!(Lease::until(later).holds(now) && !Lease::until(later).holds(later));
        let generation = Generation::new();
        let lease = Lease::until(later).within(&generation, generation.now());
        assert!(lease.holds(now));
        generation.advance();
        assert!(!lease.holds(now) && !lease.is_current());
    }

    #[test]
    fn two_leases_together_end_with_the_first_of_them() {
        let (now, later) = (UNIX_EPOCH, UNIX_EPOCH + Duration::from_secs(1));
        let [one, two] = [(); 2].map(|()| Generation::new());
        let both = || {
            let first = Lease::until(later).within(&one, one.now());
            first.and(Lease::unlimited().within(&two, two.now()))
        };
        assert_eq!(both().ends_at(), Some(later));
        assert!(both().may_end() && both().holds(now) && !both().holds(later));
        for generation in [&one, &two] {
            let lease = both();
            generation.advance();
            assert!(!lease.is_current());
        }
    }
}
