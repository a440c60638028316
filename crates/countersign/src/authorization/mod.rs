//! Rules: who may call what. Plain data, asked without a socket.

mod pattern;
mod rules;

pub use pattern::InvalidPattern;
pub use rules::{Denied, Permit, Rules, RulesError};

pub(crate) use pattern::Pattern;
pub(crate) use rules::{Access, Rule, RuleSet};
