//! JSON as tokens need it: one object, no member twice, at any depth.

mod members;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

pub(crate) use members::{Member, Members, Seen};

/// Reads one JSON object. Of two members with one name, two readers may each take another one
/// (RFC 8259 §4), so there may be no two.
///
/// Objects inside it are looked through first and then read by serde_json: how that keeps a
/// number depends on features that any crate in a build can switch on, and only its own reader
/// follows. Most objects have none inside, and are read once.
pub(crate) fn object(bytes: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    if has_objects_inside(bytes) {
        serde_json::from_slice::<NothingTwice>(bytes)?;
    }
    Ok(serde_json::from_slice::<Outermost>(bytes)?.0)
}

/// Reads one JSON object as [`object`] does, and copies of it only what has to be.
pub(crate) fn members(json: &str) -> Result<Members<'_>, serde_json::Error> {
    if has_objects_inside(json.as_bytes()) {
        serde_json::from_str::<NothingTwice>(json)?;
    }
    serde_json::from_str(json)
}

/// Whether there may be an object within the object: a second brace, be it in a text.
fn has_objects_inside(json: &[u8]) -> bool {
    // Counted in bytes, as many as such a count can hold: a processor then looks at many at once.
    let braces = |part: &[u8]| part.iter().map(|byte| u8::from(*byte == b'{')).sum::<u8>();
    json.chunks(255).map(|part| usize::from(braces(part))).sum::<usize>() > 1
}

/// An object without a member twice; what is inside its members may be anything.
struct Outermost(Map<String, Value>);

impl<'de> Deserialize<'de> for Outermost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OutermostVisitor)
    }
}

struct OutermostVisitor;

impl<'de> Visitor<'de> for OutermostVisitor {
    type Value = Outermost;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Outermost, A::Error> {
        let mut object = Map::new();
        while let Some((name, value)) = members.next_entry::<String, Value>()? {
            if name == RAW {
                return Err(A::Error::custom(MARKED));
            }
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(Outermost(object))
    }
}

/// serde_json's own mark, where any crate in a build switches its feature `raw_value` on: the
/// member's text would be read as JSON, which nobody looked through.
const RAW: &str = "$serde_json::private::RawValue";

const MARKED: &str = "a member has a name that no member may have";

const TWICE: &str = "a member is there twice";

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
        let mut names = Names::default();
        while let Some(Name(name)) = members.next_key()? {
            if name == RAW {
                return Err(A::Error::custom(MARKED));
            }
            if !names.is_new(name) {
                return Err(A::Error::custom(TWICE));
            }
            members.next_value::<Self>()?;
        }
        Ok(self)
    }
}

/// Few names are compared one by one; many, as a stranger may send them, are not.
#[derive(Default)]
struct Names<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    const FEW: usize = 16;

    fn is_new(&mut self, name: Cow<'de, str>) -> bool {
        if self.many.is_empty() {
            if self.few.contains(&name) {
                return false;
            }
            if self.few.len() < Self::FEW {
                self.few.push(name);
                return true;
            }
            self.many.extend(self.few.drain(..));
        }
        self.many.insert(name)
    }
}

/// A member's name, copied only where it has escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both readers, which have to agree.
    fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
        let read = super::object(bytes).ok();
        let text = std::str::from_utf8(bytes).ok();
        let members = text.and_then(|text| super::members(text).ok());
        assert_eq!(read.is_some(), members.is_some(), "{text:?}");
        if let (Some(read), Some(members)) = (&read, &members) {
            assert_eq!(read.len(), members.len());
            for (name, value) in read {
                let found = members.get(name).expect("a member");
                match value {
                    Value::String(text) => assert_eq!(found.as_str(), Some(text.as_str())),
                    other => assert!(matches!(found, Seen::Other(found) if found == other)),
                }
            }
            assert!(members.get("no such member").is_none());
        }
        read
    }

    /// The reader that looks only so far would take what is behind.
    #[test]
    fn an_object_inside_is_seen_wherever_it_stands() {
        for before in (0..16).chain(240..270).chain(500..520) {
            let text = "a".repeat(before);
            assert!(object(format!(r#"{{"t":"{text}","a":{{"b":1}}}}"#).as_bytes()).is_some());
            let twice = format!(r#"{{"t":"{text}","a":{{"b":1,"b":1}}}}"#);
            assert!(object(twice.as_bytes()).is_none(), "after {before} bytes");
        }
        let many = format!(r#"{{"t":"{}"}}"#, "{".repeat(255));
        assert!(has_objects_inside(many.as_bytes()), "255 of them and one");
        assert!(!has_objects_inside(&many.as_bytes()[..6]), "one alone");
    }

    #[test]
    fn names_that_are_nearly_alike_are_told_apart() {
        let long = |middle: &str| format!("ab{middle}{}z", "x".repeat(300));
        let all: Vec<String> = ["", "a", "aa", "aaa", "aba", "aab", "abca", "abda", "ab\\u0000a"]
            .map(str::to_owned)
            .into_iter()
            .chain([long("1"), long("2"), long("12")])
            .collect();
        let members = |names: &[String]| {
            let members: Vec<_> = names.iter().map(|name| format!("\"{name}\":1")).collect();
            object(format!("{{{}}}", members.join(",")).as_bytes())
        };
        assert_eq!(members(&all).expect("each once").len(), all.len());
        for one in &all {
            let twice: Vec<_> = all.iter().chain([one]).cloned().collect();
            assert!(members(&twice).is_none(), "{one:?} twice");
            let without: Vec<_> = all.iter().filter(|name| *name != one).cloned().collect();
            let json: Vec<_> = without.iter().map(|name| format!("\"{name}\":1")).collect();
            let json = format!("{{{}}}", json.join(","));
            let mut read = super::members(&json).expect("each once");
            let name: String = serde_json::from_str(&format!("\"{one}\"")).expect("a name");
            assert!(!read.contains(&name) && read.take(&name).is_none(), "{one:?}");
            for other in without.iter().filter(|name| !name.contains('\\')) {
                assert!(read.contains(other) && read.take(other).is_some(), "{other:?}");
                assert!(read.get(other).is_some_and(Seen::is_null), "{other:?} was taken");
            }
        }
    }

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
        let read = object;
        let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
        let deep = format!(r#"{{"a":{deep}}}"#);
        let many = |twice| {
            let members: Vec<_> = (0..=16).map(|name| format!("\"{name}\":1")).collect();
            let object = format!("{{{}}}", members.join(","));
            read(object.as_bytes()).expect("each once");
            read(format!("{{\"x\":{object}}}").as_bytes()).expect("each once inside");
            format!("{{{},\"{twice}\":1}}", members.join(","))
        };
        for (name, json) in [
            ("twice", &br#"{"a":1,"a":2}"#[..]),
            ("twice by escape", br#"{"a":1,"\u0061":2}"#),
            ("twice inside", br#"{"b":[{"a":1,"a":1}]}"#),
            ("twice inside by escape", br#"{"b":{"a":1,"\u0061":2}}"#),
            ("twice and something inside", br#"{"a":{},"a":1}"#),
            ("the last of many twice", many("16").as_bytes()),
            ("the first of many twice", many("0").as_bytes()),
            ("the last of many twice inside", format!("{{\"x\":{}}}", many("16")).as_bytes()),
            ("the first of many twice inside", format!("{{\"x\":{}}}", many("0")).as_bytes()),
            ("what serde_json marks, outermost", br#"{"$serde_json::private::RawValue":1}"#),
            ("what serde_json marks", br#"{"b":{"$serde_json::private::RawValue":"1"}}"#),
            ("its mark by escape", br#"{"b":{"\u0024serde_json::private::RawValue":"1"}}"#),
            (
                "twice in what it marks",
                br#"{"b":[{"$serde_json::private::RawValue":"{\"a\":1,\"a\":2}"}]}"#,
            ),
            ("text", br#""a""#),
            ("number", b"1"),
            ("array", b"[]"),
            ("text after", b"{} {}"),
            ("trailing comma", br#"{"a":1,}"#),
            ("comment", b"{/**/}"),
            ("not UTF-8", b"{\"a\":\"\xff\"}"),
            ("out of range", br#"{"a":1e999}"#),
            ("too deep", deep.as_bytes()),
            ("empty", b""),
        ] {
            assert!(object(json).is_none(), "{name}");
        }
    }
}
