use super::error::InvalidPolicy;
use super::json::{Node, Place, Value};

/// An object of which every key is known.
#[derive(Clone, Copy)]
pub(super) struct Fields<'n> {
    node: &'n Node,
}

impl<'n> Fields<'n> {
    /// `what` names the object in complaints.
    pub(super) fn of(node: &'n Node, what: &str, known: &[&str]) -> Result<Self, InvalidPolicy> {
        let Value::Object(members) = &node.value else {
            return Err(mistyped(node, what, "an object"));
        };
        for member in members {
            if !known.contains(&member.name.as_str()) {
                let message = format!("unknown key {:?} in {what}", member.name);
                let error = InvalidPolicy::unreadable(member.place, message);
                let known_here = format!("the keys here are {}", known.join(", "));
                return Err(error.with_hint(match nearest(&member.name, known) {
                    Some(name) => format!("did you mean {name:?}? {known_here}"),
                    None => known_here,
                }));
            }
        }
        Ok(Self { node })
    }

    pub(super) fn place(&self) -> Place {
        self.node.place
    }

    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        let Value::Object(members) = &self.node.value else { return None };
        members.iter().find(|member| member.name == name).map(|member| &member.value)
    }

    /// A text that has to be there; an empty one is none.
    pub(super) fn name(&self, name: &str) -> Result<&'n str, InvalidPolicy> {
        let text = match self.get(name) {
            Some(node) => text(node, &format!("{name:?}"))?,
            None => "",
        };
        if text.is_empty() { Err(self.absent(name)) } else { Ok(text) }
    }

    /// The items of a list; none where there is no list.
    pub(super) fn list(&self, name: &str) -> Result<&'n [Node], InvalidPolicy> {
        self.get(name).map_or(Ok(&[][..]), |node| list(node, &format!("{name:?}")))
    }

    /// A list of texts; empty where there is none.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>, InvalidPolicy> {
        let items = self.list(name)?.iter();
        items.map(|item| text(item, &format!("an item of {name:?}")).map(str::to_owned)).collect()
    }

    /// A list of texts that is not empty where it is there: for keys of our own, where nobody
    /// has to guess whether none means any.
    pub(super) fn some_texts(&self, name: &str) -> Result<Option<Vec<String>>, InvalidPolicy> {
        let Some(node) = self.get(name) else { return Ok(None) };
        let texts = self.texts(name)?;
        match texts.is_empty() {
            true => Err(empty(node.place, name)),
            false => Ok(Some(texts)),
        }
    }

    pub(super) fn absent(&self, name: &str) -> InvalidPolicy {
        InvalidPolicy::new(self.place(), format!("{name:?} is not present"))
    }
}

pub(super) fn empty(place: Place, name: &str) -> InvalidPolicy {
    InvalidPolicy::new(place, format!("{name:?} is empty"))
        .with_hint("leave the key out to ask for nothing")
}

pub(super) fn text<'n>(node: &'n Node, what: &str) -> Result<&'n str, InvalidPolicy> {
    match &node.value {
        Value::Text(text) => Ok(text),
        _ => Err(mistyped(node, what, "a string")),
    }
}

pub(super) fn list<'n>(node: &'n Node, what: &str) -> Result<&'n [Node], InvalidPolicy> {
    match &node.value {
        Value::List(items) => Ok(items),
        _ => Err(mistyped(node, what, "a list")),
    }
}

pub(super) fn boolean(node: &Node, what: &str) -> Result<bool, InvalidPolicy> {
    match node.value {
        Value::Bool(value) => Ok(value),
        _ => Err(mistyped(node, what, "a boolean")),
    }
}

pub(super) fn mistyped(node: &Node, what: &str, wanted: &str) -> InvalidPolicy {
    let error = InvalidPolicy::unreadable(
        node.place,
        format!("{what} is {}, and should be {wanted}", node.value.kind()),
    );
    match node.value {
        Value::Null => error.with_hint("leave the key out instead: null says neither any nor none"),
        _ => error,
    }
}

/// The known name that is at most two slips of the pen away, whatever the case.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    let distances = known.iter().map(|known| (distance(&name, known), *known));
    distances.filter(|(distance, _)| *distance <= 2).min().map(|(_, known)| known)
}

/// Levenshtein's, for short ASCII names.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let next = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}
