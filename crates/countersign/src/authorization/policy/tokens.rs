//! What a rule asks of tokens.

use std::collections::HashSet;
use std::fmt;

use serde_json::{Number, Value};

use super::callers::{Keys, keys_of_token};
use super::condition::token;
use super::pattern::TextSet;
use crate::identity::{ClaimNames, Principal, TokenClaims};

/// Tokens of which any will do.
#[derive(Debug, Default)]
pub(super) struct TokenSet {
    rules: Vec<TokenRule>,
    /// `None`: they are so few that each may be asked.
    by_key: Option<Box<ByKey>>,
}

/// Rules by what a token has to say for them.
#[derive(Debug)]
struct ByKey {
    keys: Keys,
    /// Those that any token may meet.
    others: Vec<u32>,
}

/// What one token has to say, all of it.
#[derive(Clone, Debug, Default)]
pub(super) struct TokenRule {
    pub(super) issuers: Option<TextSet>,
    pub(super) authenticators: Option<TextSet>,
    pub(super) subjects: Option<TextSet>,
    pub(super) clients: Option<TextSet>,
    pub(super) scopes: Vec<String>,
    pub(super) claims: Vec<(String, ClaimValues)>,
}

/// The values of a claim, any of which will do: texts, numbers and booleans.
///
/// A number is the same however it is written: `1`, `1.0` and `1e0`. A whole one of more than 15
/// digits has to be written without a fraction in both places: beyond, readers of fractions do not
/// agree on the last digit (RFC 8259 §6), and a neighbour is somebody else. Of 999999999999999.01
/// nobody can tell that it was not whole.
#[derive(Clone, Debug, Default)]
pub(super) struct ClaimValues {
    /// Numbers among them as [`plain`] has them.
    all: Vec<Value>,
    /// The same where they are many.
    known: Option<HashSet<Value>>,
}

/// Something that a caller's token does not say.
#[derive(Debug)]
pub(super) enum Gap<'r> {
    Token,
    Text(&'static str, &'r TextSet),
    Authenticator(&'r TextSet),
    Scope(&'r str),
    Claim(&'r str),
}

/// How many rules or values are asked one by one.
const FEW: usize = 8;

impl TokenSet {
    pub(super) fn new(rules: Vec<TokenRule>) -> Self {
        let by_key = (rules.len() > FEW).then(|| Box::new(ByKey::new(&rules)));
        Self { rules, by_key }
    }

    pub(super) fn rules(&self) -> &[TokenRule] {
        &self.rules
    }

    /// Whether a caller's token is one of them.
    pub(super) fn allow(&self, caller: &Principal) -> bool {
        let Some(ByKey { keys, others }) = self.by_key.as_deref() else {
            return self.rules.iter().any(|rule| rule.allows(caller));
        };
        let mut found = false;
        let mut look = |ids: &[u32]| {
            let allows = |id: &u32| self.rules[*id as usize].allows(caller);
            found = found || ids.iter().any(allows);
        };
        keys.of_caller(caller, &mut look);
        look(others);
        found
    }
}

impl ByKey {
    fn new(rules: &[TokenRule]) -> Self {
        let (mut keys, mut others) = (Vec::new(), Vec::new());
        for (rule, id) in rules.iter().zip(0..) {
            match keys_of_token(rule) {
                Some(of_rule) => keys.extend(of_rule.into_iter().map(|key| (key, id))),
                None => others.push(id),
            }
        }
        Self { keys: Keys::new(&keys), others }
    }
}

impl TokenRule {
    pub(super) fn allows(&self, caller: &Principal) -> bool {
        self.gap(caller).is_none()
    }

    /// A claim by its name, or one within others by its place: `/realm_access/roles`.
    pub(super) fn claim<'t>(token: &'t TokenClaims, name: &str) -> Option<&'t Value> {
        ClaimNames::look_up(token.object(), name)
    }

    /// The first thing that a caller's token does not say.
    pub(super) fn gap(&self, caller: &Principal) -> Option<Gap<'_>> {
        let Some(token) = token(caller) else { return Some(Gap::Token) };
        let text = |what| move |wanted| Gap::Text(what, wanted);
        unmet(self.issuers.as_ref(), token.issuer())
            .map(text("issuer"))
            .or_else(|| {
                let by = Some(caller.authenticator());
                unmet(self.authenticators.as_ref(), by).map(Gap::Authenticator)
            })
            .or_else(|| unmet(self.subjects.as_ref(), token.subject()).map(text("subject")))
            .or_else(|| unmet(self.clients.as_ref(), token.client()).map(text("client")))
            .or_else(|| {
                let missing = self.scopes.iter().find(|scope| !token.has_scope(scope));
                missing.map(|scope| Gap::Scope(scope))
            })
            .or_else(|| {
                let holds = |(name, values): &&(String, ClaimValues)| {
                    Self::claim(token, name).is_some_and(|found| values.fit(found))
                };
                let missing = self.claims.iter().find(|claim| !holds(claim));
                missing.map(|(name, _)| Gap::Claim(name))
            })
    }
}

/// What is wanted, where it was not found.
fn unmet<'r>(wanted: Option<&'r TextSet>, found: Option<&str>) -> Option<&'r TextSet> {
    wanted.filter(|wanted| !found.is_some_and(|found| wanted.matches(found)))
}

impl fmt::Display for Gap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token => f.write_str("a token"),
            Self::Text(what, wanted) => write!(f, "a token whose {what} is {}", wanted.describe()),
            Self::Authenticator(wanted) => write!(f, "a token proven by {}", wanted.describe()),
            Self::Scope(scope) => write!(f, "scope {scope}"),
            Self::Claim(name) => write!(f, "a fitting claim {name:?}"),
        }
    }
}

impl ClaimValues {
    pub(super) fn new(mut all: Vec<Value>) -> Self {
        for value in &mut all {
            if let Value::Number(number) = value
                && let Some(whole) = plain(number)
            {
                *number = whole;
            }
        }
        let known = (all.len() > FEW).then(|| all.iter().cloned().collect());
        Self { all, known }
    }

    pub(super) fn all(&self) -> &[Value] {
        &self.all
    }

    /// A claim is one of the values, or a list that has one of them.
    fn fit(&self, found: &Value) -> bool {
        match found {
            Value::Array(all) => all.iter().any(|one| self.contains(one)),
            one => self.contains(one),
        }
    }

    fn contains(&self, one: &Value) -> bool {
        match one {
            // No value is one of these, and they may be long.
            Value::Null | Value::Array(_) | Value::Object(_) => false,
            Value::Number(number) => match plain(number) {
                Some(whole) => self.lists(&whole.into()),
                None => self.lists(one),
            },
            Value::Bool(_) | Value::String(_) => self.lists(one),
        }
    }

    fn lists(&self, one: &Value) -> bool {
        match &self.known {
            Some(known) => known.contains(one),
            None => self.all.contains(one),
        }
    }
}

/// A number that is whole and was written as if it were not, as it is written otherwise.
fn plain(number: &Number) -> Option<Number> {
    /// What binary64 keeps of any fraction, and what reading one is off by is less than a half.
    const FIFTEEN_DIGITS: f64 = 999_999_999_999_999.0;
    if number.is_i64() || number.is_u64() {
        return None;
    }
    let is_whole = |value: &f64| value.fract() == 0.0 && value.abs() <= FIFTEEN_DIGITS;
    let value = number.as_f64().filter(is_whole)?;
    // Exact within these bounds, and -0.0 becomes 0.
    Some((value as i64).into())
}
