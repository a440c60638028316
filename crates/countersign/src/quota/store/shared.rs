use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::breaker::{Breaker, Change, Ticket, luck};
use super::bucket::Bucket;
use super::counters::StoreCounters;
use super::error::{QuotaStoreError, QuotaStoreErrorKind};
use super::known::Known;
use super::share::Share;
use super::{Allowance, Limit, QuotaStore};
use crate::causes::chain;

/// What happens to calls while the store cannot be asked. There is no default, since both ways
/// of failing hurt somebody: who runs the service chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenDown {
    /// Every call passes (fail open): nobody is limited until the store is back.
    Allow,
    /// No call passes (fail closed): the service stops with its store. Callers are told
    /// `UNAVAILABLE`, since they have done nothing.
    Refuse,
    /// This gate lets pass its part of each limit, as one of so many gates: rate and burst are
    /// divided by their number. All of them together allow about what the store would have, if
    /// callers come to all of them alike.
    Share {
        /// How many gates ask the store.
        gates: NonZeroU32,
    },
}

/// A fleet's quota: asks a [`QuotaStore`], within bounds.
///
/// * A call waits for the store no longer than the [deadline](Self::deadline).
/// * A bucket that the store has said to be empty is not asked for again until it is not, or for
///   10 s, whichever is less.
/// * After a failure the store is left alone for 100 ms, and for twice as long each time that it
///   fails again, up to 10 s; one call then finds out. Meanwhile, and for the calls that failed,
///   [`WhenDown`] decides.
///
/// * Where a caller stops waiting before the store has answered, nobody knows how the store is.
///   The next question is then asked to the end of the deadline, even if its caller stops waiting
///   as well: one at a time, in a task of its own that ends with the last clone. So a store that
///   hangs is left alone though no caller waits for the deadline, and nobody makes a healthy one
///   seem ill by hanging up.
///
/// Clones share everything. Nothing else runs by itself. What a dropped future has asked for may
/// have been taken, or not.
///
/// ```no_run
/// # #[cfg(feature = "valkey")]
/// # async fn ask() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use countersign::quota::Limit;
/// use countersign::quota::store::{Bucket, SharedQuota, ValkeyStore, WhenDown};
///
/// let store = ValkeyStore::at("rediss://quota.example:6379")?;
/// let quota = SharedQuota::new(store, WhenDown::Allow);
/// let limit = Limit::new(100, Duration::from_secs(1))?;
/// let verdict = quota.take(&[Bucket::new(limit).entry("caller", "alice")]).await;
/// assert!(verdict.is_allowed());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a quota does nothing until it is asked"]
pub struct SharedQuota {
    inner: Arc<Inner>,
    carried: Arc<Carried>,
    deadline: Duration,
}

/// The question that is asked to its end, until the last handle is dropped.
#[derive(Debug, Default)]
struct Carried(Mutex<Option<AbortHandle>>);

#[derive(Debug)]
struct Inner {
    store: Box<dyn QuotaStore>,
    when_down: WhenDown,
    share: Option<Share>,
    known: Known,
    breaker: Arc<Breaker>,
    counters: StoreCounters,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    allowances: Vec<Allowance>,
    by: DecidedBy,
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecidedBy {
    /// The store.
    Store,
    /// What the store had said before.
    Known,
    /// [`WhenDown`], since the store could not say.
    WhenDown,
}

impl SharedQuota {
    /// How long the store may take, unless said otherwise.
    pub const DEADLINE: Duration = Duration::from_millis(100);
    /// The longest deadline; more counts as this.
    pub const MAX_DEADLINE: Duration = Duration::from_secs(10);

    /// Asks this store, and does this while it is down.
    pub fn new(store: impl QuotaStore, when_down: WhenDown) -> Self {
        let share = match when_down {
            WhenDown::Share { gates } => Some(Share::of(gates)),
            WhenDown::Allow | WhenDown::Refuse => None,
        };
        let inner = Inner {
            store: Box::new(store),
            when_down,
            share,
            known: Known::new(),
            breaker: Arc::default(),
            counters: StoreCounters::default(),
        };
        Self { inner: Arc::new(inner), carried: Arc::default(), deadline: Self::DEADLINE }
    }

    /// How long a call waits for the store, connecting included. Default: 100 ms; at most 10 s.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline.min(Self::MAX_DEADLINE);
        self
    }

    /// Takes from all buckets or from none. Cancel-safe: dropped, it has taken once or not at
    /// all.
    pub async fn take(&self, buckets: &[Bucket<'_>]) -> Verdict {
        let names = names(buckets);
        match self.inner.decide_now(buckets, &names) {
            Ok(verdict) => verdict,
            Err(ticket) => self.ask(buckets, &names, ticket).await,
        }
    }

    /// The same where nothing has to be waited for: without buckets, with one that is known to be
    /// empty, and while the store is left alone. `None`: the store has to be asked.
    pub fn take_now(&self, buckets: &[Bucket<'_>]) -> Option<Verdict> {
        self.inner.decide_now(buckets, &names(buckets)).ok()
    }

    /// What has been counted.
    pub fn counters(&self) -> &StoreCounters {
        &self.inner.counters
    }

    /// Whether the store's last word was a failure.
    pub fn is_down(&self) -> bool {
        self.inner.breaker.is_ill()
    }

    /// What is done while the store is down.
    pub fn when_down(&self) -> WhenDown {
        self.inner.when_down
    }

    /// Whether the store can count by this limit.
    ///
    /// # Errors
    ///
    /// [`QuotaStoreErrorKind::Limit`].
    pub fn accepts(&self, limit: Limit) -> Result<(), QuotaStoreError> {
        self.inner.store.accepts(limit)
    }

    async fn ask(&self, buckets: &[Bucket<'_>], names: &[String], mut ticket: Ticket) -> Verdict {
        self.inner.counters.asked.count();
        if !ticket.begin() {
            return self.inner.ask(buckets, names, self.deadline, ticket).await;
        }
        let (inner, deadline) = (Arc::clone(&self.inner), self.deadline);
        let owned: Vec<_> = buckets.iter().map(Bucket::to_owned).collect();
        let their_names = names.to_vec();
        let carried = async move { inner.ask(&owned, &their_names, deadline, ticket).await };
        let carried = tokio::spawn(carried);
        self.carried.begins(carried.abort_handle());
        match carried.await {
            Ok(verdict) => verdict,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => self.inner.fall_back(buckets, names),
            },
        }
    }
}

impl Carried {
    fn begins(&self, task: AbortHandle) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if let Some(task) = self.0.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

impl Inner {
    fn decide_now(&self, buckets: &[Bucket<'_>], names: &[String]) -> Result<Verdict, Ticket> {
        if buckets.is_empty() {
            return Ok(Verdict { allowances: Vec::new(), by: DecidedBy::Known });
        }
        if let Some(verdict) = self.known_refusal(buckets, names) {
            self.counters.refused_locally.count();
            return Ok(verdict);
        }
        match self.breaker.admit() {
            Ok(ticket) => Err(ticket),
            Err(_) => Ok(self.fall_back(buckets, names)),
        }
    }

    async fn ask(
        &self,
        buckets: &[Bucket<'_>],
        names: &[String],
        deadline: Duration,
        ticket: Ticket,
    ) -> Verdict {
        let answer = match timeout(deadline, self.store.take(buckets)).await {
            Ok(Ok(said)) if said.len() == buckets.len() => Ok(said),
            Ok(Ok(said)) => {
                let (said, asked) = (said.len(), buckets.len());
                let what = format!("the quota store spoke of {said} buckets and not of {asked}");
                Err(QuotaStoreError::new(QuotaStoreErrorKind::Answer, what))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => {
                let what = format!("the quota store did not answer within {deadline:?}");
                Err(QuotaStoreError::new(QuotaStoreErrorKind::TimedOut, what))
            }
        };
        match answer {
            Ok(allowances) => {
                if ticket.well() == Change::Recovered {
                    tracing::info!("the quota store answers again");
                }
                self.learn(buckets, names, &allowances);
                Verdict { allowances, by: DecidedBy::Store }
            }
            Err(error) => {
                self.failed(&error, ticket);
                self.fall_back(buckets, names)
            }
        }
    }

    fn known_refusal(&self, buckets: &[Bucket<'_>], names: &[String]) -> Option<Verdict> {
        let of = |(bucket, name): (&Bucket<'_>, &String)| self.known.refusal(name, bucket.taken());
        let known: Vec<_> = buckets.iter().zip(names).map(of).collect();
        if known.iter().all(Option::is_none) {
            return None;
        }
        // Of the others nothing is known, so nothing is promised.
        let unknown = Allowance { allowed: true, remaining: 0, retry_after_ns: Some(0) };
        let allowances = known.into_iter().map(|said| said.unwrap_or(unknown)).collect();
        Some(Verdict { allowances, by: DecidedBy::Known })
    }

    fn learn(&self, buckets: &[Bucket<'_>], names: &[String], said: &[Allowance]) {
        if said.iter().all(|said| said.allowed) {
            return;
        }
        self.counters.refused.count();
        for ((bucket, name), said) in buckets.iter().zip(names).zip(said) {
            if !said.allowed {
                self.known.note(name, bucket.taken(), *said);
            }
        }
    }

    fn failed(&self, error: &QuotaStoreError, ticket: Ticket) {
        self.counters.failed.count();
        let chain = chain(error);
        match ticket.ill(luck()) {
            Change::Rests(rest, Some(times)) => tracing::warn!(
                error = %chain,
                when_down = ?self.when_down,
                ?rest,
                times,
                "the quota store cannot be asked, and is left alone for a while"
            ),
            _ => tracing::debug!(error = %chain, "the quota store cannot be asked"),
        }
    }

    fn fall_back(&self, buckets: &[Bucket<'_>], names: &[String]) -> Verdict {
        let same = |allowed, wait: Duration| {
            let said = Allowance { allowed, remaining: 0, retry_after_ns: Some(wait.as_nanos()) };
            vec![said; buckets.len()]
        };
        let allowances = match (self.when_down, &self.share) {
            (WhenDown::Allow, _) => same(true, Duration::ZERO),
            (WhenDown::Share { .. }, Some(share)) => share.take(buckets, names),
            (WhenDown::Share { .. }, None) | (WhenDown::Refuse, _) => {
                same(false, self.breaker.rest().unwrap_or_default())
            }
        };
        let verdict = Verdict { allowances, by: DecidedBy::WhenDown };
        self.counters.in_fallback.count();
        if !verdict.is_allowed() {
            self.counters.refused_in_fallback.count();
        }
        verdict
    }
}

impl Verdict {
    /// Whether the call may pass: every bucket allows it.
    pub fn is_allowed(&self) -> bool {
        self.allowances.iter().all(|said| said.allowed)
    }

    /// What each bucket said, in the order that they were given in.
    pub fn allowances(&self) -> &[Allowance] {
        &self.allowances
    }

    /// Who decided.
    pub fn by(&self) -> DecidedBy {
        self.by
    }

    /// When the same call would pass if nothing else did until then: 0 for one that passes, or
    /// where nobody knows; `None` for one that never will.
    pub fn retry_after(&self) -> Option<Duration> {
        let refused = self.allowances.iter().filter(|said| !said.allowed);
        refused
            .map(Allowance::retry_after)
            .try_fold(Duration::ZERO, |most, one| one.map(|one| most.max(one)))
    }
}

fn names(buckets: &[Bucket<'_>]) -> Vec<String> {
    buckets.iter().map(Bucket::name).collect()
}

#[cfg(test)]
mod tests;
