//! JSON as tokens need it: one object, no member twice, at any depth.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads one JSON object. Of two members with one name, two readers may each take another one
/// (RFC 8259 §4), so there may be no two.
///
/// Looks through the bytes first and then has serde_json read them: how that keeps a number
/// depends on features that any crate in a build can switch on, and only its own reader follows.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    serde_json::from_slice::<NothingTwice>(bytes)?;
    match serde_json::from_slice(bytes)? {
        Value::Object(members) => Ok(members),
        _ => Err(serde_json::Error::custom("it is not an object")),
    }
}

/// JSON in which no object has a member twice.
struct NothingTwice;

impl<'de> Deserialize<'de> for NothingTwice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for NothingTwice {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a member is there twice"));
            }
            members.next_value::<Self>()?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_read_as_it_is() {
        let read = object(br#"{"a":[1,-2,1.5,true,null,"x"],"b":{"c":{}}}"#).expect("JSON");
        assert_eq!(
            Value::Object(read),
            serde_json::json!({"a": [1, -2, 1.5, true, null, "x"], "b": {"c": {}}})
        );
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
        let deep = format!(r#"{{"a":{deep}}}"#);
        for (name, json) in [
            ("twice", &br#"{"a":1,"a":2}"#[..]),
            ("twice by escape", br#"{"a":1,"\u0061":2}"#),
            ("twice inside", br#"{"b":[{"a":1,"a":1}]}"#),
            ("array", b"[]"),
            ("text after", b"{} {}"),
            ("trailing comma", br#"{"a":1,}"#),
            ("comment", b"{/**/}"),
            ("not UTF-8", b"{\"a\":\"\xff\"}"),
            ("out of range", br#"{"a":1e999}"#),
            ("too deep", deep.as_bytes()),
            ("empty", b""),
        ] {
            assert!(object(json).is_err(), "{name}");
        }
    }
}
