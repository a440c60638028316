//! What comes of asking rules or a policy.

use std::sync::Arc;

use crate::authentication::Authenticated;

/// Leave for one call, and the rule that gave it.
#[derive(Clone, Debug)]
pub struct Permit {
    rule: Arc<str>,
    caller: Option<Authenticated>,
}

impl Permit {
    pub(crate) fn new(rule: Arc<str>, caller: Option<Authenticated>) -> Self {
        Self { rule, caller }
    }

    /// The rule's pattern, or its name in a policy.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The same, shared.
    pub(crate) fn shared_rule(&self) -> &Arc<str> {
        &self.rule
    }

    /// Who may call; `None` on a public method, and where a policy let in somebody of whom no
    /// authenticator knows.
    pub fn caller(&self) -> Option<&Authenticated> {
        self.caller.as_ref()
    }
}

/// No leave for one call, and the rule that refused it, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Denied {
    rule: Option<Arc<str>>,
    scopes: Option<Arc<[String]>>,
}

impl Denied {
    pub(super) fn by(rule: Arc<str>) -> Self {
        Self { rule: Some(rule), scopes: None }
    }

    /// The same for want of one of these.
    pub(super) fn of_scopes(self, scopes: Arc<[String]>) -> Self {
        Self { scopes: Some(scopes), ..self }
    }

    /// The rule's pattern; `None` when the method has no rule.
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// The scopes that the rule asks for, of which the caller lacks one; empty where it was not
    /// for a scope.
    pub fn scopes(&self) -> &[String] {
        self.scopes.as_deref().unwrap_or_default()
    }

    /// The rule's pattern, shared.
    pub(crate) fn into_rule(self) -> Option<Arc<str>> {
        self.rule
    }
}
