//! What stands under our own key. A file without it is plain gRFC A43.

use super::cel::Expression;
use super::condition::{Condition, Network, Window};
use super::error::InvalidPolicy;
use super::fields::{Fields, empty, list, mistyped, text};
use super::groups::Groups;
use super::json::{Node, Value};
use super::options::{CertificateNames, PolicyOptions, RepeatedHeaders};
use super::parse::{Around, header, word};
use super::pattern::TextSet;
use super::tokens::{ClaimValues, TokenRule, TokenSet};

/// The one key that gRFC A43 does not know.
pub(super) const KEY: &str = "countersign";

/// What holds for the whole policy, and the groups in it.
pub(super) fn options(node: &Node, options: &mut PolicyOptions) -> Result<Groups, InvalidPolicy> {
    let known = ["certificate_names", "repeated_headers", "groups"];
    let fields = Fields::of(node, "\"countersign\" of the policy", &known)?;
    if let Some(node) = fields.get("certificate_names") {
        options.certificate_names = word(node, "\"certificate_names\"", &CertificateNames::ALL)?;
    }
    if let Some(node) = fields.get("repeated_headers") {
        options.repeated_headers = word(node, "\"repeated_headers\"", &RepeatedHeaders::ALL)?;
    }
    fields.get("groups").map_or_else(|| Ok(Groups::default()), Groups::read)
}

/// What a rule asks for as a whole.
pub(super) fn rule(
    node: &Node,
    conditions: &mut Vec<Condition>,
    around: Around<'_>,
) -> Result<(), InvalidPolicy> {
    let fields = Fields::of(node, "\"countersign\" of a rule", &["cel"])?;
    if let Some(node) = fields.get("cel") {
        let source = text(node, "\"cel\"")?;
        conditions.push(Condition::Expression(Expression::compile(source, node, around.text)?));
    }
    Ok(())
}

pub(super) fn source(
    node: &Node,
    conditions: &mut Vec<Condition>,
    around: Around<'_>,
) -> Result<(), InvalidPolicy> {
    let known =
        ["groups", "tokens", "api_key_owners", "authenticators", "addresses", "require", "not"];
    let fields = Fields::of(node, "\"countersign\" of a source", &known)?;
    who(fields, conditions, around)?;
    if let Some(node) = fields.get("require") {
        let kinds = list(node, "\"require\"")?;
        if kinds.is_empty() {
            return Err(empty(node.place, "require"));
        }
        for node in kinds {
            let words = [("certificate", true), ("token", false)];
            conditions.push(match word(node, "an item of \"require\"", &words)? {
                true => Condition::Certificate,
                false => Condition::Token,
            });
        }
    }
    if let Some(node) = fields.get("not") {
        let known =
            ["principals", "groups", "tokens", "api_key_owners", "authenticators", "addresses"];
        let fields = Fields::of(node, "\"not\" of a source", &known)?;
        let mut none_of = Vec::new();
        if let Some(names) = fields.some_texts("principals")? {
            none_of.push(Condition::Principals(TextSet::new(&names)));
        }
        who(fields, &mut none_of, around)?;
        negated(node, none_of, conditions)?;
    }
    Ok(())
}

fn who(
    fields: Fields<'_>,
    conditions: &mut Vec<Condition>,
    around: Around<'_>,
) -> Result<(), InvalidPolicy> {
    if let Some(names) = fields.some_texts("groups")? {
        let nodes = fields.list("groups")?;
        let place = |at: usize| nodes.get(at).map_or(fields.place(), |node| node.place);
        conditions.push(Condition::Groups(around.groups.set(names, place)?));
    }
    if let Some(node) = fields.get("tokens") {
        conditions.push(Condition::Tokens(TokenSet::new(tokens(node)?)));
    }
    if let Some(owners) = fields.some_texts("api_key_owners")? {
        conditions.push(Condition::ApiKeyOwners(TextSet::new(&owners)));
    }
    if let Some(names) = fields.some_texts("authenticators")? {
        conditions.push(Condition::Authenticators(TextSet::new(&names)));
    }
    if let Some(networks) = fields.some_texts("addresses")? {
        let nodes = fields.list("addresses")?;
        let parsed = networks.iter().zip(nodes).map(|(text, node)| {
            Network::parse(text).map_err(|why| {
                let message = format!("{text:?} is no network: {why}");
                InvalidPolicy::new(node.place, message)
                    .with_hint("write 10.0.0.0/8, 2001:db8::/32, or one address")
            })
        });
        conditions.push(Condition::Addresses(parsed.collect::<Result<_, _>>()?));
    }
    Ok(())
}

pub(super) fn tokens(node: &Node) -> Result<Vec<TokenRule>, InvalidPolicy> {
    let tokens = list(node, "\"tokens\"")?;
    if tokens.is_empty() {
        return Err(empty(node.place, "tokens"));
    }
    let tokens = tokens.iter().enumerate().map(|(index, node)| {
        token(node).map_err(|error| error.within(format!("\"tokens\" {index}")))
    });
    tokens.collect()
}

fn token(node: &Node) -> Result<TokenRule, InvalidPolicy> {
    let known = ["issuers", "authenticators", "subjects", "clients", "scopes", "claims"];
    let fields = Fields::of(node, "a token", &known)?;
    let set = |name| Ok::<_, InvalidPolicy>(fields.some_texts(name)?.map(|t| TextSet::new(&t)));
    let rule = TokenRule {
        issuers: set("issuers")?,
        authenticators: set("authenticators")?,
        subjects: set("subjects")?,
        clients: set("clients")?,
        scopes: fields.some_texts("scopes")?.unwrap_or_default(),
        claims: claims(fields)?,
    };
    // A subject is unique within its issuer alone (RFC 7519 §4.1.2).
    let named = rule.subjects.is_some() || rule.clients.is_some();
    if named && rule.issuers.is_none() && rule.authenticators.is_none() {
        let message = "\"subjects\" and \"clients\" mean nothing without who says so";
        return Err(InvalidPolicy::new(fields.place(), message)
            .with_hint("name the \"issuers\", or the \"authenticators\" of tokens without one"));
    }
    Ok(rule)
}

type Claims = Vec<(String, ClaimValues)>;

fn claims(fields: Fields<'_>) -> Result<Claims, InvalidPolicy> {
    let Some(node) = fields.get("claims") else { return Ok(Vec::new()) };
    let claims = list(node, "\"claims\"")?;
    if claims.is_empty() {
        return Err(empty(node.place, "claims"));
    }
    let mut all = Vec::new();
    for node in claims {
        let fields = Fields::of(node, "a claim", &["name", "values"])?;
        let name = fields.name("name")?.to_owned();
        let values = fields.list("values")?;
        if values.is_empty() {
            return Err(fields.absent("values"));
        }
        let values: Vec<_> = values.iter().map(claim_value).collect::<Result<_, _>>()?;
        all.push((name, ClaimValues::new(values)));
    }
    Ok(all)
}

/// Whether its neighbours are read as the same number (RFC 8259 §6): more than 64 bits, or a
/// fraction or power of ten that is as large.
fn is_vague(number: &serde_json::Number) -> bool {
    let is_whole = number.is_i64() || number.is_u64();
    !is_whole && number.as_f64().is_none_or(|value| value.abs() >= 1e15)
}

fn claim_value(node: &Node) -> Result<serde_json::Value, InvalidPolicy> {
    match &node.value {
        Value::Text(text) => Ok(text.clone().into()),
        Value::Number(number) if is_vague(number) => {
            let message = format!("{number} has too many digits for a number to be told by");
            Err(InvalidPolicy::new(node.place, message)
                .with_hint("have the issuer write it as a text, and write a text here"))
        }
        Value::Number(number) => Ok(number.clone().into()),
        Value::Bool(value) => Ok((*value).into()),
        _ => Err(mistyped(node, "a claim's value", "a string, a number or a boolean")),
    }
}

pub(super) fn request(node: &Node, conditions: &mut Vec<Condition>) -> Result<(), InvalidPolicy> {
    let fields = Fields::of(node, "\"countersign\" of a request", &["times", "not"])?;
    if let Some(node) = fields.get("times") {
        let windows = list(node, "\"times\"")?;
        if windows.is_empty() {
            return Err(empty(node.place, "times"));
        }
        let windows = windows.iter().map(window).collect::<Result<_, _>>()?;
        conditions.push(Condition::Times(windows));
    }
    if let Some(node) = fields.get("not") {
        let fields = Fields::of(node, "\"not\" of a request", &["paths", "headers"])?;
        let mut none_of = Vec::new();
        if let Some(paths) = fields.some_texts("paths")? {
            none_of.push(Condition::Paths(TextSet::new(&paths)));
        }
        let headers = fields.list("headers")?;
        if let Some(node) = fields.get("headers").filter(|_| headers.is_empty()) {
            return Err(empty(node.place, "headers"));
        }
        for (index, node) in headers.iter().enumerate() {
            let part = format!("\"headers\" {index}");
            none_of.push(header(node).map_err(|error| error.within(part))?);
        }
        negated(node, none_of, conditions)?;
    }
    Ok(())
}

/// None of them may hold.
fn negated(
    node: &Node,
    none_of: Vec<Condition>,
    conditions: &mut Vec<Condition>,
) -> Result<(), InvalidPolicy> {
    if none_of.is_empty() {
        return Err(empty(node.place, "not"));
    }
    conditions.extend(none_of.into_iter().map(|one| Condition::Not(Box::new(one))));
    Ok(())
}

fn window(node: &Node) -> Result<Window, InvalidPolicy> {
    let fields = Fields::of(node, "a time", &["days", "from", "to"])?;
    let mut days = [true; 7];
    if let Some(node) = fields.get("days") {
        days = [false; 7];
        let names = list(node, "\"days\"")?;
        if names.is_empty() {
            return Err(empty(node.place, "days"));
        }
        for node in names {
            days[word(node, "an item of \"days\"", &DAYS)?] = true;
        }
    }
    let minute = |name: &str, otherwise: u32| {
        let Some(node) = fields.get(name) else { return Ok(otherwise) };
        let found = text(node, &format!("{name:?}"))?;
        minute_of_day(found).ok_or_else(|| {
            InvalidPolicy::new(node.place, format!("{found:?} is no time of day"))
                .with_hint("write hours and minutes in UTC, 00:00 to 24:00")
        })
    };
    let (from, to) = (minute("from", 0)?, minute("to", Window::MINUTES)?);
    if from == to || from == Window::MINUTES {
        return Err(InvalidPolicy::new(fields.place(), "a time begins before it ends"));
    }
    Ok(Window { days, from, to })
}

const DAYS: [(&str, usize); 7] =
    [("mon", 0), ("tue", 1), ("wed", 2), ("thu", 3), ("fri", 4), ("sat", 5), ("sun", 6)];

fn minute_of_day(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |digits: &str| {
        let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        plain.then(|| digits.parse::<u32>().ok()).flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let at = hours * 60 + minutes;
    (minutes < 60 && at <= Window::MINUTES).then_some(at)
}
