use std::borrow::Cow;
use std::fmt;
use std::mem;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{MARKED, Name, RAW, TWICE};
use crate::identity::ClaimNames;

/// The members of one JSON object, each name once. Texts are those of the JSON itself where they
/// have no escapes.
pub(crate) struct Members<'a> {
    /// More than [`FEW`] are sorted by name: strangers send as many as they like.
    all: Vec<(Cow<'a, str>, Member<'a>)>,
    /// Of the few, where they are.
    tags: [Tag; FEW],
    /// Of all.
    present: Present,
}

/// So many are looked through.
const FEW: usize = 16;

/// What most names differ in, so that they are told apart without reading them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tag(u32);

/// Which tags there are, as far as 64 bits can tell: a tag whose bit is missing is not there.
/// Most of the names that a token is asked for are not.
#[derive(Clone, Copy, Debug, Default)]
struct Present(u64);

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
    fn empty() -> Self {
        let all = Vec::with_capacity(FEW / 2);
        Self { all, tags: [Tag::default(); FEW], present: Present::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    #[inline]
    fn place(&self, name: &str) -> Option<usize> {
        let tag = Tag::of(name);
        if self.present.lacks(tag) { None } else { self.find(tag, name) }
    }

    fn find(&self, tag: Tag, name: &str) -> Option<usize> {
        if self.all.len() > FEW {
            return self.all.binary_search_by(|(known, _)| known.as_ref().cmp(name)).ok();
        }
        let is_same = |known: &str| tag.is_whole_name() || known == name;
        let mut all = self.tags.iter().zip(&self.all);
        all.position(|(other, (known, _))| *other == tag && is_same(known))
    }

    /// Adds a member, unless it is one of few and there already.
    fn add(&mut self, name: Cow<'a, str>, value: Member<'a>) -> bool {
        let tag = Tag::of(&name);
        if let Some(free) = self.tags.get_mut(self.all.len()) {
            *free = tag;
            if !self.present.lacks(tag) && self.find(tag, &name).is_some() {
                return false;
            }
        }
        self.present.add(tag);
        self.all.push((name, value));
        true
    }

    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<Seen<'_>> {
        let (_, value) = &self.all[self.place(name)?];
        Some(match value {
            Member::Text(text) => Seen::Text(text),
            Member::Other(value) => Seen::Other(value),
        })
    }

    #[inline]
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// Takes a member's value and leaves `null`.
    #[inline]
    pub(crate) fn take(&mut self, name: &str) -> Option<Member<'a>> {
        let place = self.place(name)?;
        Some(mem::replace(&mut self.all[place].1, Member::Other(Value::Null)))
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

impl Tag {
    /// Its length, at most 255, the first two bytes and the last.
    #[inline]
    fn of(name: &str) -> Self {
        let bytes = name.as_bytes();
        let at = |place| bytes.get(place).copied().unwrap_or_default();
        let length = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        Self(u32::from_le_bytes([length, at(0), at(1), at(bytes.len().wrapping_sub(1))]))
    }

    /// Whether no other name has this tag. Most claims have names of three letters.
    #[inline]
    fn is_whole_name(self) -> bool {
        self.0.to_le_bytes()[0] <= 3
    }
}

impl Present {
    #[inline]
    fn bit(tag: Tag) -> u64 {
        // The upper bits of the product, in which every bit of the tag has a say.
        1 << (tag.0.wrapping_mul(0x9e37_79b1) >> 26)
    }

    #[inline]
    fn lacks(self, tag: Tag) -> bool {
        self.0 & Self::bit(tag) == 0
    }

    fn add(&mut self, tag: Tag) {
        self.0 |= Self::bit(tag);
    }
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
        let mut read = Members::empty();
        while let Some(Name(name)) = members.next_key()? {
            if name == RAW {
                return Err(A::Error::custom(MARKED));
            }
            let value = members.next_value()?;
            if !read.add(name, value) {
                return Err(A::Error::custom(TWICE));
            }
        }
        if read.len() > FEW {
            read.all.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            if read.all.windows(2).any(|two| two[0].0 == two[1].0) {
                return Err(A::Error::custom(TWICE));
            }
        }
        Ok(read)
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
