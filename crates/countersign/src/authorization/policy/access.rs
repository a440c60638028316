use super::condition::Condition;
use super::parse::Rule;
use super::{Effect, Policy, RuleInfo};
use crate::authorization::coverage::{Coverage, MethodCoverage, Reach};
use crate::authorization::methods::Methods;
use crate::identity::MethodPath;

/// What a policy says of a method before anybody calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodAccess<'p> {
    /// A rule denies it to everybody.
    Denied(RuleInfo<'p>),
    /// A rule lets callers in of whom nothing was proven, perhaps under conditions on headers,
    /// addresses or the time.
    Public(RuleInfo<'p>),
    /// Only callers of whom something was proven are let in; the first rule that does.
    Authenticated(RuleInfo<'p>),
    /// No rule is for it: nobody is let in.
    NoRule,
}

pub(super) fn of<'p>(policy: &'p Policy, path: &MethodPath<'_>) -> MethodAccess<'p> {
    let is_for = |rule: &&Rule| rule.conditions.iter().all(|one| may_be_for(one, path));
    let about_others = |rule: &Rule| rule.conditions.iter().any(|one| !about_path(one));
    let mut deny = policy.inner.deny.rules().iter().filter(is_for);
    if let Some(rule) = deny.find(|rule| !about_others(rule)) {
        return MethodAccess::Denied(RuleInfo::of(Effect::Deny, rule));
    }
    let allow = || policy.inner.allow.rules().iter().filter(is_for);
    if let Some(rule) = allow().find(|rule| is_public(rule)) {
        MethodAccess::Public(RuleInfo::of(Effect::Allow, rule))
    } else if let Some(rule) = allow().next() {
        MethodAccess::Authenticated(RuleInfo::of(Effect::Allow, rule))
    } else {
        MethodAccess::NoRule
    }
}

/// The same of every method of an interface.
pub(super) fn coverage(policy: &Policy, methods: &Methods) -> Coverage {
    let of_method = |path: &str| {
        let access = match MethodPath::parse(path) {
            Ok(path) => of(policy, &path),
            Err(_) => MethodAccess::NoRule,
        };
        let (reach, rule) = match access {
            MethodAccess::Public(rule) => (Reach::Public, Some(rule)),
            MethodAccess::Authenticated(rule) => (Reach::Authenticated, Some(rule)),
            MethodAccess::Denied(rule) => (Reach::Denied, Some(rule)),
            MethodAccess::NoRule => (Reach::NoRule, None),
        };
        let rule = rule.map(|rule| rule.name.to_owned());
        MethodCoverage { path: path.to_owned(), reach, rule }
    };
    Coverage::new(methods.paths().map(of_method).collect())
}

/// Whether a rule lets callers in of whom nothing was proven.
pub(super) fn is_public(rule: &Rule) -> bool {
    !rule.conditions.iter().any(Condition::proves_caller)
}

fn about_path(condition: &Condition) -> bool {
    match condition {
        Condition::Paths(_) => true,
        Condition::Not(inner) => about_path(inner),
        _ => false,
    }
}

/// What is not about the path may hold, as far as anyone knows.
fn may_be_for(condition: &Condition, path: &MethodPath<'_>) -> bool {
    match condition {
        Condition::Paths(paths) => paths.matches(path.as_str()),
        Condition::Not(inner) => !about_path(inner) || !may_be_for(inner, path),
        _ => true,
    }
}
