use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// How long the same evidence over the same connection proves the same caller without another
/// look.
///
/// An authenticator grants one with [`Authenticated::leased`](super::Authenticated::leased). It
/// ends at a time, and at once when what it was granted by has changed.
/// Cloning is one atomic increment.
#[derive(Clone)]
pub struct Lease {
    until: Option<SystemTime>,
    granted: Option<Arc<dyn Grants>>,
}

/// What a lease was granted by. Whatever is remembered of a caller may hold it itself, so that a
/// lease need not be a place in memory of its own.
pub(crate) trait Grants: Send + Sync {
    /// Each with its count at that time.
    fn grants(&self) -> &[Grant];
}

/// A generation and its count when something was granted.
pub(crate) type Grant = (Generation, u64);

impl Grants for Vec<Grant> {
    fn grants(&self) -> &[Grant] {
        self
    }
}

/// Whether nothing changed since.
pub(crate) fn are_current(grants: &[Grant]) -> bool {
    grants.iter().all(|(generation, seen)| generation.now() == *seen)
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

    /// Until a time, exclusive, and within what `held` holds.
    pub(crate) fn of(until: SystemTime, held: Arc<dyn Grants>) -> Self {
        Self { until: Some(until), granted: Some(held) }
    }

    fn grants(&self) -> &[Grant] {
        self.granted.as_deref().map_or(&[], Grants::grants)
    }

    /// Ends also when the generation advances; may be said of several. Read it *before* looking
    /// at what it stands for: a change in between then ends the lease, and not the change after.
    #[must_use]
    pub fn within(self, generation: &Generation, seen: u64) -> Self {
        let more = (generation.clone(), seen);
        let granted: Vec<_> = self.grants().iter().cloned().chain([more]).collect();
        Self { until: self.until, granted: Some(Arc::new(granted)) }
    }

    /// Holds as long as both do.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let until = self.until.into_iter().chain(other.until).min();
        let granted = match (self.granted, other.granted) {
            (Some(one), Some(other)) => {
                let all: Vec<_> = one.grants().iter().chain(other.grants()).cloned().collect();
                Some(Arc::new(all) as Arc<dyn Grants>)
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
    #[inline]
    pub fn is_current(&self) -> bool {
        are_current(self.grants())
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

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("until", &self.until)
            .field("granted", &self.grants())
            .finish()
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
