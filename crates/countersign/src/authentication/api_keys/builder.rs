use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::authenticator::{ApiKeys, Shared};
use super::cache::Records;
use super::counters::KeyCounters;
use super::format::KeyPrefix;
use super::hash::Peppers;
use super::store::KeyStore;
use super::throttle::{FailureLimit, Throttle};
use super::uses::Uses;
use crate::clock::{Clock, SystemClock};

/// Makes [`ApiKeys`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct ApiKeysBuilder {
    store: Arc<dyn KeyStore>,
    prefix: KeyPrefix,
    peppers: Peppers,
    clock: Arc<dyn Clock>,
    known_for: Duration,
    unknown_for: Duration,
    capacity: usize,
    per_source: Option<FailureLimit>,
    per_id: Option<FailureLimit>,
    lookup_timeout: Duration,
}

impl ApiKeysBuilder {
    pub(super) fn new(store: impl KeyStore) -> Self {
        let window = Duration::from_secs(60);
        Self {
            store: Arc::new(store),
            prefix: KeyPrefix::live("cs").expect("two letters"),
            peppers: Peppers::none(),
            clock: Arc::new(SystemClock),
            known_for: ApiKeys::KNOWN_FOR,
            unknown_for: ApiKeys::UNKNOWN_FOR,
            capacity: 10_000,
            per_source: Some(FailureLimit { failures: 20, window }),
            per_id: Some(FailureLimit { failures: 100, window }),
            lookup_timeout: Duration::from_secs(5),
        }
    }

    /// What keys begin with; others are not accepted. Default: `cs_live`.
    pub fn prefix(mut self, prefix: KeyPrefix) -> Self {
        self.prefix = prefix;
        self
    }

    /// What hashes are made with. Default: none.
    pub fn peppers(mut self, peppers: Peppers) -> Self {
        self.peppers = peppers;
        self
    }

    /// The clock that keys and answers end by. Default: the operating system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// How long a record is used before the store is asked again, which is how late a revocation
    /// may take effect where the store pushes none. Default, and at most:
    /// [`ApiKeys::KNOWN_FOR`], 30 s.
    pub fn known_for(mut self, time: Duration) -> Self {
        self.known_for = time.min(ApiKeys::KNOWN_FOR);
        self
    }

    /// How long an ID stays unknown before the store is asked again. Default, and at most:
    /// [`ApiKeys::UNKNOWN_FOR`], 10 s.
    pub fn unknown_for(mut self, time: Duration) -> Self {
        self.unknown_for = time.min(ApiKeys::UNKNOWN_FOR);
        self
    }

    /// How many records, and how many unknown IDs, are kept. Default: 10,000.
    pub fn capacity(mut self, records: usize) -> Self {
        self.capacity = records;
        self
    }

    /// How often one address (of IPv6: one /64) may fail. `None` behind a proxy that all callers
    /// come through. Default: 20 in a minute.
    pub fn failures_per_source(mut self, limit: Option<FailureLimit>) -> Self {
        self.per_source = limit;
        self
    }

    /// How often one key may be tried in vain, from wherever. Who has proved it lately is not
    /// held up. Default: 100 in a minute.
    pub fn failures_per_key(mut self, limit: Option<FailureLimit>) -> Self {
        self.per_id = limit;
        self
    }

    /// How long the store has to answer before the call fails as `UNAVAILABLE`. Default: 5 s.
    pub fn lookup_timeout(mut self, timeout: Duration) -> Self {
        self.lookup_timeout = timeout;
        self
    }

    /// The authenticator. Nothing is asked of the store yet.
    pub fn build(self) -> ApiKeys {
        let shared = Shared {
            dummy: self.peppers.dummy(),
            store: self.store,
            prefix: self.prefix,
            peppers: self.peppers,
            clock: self.clock,
            records: Records::new(self.capacity, self.known_for, self.unknown_for),
            throttle: Throttle::new(self.per_source, self.per_id),
            uses: Uses::default(),
            counters: KeyCounters::default(),
            lookups: Arc::new(Semaphore::new(ApiKeys::MAX_LOOKUPS)),
            lookup_timeout: self.lookup_timeout,
        };
        ApiKeys::new(shared, CancellationToken::new())
    }
}
