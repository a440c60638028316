//! YAML as the same tree that JSON is read into, for policies written by hand.
//!
//! YAML 1.2 with its core schema, so that `no` and `on` are texts. Anchors, aliases and tags are
//! refused: a policy has no use for them, and a few lines of them can stand for gigabytes.

use std::collections::HashSet;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::error::InvalidPolicy;
use super::json::{Member, Node, Place, Value};

/// How deep lists and objects may lie in each other, as in JSON.
const MAX_DEPTH: usize = 64;

/// Reads one document and nothing after it.
pub(super) fn parse(text: &str) -> Result<Node, InvalidPolicy> {
    let mut reader =
        Reader { events: Parser::new_from_str(text), last: Place { line: 1, column: 1 } };
    loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_), _) => {}
            (Event::StreamEnd, _) => return Err(reader.error("there is no policy")),
            (event, place) => {
                let node = reader.node(event, place, 0)?;
                return reader.end().map(|()| node);
            }
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    last: Place,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Place), InvalidPolicy> {
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                self.last = place(&span);
                Ok((event, self.last))
            }
            Some(Err(error)) => Err(scan_error(&error)),
            None => Err(self.error("the text ends too early")),
        }
    }

    fn error(&self, message: &str) -> InvalidPolicy {
        InvalidPolicy::unreadable(self.last, message)
    }

    /// Nothing may follow but the end.
    fn end(&mut self) -> Result<(), InvalidPolicy> {
        loop {
            match self.next()? {
                (Event::DocumentEnd, _) => {}
                (Event::StreamEnd, _) => return Ok(()),
                _ => return Err(self.error("there is more text after the policy")),
            }
        }
    }

    fn node(
        &mut self,
        event: Event<'a>,
        place: Place,
        depth: usize,
    ) -> Result<Node, InvalidPolicy> {
        if depth > MAX_DEPTH {
            return Err(self.error("more than 64 lists and objects are nested"));
        }
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.plain(anchor, tag.is_some())?;
                match style {
                    ScalarStyle::Plain => scalar(&text, place)?,
                    _ => Value::Text(text.into_owned()),
                }
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain(anchor, tag.is_some())?;
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break Value::List(items),
                        (event, place) => items.push(self.node(event, place, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(anchor, tag) => {
                self.plain(anchor, tag.is_some())?;
                self.object(depth)?
            }
            Event::Alias(_) => return Err(self.error("there are no aliases in a policy")),
            _ => return Err(self.error("a value is missing")),
        };
        Ok(Node { place, value })
    }

    fn object(&mut self, depth: usize) -> Result<Value, InvalidPolicy> {
        let mut members: Vec<Member> = Vec::new();
        let mut names = HashSet::new();
        loop {
            let (event, place) = self.next()?;
            let name = match event {
                Event::MappingEnd => return Ok(Value::Object(members)),
                Event::Scalar(name, _, anchor, tag) => {
                    self.plain(anchor, tag.is_some())?;
                    name.into_owned()
                }
                _ => return Err(self.error("a key is not a text")),
            };
            if !names.insert(name.clone()) {
                let message = format!("the key {name:?} is there twice");
                return Err(InvalidPolicy::unreadable(place, message));
            }
            let (event, at) = self.next()?;
            let value = self.node(event, at, depth + 1)?;
            members.push(Member { name, place, value });
        }
    }

    fn plain(&self, anchor: usize, tagged: bool) -> Result<(), InvalidPolicy> {
        match (anchor, tagged) {
            (0, false) => Ok(()),
            (_, true) => Err(self.error("there are no tags in a policy")),
            (_, false) => Err(self.error("there are no anchors in a policy")),
        }
    }
}

/// What a text without quotes is (YAML 1.2.2 §10.3.2), as far as JSON has it.
fn scalar(text: &str, place: Place) -> Result<Value, InvalidPolicy> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ if text.starts_with(|c: char| matches!(c, '0'..='9' | '-' | '+' | '.')) => {
            match serde_json::from_str(text) {
                Ok(number) => Value::Number(number),
                Err(_) if is_number(text) => {
                    let message = format!("{text:?} is a number that JSON does not have");
                    return Err(InvalidPolicy::unreadable(place, message)
                        .with_hint("put it into quotes if it is a text"));
                }
                Err(_) => Value::Text(text.to_owned()),
            }
        }
        _ => Value::Text(text.to_owned()),
    })
}

/// Whether YAML takes it for a number: then it is not quietly a text.
fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['-', '+']);
    let special = [".inf", ".Inf", ".INF", ".nan", ".NaN", ".NAN"].contains(&digits);
    let based = |prefix: &str, of: fn(char) -> bool| {
        digits.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty() && rest.chars().all(of))
    };
    special
        || digits.parse::<f64>().is_ok()
        || based("0x", |c| c.is_ascii_hexdigit())
        || based("0o", |c| c.is_digit(8))
}

fn place(span: &Span) -> Place {
    let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
    Place { line: count(span.start.line()).max(1), column: count(span.start.col() + 1) }
}

fn scan_error(error: &ScanError) -> InvalidPolicy {
    let at = error.marker();
    InvalidPolicy::unreadable(place(&Span::empty(*at)), error.info())
}
