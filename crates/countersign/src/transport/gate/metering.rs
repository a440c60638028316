//! Who calls too often, or too much.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue};

use super::decision::{Call, Decision, Refusal};
use super::layer::Inner;
use crate::authentication::{Authenticated, AuthenticationError, CallEvidence, Evidence, Reason};
use crate::identity::{MethodPath, Principal};
use crate::quota::{Admission, ByteMeters, Exceeded, Quota, QuotaCall};

/// What of a quota goes along with a call that was let pass. Most calls have nothing of it.
pub(super) struct Flow {
    /// Held by the response: when that is over, so is the call.
    _admission: Option<Admission>,
    bytes: Option<ByteMeters>,
    /// `ratelimit-policy` and `ratelimit`.
    fields: Option<(String, String)>,
}

impl Flow {
    /// `None`: there is nothing to do while the call goes on.
    pub(super) fn new(admission: Admission, fields: Option<(String, String)>) -> Option<Box<Self>> {
        if fields.is_none() && admission.is_over() {
            return None;
        }
        let bytes = admission.bytes().cloned();
        Some(Box::new(Self { _admission: Some(admission), bytes, fields }))
    }

    /// What the request's body needs of it.
    pub(super) fn of_request(&self) -> Option<Box<Self>> {
        let bytes = self.bytes.clone()?;
        Some(Box::new(Self { _admission: None, bytes: Some(bytes), fields: None }))
    }

    /// So many bytes of a body flowed.
    pub(super) fn charge(&self, bytes: usize) {
        if let Some(meters) = &self.bytes {
            meters.charge(bytes as u64);
        }
    }

    /// Says how much is left, on the response's headers.
    pub(super) fn announce(&mut self, headers: &mut HeaderMap) {
        if let Some((policy, available)) = self.fields.take() {
            append(headers, POLICY, &policy);
            append(headers, AVAILABLE, &available);
        }
    }
}

impl Inner {
    /// Counts a call, by the caller whom it proved or else by its address, and refuses it where
    /// that is one too many.
    #[inline]
    pub(super) fn metered(
        &self,
        call: Call<'_>,
        decision: Decision,
    ) -> (Decision, Option<Box<Flow>>) {
        let Some(quota) = &self.quota else { return (decision, None) };
        let Some(asked) = asked(quota, call, &decision) else { return (decision, None) };
        match quota.admit(asked) {
            Ok(admission) => {
                let flow = Flow::new(admission, quota.announce(asked, None));
                (decision, flow)
            }
            Err(exceeded) => (refused_instead(&decision, too_many(exceeded)), None),
        }
    }

    /// The refusal of a credential that is not worth a look, since others from there were bad.
    pub(super) fn held_up(&self, call: Call<'_>, evidence: &Evidence<'_>) -> Option<Box<Refusal>> {
        let quota = self.quota.as_ref()?;
        if matches!(evidence.call(), CallEvidence::None) {
            return None;
        }
        let exceeded = quota.held_up(call.peer.address())?;
        let detail = Cow::Borrowed("too many bad credentials came from the address");
        Some(Box::new(Refusal { detail, ..too_many(exceeded) }))
    }

    /// Counts a bad credential. Where nobody could tell, nobody is to blame; and a proof that
    /// lacks a nonce is how its holder asks for one (RFC 9449 §9).
    pub(super) fn failed(&self, call: Call<'_>, error: &AuthenticationError) {
        use Reason::{ProofNonce, RateLimited, VerifierUnavailable};
        let is_bad = !matches!(error.reason(), VerifierUnavailable | RateLimited | ProofNonce);
        if let (true, Some(quota)) = (is_bad, &self.quota) {
            quota.failed(call.peer.address());
        }
    }
}

/// Whose call it is, and by which rule. `None`: it is not counted.
fn whose(decision: &Decision) -> Option<(Option<&Principal>, Option<&str>)> {
    match decision {
        Decision::Pass(context, _) => {
            let known = context.caller().filter(|caller| !caller.is_anonymous());
            Some((known.map(Authenticated::principal), Some(context.rule())))
        }
        // It was not looked at, and is counted where it is.
        Decision::Refused(refusal) if refusal.reason == Reason::RateLimited => None,
        Decision::Refused(refusal) => Some((refusal.caller.as_ref(), refusal.rule.as_deref())),
        Decision::NotCanonical => None,
    }
}

/// What a quota is asked about a call; `None`: nothing.
#[inline]
pub(super) fn asked<'a>(
    quota: &Quota,
    call: Call<'a>,
    decision: &'a Decision,
) -> Option<QuotaCall<'a>> {
    let asked = match whose(decision)? {
        (Some(caller), _) => QuotaCall::by(caller),
        (None, _) => QuotaCall::from(call.peer.address()),
    };
    let asked = match decision {
        Decision::Pass(..) => asked,
        Decision::Refused(_) | Decision::NotCanonical => asked.denied(),
    };
    // It was parsed before, where the call is not one that the connection remembers.
    let path = quota.knows_methods().then(|| MethodPath::parse(call.uri.path()).ok());
    Some(path.flatten().map_or(asked, |path| asked.to(path)))
}

/// A refusal of the same caller's call.
pub(super) fn refused_instead(decision: &Decision, refusal: Refusal) -> Decision {
    let (caller, rule) = whose(decision).unwrap_or_default();
    let (caller, rule) = (caller.cloned(), rule.map(Into::into));
    // Another one may be in force by now, and has no such rule.
    let policy = decision.policy().cloned();
    Decision::Refused(Box::new(Refusal { caller, rule, policy, ..refusal }))
}

pub(super) fn too_many(exceeded: Exceeded) -> Refusal {
    Refusal {
        retry_after: exceeded.retry_after(),
        exceeded: Some(Box::new(exceeded.clone())),
        ..Refusal::new(Reason::RateLimited, exceeded.to_string())
    }
}

/// Says which limit refused, on a refusal's headers.
pub(super) fn tell_limit(exceeded: &Exceeded, headers: &mut HeaderMap) {
    let (policy, available) = exceeded.fields();
    if let Some(policy) = policy {
        append(headers, POLICY, &policy);
    }
    append(headers, AVAILABLE, &available);
}

const POLICY: &str = "ratelimit-policy";
const AVAILABLE: &str = "ratelimit";

/// Lists may come in several fields; a handler may have limits of its own.
fn append(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.append(name, value);
    }
}
