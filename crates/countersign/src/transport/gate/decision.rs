//! Whether a call may pass: what is remembered, what the authenticators say, and the rule or the
//! policy.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::uri::Uri;

use super::context::AuthContext;
use super::denial::DecisionId;
use super::layer::Inner;
use super::memory::{Memory, Recalled};
use crate::authentication::{
    Authenticated, AuthenticationError, CallTarget, Carried, Evidence, Judged, Malformed,
    Presented, Reason,
};
use crate::authorization::{Access, PolicyHead, Rule};
use crate::causes::chain;
use crate::identity::{MethodPath, PeerIdentity, Principal};
use crate::quota::Exceeded;

/// One call, as far as the gate looks at it.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) peer: &'a PeerIdentity,
    /// What its connection remembers; nothing over somebody else's listener.
    pub(super) memory: Option<&'a Memory>,
    /// When the gate first saw it, where that is put on record.
    pub(super) began: Option<Instant>,
}

/// Why a call does not pass.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) detail: Cow<'static, str>,
    pub(super) rule: Option<Arc<str>>,
    pub(super) caller: Option<Principal>,
    /// The scopes that the rule asks for.
    pub(super) scopes: Vec<String>,
    pub(super) nonce: Option<String>,
    pub(super) retry_after: Option<Duration>,
    /// The policy that was asked, where there is an audit.
    pub(super) policy: Option<Arc<PolicyHead>>,
    /// Its name, if it has one already.
    pub(super) decision: Option<DecisionId>,
    /// The limit that refuses it.
    pub(super) exceeded: Option<Box<Exceeded>>,
}

/// What becomes of a call.
pub(super) enum Decision {
    Pass(AuthContext, Carried),
    Refused(Box<Refusal>),
    /// Its path is not a method's one spelling.
    NotCanonical,
}

impl Decision {
    /// The policy that was asked, where there is an audit and a rule was looked for.
    pub(super) fn policy(&self) -> Option<&Arc<PolicyHead>> {
        match self {
            Self::Pass(context, _) => context.policy(),
            Self::Refused(refusal) => refusal.policy.as_ref(),
            Self::NotCanonical => None,
        }
    }
}

/// Whom a call proved. By value where a rule can take them as they are.
type Callers = Arc<[Authenticated]>;

impl Inner {
    /// Decides without waiting; `None` when an authenticator has to.
    pub(super) fn decide_now(&self, call: Call<'_>) -> Option<Decision> {
        if call.uri.query().is_some() {
            return Some(Decision::NotCanonical);
        }
        let mut presented = None;
        let recalled = self.recall(call, &mut presented);
        let carried = |presented: &Option<Presented<'_>>| match presented {
            Some(presented) => presented.carried(),
            None => Carried::perhaps(self.reads),
        };
        if let Recalled::Pass(context) = recalled {
            return Some(Decision::Pass(context, carried(&presented)));
        }
        let Ok(path) = MethodPath::parse(call.uri.path()) else {
            return Some(Decision::NotCanonical);
        };
        let rule = self.authorizer.rule(&path);
        if let Some(context) = rule.and_then(|rule| self.pass_public(rule)) {
            self.remember_pass(call, true, &context);
            return Some(Decision::Pass(context, Carried::perhaps(self.reads)));
        }
        if let Recalled::Callers(callers) = recalled {
            return Some(self.authorize(call, path, rule, callers, carried(&presented)));
        }
        let presented = presented.unwrap_or_else(|| Presented::find(call.headers, self.reads));
        let evidence = match self.evidence(call, path, &presented) {
            Ok(evidence) => evidence,
            Err(refusal) => return Some(self.refused(call, path, refusal)),
        };
        if let Some(refusal) = self.held_up(call, &evidence) {
            return Some(self.refused(call, path, refusal));
        }
        let mut judged = Judged::default();
        for authenticator in &self.authenticators {
            let outcome = authenticator.authenticate_now(&evidence)?;
            judged.add(&**authenticator, &evidence, outcome);
        }
        Some(self.conclude(call, path, rule, &presented, judged))
    }

    /// Decides when [`decide_now`](Self::decide_now) could not.
    pub(super) async fn decide(&self, call: Call<'_>) -> Decision {
        let Ok(path) = MethodPath::parse(call.uri.path()) else { return Decision::NotCanonical };
        let presented = Presented::find(call.headers, self.reads);
        let evidence = match self.evidence(call, path, &presented) {
            Ok(evidence) => evidence,
            Err(refusal) => return self.refused(call, path, refusal),
        };
        let judged = self.judge(&evidence).await;
        self.conclude(call, path, self.authorizer.rule(&path), &presented, judged)
    }

    /// Asks every authenticator, those that know it at once without waiting.
    pub(super) async fn judge(&self, evidence: &Evidence<'_>) -> Judged {
        let mut judged = Judged::default();
        for authenticator in &self.authenticators {
            let outcome = match authenticator.authenticate_now(evidence) {
                Some(outcome) => outcome,
                None => authenticator.authenticate(evidence).await,
            };
            judged.add(&**authenticator, evidence, outcome);
        }
        judged
    }

    fn evidence<'a>(
        &self,
        call: Call<'a>,
        path: MethodPath<'a>,
        presented: &Presented<'a>,
    ) -> Result<Evidence<'a>, Box<Refusal>> {
        let evidence = presented.evidence(call.peer).map_err(Refusal::malformed)?;
        // Only tokens are bound to what they are sent to.
        if !self.reads.authorization {
            return Ok(evidence);
        }
        let of_uri = call.uri.authority().map(http::uri::Authority::as_str);
        let of_host = || call.headers.get(http::header::HOST)?.to_str().ok();
        Ok(match of_uri.or_else(of_host) {
            Some(authority) => evidence.for_call(CallTarget { authority, path }),
            None => evidence,
        })
    }

    /// What the connection remembers, and what the call presents if that had to be known.
    fn recall<'a>(&self, call: Call<'a>, presented: &mut Option<Presented<'a>>) -> Recalled {
        let Some(memory) = call.memory else { return Recalled::Nothing };
        let generation = self.authorizer.asked_now();
        memory.recall(&self.mark, call.uri.path(), generation, &*self.clock, || {
            let found = presented.insert(Presented::find(call.headers, self.reads));
            found.credential().map_err(drop)
        })
    }

    fn conclude(
        &self,
        call: Call<'_>,
        path: MethodPath<'_>,
        rule: Option<&Arc<Rule>>,
        presented: &Presented<'_>,
        judged: Judged,
    ) -> Decision {
        // A proof is made for one call, whatever an authenticator says.
        let lasts = self.repeatable && !presented.has_proof() && judged.lasts();
        let callers: Callers = match judged.callers() {
            Ok(callers) => callers.into(),
            Err(error) => {
                self.failed(call, &error);
                return self.refused(call, path, Refusal::evidence(&error));
            }
        };
        if let (true, Some(memory), Ok(credential)) = (lasts, call.memory, presented.credential()) {
            memory.prove(&self.mark, &*self.clock, credential, &callers);
        }
        self.authorize(call, path, rule, callers, presented.carried())
    }

    fn authorize(
        &self,
        call: Call<'_>,
        path: MethodPath<'_>,
        rule: Option<&Arc<Rule>>,
        callers: Callers,
        carried: Carried,
    ) -> Decision {
        if let Some(policy) = self.authorizer.policy() {
            return self.authorize_by_policy(policy, call, path, callers, carried);
        }
        let denied = match rule.map(|rule| rule.authorize(&callers)) {
            Some(Ok(permit)) => {
                let context = AuthContext::new(permit, callers);
                self.remember_pass(call, false, &context);
                return Decision::Pass(context, carried);
            }
            Some(Err(denied)) => denied,
            None => crate::authorization::Denied::default(),
        };
        // Whoever is nobody is told the same of every method, there or not.
        let known = callers.iter().find(|caller| !caller.is_anonymous());
        let (reason, detail) = match (known, denied.rule()) {
            (None, _) => (Reason::CredentialsMissing, "no credential was presented"),
            (Some(_), Some(_)) if !denied.scopes().is_empty() => {
                (Reason::InsufficientScope, "no token has all the scopes that the rule asks for")
            }
            (Some(_), Some(_)) => (Reason::PolicyDenied, "the rule does not allow this caller"),
            (Some(_), None) => (Reason::PolicyDenied, "the method has no rule"),
        };
        let scopes = match reason {
            Reason::InsufficientScope => denied.scopes().to_vec(),
            _ => Vec::new(),
        };
        Decision::Refused(Box::new(Refusal {
            rule: denied.into_rule(),
            caller: known.map(|caller| caller.principal().clone()),
            scopes,
            ..Refusal::new(reason, detail)
        }))
    }

    /// A public method's evidence is not looked at.
    fn pass_public(&self, rule: &Arc<Rule>) -> Option<AuthContext> {
        if rule.access != Access::Public {
            return None;
        }
        rule.authorize(&[]).ok().map(|permit| AuthContext::new(permit, Arc::clone(&self.nobody)))
    }

    pub(super) fn remember_pass(&self, call: Call<'_>, public: bool, context: &AuthContext) {
        if let Some(memory) = call.memory {
            memory.pass(&self.mark, call.uri.path(), public, context);
        }
    }
}

impl Refusal {
    pub(super) fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            rule: None,
            caller: None,
            scopes: Vec::new(),
            nonce: None,
            retry_after: None,
            policy: None,
            decision: None,
            exceeded: None,
        }
    }

    pub(super) fn malformed(malformed: Malformed) -> Box<Self> {
        Box::new(Self::new(Reason::CredentialsMalformed, malformed.to_string()))
    }

    pub(super) fn evidence(error: &AuthenticationError) -> Box<Self> {
        Box::new(Self {
            nonce: error.nonce().map(str::to_owned),
            retry_after: error.retry_after(),
            ..Self::new(error.reason(), chain(error))
        })
    }
}
