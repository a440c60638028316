//! JSON in which every value knows where it stands, and no member is there twice.

use super::error::InvalidPolicy;

/// Where something begins, counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl Place {
    /// In no policy's text.
    pub(super) const NOWHERE: Self = Self { line: 0, column: 0 };
}

/// A value and where it begins.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// Policies have no numbers but in claims and in what they hand to audit loggers.
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// A member of an object, its name where it stands.
#[derive(Debug, PartialEq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) value: Node,
}

/// Two values are equal wherever they stand.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Node {
    /// The same without places.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => number.clone().into(),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Object(members) => {
                let member = |member: &Member| (member.name.clone(), member.value.to_json());
                members.iter().map(member).collect()
            }
        }
    }
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

/// How deep lists and objects may lie in each other.
const MAX_DEPTH: usize = 64;

/// Reads one value and nothing after it (RFC 8259).
pub(super) fn parse(text: &str) -> Result<Node, InvalidPolicy> {
    let mut reader = Reader { rest: text, place: Place { line: 1, column: 1 } };
    reader.space();
    let node = reader.value(0)?;
    reader.space();
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(reader.error("there is more text after the policy")),
    }
}

struct Reader<'a> {
    rest: &'a str,
    place: Place,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        if next == '\n' {
            self.place = Place { line: self.place.line + 1, column: 1 };
        } else {
            self.place.column += 1;
        }
        Some(next)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.next();
        }
        there
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.next();
        }
    }

    fn error(&self, message: impl Into<String>) -> InvalidPolicy {
        InvalidPolicy::unreadable(self.place, message)
    }

    fn expected(&self, what: &str) -> InvalidPolicy {
        match self.peek() {
            None => self.error(format!("the text ends where {what} should be")),
            Some(found) => self.error(format!("{found:?} stands where {what} should be")),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, InvalidPolicy> {
        if depth > MAX_DEPTH {
            return Err(self.error(format!("more than {MAX_DEPTH} lists and objects are nested")));
        }
        let place = self.place;
        let value = match self.peek() {
            Some('{') => self.object(depth)?,
            Some('[') => self.list(depth)?,
            Some('"') => Value::Text(self.text()?),
            Some('-' | '0'..='9') => self.number()?,
            Some('a'..='z') => self.word()?,
            _ => return Err(self.expected("a value")),
        };
        Ok(Node { place, value })
    }

    fn object(&mut self, depth: usize) -> Result<Value, InvalidPolicy> {
        self.next();
        let mut members: Vec<Member> = Vec::new();
        // Names are compared through a set: an object may have very many.
        let mut names = std::collections::HashSet::new();
        self.space();
        if self.eat('}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.space();
            let place = self.place;
            if self.peek() != Some('"') {
                return Err(self.expected("a name in quotes"));
            }
            let name = self.text()?;
            if !names.insert(name.clone()) {
                return Err(InvalidPolicy::unreadable(
                    place,
                    format!("the key {name:?} is there twice"),
                ));
            }
            self.space();
            if !self.eat(':') {
                return Err(self.expected("a colon"));
            }
            self.space();
            let value = self.value(depth + 1)?;
            members.push(Member { name, place, value });
            self.space();
            if self.eat('}') {
                return Ok(Value::Object(members));
            }
            if !self.eat(',') {
                return Err(self.expected("a comma or a closing brace"));
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, InvalidPolicy> {
        self.next();
        let mut items = Vec::new();
        self.space();
        if self.eat(']') {
            return Ok(Value::List(items));
        }
        loop {
            self.space();
            items.push(self.value(depth + 1)?);
            self.space();
            if self.eat(']') {
                return Ok(Value::List(items));
            }
            if !self.eat(',') {
                return Err(self.expected("a comma or a closing bracket"));
            }
        }
    }

    fn text(&mut self) -> Result<String, InvalidPolicy> {
        self.next();
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return Err(self.error("the text ends inside a string")),
                Some('"') => {
                    self.next();
                    return Ok(text);
                }
                Some('\\') => text.push(self.escape()?),
                Some(control) if control < ' ' => {
                    return Err(self.error("a control character inside a string"));
                }
                Some(plain) => {
                    text.push(plain);
                    self.next();
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, InvalidPolicy> {
        let start = self.place;
        self.next();
        let Some(kind) = self.next() else {
            return Err(self.error("the text ends inside a string"));
        };
        Ok(match kind {
            '"' | '\\' | '/' => kind,
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let first = self.hexadecimal()?;
                let code = match first {
                    0xd800..=0xdbff if self.eat('\\') && self.eat('u') => {
                        let second = self.hexadecimal()?;
                        match second {
                            0xdc00..=0xdfff => 0x10000 + ((first - 0xd800) << 10) + second - 0xdc00,
                            _ => first,
                        }
                    }
                    _ => first,
                };
                char::from_u32(code)
                    .ok_or_else(|| InvalidPolicy::unreadable(start, "half of a surrogate pair"))?
            }
            other => {
                return Err(InvalidPolicy::unreadable(
                    start,
                    format!("there is no escape \\{}", other.escape_default()),
                ));
            }
        })
    }

    fn hexadecimal(&mut self) -> Result<u32, InvalidPolicy> {
        let mut code = 0;
        for _ in 0..4 {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(16)) else {
                return Err(self.expected("one of four hexadecimal digits"));
            };
            code = code * 16 + digit;
            self.next();
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Value, InvalidPolicy> {
        let start = self.place;
        let in_number = |c: char| matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E');
        let end = self.rest.find(|c| !in_number(c)).unwrap_or(self.rest.len());
        let text = &self.rest[..end];
        let number = serde_json::from_str(text).map_err(|_| {
            InvalidPolicy::unreadable(start, format!("{text:?} is not a number, or out of range"))
        })?;
        for _ in 0..end {
            self.next();
        }
        Ok(Value::Number(number))
    }

    fn word(&mut self) -> Result<Value, InvalidPolicy> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let value = match &self.rest[..end] {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            _ => return Err(self.expected("a value")),
        };
        for _ in 0..end {
            self.next();
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(node: &Node) -> serde_json::Value {
        match &node.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(value) => value.clone().into(),
            Value::Text(value) => value.clone().into(),
            Value::List(items) => items.iter().map(plain).collect(),
            Value::Object(members) => {
                let members = members.iter().map(|m| (m.name.clone(), plain(&m.value)));
                serde_json::Value::Object(members.collect())
            }
        }
    }

    #[test]
    fn every_value_knows_where_it_stands() {
        let node = parse("{\n  \"é\": [true,\n\t-1.5e2]}").expect("JSON");
        let Value::Object(members) = &node.value else { panic!("an object") };
        assert_eq!(members[0].place, Place { line: 2, column: 3 });
        assert_eq!(members[0].value.place, Place { line: 2, column: 8 });
        let Value::List(items) = &members[0].value.value else { panic!("a list") };
        assert_eq!(items[1].place, Place { line: 3, column: 2 });
        assert_eq!(plain(&node), serde_json::json!({"é": [true, -150.0]}));
    }

    #[test]
    fn errors_say_line_and_column() {
        let deep = format!("{}{}", "[".repeat(80), "]".repeat(80));
        for (text, line, column, said) in [
            ("", 1, 1, "the text ends where a value should be"),
            ("{} x", 1, 4, "more text"),
            ("{\"a\":1,\n \"a\":2}", 2, 2, "\"a\" is there twice"),
            ("{\"a\":1,\n \"\\u0061\":2}", 2, 2, "\"a\" is there twice"),
            ("[1,]", 1, 4, "']' stands where a value"),
            ("{\"a\":1,}", 1, 8, "a name in quotes"),
            ("{\"a\" 1}", 1, 6, "a colon"),
            ("[1 2]", 1, 4, "a comma"),
            ("[01]", 1, 2, "\"01\" is not a number"),
            ("[1e999]", 1, 2, "out of range"),
            ("[+1]", 1, 2, "'+' stands"),
            ("nul", 1, 1, "a value"),
            ("\"a\nb\"", 1, 3, "a control character"),
            ("\"\\x\"", 1, 2, "no escape \\x"),
            ("\"\\ud800\"", 1, 2, "half of a surrogate pair"),
            ("\"\\ud800\\u0041\"", 1, 2, "half of a surrogate pair"),
            ("\"\\u00g0\"", 1, 6, "hexadecimal"),
            ("\"abc", 1, 5, "ends inside a string"),
            ("\u{feff}{}", 1, 1, "stands where a value"),
            ("/**/{}", 1, 1, "stands where a value"),
            (deep.as_str(), 1, 66, "nested"),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!((error.line(), error.column()), (line, column), "{text:?}: {error}");
            assert!(error.to_string().contains(said), "{text:?}: {error}");
        }
    }

    /// The other parser decides what is JSON; ours may only be stricter about repeated names.
    #[test]
    fn it_agrees_with_serde_json_on_mangled_text() {
        let seed =
            r#"{"a":[1,-2.5e3,true,false,null,"x\n\u00e9\ud83d\ude00/"],"b":{"c":{},"d":[]}}"#;
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % below as u64).expect("small")
        };
        let alphabet: Vec<char> = r#"{}[],:"\/u0123e.-+ntfalsr é"#.chars().collect();
        let mut read = 0;
        for _ in 0..20_000 {
            let mut text: Vec<char> = seed.chars().collect();
            for _ in 0..=random(3) {
                let at = random(text.len());
                match random(3) {
                    0 => text[at] = alphabet[random(alphabet.len())],
                    1 => drop(text.remove(at)),
                    _ => text.insert(at, alphabet[random(alphabet.len())]),
                }
            }
            let text: String = text.into_iter().collect();
            match (parse(&text), serde_json::from_str::<serde_json::Value>(&text)) {
                (Ok(ours), Ok(theirs)) => {
                    read += 1;
                    assert_eq!(plain(&ours), theirs, "{text}");
                }
                (Err(_), Err(_)) => {}
                (Err(ours), Ok(_)) => assert!(ours.to_string().contains("twice"), "{text}: {ours}"),
                (Ok(_), Err(theirs)) => panic!("{text}: {theirs}"),
            }
        }
        assert!(read > 1_000, "{read}");
    }
}
