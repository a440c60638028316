//! From JSON to rules: gRFC A43 by the letter, and our own keys under `countersign`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use http::header::HeaderName;

use super::audit::{self, AuditOptions};
use super::condition::Condition;
use super::error::InvalidPolicy;
use super::fields::{Fields, text};
use super::groups::Groups;
use super::json::{self, Node, Place};
use super::options::PolicyOptions;
use super::pattern::TextSet;
use super::{Policy, own};

/// A policy as it was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) name: String,
    pub(super) deny: Vec<Rule>,
    pub(super) allow: Vec<Rule>,
    pub(super) audit: AuditOptions,
    pub(super) options: PolicyOptions,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) place: Place,
    pub(super) conditions: Vec<Condition>,
    /// The lists in it that are there and empty, and so ask for nothing.
    pub(super) empty: Vec<&'static str>,
}

/// What a rule may refer to.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) groups: &'a Groups,
    /// The policy's text, for places in it.
    pub(super) text: &'a str,
}

pub(super) fn json(text: &str, options: &PolicyOptions) -> Result<Written, InvalidPolicy> {
    bounded(text)?;
    policy(&json::parse(text)?, text, options)
}

#[cfg(feature = "toml")]
pub(super) fn toml(text: &str, options: &PolicyOptions) -> Result<Written, InvalidPolicy> {
    bounded(text)?;
    policy(&super::toml::parse(text)?, text, options)
}

#[cfg(feature = "yaml")]
pub(super) fn yaml(text: &str, options: &PolicyOptions) -> Result<Written, InvalidPolicy> {
    bounded(text)?;
    policy(&super::yaml::parse(text)?, text, options)
}

/// What a text says in the language that its file's name tells.
pub(super) fn tree(name: &Path, text: &str) -> Result<Node, InvalidPolicy> {
    bounded(text)?;
    match name.extension().and_then(|extension| extension.to_str()) {
        #[cfg(feature = "toml")]
        Some("toml") => super::toml::parse(text),
        #[cfg(feature = "yaml")]
        Some("yaml" | "yml") => super::yaml::parse(text),
        _ => json::parse(text),
    }
}

/// Whether a part of a text in the language that its file's name tells may be a policy too: where
/// nothing stands at its end that would be missing.
pub(super) fn may_be_cut(name: &Path) -> bool {
    let extension = name.extension().and_then(|extension| extension.to_str());
    let is_toml = cfg!(feature = "toml") && extension == Some("toml");
    let is_yaml = cfg!(feature = "yaml") && matches!(extension, Some("yaml" | "yml"));
    is_toml || is_yaml
}

fn bounded(text: &str) -> Result<(), InvalidPolicy> {
    if u64::try_from(text.len()).is_ok_and(|length| length <= Policy::MAX_BYTES) {
        return Ok(());
    }
    let start = Place { line: 1, column: 1 };
    Err(InvalidPolicy::unreadable(start, "it is longer than 16 MiB"))
}

pub(super) fn policy(
    node: &Node,
    text: &str,
    options: &PolicyOptions,
) -> Result<Written, InvalidPolicy> {
    let known = ["name", "deny_rules", "allow_rules", "audit_logging_options", own::KEY];
    let fields = Fields::of(node, "the policy", &known)?;
    let name = fields.name("name")?.to_owned();
    let mut options = options.clone();
    let groups = match fields.get(own::KEY) {
        Some(node) => own::options(node, &mut options)?,
        None => Groups::default(),
    };
    let around = Around { groups: &groups, text };
    let deny = rules(fields, "deny_rules", around)?;
    let allow = rules(fields, "allow_rules", around)?;
    let audit = match fields.get("audit_logging_options") {
        Some(node) => audit::options(node, &options.audit_loggers)?,
        None => AuditOptions::default(),
    };
    let annotations = options.annotations.clone();
    let mut written = Written { name, deny, allow, audit, options };
    annotations.add_to(&mut written, &groups, fields.place())?;
    if written.allow.is_empty() {
        return Err(fields.absent("allow_rules"));
    }
    Ok(written)
}

fn rules(fields: Fields<'_>, list: &str, around: Around<'_>) -> Result<Vec<Rule>, InvalidPolicy> {
    let mut names = HashMap::new();
    let mut rules: Vec<Rule> = Vec::new();
    for (index, node) in fields.list(list)?.iter().enumerate() {
        let part = format!("{list:?} {index}");
        let rule = rule(node, around).map_err(|error| error.within(&part))?;
        // Readers that keep rules in a map lose the first of two, a denial perhaps.
        if let Some(first) = names.insert(Arc::clone(&rule.name), rule.place.line) {
            let message = format!("the name {:?} is there twice", rule.name);
            return Err(InvalidPolicy::new(rule.place, message)
                .within(part)
                .with_hint(format!("the other rule of this name is in line {first}")));
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn rule(node: &Node, around: Around<'_>) -> Result<Rule, InvalidPolicy> {
    let fields = Fields::of(node, "a rule", &["name", "source", "request", own::KEY])?;
    let name = fields.name("name")?.into();
    let (mut conditions, mut empty) = (Vec::new(), Vec::new());
    if let Some(node) = fields.get("request") {
        request(node, &mut conditions, &mut empty)?;
    }
    if let Some(node) = fields.get("source") {
        source(node, &mut conditions, &mut empty, around)?;
    }
    // Last, as the dearest to ask.
    if let Some(node) = fields.get(own::KEY) {
        own::rule(node, &mut conditions, around)?;
    }
    Ok(Rule { name, place: fields.place(), conditions, empty })
}

fn source(
    node: &Node,
    conditions: &mut Vec<Condition>,
    empty: &mut Vec<&'static str>,
    around: Around<'_>,
) -> Result<(), InvalidPolicy> {
    let fields = Fields::of(node, "\"source\"", &["principals", own::KEY])?;
    if let Some(principals) = asked(fields, "principals", empty)? {
        conditions.push(Condition::Principals(TextSet::new(&principals)));
    }
    match fields.get(own::KEY) {
        Some(node) => own::source(node, conditions, around),
        None => Ok(()),
    }
}

fn request(
    node: &Node,
    conditions: &mut Vec<Condition>,
    empty: &mut Vec<&'static str>,
) -> Result<(), InvalidPolicy> {
    let fields = Fields::of(node, "\"request\"", &["paths", "headers", own::KEY])?;
    if let Some(paths) = asked(fields, "paths", empty)? {
        conditions.push(Condition::Paths(TextSet::new(&paths)));
    }
    if fields.get("headers").is_some() && fields.list("headers")?.is_empty() {
        empty.push("headers");
    }
    for (index, node) in fields.list("headers")?.iter().enumerate() {
        let header = header(node).map_err(|e| e.within(format!("\"headers\" {index}")))?;
        conditions.push(header);
    }
    match fields.get(own::KEY) {
        Some(node) => own::request(node, conditions),
        None => Ok(()),
    }
}

/// A list of texts, one of which has to match. An empty one is no condition (gRFC A43), and is
/// noted.
fn asked(
    fields: Fields<'_>,
    name: &'static str,
    empty: &mut Vec<&'static str>,
) -> Result<Option<Vec<String>>, InvalidPolicy> {
    let texts = fields.texts(name)?;
    if texts.is_empty() && fields.get(name).is_some() {
        empty.push(name);
    }
    Ok(Some(texts).filter(|texts| !texts.is_empty()))
}

pub(super) fn header(node: &Node) -> Result<Condition, InvalidPolicy> {
    let fields = Fields::of(node, "a header", &["key", "values"])?;
    let key = fields.name("key")?;
    let place = fields.get("key").map_or(fields.place(), |node| node.place);
    let lower = key.to_ascii_lowercase();
    if lower.starts_with(':')
        || lower.starts_with("grpc-")
        || UNSUPPORTED_HEADERS.contains(&lower.as_str())
    {
        return Err(InvalidPolicy::new(place, format!("unsupported \"key\" {key}"))
            .with_hint("what transports own is no header here; write \"paths\" for `:path`"));
    }
    let key = HeaderName::from_bytes(lower.as_bytes()).map_err(|_| {
        InvalidPolicy::new(place, format!("no header can have the \"key\" {key:?}"))
    })?;
    let values = fields.texts("values")?;
    if values.is_empty() {
        return Err(fields.absent("values"));
    }
    Ok(Condition::Header { key, values: TextSet::new(&values) })
}

/// `Host` and the headers of one hop (gRFC A43, RFC 7230 §6.1).
const UNSUPPORTED_HEADERS: [&str; 9] = [
    "host",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// One of several words.
pub(super) fn word<T: Copy>(
    node: &Node,
    what: &str,
    words: &[(&str, T)],
) -> Result<T, InvalidPolicy> {
    let found = text(node, what)?;
    let known = words.iter().find(|(word, _)| *word == found);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        InvalidPolicy::new(node.place, format!("{what} is {found:?}"))
            .with_hint(format!("it may be {}", words.join(", ")))
    })
}
