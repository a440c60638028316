//! `countersign conformance quota`.

use std::time::Duration;

use countersign::quota::{Limit, Meter};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::lines::Id;

#[derive(Deserialize)]
struct Case<'a> {
    #[serde(default)]
    id: Id,
    #[serde(borrow)]
    rate: &'a RawValue,
    #[serde(borrow)]
    per_ns: &'a RawValue,
    #[serde(borrow)]
    burst: &'a RawValue,
    #[serde(borrow)]
    steps: Vec<Step<'a>>,
}

/// Numbers are read from their text: a float would lose the last digits of large ones.
#[derive(Deserialize)]
struct Step<'a> {
    #[serde(borrow)]
    at: &'a RawValue,
    #[serde(borrow, default)]
    cost: Option<&'a RawValue>,
}

#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    id: Id,
    steps: Option<Vec<Told>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Told {
    allow: bool,
    remaining: u64,
    retry_after_ns: Option<u128>,
}

pub(super) fn answer(line: Result<&str, String>) -> Verdict {
    let failed = |id, error| Verdict { id, steps: None, error: Some(error) };
    let line = match line {
        Ok(line) => line,
        Err(error) => return failed(Id::default(), error),
    };
    match serde_json::from_str::<Case<'_>>(line) {
        Ok(case) => match meter(&case) {
            Ok(steps) => Verdict { id: case.id, steps: Some(steps), error: None },
            Err(error) => failed(case.id, error),
        },
        Err(error) => failed(Id::of(line), format!("the line is not a case: {error}")),
    }
}

fn meter(case: &Case<'_>) -> Result<Vec<Told>, String> {
    let (rate, per) = (number("rate", case.rate)?, number("per_ns", case.per_ns)?);
    let limit = Limit::new(rate, Duration::from_nanos(per)).map_err(|error| error.to_string())?;
    let mut meter = Meter::new(limit.with_burst(number("burst", case.burst)?));
    let step = |(index, step): (usize, &Step<'_>)| {
        let told = || {
            let cost = step.cost.map_or(Ok(1), |cost| number("cost", cost))?;
            let told = meter.take_at(time(step.at)?, cost);
            Ok(Told {
                allow: told.allowed,
                remaining: told.remaining,
                retry_after_ns: told.retry_after_ns,
            })
        };
        let mut told = told;
        told().map_err(|error: String| format!("step {index}: {error}"))
    };
    case.steps.iter().enumerate().map(step).collect()
}

fn number(name: &str, value: &RawValue) -> Result<u64, String> {
    value
        .get()
        .parse()
        .map_err(|_| format!("{name} is not a whole number from 0 to 18446744073709551615"))
}

/// Times before the beginning are times too: all are moved by 2⁶³ nanoseconds.
fn time(value: &RawValue) -> Result<u128, String> {
    let at: i128 = value.get().parse().map_err(|_| "at is not a whole number".to_owned())?;
    let in_range = (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&at);
    let moved = in_range.then_some(at - i128::from(i64::MIN));
    moved
        .and_then(|at| u128::try_from(at).ok())
        .ok_or_else(|| "at is not between -2^63 and 2^64 - 1".to_owned())
}
