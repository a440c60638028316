//! What a gate puts on record: each decision once, under the ID that its caller gets.

use std::sync::Arc;
use std::time::Instant;

use http::uri::Uri;
use tonic::Code;

use super::decision::{Call, Decision, Refusal};
use super::denial::{DecisionId, face};
use super::layer::Inner;
use crate::audit::{Audit, AuditEvent, AuditOutcome, CallIds, RefusalFacts, Text, Wanted};
use crate::authentication::{Authenticated, Reason};
use crate::authorization::PolicyHead;
use crate::identity::PeerIdentity;

/// A call that goes on, as far as the record of its end needs it.
pub(super) struct Ongoing<'a> {
    pub(super) uri: &'a Uri,
    pub(super) peer: &'a PeerIdentity,
    pub(super) began_as: &'a BeganAs,
}

/// What the record of a call's end has to say of its beginning.
pub(super) enum BeganAs {
    /// As this.
    OnRecord(Arc<AuditEvent>),
    /// Nobody wanted to hear that it was let pass.
    Unrecorded(Box<CallIds>),
}

impl BeganAs {
    fn call_ids(&self) -> &CallIds {
        match self {
            Self::OnRecord(event) => &event.call_ids,
            Self::Unrecorded(call_ids) => call_ids,
        }
    }

    /// The decision by which it was let pass.
    fn passed_as(&self) -> Option<[u8; 16]> {
        match self {
            Self::OnRecord(event) => Some(event.id),
            Self::Unrecorded(_) => None,
        }
    }
}

impl Inner {
    /// The time now, where somebody will ask how long a decision took.
    #[inline]
    pub(super) fn began(&self) -> Option<Instant> {
        self.audit.as_ref().map(|_| Instant::now())
    }

    /// Puts a decision on record. What is returned is of a call that passes.
    ///
    /// Where there is no room and no call may go on without, it is refused instead.
    #[inline]
    pub(super) fn audited(
        &self,
        call: Call<'_>,
        decision: Decision,
    ) -> (Decision, Option<Arc<AuditEvent>>) {
        match &self.audit {
            None => (decision, None),
            Some(audit) => self.put_on_record(audit, call, decision),
        }
    }

    fn put_on_record(
        &self,
        audit: &Audit,
        call: Call<'_>,
        mut decision: Decision,
    ) -> (Decision, Option<Arc<AuditEvent>>) {
        // Where no rule was asked, the policy that would have been.
        let policy = decision.policy().cloned().or_else(|| self.authorizer.current());
        let passes = matches!(decision, Decision::Pass(..));
        let wanted = wanted(audit, passes, policy.as_ref());
        if wanted.is_nobody() {
            return (decision, None);
        }
        let id = self.decisions.next();
        if let Decision::Refused(refusal) = &mut decision {
            refusal.decision = Some(id);
        }
        let event = Arc::new(self.event(call, &decision, id, policy));
        if audit.record(wanted, &event).is_ok() {
            return (decision, passes.then_some(event));
        }
        let refused = Decision::Refused(Box::new(unrecorded(decision, id)));
        let (is_known, policy) = (event.is_known, event.policy.clone());
        let event = AuditEvent { is_known, ..self.event(call, &refused, id, policy) };
        let wanted = self::wanted(audit, false, event.policy.as_ref());
        audit.note(wanted, event);
        (refused, None)
    }

    fn event(
        &self,
        call: Call<'_>,
        decision: &Decision,
        id: DecisionId,
        policy: Option<Arc<PolicyHead>>,
    ) -> AuditEvent {
        let (principal, rule, refusal) = match decision {
            Decision::Pass(context, _) => {
                let caller = context.caller().filter(|caller| !caller.is_anonymous());
                (caller.map(Authenticated::principal), Some(context.shared_rule()), None)
            }
            Decision::Refused(refusal) => {
                (refusal.caller.as_ref(), refusal.rule.as_ref(), Some(facts(refusal)))
            }
            Decision::NotCanonical => {
                let detail = "the path is not a method's one spelling".into();
                let status = Code::Unimplemented as i32;
                (None, None, Some(RefusalFacts { reason: None, detail, status }))
            }
        };
        let reason = refusal.as_ref().and_then(|refusal| refusal.reason);
        let is_known = principal.is_some() || call.peer.certificate().is_some();
        AuditEvent {
            id: id.bytes(),
            time: self.clock.now(),
            outcome: match &refusal {
                None => AuditOutcome::Allowed,
                Some(_) => AuditOutcome::Refused,
            },
            method: Text::new(call.uri.path()),
            peer: call.peer.clone(),
            principal: principal.cloned(),
            // Refusals of who calls too often are as many as it likes.
            is_known: is_known && reason != Some(Reason::RateLimited),
            rule: rule.cloned(),
            policy,
            refusal,
            call_ids: CallIds::of(call.headers),
            passed_as: None,
            latency: call.began.map(|began| began.elapsed()),
        }
    }

    /// Puts on record that a call was ended that had been let pass.
    pub(super) fn record_end(&self, call: &Ongoing<'_>, refusal: &Refusal, id: DecisionId) {
        let Some(audit) = &self.audit else { return };
        let policy = refusal.policy.clone().or_else(|| self.authorizer.current());
        let wanted = wanted(audit, false, policy.as_ref());
        if wanted.is_nobody() {
            return;
        }
        let event = AuditEvent {
            id: id.bytes(),
            time: self.clock.now(),
            outcome: AuditOutcome::Ended,
            method: Text::new(call.uri.path()),
            peer: call.peer.clone(),
            principal: refusal.caller.clone(),
            is_known: true,
            rule: refusal.rule.clone(),
            policy,
            refusal: Some(facts(refusal)),
            call_ids: call.began_as.call_ids().clone(),
            passed_as: call.began_as.passed_as(),
            latency: None,
        };
        audit.note(wanted, event);
    }
}

fn wanted(audit: &Audit, allowed: bool, policy: Option<&Arc<PolicyHead>>) -> Wanted {
    audit.wanted(allowed, policy.map(|policy| &policy.audit))
}

fn facts(refusal: &Refusal) -> RefusalFacts {
    let (code, _) = face(refusal.reason);
    RefusalFacts {
        reason: Some(refusal.reason),
        detail: refusal.detail.clone(),
        status: code as i32,
    }
}

/// The refusal of a call whose decision there is no room for, whatever it was.
fn unrecorded(decision: Decision, id: DecisionId) -> Refusal {
    let (caller, rule) = match decision {
        Decision::Pass(context, _) => {
            let caller = context.caller().filter(|caller| !caller.is_anonymous());
            let caller = caller.map(|caller| caller.principal().clone());
            (caller, Some(context.shared_rule().clone()))
        }
        Decision::Refused(refusal) => (refusal.caller, refusal.rule),
        Decision::NotCanonical => (None, None),
    };
    let detail = "the decision cannot be put on record";
    Refusal { caller, rule, decision: Some(id), ..Refusal::new(Reason::AuditUnavailable, detail) }
}
