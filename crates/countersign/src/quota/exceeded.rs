use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::builder::{FAILURES, STREAMS};
use super::fields;
use super::rule::{Rule, Scope};

/// A limit refuses a call. `Display` names the limit and no one's numbers but the limit's own.
#[derive(Clone, Debug)]
pub struct Exceeded {
    // Seldom, and handed on at every call.
    why: Box<(Over, Option<Duration>)>,
}

#[derive(Clone, Debug)]
pub(super) enum Over {
    Rule(Arc<Rule>),
    Streams(u32),
    Failures,
}

impl Exceeded {
    pub(super) fn new(over: Over, retry_after: Option<Duration>) -> Self {
        Self { why: Box::new((over, retry_after)) }
    }

    /// The limit's name: `caller`, `caller of <pattern>`, `method <pattern>`, `tenant`,
    /// `address`, `bytes`, `streams` or `failures`; the second of one name ends in `#2`.
    pub fn limit(&self) -> &str {
        match &self.why.0 {
            Over::Rule(rule) => &rule.name,
            Over::Streams(_) => STREAMS,
            Over::Failures => FAILURES,
        }
    }

    /// When the same call is worth trying again; `None`: never.
    pub fn retry_after(&self) -> Option<Duration> {
        self.why.1
    }

    /// `ratelimit-policy` where the caller is known, and `ratelimit`.
    pub(crate) fn fields(&self) -> (Option<String>, String) {
        let policy = match &self.why.0 {
            // Strangers are not told how many addresses it takes.
            Over::Rule(rule) if rule.scope == Scope::Address => None,
            Over::Rule(rule) => Some(fields::policy(rule)),
            Over::Streams(most) => Some(fields::streams_policy(*most)),
            Over::Failures => None,
        };
        (policy, fields::available(self.limit(), 0, self.why.1))
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why.0 {
            Over::Rule(_) | Over::Failures => write!(f, "the limit {:?} is used up", self.limit()),
            Over::Streams(most) => write!(f, "{most} calls are under way already"),
        }
    }
}

impl std::error::Error for Exceeded {}
