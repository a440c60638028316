//! Rules: who may call what. Plain data, asked without a socket.

mod coverage;
mod methods;
mod pattern;
mod permit;
mod policy;
mod rules;
mod source;
mod wire;

pub use coverage::{Coverage, MethodCoverage, Reach};
pub use methods::{InvalidDescriptorSet, Methods};
pub use pattern::InvalidPattern;
pub use permit::{Denied, Permit};
pub use policy::{
    Annotations, AuditCondition, AuditOptions, CertificateFacts, CertificateNames, Decision,
    Effect, Explanation, InvalidAnnotation, InvalidPolicy, MethodAccess, NearMiss, PeerFacts,
    Policy, PolicyError, PolicyFile, PolicyLint, PolicyOptions, PolicyReport, PolicyRequest,
    PolicyWatch, RepeatedHeaders, RuleInfo,
};
pub use rules::{Rules, RulesError};
pub use source::Authorization;

pub(crate) use coverage::shortened;
pub(crate) use pattern::Pattern;
pub(crate) use policy::{GateNeeds, LivePolicy, PolicyHead, Unmet};
pub(crate) use rules::{Access, Rule, RuleSet};
pub(crate) use source::AuthorizationKind;
