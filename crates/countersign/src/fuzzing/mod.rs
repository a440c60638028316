//! What `fuzz/` calls: each function hands foreign bytes to one parser and asserts what has to
//! hold whatever they are. Not part of the API.

mod evaluator;
mod events;
mod metadata;
pub(crate) mod objects;
mod patterns;
mod policies;
mod proofs;
mod tokens;

pub use evaluator::evaluator;
pub use events::audit_event;
pub use metadata::authorization_metadata;
pub use patterns::pattern;
#[cfg(feature = "yaml")]
pub use policies::policy_in_yaml;
pub use policies::{descriptor_set, policy};
pub use proofs::dpop_proof;
pub use tokens::token;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

pub use crate::authentication::api_keys::fuzzing::api_key;
pub use crate::authentication::introspection::fuzzing::introspection;
use crate::authentication::jwt::KeySet;
use crate::clock::Clock;
use crate::identity::{MethodPath, SpiffeId};
use crate::jose::json;

/// What the strict reader takes, the usual one takes for the same, and it can be written and
/// read again.
pub fn strict_json(data: &[u8]) {
    let members = std::str::from_utf8(data).ok().map(json::members);
    let Ok(object) = json::object(data) else {
        assert!(members.is_none_or(|members| members.is_err()), "both of ours refuse it");
        return;
    };
    let members = members.and_then(Result::ok).expect("both of ours take it");
    for (name, value) in &object {
        let seen = members.get(name).expect("both have the same members");
        assert_eq!(seen.as_str(), value.as_str(), "and see the same texts: {name}");
        assert_eq!(seen.as_object(), value.as_object(), "and objects: {name}");
    }
    let read = Value::Object(object);
    let usual: Value = serde_json::from_slice(data).expect("the usual reader is not stricter");
    assert_eq!(read, usual, "both readers see the same");
    let written = read.to_string();
    let again = json::object(written.as_bytes()).expect("what was written can be read");
    assert!(alike(&read, &Value::Object(again)), "it is the same again: {written}");
}

/// Equal, but for the last digits of fractions, which reading may round otherwise.
fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(1.0));
            (a - b).abs() <= a.abs() * 1e-9
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| alike(a, b)))
        }
        _ => a == b,
    }
}

/// Each key of a set is used or reported, and within the limits.
pub fn key_set(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(set) = KeySet::from_json(text) else { return };
    let whole: Value = serde_json::from_str(text).expect("a key set is JSON");
    let keys = whole["keys"].as_array().expect("it has keys");
    assert!(keys.len() <= KeySet::MAX_KEYS, "too many keys");
    assert_eq!(set.len() + set.skipped().len(), keys.len(), "a key is used or reported");
    for skipped in set.skipped() {
        let kid = keys[skipped.index].get("kid").and_then(Value::as_str);
        assert_eq!(kid, skipped.kid.as_deref(), "it is reported by its own name");
    }
}

/// A path that is read is its parts joined, and nothing else is.
pub fn method_path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(path) = MethodPath::parse(text) else { return };
    assert_eq!(format!("/{}/{}", path.service(), path.method()), text, "one spelling");
    assert!(text.len() <= MethodPath::MAX_BYTES, "too long");
    let uri: http::uri::PathAndQuery = text.parse().expect("a path of a request");
    assert_eq!((uri.path(), uri.query()), (text, None), "HTTP sees the same path");
}

/// An ID that is read is its parts joined.
pub fn spiffe_id(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(id) = SpiffeId::parse(text) else { return };
    assert_eq!(format!("spiffe://{}{}", id.trust_domain(), id.path()), text, "one spelling");
    assert_eq!(id.as_str(), text);
    assert_eq!(id.is_workload(), !id.path().is_empty());
    let uri: http::Uri = text.trim_end_matches('/').parse().expect("a URI");
    assert_eq!(uri.host(), Some(id.trust_domain()), "a URI reader sees the same domain");
    assert_eq!((uri.port_u16(), uri.query()), (None, None), "and nothing beside");
}

/// When all of it happens.
pub(crate) const NOW: u64 = 1_800_000_000;

#[derive(Debug)]
struct Still;

impl Clock for Still {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW)
    }
}
