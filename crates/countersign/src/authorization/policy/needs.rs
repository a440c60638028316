use std::path::Path;

use super::{Policy, PolicyError};
use crate::authorization::coverage::Reach;
use crate::authorization::methods::Methods;

/// What a gate that asks a policy needs of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GateNeeds {
    /// The names of the gate's authenticators, which rules may ask for.
    pub(crate) authenticators: Vec<String>,
    /// The methods that a strict gate wants rules for.
    pub(crate) covered: Option<Methods>,
    /// The names of the sinks of the gate's audit, which the policy may ask for.
    pub(crate) loggers: Vec<String>,
}

/// Why a policy is not good enough for a gate.
pub(crate) enum Unmet {
    Authenticator { rule: String, name: String, known: Vec<String> },
    Uncovered { methods: Vec<String> },
    AuditLogger { name: String, known: Vec<String> },
}

impl GateNeeds {
    /// The first need that a policy does not meet.
    pub(crate) fn unmet(&self, policy: &Policy) -> Option<Unmet> {
        if let Some((rule, name)) = policy.unknown_authenticator(&self.authenticators) {
            let known = self.authenticators.clone();
            return Some(Unmet::Authenticator { rule: rule.into(), name: name.into(), known });
        }
        if let Some(name) = policy.audit().missing(&self.loggers) {
            return Some(Unmet::AuditLogger { name: name.into(), known: self.loggers.clone() });
        }
        let coverage = policy.coverage(self.covered.as_ref()?);
        let methods: Vec<_> = coverage.reaching(Reach::NoRule).map(str::to_owned).collect();
        (!methods.is_empty()).then_some(Unmet::Uncovered { methods })
    }
}

impl Unmet {
    pub(super) fn of_file(self, path: &Path) -> PolicyError {
        let path = path.to_owned();
        match self {
            Self::Authenticator { rule, name, known } => {
                PolicyError::UnknownAuthenticator { path, rule, name, known }
            }
            Self::Uncovered { methods } => PolicyError::Uncovered { path, methods },
            Self::AuditLogger { name, known } => {
                PolicyError::UnknownAuditLogger { path, name, known }
            }
        }
    }
}
