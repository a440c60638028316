//! From two verdicts to one: alike, different on purpose, or wrong.

use serde_json::{Value, json};

use crate::case::{Case, Decision, Verdict};
use crate::differences::{SEVERAL_RULES, explain, is_level, let_pass};
use crate::facts::Facts;
use crate::readings::{Compared, READINGS, Reading, ambiguous};
use crate::sides::{Failure, Sides};

/// What has come of a case.
#[derive(Clone, Debug)]
pub(crate) enum Finding {
    Alike,
    /// Different on purpose, by name.
    Wanted(&'static str),
    Wrong(Wrong),
}

impl Finding {
    /// Whether both decide alike, by whichever rule.
    pub(crate) fn is_decided_alike(&self) -> bool {
        matches!(self, Self::Alike) || matches!(self, Self::Wanted(name) if *name == SEVERAL_RULES)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    /// With which reading of our own, if not the default one.
    pub(crate) reading: Option<Reading>,
    pub(crate) story: String,
}

impl Wrong {
    fn because(story: String) -> Finding {
        Finding::Wrong(Self { reading: None, story })
    }
}

/// Judges a case by the default reading.
pub(crate) fn by_default(
    case: &Case,
    (ours, theirs): (&Verdict, &Verdict),
    sides: &mut Sides,
) -> Result<Finding, Failure> {
    let facts = Facts::of(&case.policy);
    if let Some(name) = let_pass(&facts, ours) {
        return Ok(Wrong::because(format!("we have let pass what we refuse: {name}")));
    }
    if ours.agrees(theirs) {
        return Ok(Finding::Alike);
    }
    if let Some(name) = explain(case, &facts, (ours, theirs), sides)? {
        return Ok(Finding::Wanted(name));
    }
    if ours.decision == theirs.decision && several_match(case, theirs, sides)? {
        return Ok(Finding::Wanted(SEVERAL_RULES));
    }
    Ok(Wrong::because(format!("ours:   {}\ntheirs: {}", tell(ours), tell(theirs))))
}

/// Whether the rule of which they tell matches, for both, when it is the only one in its list.
fn several_match(case: &Case, theirs: &Verdict, sides: &mut Sides) -> Result<bool, Failure> {
    let Some(wanted) = &theirs.rule else { return Ok(false) };
    let Ok(mut policy) = serde_json::from_str::<Value>(&case.policy) else { return Ok(false) };
    let everybody = json!([{"name": "everybody"}]);
    let list = if theirs.decision == Decision::Deny { "deny_rules" } else { "allow_rules" };
    let Some(Value::Array(rules)) = policy.get_mut(list) else { return Ok(false) };
    rules.retain(|rule| rule["name"] == **wanted);
    if list == "deny_rules" {
        policy["allow_rules"] = everybody;
    }
    let alone = Case { policy: policy.to_string(), request: case.request.clone() };
    let (ours, theirs) = sides.ask_both(&alone)?;
    Ok(ours.agrees(&theirs) && ours.rule.as_ref() == Some(wanted))
}

/// Judges a case by a reading of our own, where that can be told from their answers.
pub(crate) fn by_reading(
    case: &Case,
    by_default: &Verdict,
    reading: &Reading,
    sides: &mut Sides,
) -> Result<Finding, Failure> {
    Ok(match reading.compare(case, by_default, sides)? {
        Compared::Alike => Finding::Alike,
        Compared::Differs => Finding::Wanted(reading.name),
        Compared::Wrong { ours, expected } => Finding::Wrong(Wrong {
            reading: Some(*reading),
            story: format!(
                "with {}: ours is {}\nby their answers it should be {expected:?}",
                reading.name,
                tell(&ours)
            ),
        }),
    })
}

/// The reading by which a case is judged too, if any.
pub(crate) fn reading_for(
    case: &Case,
    (ours, theirs): (&Verdict, &Verdict),
    turn: usize,
) -> Option<&'static Reading> {
    // What is no call is refused by every reading.
    let asked = !ours.is_invalid() && ours.error.is_empty() && theirs.error.is_empty();
    if !asked || !is_plain(case) {
        return None;
    }
    // Where nothing is ambiguous, every reading has to be the default one: now and then it is asked.
    let any = || turn.is_multiple_of(8).then(|| &READINGS[turn / 8 % READINGS.len()]);
    ambiguous(case.request.as_ref()?, turn).or_else(any)
}

/// Whether their answers tell what another reading says.
fn is_plain(case: &Case) -> bool {
    let facts = Facts::of(&case.policy);
    // Two conditions on one header may be met by two of its values, which no variant has at once.
    let odd = facts.own_key || facts.header_twice || facts.binary_header;
    !odd && case.request.as_ref().is_some_and(is_level)
}

/// Judges a case as it was judged when something was wrong with it.
pub(crate) fn again(
    case: &Case,
    reading: Option<&Reading>,
    sides: &mut Sides,
) -> Result<Finding, Failure> {
    let (ours, theirs) = sides.ask_both(case)?;
    let finding = by_default(case, (&ours, &theirs), sides)?;
    match reading {
        None => Ok(finding),
        Some(reading)
            if finding.is_decided_alike() && reading_for(case, (&ours, &theirs), 0).is_some() =>
        {
            by_reading(case, &ours, reading, sides)
        }
        Some(_) => Ok(Finding::Alike),
    }
}

fn tell(verdict: &Verdict) -> String {
    let rule = verdict.rule.as_ref().map(|rule| format!(" by {rule:?}")).unwrap_or_default();
    let error = if verdict.error.is_empty() { "" } else { ": " };
    format!("{:?}{rule}{error}{}", verdict.decision, verdict.error)
}
