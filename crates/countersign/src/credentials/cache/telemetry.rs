use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a cache of tokens has done so far, and how its tokens stand.
///
/// Counted since the credential was made. The names for metrics are `token_refresh_total` with
/// the labels `source` and `result`, and `token_seconds_to_expiry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenTelemetry {
    /// The source's name.
    pub source: &'static str,
    /// Until the first of the tokens ends; `None` without a token that has an end.
    pub time_to_expiry: Option<Duration>,
    /// Fetches that brought a new token.
    pub refreshed: u64,
    /// Fetches that brought the token that was there already, with no later end.
    pub unchanged: u64,
    /// Fetches that failed and may succeed later.
    pub failed_transiently: u64,
    /// Fetches that failed until somebody does something.
    pub failed_permanently: u64,
    /// Tokens that a server did not accept and that are being replaced.
    pub rejected: u64,
    /// How long the last fetch took.
    pub last_latency: Duration,
    /// How long all fetches took together.
    pub total_latency: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) refreshed: AtomicU64,
    pub(super) unchanged: AtomicU64,
    pub(super) failed_transiently: AtomicU64,
    pub(super) failed_permanently: AtomicU64,
    pub(super) rejected: AtomicU64,
    last_micros: AtomicU64,
    total_micros: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn took(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.last_micros.store(micros, Ordering::Relaxed);
        self.total_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn read(
        &self,
        source: &'static str,
        time_to_expiry: Option<Duration>,
    ) -> TokenTelemetry {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TokenTelemetry {
            source,
            time_to_expiry,
            refreshed: of(&self.refreshed),
            unchanged: of(&self.unchanged),
            failed_transiently: of(&self.failed_transiently),
            failed_permanently: of(&self.failed_permanently),
            rejected: of(&self.rejected),
            last_latency: Duration::from_micros(of(&self.last_micros)),
            total_latency: Duration::from_micros(of(&self.total_micros)),
        }
    }
}
