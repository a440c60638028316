//! What a gate asks: rules in code, or a policy.

use std::sync::Arc;

use http::HeaderMap;

use super::builder::GateError;
use super::context::AuthContext;
use super::decision::{Call, Decision, Refusal};
use super::interface::Interface;
use super::layer::Inner;
use crate::audit::Audit;
use crate::authentication::{Authenticated, Carried, Reason};
use crate::authorization::{
    AuthorizationKind, Coverage, GateNeeds, LivePolicy, Methods, PeerFacts, Permit, Policy,
    PolicyHead, PolicyRequest, Rule, RuleSet, Unmet,
};
use crate::identity::{MethodPath, PeerIdentity};

/// Principal and method in, permit out.
#[derive(Debug)]
pub(super) enum Authorizer {
    Rules(RuleSet),
    Policy(PolicyAuthorizer),
}

/// What a policy said is remembered for a connection as long as no other one takes its place, but
/// where a rule was looked at that may say another thing of the next call.
#[derive(Debug)]
pub(super) struct PolicyAuthorizer {
    live: Arc<LivePolicy>,
    /// Whether the one policy that there is reads headers. `None`: another may take its place.
    reads_headers: Option<bool>,
    /// Kept for as long as policies have to meet them.
    _needs: Arc<GateNeeds>,
}

/// What a policy is asked about, but for the callers.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) path: MethodPath<'a>,
    pub(super) headers: &'a HeaderMap,
    pub(super) peer: &'a PeerIdentity,
}

impl Authorizer {
    /// For a gate with authenticators of these names.
    pub(super) fn new(
        kind: AuthorizationKind,
        names: &[&str],
        interface: &Interface,
        audit: Option<&Audit>,
    ) -> Result<Self, GateError> {
        let needs = || GateNeeds {
            authenticators: names.iter().map(|&name| name.to_owned()).collect(),
            covered: interface.to_be_covered().cloned(),
            loggers: audit.into_iter().flat_map(Audit::names).map(str::to_owned).collect(),
        };
        Ok(match kind {
            AuthorizationKind::Rules(rules) => {
                let rules = RuleSet::compile(rules, names)?;
                if let Some(methods) = interface.to_be_covered() {
                    Interface::covered_by(&rules.coverage(methods))?;
                }
                Self::Rules(rules)
            }
            AuthorizationKind::Policy(policy) => {
                let needs = Arc::new(needs());
                let policy = meeting(&needs, policy)?;
                Self::Policy(PolicyAuthorizer {
                    reads_headers: Some(policy.reads_headers()),
                    live: Arc::new(LivePolicy::new(policy)),
                    _needs: needs,
                })
            }
            AuthorizationKind::File(file) => {
                // First, so that no other policy can come between.
                let needs = file.asked_by(needs());
                meeting(&needs, file.current())?;
                Self::Policy(PolicyAuthorizer {
                    reads_headers: None,
                    live: Arc::clone(file.live()),
                    _needs: needs,
                })
            }
        })
    }

    /// What becomes of each method, by what holds now.
    pub(super) fn coverage(&self, methods: &Methods) -> Coverage {
        match self {
            Self::Rules(rules) => rules.coverage(methods),
            Self::Policy(policy) => policy.live.load().coverage(methods),
        }
    }

    /// The rule in code for a method.
    #[inline]
    pub(super) fn rule(&self, path: &MethodPath<'_>) -> Option<&Arc<Rule>> {
        match self {
            Self::Rules(rules) => rules.find(path),
            Self::Policy(_) => None,
        }
    }

    pub(super) fn policy(&self) -> Option<&PolicyAuthorizer> {
        match self {
            Self::Rules(_) => None,
            Self::Policy(policy) => Some(policy),
        }
    }

    /// The policy that holds now.
    pub(super) fn current(&self) -> Option<Arc<PolicyHead>> {
        self.policy().map(|policy| Arc::clone(policy.live.load().head()))
    }

    /// Counts the policies that there were. What was decided by one is remembered until there is
    /// another.
    #[inline]
    pub(super) fn asked_now(&self) -> u64 {
        self.policy().map_or(0, |policy| policy.live.generation())
    }

    /// Counts the policies that there were; `None` where there is but one.
    pub(super) fn generation(&self) -> Option<u64> {
        self.policy()
            .filter(|policy| policy.reads_headers.is_none())
            .map(|policy| policy.live.generation())
    }

    /// The headers of a call, where they are needed when it is asked about again. A copy of them
    /// costs as much as the decision, so they are not kept for a policy that might come.
    pub(super) fn keep(&self, headers: &HeaderMap) -> Option<Box<HeaderMap>> {
        self.policy().filter(|policy| policy.reads_headers())?;
        Some(Box::new(headers.clone()))
    }
}

/// The policy, if it is good enough for the gate.
fn meeting(needs: &GateNeeds, policy: Policy) -> Result<Policy, GateError> {
    match needs.unmet(&policy) {
        None => Ok(policy),
        Some(Unmet::Authenticator { rule, name, known }) => {
            Err(GateError::UnknownAuthenticator { rule, name, known })
        }
        Some(Unmet::Uncovered { methods }) => Err(GateError::Uncovered { methods }),
        Some(Unmet::AuditLogger { name, known }) => {
            Err(GateError::UnknownAuditLogger { name, known })
        }
    }
}

/// What a policy let pass.
struct Granted {
    permit: Permit,
    /// The policy, where there is an audit.
    policy: Option<Arc<PolicyHead>>,
    /// Whether it would say so again.
    steady: bool,
    /// Whether a rule was asked that looks at headers.
    read_headers: bool,
}

impl PolicyAuthorizer {
    fn reads_headers(&self) -> bool {
        self.reads_headers.unwrap_or_else(|| self.live.load().reads_headers())
    }

    fn request<'a>(&self, gate: &Inner, question: Question<'a>) -> PolicyRequest<'a> {
        let Question { path, headers, peer } = question;
        PolicyRequest::new(path, headers, PeerFacts::from(peer), gate.clock.now())
    }

    /// Asks about a call that goes on. Where its headers were not kept, nobody knows what a policy
    /// would say that looks at them, so it says no.
    fn permit_again(
        &self,
        gate: &Inner,
        question: Question<'_>,
        headers_kept: bool,
        callers: &[Authenticated],
    ) -> Result<Permit, Box<Refusal>> {
        let granted = self.permit(gate, question, callers)?;
        match headers_kept || !granted.read_headers {
            true => Ok(granted.permit),
            false => Err(Box::new(Refusal {
                policy: granted.policy,
                ..Refusal::new(
                    Reason::PolicyDenied,
                    "a new policy reads metadata, and the call's own was not kept",
                )
            })),
        }
    }

    /// Asks for those who were proven.
    fn permit(
        &self,
        gate: &Inner,
        question: Question<'_>,
        callers: &[Authenticated],
    ) -> Result<Granted, Box<Refusal>> {
        let request = self.request(gate, question).with_callers(callers);
        let policy = self.live.load();
        let asked = gate.audit.as_ref().map(|_| Arc::clone(policy.head()));
        let decision = policy.decide(&request);
        let known = callers.iter().find(|caller| !caller.is_anonymous());
        let (reason, detail) = match (decision.rule(), decision.is_allowed()) {
            (Some(rule), true) => {
                let permit = Permit::new(Arc::clone(rule), known.or(callers.first()).cloned());
                let (steady, read_headers) = (decision.is_steady(), decision.read_headers());
                return Ok(Granted { permit, policy: asked, steady, read_headers });
            }
            // A verified certificate is a name, whether or not an authenticator vouches for it.
            _ if known.is_none() && question.peer.certificate().is_none() => {
                (Reason::CredentialsMissing, "no credential was presented")
            }
            (Some(_), false) => (Reason::PolicyDenied, "a rule of the policy denies the call"),
            (None, _) => (Reason::PolicyDenied, "no rule of the policy allows the call"),
        };
        Err(Box::new(Refusal {
            rule: decision.rule().cloned(),
            caller: known.map(|caller| caller.principal().clone()),
            policy: asked,
            ..Refusal::new(reason, detail)
        }))
    }
}

impl Inner {
    /// Asks what there is for those who were proven, of a call that goes on.
    pub(super) fn permit_again(
        &self,
        question: Question<'_>,
        headers_kept: bool,
        callers: &[Authenticated],
    ) -> Option<Result<Permit, Box<Refusal>>> {
        match &self.authorizer {
            Authorizer::Rules(rules) => rules.find(&question.path)?.authorize(callers).ok().map(Ok),
            Authorizer::Policy(policy) => {
                Some(policy.permit_again(self, question, headers_kept, callers))
            }
        }
    }

    pub(super) fn authorize_by_policy(
        &self,
        policy: &PolicyAuthorizer,
        call: Call<'_>,
        path: MethodPath<'_>,
        callers: Arc<[Authenticated]>,
        carried: Carried,
    ) -> Decision {
        let generation = policy.live.generation();
        let question = Question { path, headers: call.headers, peer: call.peer };
        match policy.permit(self, question, &callers) {
            Ok(Granted { permit, policy, steady, .. }) => {
                let context = AuthContext::decided_by(generation, policy, permit, callers);
                if steady {
                    self.remember_pass(call, false, &context);
                }
                Decision::Pass(context, carried)
            }
            Err(refusal) => Decision::Refused(refusal),
        }
    }

    /// Bad evidence is refused, but where a policy's rule asks for none. Its sender then counts as
    /// nobody, as if it had been left out.
    pub(super) fn refused(
        &self,
        call: Call<'_>,
        path: MethodPath<'_>,
        refusal: Box<Refusal>,
    ) -> Decision {
        let Some(policy) = self.authorizer.policy() else { return Decision::Refused(refusal) };
        let question = Question { path, headers: call.headers, peer: call.peer };
        let generation = policy.live.generation();
        let loaded = policy.live.load();
        match loaded.allows_unproven(&policy.request(self, question)) {
            Some(rule) => {
                let permit = Permit::new(Arc::clone(rule), None);
                let nobody = Arc::clone(&self.nobody);
                let asked = self.audit.as_ref().map(|_| Arc::clone(loaded.head()));
                let context = AuthContext::decided_by(generation, asked, permit, nobody);
                Decision::Pass(context, Carried::perhaps(self.reads))
            }
            None => Decision::Refused(refusal),
        }
    }
}
