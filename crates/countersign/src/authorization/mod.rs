//! Rules: who may call what. Plain data, asked without a socket.

mod pattern;
mod policy;
mod rules;
mod source;

pub use pattern::InvalidPattern;
pub use policy::{
    AuditCondition, AuditOptions, CertificateFacts, CertificateNames, Decision, Effect,
    Explanation, InvalidPolicy, MethodAccess, NearMiss, PeerFacts, Policy, PolicyError, PolicyFile,
    PolicyLint, PolicyOptions, PolicyReport, PolicyRequest, PolicyWatch, RepeatedHeaders, RuleInfo,
};
pub use rules::{Denied, Permit, Rules, RulesError};
pub use source::Authorization;

pub(crate) use pattern::Pattern;
pub(crate) use policy::LivePolicy;
pub(crate) use rules::{Access, Rule, RuleSet};
pub(crate) use source::AuthorizationKind;
