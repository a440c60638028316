use super::condition::{Condition, Seen};
use super::index::RuleIndex;
use super::request::PolicyRequest;
use super::tokens::TokenRule;
use super::{Decision, Effect, RuleInfo};

/// A decision with its reasons, for people. Takes time in proportion to the policy's rules, and
/// tells what no caller may learn.
#[derive(Clone, Debug)]
pub struct Explanation<'p> {
    /// What was decided.
    pub decision: Decision<'p>,
    /// The rule that decided; `None` when no rule matched.
    pub rule: Option<RuleInfo<'p>>,
    /// Where no rule matched: the rule that came closest to allowing it.
    pub nearest: Option<NearMiss<'p>>,
}

/// A rule that would have allowed a call but for a few conditions.
#[derive(Clone, Debug)]
pub struct NearMiss<'p> {
    /// The rule.
    pub rule: RuleInfo<'p>,
    /// What it asks for and got.
    pub met: Vec<String>,
    /// What it asks for and did not get, each as a clause: `scope orders:write`.
    pub missing: Vec<String>,
}

pub(super) fn nearest<'p>(allow: &'p RuleIndex, seen: &Seen<'_>) -> Option<NearMiss<'p>> {
    let path = seen.request.path.as_str();
    let rule = allow.rules().iter().min_by_key(|rule| {
        let missing = || rule.conditions.iter().filter(|one| !one.holds(seen));
        let apart = |one: &Condition| match one {
            Condition::Paths(paths) => path.len() + 1 - paths.in_common(path),
            _ => 0,
        };
        // A rule for another method is far from this one, whoever asks, and farther still where
        // it is for another service.
        (missing().map(apart).max(), missing().count())
    })?;
    let (met, missing): (Vec<_>, Vec<_>) =
        rule.conditions.iter().partition(|condition| condition.holds(seen));
    Some(NearMiss {
        rule: RuleInfo::of(Effect::Allow, rule),
        met: met.into_iter().map(name).collect(),
        missing: missing.into_iter().map(|condition| gap(condition, seen.request)).collect(),
    })
}

/// What a condition is about, in a word.
fn name(condition: &Condition) -> String {
    match condition {
        Condition::Paths(_) => "method".to_owned(),
        Condition::Header { key, .. } => format!("header {key}"),
        Condition::Principals(_) => "principal".to_owned(),
        Condition::Tokens(_) | Condition::Token => "token".to_owned(),
        Condition::ApiKeyOwners(_) => "API key".to_owned(),
        Condition::Authenticators(_) => "authenticator".to_owned(),
        Condition::Addresses(_) => "address".to_owned(),
        Condition::Groups(_) => "group".to_owned(),
        Condition::Proven => "caller".to_owned(),
        Condition::Expression(_) => "expression".to_owned(),
        Condition::Certificate => "certificate".to_owned(),
        Condition::Times(_) => "time".to_owned(),
        Condition::Not(inner) => format!("not {}", name(inner)),
    }
}

/// What a condition asks for that the request has not.
fn gap(condition: &Condition, request: &PolicyRequest<'_>) -> String {
    match condition {
        Condition::Paths(paths) => format!("method {}", paths.describe()),
        Condition::Header { key, values } => format!("header {key} {}", values.describe()),
        Condition::Principals(names) if !request.peer.tls => {
            format!("principal {}, and a connection without TLS has none", names.describe())
        }
        Condition::Principals(names) if request.peer.certificate.is_none() => {
            format!("principal {}, and the peer showed no certificate", names.describe())
        }
        Condition::Principals(names) => format!("principal {}", names.describe()),
        Condition::Tokens(_) if !request.has_callers() => "a token".to_owned(),
        Condition::Tokens(rules) => token_gap(rules.rules(), request),
        Condition::ApiKeyOwners(owners) => format!("an API key of {}", owners.describe()),
        Condition::Authenticators(names) => format!("a caller proven by {}", names.describe()),
        Condition::Addresses(_) => "an address within its networks".to_owned(),
        Condition::Groups(groups) => format!("a member of the group {}", groups.describe()),
        Condition::Proven => "a caller who is known".to_owned(),
        Condition::Expression(one) => format!("the expression {}", shown(one.source())),
        Condition::Certificate => "a client certificate".to_owned(),
        Condition::Token => "a token".to_owned(),
        Condition::Times(_) => "another time of the week".to_owned(),
        Condition::Not(inner) => format!("another {}", name(inner)),
    }
}

/// The beginning of an expression, on one line.
fn shown(expression: &str) -> String {
    const MOST: usize = 120;
    let words = expression.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &words[..end]),
        None => words,
    }
}

/// Of several tokens that would do, what the first lacks.
fn token_gap(rules: &[TokenRule], request: &PolicyRequest<'_>) -> String {
    let mut gap = None;
    request.any_caller(|caller| {
        gap = rules.iter().find_map(|rule| rule.gap(caller)).map(|gap| gap.to_string());
        super::condition::token(caller).is_some()
    });
    gap.unwrap_or_else(|| "a token".to_owned())
}
