//! TOML as the same tree that JSON is read into, for policies written by hand.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::InvalidPolicy;
use super::json::{Member, Node, Place, Value};

/// Reads a document. That a key is not there twice is TOML's own rule.
pub(super) fn parse(text: &str) -> Result<Node, InvalidPolicy> {
    let places = Places::new(text);
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        InvalidPolicy::unreadable(places.of(at), error.message())
    })?;
    Ok(Node { place: places.of(0), value: object(table.get_ref(), &places)? })
}

fn object(table: &DeTable<'_>, places: &Places<'_>) -> Result<Value, InvalidPolicy> {
    let member = |(name, value): (&Spanned<_>, &Spanned<_>)| {
        let place = places.of(name.span().start);
        let name: &std::borrow::Cow<'_, str> = name.get_ref();
        Ok(Member { name: name.to_string(), place, value: node(value, places)? })
    };
    table.iter().map(member).collect::<Result<_, _>>().map(Value::Object)
}

fn node(value: &Spanned<DeValue<'_>>, places: &Places<'_>) -> Result<Node, InvalidPolicy> {
    let place = places.of(value.span().start);
    let number = |text: &str| {
        let number = serde_json::from_str(text).map(Value::Number);
        number.map_err(|_| InvalidPolicy::unreadable(place, "a number that JSON does not have"))
    };
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) if integer.radix() == 10 => number(integer.as_str())?,
        DeValue::Float(float) => number(float.as_str())?,
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| node(item, places)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => object(table, places)?,
        DeValue::Integer(_) | DeValue::Datetime(_) => {
            return Err(InvalidPolicy::unreadable(place, "a value that JSON does not have"));
        }
    };
    Ok(Node { place, value })
}

/// Where the lines begin.
struct Places<'a> {
    text: &'a str,
    lines: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        let after = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, lines: std::iter::once(0).chain(after).collect() }
    }

    fn of(&self, at: usize) -> Place {
        let line = self.lines.partition_point(|start| *start <= at).max(1);
        let start = self.lines[line - 1];
        let before = self.text.get(start..at).map_or(0, |before| before.chars().count());
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        Place { line: count(line), column: count(before + 1) }
    }
}
