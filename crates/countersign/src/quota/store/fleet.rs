//! A gate's quota whose calls a store counts.

use std::cmp::Ordering;
use std::time::Duration;

use super::bucket::Bucket;
use super::shared::{DecidedBy, SharedQuota, Verdict, WhenDown};
use crate::quota::admission::Admission;
use crate::quota::admit::Left;
use crate::quota::builder::{Quota, QuotaError};
use crate::quota::call::{Charge, QuotaCall};
use crate::quota::exceeded::Exceeded;
use crate::quota::meter::Allowance;

/// What became of a call's limits.
#[derive(Debug)]
pub(crate) enum StoreSays<'a> {
    Passes(Admission, Left<'a>),
    Exceeded(Exceeded),
    /// Nobody can tell, and nobody passes then.
    Unavailable,
}

/// A call's buckets, and which limits they are of.
struct Charges<'a> {
    charges: Vec<Charge<'a>>,
    buckets: Vec<Bucket<'a>>,
}

impl Quota {
    /// Where nobody knows when a refused call would pass.
    const STORE_RETRY: Duration = Duration::from_secs(1);

    /// Counts calls in a store that other gates ask too, by the limits of callers, tenants,
    /// methods and addresses. Their quotas have to be built alike.
    ///
    /// A call's buckets have the entries `limit`, with the limit's name, and then `authenticator`
    /// and `caller`, `tenant`, `address` or `user`. A call that costs nothing asks nobody. Bytes,
    /// calls under way and bad credentials are still counted in this process.
    ///
    /// With a store, a gate has to wait before it decides. What
    /// [`Quota::admit`](Self::admit) says is still of this process alone; those without a gate
    /// ask [`SharedQuota::take`] themselves.
    ///
    /// # Errors
    ///
    /// The store cannot count by one of the limits, whichever of the two was said first.
    pub fn shared(mut self, by: SharedQuota) -> Result<Self, QuotaError> {
        self.store = Some(by);
        self.kept_by_store()
    }

    /// Refuses limits that the store could not keep.
    pub(in crate::quota) fn kept_by_store(self) -> Result<Self, QuotaError> {
        let Some(store) = &self.store else { return Ok(self) };
        for rule in &self.calls {
            if let Err(error) = store.accepts(rule.limit()) {
                let (limit, problem) = (rule.name.clone(), error.to_string());
                return Err(QuotaError::Store { limit, problem });
            }
        }
        Ok(self)
    }

    /// Whether calls are counted elsewhere.
    #[inline]
    pub(crate) fn asks_a_store(&self) -> bool {
        self.store.is_some()
    }

    /// What the store says of a call where nothing has to be waited for; `None`: it has to be
    /// asked, or there is none.
    pub(crate) fn store_says_now<'a>(&'a self, call: QuotaCall<'a>) -> Option<StoreSays<'a>> {
        let store = self.store.as_ref()?;
        // First, since this gate's own share is taken from where the store is left alone.
        let admission = match self.admit_but_for_calls(call) {
            Ok(admission) => admission,
            Err(exceeded) => return Some(StoreSays::Exceeded(exceeded)),
        };
        let charges = self.charged(call);
        let verdict = store.take_now(&charges.buckets)?;
        Some(self.concluded(admission, charges, &verdict))
    }

    /// Asks the store about a call. The call has its place among those under way meanwhile.
    pub(crate) async fn store_says<'a>(&'a self, call: QuotaCall<'a>) -> StoreSays<'a> {
        let admission = match self.admit_but_for_calls(call) {
            Ok(admission) => admission,
            Err(exceeded) => return StoreSays::Exceeded(exceeded),
        };
        let charges = self.charged(call);
        match &self.store {
            Some(store) => {
                let verdict = store.take(&charges.buckets).await;
                self.concluded(admission, charges, &verdict)
            }
            None => StoreSays::Passes(admission, Left::default()),
        }
    }

    fn charged<'a>(&'a self, call: QuotaCall<'a>) -> Charges<'a> {
        let charges = self.charges(call);
        let buckets = charges.iter().map(bucket).collect();
        Charges { charges, buckets }
    }

    fn concluded<'a>(
        &self,
        admission: Admission,
        of: Charges<'a>,
        verdict: &Verdict,
    ) -> StoreSays<'a> {
        let said = of.charges.into_iter().zip(verdict.allowances());
        if verdict.is_allowed() {
            // Only the store knows what is left.
            let told = verdict.by() == DecidedBy::Store;
            let left = said.filter(|_| told).map(|(charge, said)| (charge, said.remaining));
            return StoreSays::Passes(admission, Left(left.collect()));
        }
        let by_choice = verdict.by() == DecidedBy::WhenDown
            && self.store.as_ref().is_some_and(|store| store.when_down() == WhenDown::Refuse);
        let refused = said.filter(|(_, said)| !said.allowed);
        let longest = refused.max_by(|(_, one), (_, other)| longer(one, other));
        match longest {
            Some((charge, said)) if !by_choice => {
                let known = |wait: Duration| if wait.is_zero() { Self::STORE_RETRY } else { wait };
                StoreSays::Exceeded(charge.exceeded(said.retry_after().map(known)))
            }
            _ => StoreSays::Unavailable,
        }
    }
}

/// Never is longest.
fn longer(one: &Allowance, other: &Allowance) -> Ordering {
    let wait = |said: &Allowance| said.retry_after_ns.unwrap_or(u128::MAX);
    wait(one).cmp(&wait(other))
}

fn bucket<'a>(charge: &Charge<'a>) -> Bucket<'a> {
    let start = Bucket::new(charge.limit()).entry("limit", charge.name()).cost(charge.cost());
    let entries = charge.subject().entries();
    entries.into_iter().fold(start, |bucket, (key, value)| bucket.entry(key, value))
}
