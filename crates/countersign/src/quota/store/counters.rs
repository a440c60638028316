use std::sync::atomic::{AtomicU64, Ordering};

/// How asking a store goes. Every number only grows.
#[derive(Debug, Default)]
pub struct StoreCounters {
    pub(super) asked: Counter,
    pub(super) refused: Counter,
    pub(super) refused_locally: Counter,
    pub(super) failed: Counter,
    pub(super) in_fallback: Counter,
    pub(super) refused_in_fallback: Counter,
}

impl StoreCounters {
    /// Questions to the store, answered or not.
    pub fn asked(&self) -> u64 {
        self.asked.get()
    }

    /// Calls that the store refused.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Calls that were refused unasked, since the store had said until when a bucket is empty.
    pub fn refused_locally(&self) -> u64 {
        self.refused_locally.get()
    }

    /// Questions that the store did not answer, or not in time, or not as it should.
    pub fn failed(&self) -> u64 {
        self.failed.get()
    }

    /// Calls that [`WhenDown`](super::WhenDown) decided, let pass or not.
    pub fn in_fallback(&self) -> u64 {
        self.in_fallback.get()
    }

    /// Those among them that were not let pass.
    pub fn refused_in_fallback(&self) -> u64 {
        self.refused_in_fallback.get()
    }
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
