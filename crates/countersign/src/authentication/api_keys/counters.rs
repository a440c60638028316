use std::sync::atomic::{AtomicU64, Ordering};

/// What became of the keys that were presented.
///
/// Every number only grows. The gate does not ask again while a lease holds, so they count
/// decisions and not calls.
#[derive(Debug, Default)]
pub struct KeyCounters {
    pub(super) accepted: Counter,
    pub(super) rotated: Counter,
    pub(super) refused: Counter,
    pub(super) used_after_revocation: Counter,
    pub(super) throttled: Counter,
    pub(super) compared: Counter,
    pub(super) looked_up: Counter,
    pub(super) store_failures: Counter,
    pub(super) lost_uses: Counter,
}

impl KeyCounters {
    /// Keys that were accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted.get()
    }

    /// Those among them that have a successor already: whoever sends them has yet to change.
    pub fn rotated(&self) -> u64 {
        self.rotated.get()
    }

    /// Keys that were refused, for whatever reason but a limit or a store out of reach.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Those among them that were right, and revoked: a lost key that somebody tries.
    pub fn used_after_revocation(&self) -> u64 {
        self.used_after_revocation.get()
    }

    /// Keys that were not looked at, since there had been too many failures.
    pub fn throttled(&self) -> u64 {
        self.throttled.get()
    }

    /// Hashes that were computed and compared: one for each key that was looked at, there or not.
    pub fn compared(&self) -> u64 {
        self.compared.get()
    }

    /// Questions to the store.
    pub fn looked_up(&self) -> u64 {
        self.looked_up.get()
    }

    /// Questions that the store did not answer.
    pub fn store_failures(&self) -> u64 {
        self.store_failures.get()
    }

    /// Uses that were not written: too many keys at once, or a store out of reach.
    pub fn lost_uses(&self) -> u64 {
        self.lost_uses.get()
    }
}

#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn count(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
