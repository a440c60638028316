//! Who calls too often anywhere in a fleet: the one question of a gate that may have to wait.

use super::decision::{Call, Decision, Refusal};
use super::layer::Inner;
use super::metering::{Flow, asked, refused_instead, too_many};
use crate::authentication::Reason;
use crate::quota::store::StoreSays;
use crate::quota::{Quota, QuotaCall};

impl Inner {
    /// Counts a call where that can be done at once: in memory, and where the store's answer is
    /// known or the store is left alone. `Err`: the store has to be asked.
    #[inline]
    pub(super) fn metered_now(
        &self,
        call: Call<'_>,
        decision: Decision,
    ) -> Result<(Decision, Option<Box<Flow>>), Decision> {
        match &self.quota {
            Some(quota) if quota.asks_a_store() => {
                self.metered_by_what_is_known(quota, call, decision)
            }
            _ => Ok(self.metered(call, decision)),
        }
    }

    fn metered_by_what_is_known(
        &self,
        quota: &Quota,
        call: Call<'_>,
        decision: Decision,
    ) -> Result<(Decision, Option<Box<Flow>>), Decision> {
        let Some(question) = asked(quota, call, &decision) else { return Ok((decision, None)) };
        let outcome = quota.store_says_now(question).map(|says| outcome(quota, question, says));
        match outcome {
            Some(outcome) => Ok(concluded(decision, outcome)),
            None => Err(decision),
        }
    }

    /// Counts a call, and asks the store where there is one. Dropped, it may have counted.
    pub(super) async fn metered_by_store(
        &self,
        call: Call<'_>,
        decision: Decision,
    ) -> (Decision, Option<Box<Flow>>) {
        let Some(quota) = self.quota.as_ref().filter(|quota| quota.asks_a_store()) else {
            return self.metered(call, decision);
        };
        let Some(question) = asked(quota, call, &decision) else { return (decision, None) };
        let outcome = outcome(quota, question, quota.store_says(question).await);
        concluded(decision, outcome)
    }
}

type Outcome = Result<Option<Box<Flow>>, Box<Refusal>>;

fn outcome(quota: &Quota, question: QuotaCall<'_>, says: StoreSays<'_>) -> Outcome {
    match says {
        StoreSays::Passes(admission, left) => {
            Ok(Flow::new(admission, quota.announce(question, Some(&left))))
        }
        StoreSays::Exceeded(exceeded) => Err(Box::new(too_many(exceeded))),
        StoreSays::Unavailable => {
            let detail = "the store of quotas cannot be asked, and no call passes then";
            Err(Box::new(Refusal::new(Reason::QuotaUnavailable, detail)))
        }
    }
}

fn concluded(decision: Decision, outcome: Outcome) -> (Decision, Option<Box<Flow>>) {
    match outcome {
        Ok(flow) => (decision, flow),
        Err(refusal) => (refused_instead(&decision, *refusal), None),
    }
}
