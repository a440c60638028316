//! `countersign conformance policy`.

use std::time::UNIX_EPOCH;

use countersign::authorization::Policy;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::lines::Id;
use crate::policy::request::Request;

#[derive(Deserialize)]
struct Case {
    #[serde(default)]
    id: Id,
    /// A policy within the line. It is judged by its own text, so that a key that is there twice
    /// is not lost on the way.
    #[serde(default)]
    policy: Option<Box<RawValue>>,
    /// A policy's file, byte for byte.
    #[serde(default)]
    policy_text: Option<String>,
    #[serde(default)]
    request: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    id: Id,
    decision: Judgement,
    rule: Option<String>,
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Judgement {
    Allow,
    Deny,
    /// The policy can be used; no request was put to it.
    Valid,
    InvalidPolicy,
}

pub(super) fn answer(line: Result<&str, String>) -> Verdict {
    let invalid = |id, error| Verdict {
        id,
        decision: Judgement::InvalidPolicy,
        rule: None,
        error: Some(error),
    };
    let line = match line {
        Ok(line) => line,
        Err(error) => return invalid(Id::default(), error),
    };
    match serde_json::from_str::<Case>(line) {
        Ok(case) => {
            let id = case.id.clone();
            judge(&case).unwrap_or_else(|error| invalid(id, error))
        }
        Err(error) => invalid(Id::of(line), format!("the line is not a case: {error}")),
    }
}

fn judge(case: &Case) -> Result<Verdict, String> {
    let text = match (&case.policy, &case.policy_text) {
        (Some(policy), None) => policy.get(),
        (None, Some(text)) => text.as_str(),
        (None, None) => return Err("the case has no policy".to_owned()),
        (Some(_), Some(_)) => return Err("the case has two policies".to_owned()),
    };
    let policy = Policy::from_json(text).map_err(|error| error.to_string())?;
    let verdict = |decision, rule, error| Verdict { id: case.id.clone(), decision, rule, error };
    let Some(request) = &case.request else {
        return Ok(verdict(Judgement::Valid, None, None));
    };
    let request: Result<Request, _> = serde_json::from_str(request.get());
    // Cases that turn on the time say which it is.
    let ask = |request: Request| {
        request.ask(UNIX_EPOCH, |request| {
            let decision = policy.decide(request);
            let judgement = if decision.is_allowed() { Judgement::Allow } else { Judgement::Deny };
            verdict(judgement, decision.rule().map(|rule| rule.to_string()), None)
        })
    };
    // No policy is asked about what is no request, and nobody passes.
    let decided =
        request.map_err(|error| format!("the request cannot be read: {error}")).and_then(ask);
    Ok(decided.unwrap_or_else(|error| verdict(Judgement::Deny, None, Some(error))))
}
