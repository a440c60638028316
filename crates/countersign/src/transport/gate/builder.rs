use std::sync::Arc;

use super::denial::Challenge;
use super::service::{Gate, Inner};
use crate::authentication::{Authenticator, EvidenceKinds};
use crate::authorization::{RuleSet, Rules, RulesError};
use crate::transport::warnings::Warnings;

/// Makes a [`Gate`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it builds"]
pub struct GateBuilder {
    authenticators: Vec<Arc<dyn Authenticator>>,
    rules: Rules,
    realm: String,
}

/// Why a gate cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// The rules cannot be used.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Two authenticators have the same name, and rules could not tell them apart.
    #[error("two authenticators are named {name:?}")]
    DuplicateAuthenticator {
        /// The name.
        name: String,
    },
    /// What an authenticator challenges with is not a scheme, and no header could say it.
    #[error("the authenticator {name:?} challenges with {scheme:?}, which is not a scheme")]
    Challenge {
        /// The authenticator.
        name: String,
        /// What it challenges with.
        scheme: String,
    },
    /// The realm cannot be put into a header.
    #[error("the realm {realm:?} has a character that a quoted header value cannot have")]
    Realm {
        /// The realm.
        realm: String,
    },
}

impl GateBuilder {
    pub(super) fn new() -> Self {
        Self { authenticators: Vec::new(), rules: Rules::new(), realm: "grpc".to_owned() }
    }

    /// Adds a way to prove callers. A credential that one or more of them read has to be
    /// accepted by one of them.
    pub fn authenticate(mut self, authenticator: impl Authenticator) -> Self {
        self.authenticators.push(Arc::new(authenticator));
        self
    }

    /// Who may call what. Without rules, nobody anything.
    pub fn authorize(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// The realm in `www-authenticate`. Default: `grpc`.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = realm.into();
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    ///
    /// The first setting that cannot hold.
    pub fn build(self) -> Result<Gate, GateError> {
        let names: Vec<&str> = self.authenticators.iter().map(|one| one.name()).collect();
        if let Some(at) = (1..names.len()).find(|&at| names[..at].contains(&names[at])) {
            return Err(GateError::DuplicateAuthenticator { name: names[at].to_owned() });
        }
        for one in &self.authenticators {
            if let Some(scheme) = one.challenge().filter(|scheme| !is_scheme(scheme)) {
                let (name, scheme) = (one.name().to_owned(), scheme.to_owned());
                return Err(GateError::Challenge { name, scheme });
            }
        }
        let rules = RuleSet::compile(self.rules, &names)?;
        let quotable = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
        if !self.realm.bytes().all(quotable) {
            return Err(GateError::Realm { realm: self.realm });
        }
        let reads = self
            .authenticators
            .iter()
            .fold(EvidenceKinds::default(), |kinds, one| kinds.or(one.reads()));
        let challenge = Challenge::new(&self.authenticators, &self.realm);
        let (authenticators, warnings) = (self.authenticators, Warnings::new());
        Ok(Gate::new(Inner { authenticators, rules, reads, challenge, warnings }))
    }
}

/// A token of RFC 9110 §5.6.2.
fn is_scheme(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
