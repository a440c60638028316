//! A policy as it is going to be written, right or wrong.

use crate::random::Random;

#[derive(Clone, Debug)]
pub(crate) enum Written {
    /// As it stands: `null`, a number, a string with its quotes.
    Raw(String),
    Text(String),
    List(Vec<Written>),
    Object(Vec<(String, Written)>),
}

impl Written {
    pub(crate) fn raw(text: &str) -> Self {
        Self::Raw(text.to_owned())
    }

    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(crate) fn texts(texts: &[String]) -> Self {
        Self::List(texts.iter().map(|text| Self::text(text)).collect())
    }

    pub(crate) fn object<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub(crate) fn push(&mut self, name: &str, value: Self) {
        if let Self::Object(members) = self {
            members.push((name.to_owned(), value));
        }
    }

    /// It and everything in it that is wanted, as steps from here.
    fn places(&self, wanted: fn(&Self) -> bool) -> Vec<Vec<usize>> {
        let mut places = Vec::new();
        if wanted(self) {
            places.push(Vec::new());
        }
        let inner: Vec<&Self> = match self {
            Self::List(items) => items.iter().collect(),
            Self::Object(members) => members.iter().map(|(_, value)| value).collect(),
            Self::Raw(_) | Self::Text(_) => Vec::new(),
        };
        for (index, value) in inner.into_iter().enumerate() {
            let below = value.places(wanted).into_iter();
            places.extend(below.map(|place| [vec![index], place].concat()));
        }
        places
    }

    fn at(&mut self, place: &[usize]) -> &mut Self {
        let Some((first, rest)) = place.split_first() else { return self };
        match self {
            Self::List(items) => items[*first].at(rest),
            Self::Object(members) => members[*first].1.at(rest),
            Self::Raw(_) | Self::Text(_) => self,
        }
    }

    /// Something in it that is wanted.
    pub(crate) fn any(
        &mut self,
        random: &mut Random,
        wanted: fn(&Self) -> bool,
    ) -> Option<&mut Self> {
        let place = random.choose(&self.places(wanted))?.clone();
        Some(self.at(&place))
    }

    /// The members of some object in it that is not empty.
    pub(crate) fn members(&mut self, random: &mut Random) -> Option<&mut Vec<(String, Self)>> {
        let filled = |one: &Self| matches!(one, Self::Object(members) if !members.is_empty());
        match self.any(random, filled)? {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The value of its own member.
    pub(crate) fn member(&mut self, wanted: &str) -> Option<&mut Self> {
        let Self::Object(members) = self else { return None };
        members.iter_mut().find(|(name, _)| name == wanted).map(|(_, value)| value)
    }

    /// Its text, with spaces and escapes that mean nothing.
    pub(crate) fn write(&self, random: &mut Random, airy: bool, text: &mut String) {
        match self {
            Self::Raw(raw) => text.push_str(raw),
            Self::Text(value) => quote(value, random, airy, text),
            Self::List(items) => {
                text.push('[');
                for (index, item) in items.iter().enumerate() {
                    separate(index, random, airy, text);
                    item.write(random, airy, text);
                }
                text.push(']');
            }
            Self::Object(members) => {
                text.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    separate(index, random, airy, text);
                    quote(name, random, airy, text);
                    space(random, airy, text);
                    text.push(':');
                    value.write(random, airy, text);
                }
                space(random, airy, text);
                text.push('}');
            }
        }
    }
}

fn separate(index: usize, random: &mut Random, airy: bool, text: &mut String) {
    if index > 0 {
        text.push(',');
    }
    space(random, airy, text);
}

fn space(random: &mut Random, airy: bool, text: &mut String) {
    if airy && random.once_in(3) {
        text.push_str(random.pick(&[" ", "\n", "\t", "\r\n", "  "]));
    }
}

fn quote(value: &str, random: &mut Random, airy: bool, text: &mut String) {
    text.push('"');
    for letter in value.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            '/' if airy && random.once_in(8) => text.push_str("\\/"),
            _ if letter < ' ' || (airy && random.once_in(40)) => {
                let mut units = [0; 2];
                for unit in letter.encode_utf16(&mut units) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
            _ => text.push(letter),
        }
    }
    text.push('"');
}
