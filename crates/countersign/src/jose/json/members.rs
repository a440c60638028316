use std::borrow::Cow;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{MARKED, Name, RAW, TWICE};
use crate::identity::ClaimNames;

/// The members of one JSON object, each name once. Texts are those of the JSON itself where they
/// have no escapes.
pub(crate) struct Members<'a> {
    /// More than [`Self::FEW`] are sorted by name: strangers send as many as they like.
    pub(super) all: Vec<(Cow<'a, str>, Member<'a>)>,
}

/// The value of a member.
pub(crate) enum Member<'a> {
    Text(Cow<'a, str>),
    /// No text. As serde_json read it: how it keeps a number is its own affair.
    Other(Value),
}

/// A value, wherever it is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen<'m> {
    Text(&'m str),
    Other(&'m Value),
}

impl<'a> Members<'a> {
    const FEW: usize = 16;

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn place(&self, name: &str) -> Option<usize> {
        match self.all.len() {
            0..=Self::FEW => self.all.iter().position(|(known, _)| are_same(known, name)),
            _ => self.all.binary_search_by(|(known, _)| known.as_ref().cmp(name)).ok(),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Seen<'_>> {
        let (_, value) = &self.all[self.place(name)?];
        Some(match value {
            Member::Text(text) => Seen::Text(text),
            Member::Other(value) => Seen::Other(value),
        })
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Member<'a>> {
        let place = self.place(name)?;
        Some(self.all.remove(place).1)
    }

    /// As [`ClaimNames::look_up`].
    pub(crate) fn look_up(&self, name: &str) -> Option<Seen<'_>> {
        ClaimNames::follow(
            name,
            |name| self.get(name),
            |value, step| value.as_object()?.get(step).map(Seen::of),
        )
    }
}

/// Whether two names are one. Most claims have names of three letters, which differ in the last.
fn are_same(known: &str, name: &str) -> bool {
    let (a, b) = (known.as_bytes(), name.as_bytes());
    a.len() == b.len() && a.last() == b.last() && a == b
}

impl<'m> Seen<'m> {
    pub(crate) fn of(value: &'m Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text),
            other => Self::Other(other),
        }
    }

    pub(crate) fn as_str(self) -> Option<&'m str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Other(_) => None,
        }
    }

    pub(crate) fn as_object(self) -> Option<&'m Map<String, Value>> {
        match self {
            Self::Text(_) => None,
            Self::Other(value) => value.as_object(),
        }
    }

    pub(crate) fn is_null(self) -> bool {
        matches!(self, Self::Other(Value::Null))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members<'de>, A::Error> {
        const FEW: usize = Members::FEW;
        let mut all: Vec<(Cow<'de, str>, Member<'de>)> = Vec::with_capacity(FEW / 2);
        while let Some(Name(name)) = members.next_key()? {
            if name == RAW {
                return Err(A::Error::custom(MARKED));
            }
            if all.len() < FEW && all.iter().any(|(known, _)| are_same(known, &name)) {
                return Err(A::Error::custom(TWICE));
            }
            all.push((name, members.next_value()?));
        }
        if all.len() > FEW {
            all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            if all.windows(2).any(|two| two[0].0 == two[1].0) {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(Members { all })
    }
}

impl<'de> Deserialize<'de> for Member<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MemberVisitor)
    }
}

/// Takes texts as they are, and leaves everything else to serde_json's own reader.
struct MemberVisitor;

impl<'de> Visitor<'de> for MemberVisitor {
    type Value = Member<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Member<'de>, E> {
        Ok(Member::Other(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Member<'de>, E> {
        Ok(Member::Other(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Member<'de>, E> {
        Ok(Member::Other(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Member<'de>, E> {
        Ok(Member::Other(value.into()))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Member<'de>, E> {
        Ok(Member::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Member<'de>, E> {
        Ok(Member::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E>(self, text: String) -> Result<Member<'de>, E> {
        Ok(Member::Text(Cow::Owned(text)))
    }

    fn visit_unit<E>(self) -> Result<Member<'de>, E> {
        Ok(Member::Other(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Member<'de>, A::Error> {
        Value::deserialize(SeqAccessDeserializer::new(items)).map(Member::Other)
    }

    /// An object, or a number where serde_json keeps numbers as they were written.
    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Member<'de>, A::Error> {
        Value::deserialize(MapAccessDeserializer::new(members)).map(Member::Other)
    }
}
