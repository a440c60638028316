//! Who calls too often.

use std::time::Duration;

use super::decision::{Call, Decision, Refusal};
use super::layer::Inner;
use crate::authentication::{Authenticated, AuthenticationError, CallEvidence, Evidence, Reason};

impl Inner {
    /// Counts a call for the caller whom it proved, and refuses it where that is one too many.
    #[inline]
    pub(super) fn metered(&self, decision: Decision) -> Decision {
        let Some(quota) = &self.quota else { return decision };
        let (caller, rule) = match &decision {
            Decision::Pass(context, _) => {
                let known = context.caller().filter(|caller| !caller.is_anonymous());
                (known.map(Authenticated::principal), Some(context.rule()))
            }
            Decision::Refused(refusal) => (refusal.caller.as_ref(), refusal.rule.as_deref()),
            Decision::NotCanonical => return decision,
        };
        match caller.map(|caller| (caller, quota.take(caller))) {
            None | Some((_, Ok(()))) => decision,
            Some((caller, Err(retry_after))) => Decision::Refused(Box::new(Refusal {
                caller: Some(caller.clone()),
                rule: rule.map(Into::into),
                ..too_many("the caller's quota is used up", retry_after)
            })),
        }
    }

    /// The refusal of a credential that is not worth a look, since others from there were bad.
    pub(super) fn held_up(&self, call: Call<'_>, evidence: &Evidence<'_>) -> Option<Box<Refusal>> {
        let quota = self.quota.as_ref()?;
        if matches!(evidence.call(), CallEvidence::None) {
            return None;
        }
        let wait = quota.wait(call.peer.address())?;
        Some(Box::new(too_many("too many bad credentials came from the address", Some(wait))))
    }

    /// Counts a bad credential. Where nobody could tell, nobody is to blame.
    pub(super) fn failed(&self, call: Call<'_>, error: &AuthenticationError) {
        let told = !matches!(error.reason(), Reason::VerifierUnavailable | Reason::RateLimited);
        if let (true, Some(quota)) = (told, &self.quota) {
            quota.failed(call.peer.address());
        }
    }
}

fn too_many(detail: &'static str, retry_after: Option<Duration>) -> Refusal {
    Refusal { retry_after, ..Refusal::new(Reason::RateLimited, detail) }
}
