//! What comes of asking a policy.

use std::fmt;
use std::sync::Arc;

use super::index::Reads;
use super::parse::Rule;

/// What a rule does with the calls that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It lets them pass, unless another rule denies them.
    Allow,
    /// It stops them, whatever other rules say.
    Deny,
}

/// What was decided of one call.
#[derive(Clone, Copy)]
pub struct Decision<'p> {
    pub(super) effect: Effect,
    pub(super) rule: Option<&'p Rule>,
    pub(super) reads: Reads,
}

impl<'p> Decision<'p> {
    /// Whether the call may pass.
    pub fn is_allowed(&self) -> bool {
        self.effect == Effect::Allow
    }

    /// Whether the same policy says the same of every call of the same callers to the same method
    /// over the same connection: no rule was looked at that reads metadata or the time of day, or
    /// has an expression.
    pub(crate) fn is_steady(&self) -> bool {
        !self.reads.volatile
    }

    /// Whether a rule was looked at that reads metadata.
    pub(crate) fn read_headers(&self) -> bool {
        self.reads.headers
    }

    /// The name of the rule that decided; `None` when no rule matched, and so nobody may pass.
    /// Cloning it is one atomic increment.
    pub fn rule(&self) -> Option<&'p Arc<str>> {
        self.rule.map(|rule| &rule.name)
    }
}

impl fmt::Debug for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decision")
            .field("effect", &self.effect)
            .field("rule", &self.rule())
            .finish()
    }
}

/// A rule, as far as it has to be known from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleInfo<'p> {
    /// What it does.
    pub effect: Effect,
    /// Its name, unique among the rules of its effect.
    pub name: &'p str,
    /// The line on which it begins, counted from 1; 0 for a rule that is the option of a method.
    pub line: u32,
}

impl<'p> RuleInfo<'p> {
    pub(super) fn of(effect: Effect, rule: &'p Rule) -> Self {
        Self { effect, name: &rule.name, line: rule.place.line }
    }
}
