//! What `fuzz/` asks of the reader of answers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::answer::{Audience, Expected, Known, Verdict};
use super::binding::Binding;
use crate::fuzzing::NOW;
use crate::fuzzing::objects::object;

/// An answer, or after a line break choices of what stands in it.
///
/// An accepted answer says that the token is active, for us, of our issuer, and not over; who
/// asks for less never refuses what who asks for more accepts.
pub fn introspection(data: &[u8]) {
    let chosen;
    let body = match data.split_first() {
        Some((b'\n', choices)) => {
            chosen = object(&GOOD, &NAMES, choices);
            chosen.as_bytes()
        }
        _ => data,
    };
    let ours = vec!["orders".to_owned()];
    let audiences =
        [Audience::Required(ours.clone()), Audience::IfPresent(ours), Audience::Unchecked];
    let mut asked_for_more: Option<String> = None;
    for issuer in [Some("https://id.example".to_owned()), None] {
        for audience in audiences.clone() {
            let leeway = Duration::from_secs(LEEWAY);
            let expected = Expected { issuer: issuer.clone(), audience, leeway };
            let now = UNIX_EPOCH + Duration::from_secs(NOW);
            let accepted = match expected.read(body, now) {
                Ok(Verdict::Known(known)) => Some(known),
                Ok(Verdict::Refused { .. }) | Err(_) => None,
                Ok(Verdict::Trouble(_)) => panic!("the endpoint did answer"),
            };
            match &accepted {
                Some(known) => {
                    assert_is_good(body, &expected, known, now);
                    asked_for_more = Some(known.principal.name().to_owned());
                }
                None if issuer.is_some() => {
                    assert_eq!(asked_for_more, None, "{:?} asks for less", expected.audience);
                }
                None => {}
            }
        }
        asked_for_more = None;
    }
}

/// What an answer says at least, read without any of our code.
fn assert_is_good(body: &[u8], expected: &Expected, known: &Known, now: SystemTime) {
    let answer: Value = serde_json::from_slice(body).expect("JSON");
    assert_eq!(answer["active"], true, "{answer}");
    let issuer = answer["iss"].as_str();
    if let (Some(wanted), Some(found)) = (&expected.issuer, issuer) {
        assert_eq!(wanted, found);
    }
    let ours = |one: &Value| one == "orders";
    let audience = &answer["aud"];
    let for_us = ours(audience) || audience.as_array().is_some_and(|all| all.iter().any(ours));
    match expected.audience {
        Audience::Required(_) => assert!(for_us, "{answer}"),
        Audience::IfPresent(_) => assert!(for_us || audience.is_null(), "{answer}"),
        Audience::Unchecked => {}
    }
    let (now_seconds, leeway) = (NOW as f64, LEEWAY as f64);
    let end = answer["exp"].as_f64();
    assert!(end.is_none_or(|end| end + leeway > now_seconds), "{answer}");
    assert!(answer["exp"].is_null() || known.expires_at.is_some(), "an end is not lost: {answer}");
    assert!(known.ends_at.is_none_or(|end| end > now), "{answer}");
    let begin = answer["nbf"].as_f64();
    assert!(begin.is_none_or(|begin| begin <= now_seconds + leeway), "{answer}");
    let is_bound = !answer["cnf"].is_null() || answer["token_type"] == "DPoP";
    assert!(!is_bound || known.binding != Binding::default(), "a bound token is none: {answer}");

    let subject = match (answer["sub"].as_str(), answer["client_id"].as_str()) {
        (Some(subject), _) => subject.to_owned(),
        (None, client) => format!("client:{}", client.expect("somebody")),
    };
    let name = match expected.issuer.as_deref().or(issuer) {
        Some(issuer) => format!("{issuer}#{subject}"),
        None => subject,
    };
    assert_eq!(known.principal.name(), name);
    let claims = known.principal.token().expect("the whole answer");
    let _ = (claims.audience(), claims.scopes(), claims.client(), claims.issued_at());
}

const LEEWAY: u64 = 60;

const GOOD: [(&str, &str); 4] = [
    ("active", "true"),
    ("sub", r#""alice""#),
    ("aud", r#""orders""#),
    ("iss", r#""https://id.example""#),
];

const NAMES: [&str; 17] = [
    "active",
    "sub",
    "aud",
    "iss",
    "exp",
    "nbf",
    "iat",
    "client_id",
    "cnf",
    "token_type",
    "token_use",
    "typ",
    "username",
    "jti",
    "azp",
    "scope",
    "scp",
];
