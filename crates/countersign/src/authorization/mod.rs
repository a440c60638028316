//! Rules: who may call what. Plain data, asked without a socket.

mod pattern;
mod policy;
mod rules;

pub use pattern::InvalidPattern;
pub use policy::{
    AuditCondition, AuditOptions, CertificateFacts, CertificateNames, Decision, Effect,
    Explanation, InvalidPolicy, MethodAccess, NearMiss, PeerFacts, Policy, PolicyError, PolicyLint,
    PolicyOptions, PolicyRequest, RepeatedHeaders, RuleInfo,
};
pub use rules::{Denied, Permit, Rules, RulesError};

pub(crate) use pattern::Pattern;
pub(crate) use rules::{Access, Rule, RuleSet};
