//! The task that reads an issuer's keys, again and again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::super::KeySet;
use super::fetcher::{Fetched, Fetcher};
use super::state::{State, backoff, luck, refresh_after};
use super::{KeySettings, KeysError};
use crate::authentication::Generation;
use crate::causes::chain;

/// What the keeper and those who ask share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) issuer: String,
    pub(super) settings: KeySettings,
    /// Files are read every second, whatever happens.
    pub(super) is_file: bool,
    pub(super) current: ArcSwapOption<Held>,
    pub(super) generation: Generation,
    pub(super) state: Mutex<State>,
    /// Wakes the keeper before its time.
    pub(super) wake: Notify,
    /// How many readings are done, in whatever way.
    pub(super) done: watch::Sender<u64>,
    pub(super) is_kept: AtomicBool,
    pub(super) failed: AtomicU64,
    pub(super) joined: AtomicU64,
}

/// Keys, and when they were read.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) keys: Arc<KeySet>,
    pub(super) digest: [u8; 32],
    pub(super) read_at: Instant,
}

impl Shared {
    /// How often a file is read.
    const FILE_INTERVAL: Duration = Duration::from_secs(1);

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys, unless they are too old.
    pub(super) fn held(&self, now: Instant) -> Option<Arc<Held>> {
        self.current.load_full().filter(|held| !self.is_stale(held, now))
    }

    /// How long the answer to one demand is one to the next as well.
    pub(super) fn cooldown(&self) -> Duration {
        match self.is_file {
            true => Self::FILE_INTERVAL,
            false => self.settings.cooldown,
        }
    }

    fn is_stale(&self, held: &Held, now: Instant) -> bool {
        now.saturating_duration_since(held.read_at) >= self.settings.max_stale
    }

    fn begin(&self) -> Option<Flight<'_>> {
        let now = Instant::now();
        let mut state = self.state();
        if now < state.due && !state.is_demanded {
            return None;
        }
        let was_demanded = std::mem::take(&mut state.is_demanded);
        state.begun += 1;
        state.is_flying = true;
        Some(Flight { shared: self, at: now, was_demanded })
    }

    fn succeeded(&self, flight: &Flight<'_>, fetched: Fetched, origin: &str) {
        let before = self.current.load_full();
        let had_keys = before.is_some();
        let unchanged = before.filter(|held| held.digest == fetched.digest);
        let is_changed = unchanged.is_none();
        if is_changed {
            for skipped in fetched.keys.skipped() {
                tracing::warn!(
                    issuer = %self.issuer,
                    index = skipped.index,
                    kid = ?skipped.kid,
                    reason = skipped.reason,
                    "a key of an issuer is not used"
                );
            }
            tracing::info!(issuer = %self.issuer, %origin, keys = fetched.keys.len(), "new keys");
        }
        let keys = unchanged.map_or_else(|| Arc::new(fetched.keys), |held| Arc::clone(&held.keys));
        let held = Held { keys, digest: fetched.digest, read_at: flight.at };
        self.current.store(Some(Arc::new(held)));
        // After they can be seen, so that whoever reads the count before them is never too late.
        if is_changed {
            self.generation.advance();
        }
        let after = match self.is_file {
            true => Self::FILE_INTERVAL,
            false => refresh_after(self.settings.refresh, fetched.max_age, luck()),
        };
        let mut state = self.state();
        state.due = Instant::now() + after;
        state.failures = 0;
        state.last_error = None;
        // The first keys answer nobody who missed one among others: no cooldown yet.
        if flight.was_demanded && had_keys {
            state.answered_demand_at = Some(flight.at);
        }
    }

    fn did_not_succeed(&self, error: KeysError) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        // What nobody may use any more must not be remembered either.
        let expired = self.current.load_full().filter(|held| self.is_stale(held, now));
        if expired.is_some() {
            self.current.store(None);
            self.generation.advance();
            tracing::warn!(issuer = %self.issuer, "the keys of an issuer are too old to be used");
        }
        let has_keys = self.current.load().is_some();
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        state.due = now
            + match self.is_file {
                true => Self::FILE_INTERVAL,
                false => backoff(state.failures, luck()),
            };
        let cause = chain(&error);
        match state.failures {
            1 if has_keys => {
                tracing::warn!(issuer = %self.issuer, %cause, "keeping the keys of an issuer");
            }
            1 => tracing::warn!(issuer = %self.issuer, %cause, "an issuer has no keys"),
            failures => tracing::debug!(issuer = %self.issuer, %cause, failures, "no new keys"),
        }
        state.last_error = Some(Arc::new(error));
    }
}

/// A reading that is under way. However it ends, those who wait for it learn that it did.
struct Flight<'a> {
    shared: &'a Shared,
    at: Instant,
    was_demanded: bool,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.shared.state().is_flying = false;
        self.shared.done.send_modify(|done| *done += 1);
    }
}

/// Says when nobody keeps the keys any more, so that somebody else may: also when the task was
/// dropped before it ran.
pub(super) struct Kept(pub(super) Arc<Shared>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.is_kept.store(false, Ordering::Release);
    }
}

/// Reads when it is time or when somebody misses a key, and never twice at once.
pub(super) async fn keep(kept: Kept, mut fetcher: Fetcher) {
    let shared = &*kept.0;
    loop {
        let due = shared.state().due;
        // Either way there is something to look at.
        let _ = timeout_at(due, shared.wake.notified()).await;
        let Some(flight) = shared.begin() else { continue };
        match fetcher.fetch(&shared.settings).await {
            Ok(fetched) => shared.succeeded(&flight, fetched, &fetcher.origin()),
            Err(error) => shared.did_not_succeed(error),
        }
    }
}
