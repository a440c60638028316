use std::time::SystemTime;

use countersign::authentication::jwt::{KeysReport, Profile, TokenError};
use serde_json::{Map, Value, json};

use super::check::Check;
use super::decoded::Decoded;
use super::moment;
use crate::pki::text;

/// What a token says, for the words about a verdict. Nobody vouches for it.
pub(super) struct Said<'a> {
    header: Option<&'a Map<String, Value>>,
    claims: Option<&'a Map<String, Value>>,
    now: SystemTime,
}

/// A value and what it is.
pub(super) struct Fact {
    pub(super) name: String,
    pub(super) value: Value,
    /// For people, where the value alone says little.
    note: Option<String>,
}

impl Fact {
    pub(super) fn new(name: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { name: name.into(), value: value.into(), note: None }
    }

    /// The value as people read it.
    pub(super) fn shown(&self) -> String {
        let value = match (&self.value, &self.note) {
            (_, Some(note)) => return note.clone(),
            (Value::String(text), None) if !self.name.contains("token") => text.clone(),
            (value, None) => value.to_string(),
        };
        text::printable(&value)
    }
}

impl<'a> Said<'a> {
    pub(super) fn new(decoded: &'a Decoded, now: SystemTime) -> Self {
        let (header, claims) = match decoded {
            Decoded::Signed { header, claims, .. } => (Some(header), Some(claims)),
            Decoded::Encrypted { header } => (Some(header), None),
            Decoded::Opaque { .. } => (None, None),
        };
        Self { header, claims, now }
    }

    pub(super) fn claim(&self, name: &str) -> Option<&'a Value> {
        self.claims?.get(name)
    }

    pub(super) fn header(&self, name: &str) -> Option<&'a str> {
        self.header?.get(name)?.as_str()
    }

    /// A check that passed, with what makes it worth reading: `exp ok (41 minutes left)`.
    pub(super) fn passed(&self, check: Check) -> String {
        let detail = match check {
            Check::Issuer => self.claim("iss").and_then(Value::as_str).map(text::printable),
            Check::Algorithm => self.header("alg").map(text::printable),
            Check::Type => self.header("typ").map(text::printable),
            Check::Expiry => self.left(),
            Check::Signature => {
                self.header("kid").map(|kid| format!("kid {}", text::printable(kid)))
            }
            _ => None,
        };
        match detail {
            Some(detail) => format!("{} ok ({detail})", check.name()),
            None => format!("{} ok", check.name()),
        }
    }

    fn left(&self) -> Option<String> {
        let end = moment::of(self.claim("exp")?)?;
        Some(match end.duration_since(self.now) {
            Ok(left) => format!("{} left", text::duration(left)),
            Err(late) => format!("{} ago, within the leeway", text::duration(late.duration())),
        })
    }

    /// What was found and what was expected.
    pub(super) fn facts(&self, error: &TokenError, keys: Option<&KeysReport>) -> Vec<Fact> {
        let claim = |name: &str| {
            Fact::new(format!("{name} in token"), self.claim(name).cloned().unwrap_or_default())
        };
        let kid = || {
            let found = self.header("kid").map_or(Value::Null, Value::from);
            let mut facts = vec![Fact::new("kid in token", found)];
            facts.extend(keys.map(|keys| Fact::new("keys of issuer", keys.keys)));
            facts
        };
        match error {
            TokenError::Algorithm { found, allowed } => vec![
                Fact::new("alg in token", found.as_str()),
                Fact::new("alg allowed", allowed.clone()),
            ],
            TokenError::Type { found, profile } => vec![
                Fact::new("typ in token", found.as_deref().map_or(Value::Null, Value::from)),
                Fact::new("typ accepted", accepted_types(profile)),
            ],
            TokenError::Issuer { found, trusted } => vec![
                Fact::new("iss in token", found.as_str()),
                Fact::new("iss trusted", &**trusted),
            ],
            TokenError::UnknownKey { .. } | TokenError::Signature => kid(),
            TokenError::Expired { leeway, .. } => self.times("exp", *leeway),
            TokenError::NotYetValid { leeway, .. } => self.times("nbf", *leeway),
            TokenError::Audience { accepted, .. } => {
                vec![claim("aud"), Fact::new("aud accepted", accepted.as_slice())]
            }
            TokenError::MissingClaim { name } => {
                let there = self.claims.into_iter().flat_map(Map::keys).map(String::as_str);
                vec![
                    Fact::new("claims in token", there.collect::<Vec<_>>()),
                    Fact::new("claim required", name.as_str()),
                ]
            }
            TokenError::Claim { name, expected } => {
                vec![claim(name), Fact::new(format!("{name} expected"), *expected)]
            }
            TokenError::Lifetime { most } => {
                vec![claim("iat"), claim("exp"), Fact::new("life allowed", text::duration(*most))]
            }
            TokenError::Profile { profile, problem } => {
                vec![Fact::new("problem", *problem), Fact::new("profile", *profile)]
            }
            TokenError::Malformed(problem) | TokenError::Header(problem) => {
                vec![Fact::new("problem", *problem)]
            }
            TokenError::ProofRequired(problem) | TokenError::ProofInvalid(problem) => {
                vec![claim("cnf"), Fact::new("problem", *problem)]
            }
            error => vec![Fact::new("problem", error.to_string())],
        }
    }

    fn times(&self, name: &str, leeway: std::time::Duration) -> Vec<Fact> {
        let found = self.claim(name).cloned().unwrap_or_default();
        let note = moment::of(&found).map(|time| moment::shown(time, self.now));
        vec![
            Fact { note, ..Fact::new(format!("{name} in token"), found) },
            Fact::new("now", text::timestamp(self.now)),
            Fact {
                note: Some(format!("{} s", leeway.as_secs())),
                ..Fact::new("leeway", leeway.as_secs())
            },
        ]
    }
}

/// What the profile takes, as its documentation says.
fn accepted_types(profile: &str) -> Value {
    match Profile::from_name(profile) {
        Some(Profile::AccessToken) => json!(["at+jwt", "JWT", null]),
        Some(Profile::Rfc9068) => json!(["at+jwt"]),
        Some(Profile::JwtSvid) => json!(["JWT", "JOSE", null]),
        _ => json!(["JWT", null]),
    }
}
