use super::condition::Condition;
use super::options::RepeatedHeaders;
use super::parse::Rule;
use super::pattern::{Pattern, TextSet};
use super::{Effect, Policy};
use crate::identity::MethodPath;

/// Something in a valid policy that is hardly meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyLint {
    /// What it is, for machines; never changes meaning.
    pub code: &'static str,
    /// The rule's line, counted from 1.
    pub line: u32,
    /// The rule's column, counted from 1.
    pub column: u32,
    /// What it is, as a clause that names the rule.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

pub(super) fn policy(policy: &Policy) -> Vec<PolicyLint> {
    let mut found = Vec::new();
    let inner = &policy.inner;
    for (effect, index) in [(Effect::Deny, &inner.deny), (Effect::Allow, &inner.allow)] {
        for rule in index.rules() {
            let mut lints = Lints { rule, found: &mut found };
            if rule.conditions.is_empty() {
                lints.everything(effect);
            }
            lints.empty();
            for condition in &rule.conditions {
                lints.condition(condition);
                let joined = inner.options.repeated_headers == RepeatedHeaders::Joined;
                match (effect, condition) {
                    (Effect::Deny, one) if joined => lints.escapable(one),
                    (Effect::Allow, Condition::Not(one)) if joined => lints.escapable(one),
                    _ => {}
                }
            }
        }
    }
    found
}

struct Lints<'a> {
    rule: &'a Rule,
    found: &'a mut Vec<PolicyLint>,
}

impl Lints<'_> {
    fn add(&mut self, code: &'static str, what: &str, hint: &'static str) {
        let (line, column) = (self.rule.place.line, self.rule.place.column);
        let message = format!("rule {:?} {what}", self.rule.name);
        self.found.push(PolicyLint { code, line, column, message, hint });
    }

    fn everything(&mut self, effect: Effect) {
        match effect {
            Effect::Allow => self.add(
                "allows-everything",
                "allows every call of everybody that no other rule denies",
                "give it principals or paths",
            ),
            Effect::Deny => self.add(
                "denies-everything",
                "denies every call, whatever else is allowed",
                "give it principals or paths, or take the server down",
            ),
        }
    }

    fn empty(&mut self) {
        for list in &self.rule.empty {
            let any = match *list {
                "principals" => "everybody fits",
                "paths" => "every method fits",
                _ => "any headers fit",
            };
            self.add(
                "empty-list",
                &format!("has an empty {list:?}, which asks for nothing: {any}"),
                "leave the key out where any will do, and the rule where none should",
            );
        }
    }

    fn condition(&mut self, condition: &Condition) {
        match condition {
            Condition::Paths(paths) => {
                self.stars(paths);
                for path in paths.written().iter().filter(|path| is_for_no_method(path)) {
                    self.add(
                        "dead-path",
                        &format!("has the path {path:?}, which no method has"),
                        "write /package.Service/Method, /package.Service/* or */Method",
                    );
                }
            }
            Condition::Principals(texts)
            | Condition::ApiKeyOwners(texts)
            | Condition::Authenticators(texts) => self.stars(texts),
            Condition::Header { key, values } => {
                self.stars(values);
                let present = values.written() == ["*"];
                if key.as_str().ends_with("-bin") && !present {
                    self.add(
                        "binary-header",
                        &format!("compares {key}, of which one value has several spellings"),
                        "ask for its presence with \"*\"",
                    );
                }
                if CREDENTIALS.contains(&key.as_str()) && !present {
                    self.add(
                        "credential-header",
                        &format!("has a value of {key}, a secret"),
                        "let an authenticator prove it, and name the principal here",
                    );
                }
            }
            Condition::Groups(groups) => {
                groups.parts().for_each(|part| self.stars(&part.principals));
                groups.parts().for_each(|part| self.stars(&part.owners));
            }
            Condition::Not(inner) => self.condition(inner),
            _ => {}
        }
    }

    fn stars(&mut self, texts: &TextSet) {
        let literal = |text: &&String| Pattern::parse(text).literal().contains('*');
        for text in texts.written().iter().filter(literal) {
            self.add(
                "literal-star",
                &format!("has {text:?}, in which a star stands for itself"),
                "a star means anything only as the last character or the first, not both",
            );
        }
    }

    fn escapable(&mut self, condition: &Condition) {
        if let Condition::Header { key, values } = condition
            && values.written().iter().any(|text| !matches!(Pattern::parse(text), Pattern::Present))
        {
            self.add(
                "escapable-denial",
                &format!("keeps out by {key}, and a caller that sends it twice is not kept out"),
                "set \"repeated_headers\" to \"strictest\", or allow by the header instead",
            );
        }
    }
}

const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "x-api-key"];

fn is_for_no_method(pattern: &str) -> bool {
    match Pattern::parse(pattern) {
        Pattern::Present => false,
        Pattern::Exact(path) => MethodPath::parse(path).is_err(),
        // Whatever follows or goes before has to make it a path.
        Pattern::Prefix(prefix) => {
            !prefix.starts_with('/')
                || !["x", "x/x", "/x"].iter().any(|rest| is_path(&format!("{prefix}{rest}")))
        }
        Pattern::Suffix(suffix) => {
            !["/x/x", "/x", "/x/"].iter().any(|rest| is_path(&format!("{rest}{suffix}")))
                && !is_path(suffix)
        }
    }
}

fn is_path(path: &str) -> bool {
    MethodPath::parse(path).is_ok()
}
