//! The policy of gRFC A43: rules as plain data, compiled once.
//!
//! The file is the one that grpc-go, Java and C++ read, with what they let pass refused: keys
//! that are there twice or unknown, two rules of one name, text after the end. What only we
//! know stands under one key of our own, `countersign`.

mod access;
mod annotation;
mod audit;
mod callers;
#[cfg(feature = "cel")]
mod cel;
#[cfg(not(feature = "cel"))]
#[path = "no_cel.rs"]
mod cel;
mod condition;
mod decision;
mod error;
mod explain;
mod fields;
mod file;
mod groups;
mod index;
mod json;
mod lint;
mod live;
mod needs;
mod options;
mod own;
mod parse;
mod pattern;
mod read;
mod request;
mod tokens;
#[cfg(feature = "toml")]
mod toml;
mod watch;
#[cfg(feature = "yaml")]
mod yaml;

pub use access::MethodAccess;
pub use annotation::{Annotations, InvalidAnnotation};
pub use audit::{AuditCondition, AuditOptions};
pub use decision::{Decision, Effect, RuleInfo};
pub use error::{InvalidPolicy, PolicyError};
pub use explain::{Explanation, NearMiss};
pub use file::{PolicyFile, PolicyReport};
pub use lint::PolicyLint;
pub use options::{CertificateNames, PolicyOptions, RepeatedHeaders};
pub use request::{CertificateFacts, PeerFacts, PolicyRequest};
pub use watch::PolicyWatch;

pub(crate) use live::LivePolicy;
pub(crate) use needs::{GateNeeds, Unmet};

use std::sync::Arc;

use super::coverage::Coverage;
use super::methods::Methods;
use crate::identity::MethodPath;

use self::condition::Seen;
use self::index::RuleIndex;

/// Who may call what (gRFC A43).
///
/// A rule that denies and matches wins; then a rule that allows and matches; a call that no rule
/// matches is denied. Of several rules in one list the first in the file gives its name.
///
/// Asking costs the same whether a policy has ten rules or ten thousand that cannot match: rules
/// are found by the hash of an exact path, by order among prefixes and suffixes, and those
/// without paths by their principals. A caller is found the same way among the ten thousand of one
/// rule or of its groups. Nothing is allocated but to join a repeated header.
///
/// ```
/// use countersign::authorization::{CertificateFacts, PeerFacts, Policy, PolicyRequest};
/// use countersign::identity::MethodPath;
/// # use std::time::UNIX_EPOCH;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let policy = Policy::from_json(
///     r#"{
///         "name": "orders",
///         "allow_rules": [{
///             "name": "readers",
///             "source": {"principals": ["spiffe://prod.example/web"]},
///             "request": {"paths": ["/orders.v1.Orders/Get*"]}
///         }]
///     }"#,
/// )?;
/// let uris = ["spiffe://prod.example/web".to_owned()];
/// let peer = PeerFacts::tls(Some(CertificateFacts { uris: &uris, ..Default::default() }));
/// let headers = http::HeaderMap::new();
/// let ask = |path| -> Result<bool, Box<dyn std::error::Error>> {
///     let request = PolicyRequest::new(MethodPath::parse(path)?, &headers, peer, UNIX_EPOCH);
///     Ok(policy.decide(&request).is_allowed())
/// };
/// assert!(ask("/orders.v1.Orders/Get")?);
/// assert!(!ask("/orders.v1.Orders/Delete")?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Policy {
    inner: Arc<Inner>,
}

/// What a record says of a policy, and whether there is to be one. Kept where the policy itself
/// would be too large: connections and calls may outlast it by far.
#[derive(Debug)]
pub(crate) struct PolicyHead {
    pub(crate) name: Arc<str>,
    pub(crate) audit: AuditOptions,
}

#[derive(Debug)]
struct Inner {
    head: Arc<PolicyHead>,
    deny: RuleIndex,
    allow: RuleIndex,
    options: PolicyOptions,
    reads_headers: bool,
}

impl Policy {
    /// The policy's name.
    pub fn name(&self) -> &str {
        &self.inner.head.name
    }

    /// What is kept of it, shared.
    pub(crate) fn head(&self) -> &Arc<PolicyHead> {
        &self.inner.head
    }

    /// Which decisions it wants to have written down.
    pub fn audit(&self) -> &AuditOptions {
        &self.inner.head.audit
    }

    /// Its rules, those that deny first, in the file's order.
    pub fn rules(&self) -> impl Iterator<Item = RuleInfo<'_>> {
        let list = |effect| {
            let index = match effect {
                Effect::Deny => &self.inner.deny,
                Effect::Allow => &self.inner.allow,
            };
            index.rules().iter().map(move |rule| RuleInfo::of(effect, rule))
        };
        list(Effect::Deny).chain(list(Effect::Allow))
    }

    /// Decides one call.
    pub fn decide(&self, request: &PolicyRequest<'_>) -> Decision<'_> {
        let inner = &*self.inner;
        let denying = inner.deny.first(&self.seen(Effect::Deny, request));
        if let Some(id) = denying.rule {
            let rule = Some(&inner.deny.rules()[id]);
            return Decision { effect: Effect::Deny, rule, reads: denying.reads };
        }
        let allowing = inner.allow.first(&self.seen(Effect::Allow, request));
        let reads = denying.reads.or(allowing.reads);
        let rule = allowing.rule.map(|id| &inner.allow.rules()[id]);
        let effect = if rule.is_some() { Effect::Allow } else { Effect::Deny };
        Decision { effect, rule, reads }
    }

    /// The rule by which a call may pass whose caller could prove nothing, and nobody denies.
    ///
    /// The evidence of such a call was bad. It counts only for rules that ask for none. Whom its
    /// certificate would have proven counts against it: bad evidence beside it sheds nothing.
    pub(crate) fn allows_unproven(&self, request: &PolicyRequest<'_>) -> Option<&Arc<str>> {
        let inner = &*self.inner;
        let unsettled = request.peer.certificate.is_some();
        let seen = Seen { unsettled, ..self.seen(Effect::Deny, request) };
        // One by one: the index finds rules by callers, and here are none.
        let mut rules = inner.deny.rules().iter();
        if rules.any(|rule| rule.conditions.iter().all(|condition| condition.holds(&seen))) {
            return None;
        }
        let seen = Seen { unsettled, ..self.seen(Effect::Allow, request) };
        let id = inner.allow.first_among(&seen, access::is_public).rule?;
        Some(&inner.allow.rules()[id].name)
    }

    /// The first rule that asks for an authenticator that is none of these, and which.
    pub(crate) fn unknown_authenticator(&self, known: &[impl AsRef<str>]) -> Option<(&str, &str)> {
        let mut rules = self.inner.deny.rules().iter().chain(self.inner.allow.rules());
        rules.find_map(|rule| {
            let unknown = rule.conditions.iter().find_map(|one| one.unknown_authenticator(known));
            unknown.map(|name| (&*rule.name, name))
        })
    }

    /// Whether its rules look at headers.
    pub(crate) fn reads_headers(&self) -> bool {
        self.inner.reads_headers
    }

    /// Decides one call, and says what decided or what was missing.
    pub fn explain(&self, request: &PolicyRequest<'_>) -> Explanation<'_> {
        let decision = self.decide(request);
        let rule = decision.rule.map(|rule| RuleInfo::of(decision.effect, rule));
        let missing = || explain::nearest(&self.inner.allow, &self.seen(Effect::Allow, request));
        Explanation { nearest: if rule.is_none() { missing() } else { None }, decision, rule }
    }

    /// What it says of a method before anybody calls it.
    pub fn access(&self, path: &MethodPath<'_>) -> MethodAccess<'_> {
        access::of(self, path)
    }

    /// The same of every method of an interface. Takes time in proportion to methods times rules.
    pub fn coverage(&self, methods: &Methods) -> Coverage {
        access::coverage(self, methods)
    }

    /// What is allowed in it and is hardly meant. An empty list is no proof of sense.
    pub fn lint(&self) -> Vec<PolicyLint> {
        lint::policy(self)
    }

    fn seen<'a>(&self, effect: Effect, request: &'a PolicyRequest<'a>) -> Seen<'a> {
        let options = &self.inner.options;
        let denies = effect == Effect::Deny;
        let any_kind = |strictly| match options.certificate_names {
            CertificateNames::FirstKind => false,
            CertificateNames::AnyKind => true,
            CertificateNames::Strictest => strictly,
        };
        let any_value = |strictly| match options.repeated_headers {
            RepeatedHeaders::Joined => false,
            RepeatedHeaders::AnyValue => true,
            RepeatedHeaders::Strictest => strictly,
        };
        Seen {
            request,
            any_kind: any_kind(denies),
            any_value: any_value(denies),
            denies,
            unsettled: false,
            any_kind_not: any_kind(!denies),
            any_value_not: any_value(!denies),
        }
    }
}
