use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::super::keys::Found;
use super::super::{Algorithm, KeySet, SkippedKey};
use super::discovery::MetadataUrls;
use super::fetcher::Fetcher;
use super::keeper::{Held, Kept, Shared, keep};
use super::state::{State, Verdict};
use super::{KeySettings, KeySource, KeySourceError, KeysError, KeysUnavailable, Source};
use crate::authentication::Generation;
use crate::causes::chain;
use crate::fetch::Url;

/// The keys of one issuer, kept fresh by a task that starts with the first question and ends
/// when this is dropped.
pub(crate) struct Keys {
    shared: Arc<Shared>,
    /// From what the task is made; nothing for keys that stay what they are.
    start: Option<Start>,
    keeper: Mutex<Option<AbortOnDropHandle<()>>>,
}

enum Start {
    File(std::path::PathBuf),
    Url(Url),
    Discovery(Box<MetadataUrls>),
}

/// The keys at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    /// None when there never were any, or when they are too old.
    pub(crate) keys: Option<Arc<KeySet>>,
    /// The count of changes, read before the keys.
    pub(crate) generation: u64,
}

/// What to do about a key that a snapshot has not got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The issuer has no such key, as far as anybody who asked lately could see.
    Final,
    /// Nobody can tell before so long.
    Unavailable {
        /// When there is another try.
        retry_after: Duration,
    },
    /// [`Keys::refetched_for`] may bring it.
    Wait,
}

/// How an issuer's keys are doing, for metrics and for readiness.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeysReport {
    /// The issuer.
    pub issuer: String,
    /// Time since the keys were last read; none when there are none, and for given keys.
    pub age: Option<Duration>,
    /// How many keys can be used.
    pub keys: usize,
    /// The keys that are not used.
    pub skipped: Vec<SkippedKey>,
    /// How many readings were begun.
    pub started: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How often a call joined a reading that somebody else had asked for.
    pub joined: u64,
    /// Why the last reading failed; none when it did not.
    pub last_error: Option<String>,
}

impl Keys {
    /// Sets everything up. Reads nothing, and needs no runtime.
    pub(crate) fn new(
        source: KeySource,
        issuer: &str,
        settings: KeySettings,
    ) -> Result<Self, KeySourceError> {
        let current = ArcSwapOption::empty();
        let owned = || issuer.to_owned();
        let start = match source.0 {
            Source::Given(keys) if keys.is_empty() => {
                return Err(KeySourceError::NoUsableKey { issuer: owned() });
            }
            Source::Given(keys) => {
                let held = Held { keys: Arc::new(keys), digest: [0; 32], read_at: Instant::now() };
                current.store(Some(Arc::new(held)));
                None
            }
            Source::File(path) => Some(Start::File(path)),
            Source::Url(url) => Some(Start::Url(
                Url::parse(&url)
                    .map_err(|source| KeySourceError::Url { issuer: owned(), source })?,
            )),
            Source::Discovery => Some(Start::Discovery(Box::new(MetadataUrls::of(issuer)?))),
        };
        let shared = Shared {
            issuer: owned(),
            settings,
            is_file: matches!(start, Some(Start::File(_))),
            current,
            generation: Generation::new(),
            state: Mutex::new(State::new()),
            wake: Notify::new(),
            done: watch::Sender::new(0),
            is_kept: AtomicBool::new(false),
            failed: AtomicU64::new(0),
            joined: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared), start, keeper: Mutex::new(None) })
    }

    /// The keys as they are. Never waits. Inside a runtime it also sees to it that somebody keeps
    /// them fresh.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.see_to_keeper();
        let generation = self.shared.generation.now();
        Snapshot { keys: self.held().map(|held| Arc::clone(&held.keys)), generation }
    }

    /// Advances after other keys can be seen, and after old ones no longer can.
    pub(crate) fn generation(&self) -> &Generation {
        &self.shared.generation
    }

    /// What to do about a key that a snapshot has not got. Never waits.
    pub(crate) fn missing(&self, seen: &Snapshot, kid: Option<&str>) -> Missing {
        if self.is_known(seen, kid) {
            return Missing::Wait;
        }
        match self.judge(&self.shared.state(), kid) {
            Verdict::Final => Missing::Final,
            Verdict::Later(retry_after) => Missing::Unavailable { retry_after },
            Verdict::Join(_) | Verdict::Demand => Missing::Wait,
        }
    }

    /// Asks for a reading for the sake of a key that a snapshot has not got, or joins the one
    /// that is under way, and waits for it. The snapshot that it gives may still not have it.
    ///
    /// Cancel-safe: the reading goes on without those who waited for it.
    pub(crate) async fn refetched_for(
        &self,
        seen: &Snapshot,
        kid: Option<&str>,
    ) -> Result<Snapshot, KeysUnavailable> {
        let settings = &self.shared.settings;
        // Nobody reads and no time passes outside a runtime.
        if Handle::try_current().is_err() {
            return Err(self.unavailable(settings.wait));
        }
        let waited = timeout(settings.wait, self.wait_for(seen, kid)).await;
        waited.unwrap_or_else(|_| Err(self.unavailable(settings.wait)))
    }

    /// Whether there are keys to verify with.
    pub(crate) fn is_ready(&self) -> bool {
        self.snapshot().keys.is_some()
    }

    /// Why the last reading failed; none when it did not.
    pub(crate) fn last_error(&self) -> Option<Arc<KeysError>> {
        self.shared.state().last_error.clone()
    }

    /// Waits until the first reading is done, well or not. For start-up; inside a runtime.
    pub(crate) async fn warm_up(&self) {
        if self.is_ready() || self.start.is_none() {
            return;
        }
        // The sender is ours, so it cannot be gone.
        let _ = self.shared.done.subscribe().wait_for(|done| *done > 0).await;
    }

    /// How they are doing.
    pub(crate) fn report(&self) -> KeysReport {
        let now = Instant::now();
        let snapshot = self.snapshot();
        let held = self.held().filter(|_| self.start.is_some());
        let state = self.shared.state();
        KeysReport {
            issuer: self.shared.issuer.clone(),
            age: held.map(|held| now.saturating_duration_since(held.read_at)),
            keys: snapshot.keys.as_ref().map_or(0, |keys| keys.len()),
            skipped: snapshot.keys.map_or_else(Vec::new, |keys| keys.skipped().to_vec()),
            started: state.begun,
            failed: self.shared.failed.load(Ordering::Relaxed),
            joined: self.shared.joined.load(Ordering::Relaxed),
            last_error: state.last_error.as_deref().map(|error| chain(error)),
        }
    }

    fn held(&self) -> Option<Arc<Held>> {
        match self.start {
            // Given keys do not age.
            None => self.shared.current.load_full(),
            Some(_) => self.shared.held(Instant::now()),
        }
    }

    /// Whether there is by now what the snapshot has not got. Without a `kid` that shows by
    /// nothing but a change.
    fn is_known(&self, seen: &Snapshot, kid: Option<&str>) -> bool {
        match (kid, self.held()) {
            (_, None) => false,
            (None, Some(_)) => self.shared.generation.now() != seen.generation,
            // With a `kid`, unknown means that there is none of that name, for any algorithm.
            (Some(_), Some(held)) => {
                !matches!(held.keys.find(kid, Algorithm::ES256), Found::Unknown)
            }
        }
    }

    fn judge(&self, state: &State, kid: Option<&str>) -> Verdict {
        if self.start.is_none() || kid.is_some_and(|kid| kid.len() > KeySet::MAX_KID_BYTES) {
            return Verdict::Final;
        }
        state.judge(self.held().is_some(), self.shared.cooldown(), Instant::now())
    }

    async fn wait_for(
        &self,
        seen: &Snapshot,
        kid: Option<&str>,
    ) -> Result<Snapshot, KeysUnavailable> {
        let mut done = self.shared.done.subscribe();
        loop {
            self.see_to_keeper();
            if self.is_known(seen, kid) {
                return Ok(self.snapshot());
            }
            // In a block, so that the lock is not held across the wait.
            let awaited = {
                let mut state = self.shared.state();
                match self.judge(&state, kid) {
                    Verdict::Final => {
                        drop(state);
                        return Ok(self.snapshot());
                    }
                    Verdict::Later(after) => {
                        drop(state);
                        return Err(self.unavailable(after));
                    }
                    Verdict::Join(flight) => {
                        self.shared.joined.fetch_add(1, Ordering::Relaxed);
                        flight
                    }
                    Verdict::Demand => {
                        state.is_demanded = true;
                        self.shared.wake.notify_one();
                        state.begun + 1
                    }
                }
            };
            // The sender is ours, so it cannot be gone.
            let _ = done.wait_for(|done| *done >= awaited).await;
        }
    }

    fn unavailable(&self, retry_after: Duration) -> KeysUnavailable {
        KeysUnavailable {
            issuer: self.shared.issuer.clone(),
            retry_after,
            source: self.last_error(),
        }
    }

    /// Starts the task where there is none: at first, and after the runtime that had it ended.
    fn see_to_keeper(&self) {
        let Some(start) = &self.start else { return };
        if self.shared.is_kept.load(Ordering::Acquire) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        if self.shared.is_kept.swap(true, Ordering::AcqRel) {
            return;
        }
        let fetcher = match start {
            Start::File(path) => Fetcher::File(path.clone()),
            Start::Url(url) => Fetcher::Url(url.clone()),
            Start::Discovery(metadata) => Fetcher::Discovery {
                issuer: self.shared.issuer.clone(),
                metadata: metadata.clone(),
                known: None,
            },
        };
        let task = keep(Kept(Arc::clone(&self.shared)), fetcher);
        *keeper = Some(AbortOnDropHandle::new(runtime.spawn(task)));
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("issuer", &self.shared.issuer)
            .field("keys", &self.held().map(|held| Arc::clone(&held.keys)))
            .finish_non_exhaustive()
    }
}
