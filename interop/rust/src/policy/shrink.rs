//! A case that is wrong, made small: everything is left out that it can be wrong without.

use serde_json::Value;

use crate::case::{Case, Request, Socket};
use crate::judge::{Finding, Wrong, again};
use crate::sides::{Failure, Sides};

/// The smaller case, and what is wrong with it.
pub(crate) fn shrink(
    case: &Case,
    wrong: &Wrong,
    sides: &mut Sides,
) -> Result<(Case, Wrong), Failure> {
    let (mut case, mut wrong) = (case.clone(), wrong.clone());
    let mut left = MOST_TRIES;
    while let Some(smaller) = smaller(&case, &wrong, &mut left, sides)? {
        (case, wrong) = smaller;
    }
    Ok((case, wrong))
}

/// The first of the smaller cases that is still wrong.
fn smaller(
    case: &Case,
    wrong: &Wrong,
    left: &mut usize,
    sides: &mut Sides,
) -> Result<Option<(Case, Wrong)>, Failure> {
    for candidate in requests(case).chain(parts(case)).chain(pieces(case)).take(*left) {
        *left -= 1;
        if let Finding::Wrong(still) = again(&candidate, wrong.reading.as_ref(), sides)? {
            return Ok(Some((candidate, still)));
        }
    }
    Ok(None)
}

const MOST_TRIES: usize = 200_000;

type Cases<'a> = Box<dyn Iterator<Item = Case> + 'a>;

/// The case with less of a request.
fn requests(case: &Case) -> Cases<'_> {
    let Some(request) = &case.request else { return Box::new(std::iter::empty()) };
    let mut smaller = Vec::new();
    let mut less = |change: &dyn Fn(&mut Request)| {
        let mut request = request.clone();
        change(&mut request);
        smaller.push(Some(request));
    };
    for index in 0..request.headers.len() {
        less(&|request| drop(request.headers.remove(index)));
    }
    if request.socket != Socket::Tcp {
        less(&|request| request.socket = Socket::Tcp);
    }
    if request.tls {
        less(&|request| request.tls = false);
    }
    if let Some(certificate) = &request.certificate {
        less(&|request| request.certificate = None);
        for index in 0..certificate.uris.len() {
            less(&|request| {
                request.certificate.iter_mut().for_each(|one| drop(one.uris.remove(index)));
            });
        }
        for index in 0..certificate.dns_names.len() {
            less(&|request| {
                request.certificate.iter_mut().for_each(|one| drop(one.dns_names.remove(index)));
            });
        }
        if !certificate.subject.is_empty() {
            less(&|request| {
                request.certificate.iter_mut().for_each(|one| one.subject.clear());
            });
        }
        if certificate.unverified {
            less(&|request| {
                request.certificate.iter_mut().for_each(|one| one.unverified = false);
            });
        }
    }
    smaller.insert(0, None);
    let with = |request| Case { policy: case.policy.clone(), request };
    Box::new(smaller.into_iter().map(with))
}

/// The case with a part of its policy left out, if that is JSON.
fn parts(case: &Case) -> Cases<'_> {
    let Ok(policy) = serde_json::from_str::<Value>(&case.policy) else {
        return Box::new(std::iter::empty());
    };
    let all = [policy.clone()].into_iter().chain(without_one(&policy));
    let smaller = all.map(|policy| policy.to_string());
    Box::new(
        smaller
            .filter(|policy| policy.len() < case.policy.len())
            .map(|policy| Case { policy, request: case.request.clone() }),
    )
}

fn without_one(value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let mut fewer = items.clone();
                fewer.remove(index);
                all.push(Value::Array(fewer));
                all.extend(without_one(item).into_iter().map(|smaller| {
                    let mut items = items.clone();
                    items[index] = smaller;
                    Value::Array(items)
                }));
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                let mut fewer = members.clone();
                fewer.remove(name);
                all.push(Value::Object(fewer));
                all.extend(without_one(member).into_iter().map(|smaller| {
                    let mut members = members.clone();
                    members.insert(name.clone(), smaller);
                    Value::Object(members)
                }));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    all
}

/// The case with a piece of its policy's text left out.
fn pieces(case: &Case) -> Cases<'_> {
    let letters: Vec<char> = case.policy.chars().collect();
    let places = (1..=64).rev().flat_map({
        let most = letters.len();
        move |length| (0..most.saturating_sub(length - 1)).map(move |at| (at, length))
    });
    Box::new(places.map(move |(at, length)| {
        let kept = letters[..at].iter().chain(&letters[at + length..]);
        Case { policy: kept.collect(), request: case.request.clone() }
    }))
}
