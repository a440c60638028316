//! What a policy's text holds, read without either side: where the two differ by intent, the
//! reason has to stand in the text.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

/// A value in which no member is lost, however often its name is there.
#[derive(Debug)]
enum Tree {
    Null,
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
    Other,
}

#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Two rules of one list have one name.
    pub(crate) duplicate_rule_name: bool,
    /// A member is there twice.
    pub(crate) repeated_key: bool,
    /// Something stands after the policy.
    pub(crate) trailing_text: bool,
    /// A known key is written with other capitals.
    pub(crate) key_in_other_case: bool,
    pub(crate) null: bool,
    /// A header is asked for that HTTP cannot carry.
    pub(crate) impossible_header_key: bool,
    pub(crate) empty_audit_condition: bool,
    pub(crate) half_a_surrogate_pair: bool,
    pub(crate) deep_nesting: bool,
    /// The name of an audit logger has a slash in it.
    pub(crate) slash_in_logger_name: bool,
    /// Our own key stands somewhere.
    pub(crate) own_key: bool,
    /// A rule asks for a header whose name ends in `-bin`.
    pub(crate) binary_header: bool,
    /// One rule asks twice for one header.
    pub(crate) header_twice: bool,
}

impl Facts {
    pub(crate) fn of(text: &str) -> Self {
        let mut facts = Self { half_a_surrogate_pair: has_half_a_pair(text), ..Self::default() };
        // As Go reads it, so that the rest can be read too.
        let whole = if facts.half_a_surrogate_pair { mended(text) } else { text.to_owned() };
        let text = whole.as_str();
        let mut reader = serde_json::Deserializer::from_str(text).into_iter::<Tree>();
        let Some(Ok(tree)) = reader.next() else { return facts };
        let space = [' ', '\t', '\r', '\n'];
        facts.trailing_text = !text[reader.byte_offset()..].trim_matches(space).is_empty();
        facts.deep_nesting = tree.depth() > 64;
        facts.look(&tree, &POLICY);
        facts
    }

    fn look(&mut self, tree: &Tree, kind: &Kind) {
        match tree {
            Tree::Null => self.null |= kind.name != CONFIG.name,
            Tree::Text(_) | Tree::Other => {}
            Tree::List(items) => {
                self.rule_names(items, kind);
                items.iter().for_each(|item| self.look(item, kind));
            }
            Tree::Object(members) => {
                let mut names = HashSet::new();
                for (name, value) in members {
                    // Members of one name, however it is written, fill one field over there.
                    self.repeated_key |= !names.insert(name);
                    self.own_key |= name == "countersign";
                    let member = kind.keys.iter().find(|(key, _)| key == name);
                    let folded = kind.keys.iter().any(|(key, _)| *key == fold(name));
                    self.key_in_other_case |= member.is_none() && folded;
                    self.value(kind, name, value);
                    let beyond = if kind.name == CONFIG.name { &CONFIG } else { &ANY };
                    self.look(value, member.map_or(beyond, |(_, kind)| kind));
                }
                if kind.name == "request" {
                    self.headers(members);
                }
            }
        }
    }

    fn rule_names(&mut self, items: &[Tree], kind: &Kind) {
        let mut names = HashSet::new();
        let found = items.iter().filter_map(|item| item.text("name"));
        self.duplicate_rule_name |= kind.name == "rule" && !found.clone().all(|n| names.insert(n));
    }

    fn value(&mut self, kind: &Kind, name: &str, value: &Tree) {
        self.null |= name == CONFIG.name && matches!(value, Tree::Null);
        let Tree::Text(text) = value else { return };
        match (kind.name, name) {
            ("header", "key") => {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
                self.impossible_header_key |= !text.bytes().all(plain);
                self.binary_header |= text.to_ascii_lowercase().ends_with("-bin");
            }
            ("audit", "audit_condition") => self.empty_audit_condition |= text.is_empty(),
            ("logger", "name") => self.slash_in_logger_name |= text.contains('/'),
            _ => {}
        }
    }

    fn headers(&mut self, members: &[(String, Tree)]) {
        let mut keys = HashSet::new();
        let lists = members.iter().filter(|(name, _)| name == "headers").map(|(_, list)| list);
        for list in lists {
            let Tree::List(items) = list else { continue };
            let found = items.iter().filter_map(|item| item.text("key"));
            self.header_twice |= !found.map(str::to_ascii_lowercase).all(|key| keys.insert(key));
        }
    }
}

impl Tree {
    /// In how many lists and objects the deepest value lies.
    fn depth(&self) -> usize {
        match self {
            Self::List(items) => items.iter().map(|item| item.depth() + 1).max(),
            Self::Object(members) => members.iter().map(|(_, value)| value.depth() + 1).max(),
            Self::Null | Self::Text(_) | Self::Other => None,
        }
        .unwrap_or(0)
    }

    fn text(&self, wanted: &str) -> Option<&str> {
        let Self::Object(members) = self else { return None };
        members.iter().find_map(|(name, value)| match value {
            Self::Text(text) if name == wanted => Some(text.as_str()),
            _ => None,
        })
    }
}

/// The objects of a policy (gRFC A43, gRFC A59) and their keys.
struct Kind {
    name: &'static str,
    keys: &'static [(&'static str, &'static Kind)],
}

static ANY: Kind = Kind { name: "any", keys: &[] };
/// Whatever an audit logger wants, null too.
static CONFIG: Kind = Kind { name: "config", keys: &[] };
static HEADER: Kind = Kind { name: "header", keys: &[("key", &ANY), ("values", &ANY)] };
static REQUEST: Kind = Kind { name: "request", keys: &[("paths", &ANY), ("headers", &HEADER)] };
static SOURCE: Kind = Kind { name: "source", keys: &[("principals", &ANY)] };
static RULE: Kind =
    Kind { name: "rule", keys: &[("name", &ANY), ("source", &SOURCE), ("request", &REQUEST)] };
static LOGGER: Kind =
    Kind { name: "logger", keys: &[("name", &ANY), ("config", &CONFIG), ("is_optional", &ANY)] };
static AUDIT: Kind =
    Kind { name: "audit", keys: &[("audit_condition", &ANY), ("audit_loggers", &LOGGER)] };
static POLICY: Kind = Kind {
    name: "policy",
    keys: &[
        ("name", &ANY),
        ("deny_rules", &RULE),
        ("allow_rules", &RULE),
        ("audit_logging_options", &AUDIT),
    ],
};

/// As Go's `encoding/json` compares names: two letters outside ASCII are folded into it.
fn fold(name: &str) -> String {
    let folded = name.chars().map(|letter| match letter {
        'ſ' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    });
    folded.collect()
}

/// Whether an escape stands for half of a surrogate pair and the other half is not beside it.
fn has_half_a_pair(text: &str) -> bool {
    let mut escapes = text.split('\\').skip(1).peekable();
    while let Some(escape) = escapes.next() {
        match unit(escape) {
            // A backslash that is escaped: what follows is no escape.
            None if escape.is_empty() => drop(escapes.next()),
            Some(0xd800..=0xdbff) if escape.len() == 5 => {
                match escapes.next_if(|next| matches!(unit(next), Some(0xdc00..=0xdfff))) {
                    Some(_) => {}
                    None => return true,
                }
            }
            Some(0xd800..=0xdfff) => return true,
            _ => {}
        }
    }
    false
}

/// The UTF-16 unit of `u` and four digits.
fn unit(escape: &str) -> Option<u16> {
    u16::from_str_radix(escape.strip_prefix('u')?.get(..4)?, 16).ok()
}

/// The text with U+FFFD in place of all halves of surrogate pairs.
fn mended(text: &str) -> String {
    let parts = text.split('\\').map(|part| match unit(part) {
        Some(0xd800..=0xdfff) => format!("ufffd{}", &part[5..]),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("\\")
}

impl<'de> serde::Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Tree, E> {
        Ok(Tree::Other)
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element()? {
            all.push(item);
        }
        Ok(Tree::List(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Tree, A::Error> {
        let mut all = Vec::new();
        while let Some(member) = members.next_entry()? {
            all.push(member);
        }
        Ok(Tree::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_what_is_odd_about_it() {
        let in_rule = |rule: &str| format!(r#"{{"name":"p","allow_rules":[{rule}]}}"#);
        let facts = |text: &str| Facts::of(text);
        let plain = facts(&in_rule(r#"{"name":"a"},{"name":"b"}"#));
        assert!(!plain.duplicate_rule_name && !plain.repeated_key && !plain.trailing_text);
        assert!(!plain.key_in_other_case && !plain.null && !plain.own_key);
        assert!(facts(&in_rule(r#"{"name":"a"},{"name":"a"}"#)).duplicate_rule_name);
        assert!(facts(&in_rule(r#"{"name":"a","n\u0061me":"b"}"#)).repeated_key);
        for (text, is_half) in [
            (r"\ud800", true),
            (r"\ud83d\ude00", false),
            (r"\ud83dx\ude00", true),
            (r"\\ud800", false),
            (r"\\\ud800", true),
            (r"\ude00", true),
        ] {
            assert_eq!(has_half_a_pair(text), is_half, "{text}");
        }
        assert!(facts("{} x").trailing_text && facts("{}\u{a0}").trailing_text);
        assert!(!facts("{} ").trailing_text);
        assert!(facts(&in_rule(r#"{"Name":"a"}"#)).key_in_other_case);
        assert!(facts(&in_rule(r#"{"name":"a","source":null}"#)).null);
    }
}
