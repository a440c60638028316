use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use quick_cache::sync::Cache;

use super::flight::landed;
use super::held::Held;
use super::slot::{Answer, Slot};
use super::source::TokenRequest;
use super::telemetry::Counters;
use super::warm::Next;
use super::{RefreshWindows, Settings, TokenError, TokenSource, TokenTelemetry};
use crate::clock::Clock;
use crate::credentials::CallCredentialsError;
use crate::warnings::Warnings;

/// The tokens of one source, each under its key. The one engine behind all sources.
///
/// Handles are counted by whoever holds it in an `Arc`: with the last one the slots go, and with
/// them the fetches that are under way.
pub(crate) struct TokenCache<S: ?Sized> {
    core: Arc<Core<S>>,
    /// Of a source that has one token for all calls.
    only: Arc<Slot>,
    /// By key. Bounded, and what falls out is fetched again.
    others: Cache<String, Arc<Slot>>,
}

/// What a fetch needs, apart from where its outcome goes.
pub(super) struct Core<S: ?Sized> {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) windows: RefreshWindows,
    pub(super) fetch_timeout: Duration,
    pub(super) name: &'static str,
    pub(super) counters: Counters,
    /// For all keys together: whose tokens they are may be for strangers to choose.
    pub(super) warnings: Warnings,
    pub(super) source: S,
}

impl<S: TokenSource> TokenCache<S> {
    pub(crate) fn new(source: S, settings: Settings) -> Self {
        let core = Core {
            windows: settings.windows.unwrap_or_else(|| source.windows()),
            fetch_timeout: settings.fetch_timeout.unwrap_or_else(|| source.fetch_timeout()),
            name: source.name(),
            clock: settings.clock,
            counters: Counters::default(),
            warnings: Warnings::new(),
            source,
        };
        Self {
            core: Arc::new(core),
            only: Arc::default(),
            others: Cache::new(settings.max_entries.max(1)),
        }
    }

    /// The value under a key, if nothing has to be waited for. Sets off a fetch if one is due.
    ///
    /// Allocates nothing and takes no lock of ours while the token is fresh.
    pub(crate) fn now(
        &self,
        key: Option<&str>,
        request: impl FnOnce() -> TokenRequest,
    ) -> Result<Option<HeaderValue>, TokenError> {
        let slot = self.slot(key);
        if let Some(value) = slot.fresh(&self.core) {
            return Ok(Some(value));
        }
        match slot.ask(&self.core, &request()) {
            Answer::Send(held) => Ok(Some(held.value().clone())),
            Answer::Wait(_) => Ok(None),
            Answer::Fail(error) => Err(error),
        }
    }

    /// The token under a key. Waits for a fetch if there is no other way.
    ///
    /// Cancel-safe: a fetch that was set off goes on.
    pub(crate) async fn get(
        &self,
        key: Option<&str>,
        request: impl FnOnce() -> TokenRequest,
    ) -> Result<Arc<Held>, TokenError> {
        // Held for as long as anybody waits, so that it cannot fall out of the cache meanwhile.
        let slot = self.slot(key);
        let landing = match slot.ask(&self.core, &request()) {
            Answer::Send(held) => return Ok(held),
            Answer::Fail(error) => return Err(error),
            Answer::Wait(landing) => landing,
        };
        let outcome = match landed(landing).await {
            Some(outcome) => outcome,
            None => Err(slot.note_loss(&self.core)),
        };
        // A token that still lasts is worth more than the reason why there is no newer one.
        outcome.or_else(|error| slot.lasting(&self.core).ok_or(error))
    }

    /// Sets off a fetch if one is due, and says when to look again.
    pub(super) fn look(&self, key: Option<&str>, request: &TokenRequest) -> Next {
        self.slot(key).look(&self.core, request)
    }

    /// What a call fails with that gets no token; whoever waits for one is told how long.
    pub(crate) fn failure(&self, key: Option<&str>, error: TokenError) -> CallCredentialsError {
        let rest = self.slot(key).rest().filter(|_| error.is_transient());
        let error = CallCredentialsError::from(error);
        match rest {
            Some(rest) => error.with_retry_after(rest),
            None => error,
        }
    }

    /// A server did not accept this value. Says whether another is worth a try.
    pub(crate) fn reject(&self, key: Option<&str>, sent: &HeaderValue) -> bool {
        self.slot(key).reject(&self.core, sent)
    }

    pub(crate) fn source(&self) -> &S {
        &self.core.source
    }

    pub(crate) fn telemetry(&self) -> TokenTelemetry {
        let ends = self.others.iter().map(|(_, slot)| slot.time_to_expiry(&self.core));
        let first = ends.chain([self.only.time_to_expiry(&self.core)]).flatten().min();
        self.core.counters.read(self.core.name, first)
    }

    /// For how many keys something is kept.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.others.len()
    }

    fn slot(&self, key: Option<&str>) -> Arc<Slot> {
        match key {
            None => Arc::clone(&self.only),
            Some(key) => {
                let made =
                    self.others.get_or_insert_with(key, || Ok::<_, Infallible>(Arc::default()));
                match made {
                    Ok(slot) => slot,
                    Err(never) => match never {},
                }
            }
        }
    }
}

impl<S: TokenSource> fmt::Debug for TokenCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.core.source.fmt(f)
    }
}
