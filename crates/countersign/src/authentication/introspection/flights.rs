use std::collections::HashMap;
use std::collections::hash_map::Entry::Occupied;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::answer::{Expected, Verdict};
use super::cache::{Answers, Asked, Entry, Key, key_of};
use super::endpoint::{Endpoint, Trouble};
use super::health::{Change, Health, Sign, luck};
use crate::causes::chain;
use crate::identity::Source;
use crate::secret::Secret;

/// What an authenticator and its tasks share.
pub(super) struct Shared {
    pub(super) endpoint: Endpoint,
    expected: Expected,
    answers: Answers,
    health: Health,
    /// Requests that may run.
    permits: Semaphore,
    flights: Mutex<Flights>,
    /// The most tokens of one source that are asked for or wait for it.
    per_source: usize,
    /// Ends every task.
    stopped: CancellationToken,
}

/// Questions that are under way, one for each token.
#[derive(Default)]
struct Flights {
    by_token: HashMap<Key, Flight>,
    /// How many of them each source began; one without any is not in it.
    by_source: HashMap<Option<Source>, usize>,
    started: u64,
}

struct Flight {
    number: u64,
    source: Option<Source>,
    entry: watch::Receiver<Option<Entry>>,
}

/// Longer nobody waits for a permit.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// The most tokens that are asked for or wait for it. A call that ends leaves its question
/// behind, so calls alone do not bound them.
const MAX_FLIGHTS: usize = 1024;

impl Flights {
    /// Whether one more of a source may begin. One that is not told may be everybody.
    fn have_room(&self, source: Option<Source>, per_source: usize) -> bool {
        let its = self.by_source.get(&source).copied().unwrap_or_default();
        self.by_token.len() < MAX_FLIGHTS && (source.is_none() || its < per_source)
    }

    /// A question that is not on the list yet; its number.
    fn begin(
        &mut self,
        key: Key,
        source: Option<Source>,
        entry: watch::Receiver<Option<Entry>>,
    ) -> u64 {
        self.started += 1;
        let number = self.started;
        self.by_token.insert(key, Flight { number, source, entry });
        *self.by_source.entry(source).or_default() += 1;
        number
    }

    /// Takes a question off the list, unless it is another one by now.
    fn end(&mut self, key: Key, number: u64) {
        let Some(flight) = self.by_token.get(&key).filter(|flight| flight.number == number) else {
            return;
        };
        let source = flight.source;
        self.by_token.remove(&key);
        if let Occupied(mut its) = self.by_source.entry(source) {
            *its.get_mut() -= 1;
            if *its.get() == 0 {
                its.remove();
            }
        }
    }

    fn clear(&mut self) {
        self.by_token.clear();
        self.by_source.clear();
    }
}

impl Shared {
    pub(super) fn new(
        endpoint: Endpoint,
        expected: Expected,
        remember: Duration,
        concurrency: usize,
    ) -> Self {
        Self {
            endpoint,
            expected,
            answers: Answers::new(remember),
            health: Health::default(),
            permits: Semaphore::new(concurrency),
            flights: Mutex::default(),
            // Others wait for no more than two rounds of one source's, and find room.
            per_source: concurrency.saturating_mul(2).clamp(1, MAX_FLIGHTS / 2),
            stopped: CancellationToken::new(),
        }
    }

    /// What is known of a token without asking.
    pub(super) fn remembered(&self, token: &str) -> Option<Entry> {
        self.answers.get(&key_of(token), self.endpoint.clock.now())
    }

    /// What is known of a token, or the endpoint says. Dropping it does not stop the question.
    pub(super) async fn ask(self: &Arc<Self>, token: &str, source: Option<Source>) -> Entry {
        match self.join(token, source) {
            Ok(mut entry) => match entry.wait_for(Option::is_some).await {
                Ok(known) => known.clone().unwrap_or_else(|| self.trouble(Trouble::CutOff)),
                Err(_) => self.trouble(Trouble::CutOff),
            },
            Err(known) => known,
        }
    }

    /// The question that is under way for the token, or a new one; `Err` when there is nothing
    /// to wait for.
    fn join(
        self: &Arc<Self>,
        token: &str,
        source: Option<Source>,
    ) -> Result<watch::Receiver<Option<Entry>>, Entry> {
        let key = key_of(token);
        let mut flights = self.flights();
        // Looked at again: what was under way a moment ago is known before it is gone from here.
        if let Some(entry) = self.answers.get(&key, self.endpoint.clock.now()) {
            return Err(entry);
        }
        if let Some(flight) = flights.by_token.get(&key) {
            return Ok(flight.entry.clone());
        }
        if let Some(left) = self.health.rest() {
            return Err(self.trouble(Trouble::Resting(left)));
        }
        if !flights.have_room(source, self.per_source) {
            return Err(self.trouble(Trouble::Busy));
        }
        let runtime = Handle::try_current().map_err(|_| self.trouble(Trouble::NoRuntime))?;
        let (known, entry) = watch::channel(None);
        let number = flights.begin(key, source, entry.clone());
        let (shared, token) = (Arc::clone(self), Secret::from(token));
        // Detached, and still owned: `stop` ends it.
        runtime.spawn(async move {
            let landing = Landing { shared: &shared, key, number };
            let fly = shared.fly(key, &token);
            if let Some(entry) = shared.stopped.run_until_cancelled(fly).await {
                drop(landing);
                known.send_replace(Some(entry));
            }
        });
        Ok(entry)
    }

    async fn fly(&self, key: Key, token: &Secret<String>) -> Entry {
        let waiting = tokio::time::timeout(LONGEST_WAIT, self.permits.acquire());
        let Ok(Ok(_permit)) = waiting.await else { return self.trouble(Trouble::Busy) };
        if let Err(left) = self.health.admit(self.endpoint.limits.timeout) {
            return self.trouble(Trouble::Resting(left));
        }
        let asked = self.asking();
        let found = self.endpoint.ask(token.expose()).await.and_then(|body| {
            let now = self.endpoint.clock.now();
            self.expected.read(&body, now).map_err(Trouble::Garbage)
        });
        match found {
            Ok(verdict) => {
                self.note(Sign::Well, None);
                self.answers.put(key, asked, verdict)
            }
            Err(trouble) => {
                let sign = trouble.sign();
                self.note(sign, Some(&trouble));
                let verdict = Verdict::Trouble(Arc::new(trouble));
                match sign {
                    // A stranger who sends it again and again costs one request each 5 s.
                    Sign::Odd => self.answers.put(key, asked, verdict),
                    Sign::Ill | Sign::Well => self.answers.passing(asked, verdict),
                }
            }
        }
    }

    /// The operator reads when the endpoint fails and when it is back. What single calls fail
    /// with, the gate writes.
    fn note(&self, sign: Sign, trouble: Option<&Trouble>) {
        let endpoint = &self.endpoint.url;
        match self.health.note(sign, luck()) {
            Change::None => {}
            Change::Rests(rest) => tracing::warn!(
                %endpoint,
                error = trouble.map(|trouble| chain(trouble)).unwrap_or_default(),
                rest_ms = u64::try_from(rest.as_millis()).unwrap_or(u64::MAX),
                "the introspection endpoint fails, and is left alone for a while"
            ),
            Change::Recovered => {
                tracing::info!(%endpoint, "the introspection endpoint answers again");
            }
        }
    }

    /// Trouble that is told to those who ask now.
    fn trouble(&self, trouble: Trouble) -> Entry {
        self.answers.passing(self.asking(), Verdict::Trouble(Arc::new(trouble)))
    }

    fn asking(&self) -> Asked {
        self.answers.asking(self.endpoint.clock.now())
    }

    /// What is under way is told to those who wait for it, and to nobody who comes later.
    pub(super) fn forget(&self) {
        let mut flights = self.flights();
        flights.clear();
        self.answers.forget();
    }

    pub(super) fn stop(&self) {
        self.stopped.cancel();
    }

    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a question off the list, also when its task panics.
struct Landing<'a> {
    shared: &'a Shared,
    key: Key,
    number: u64,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.shared.flights().end(self.key, self.number);
    }
}

#[cfg(test)]
mod tests;
