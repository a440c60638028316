//! Finding the rules that may be for a caller, whichever the method.

use std::collections::HashMap;
use std::ptr;

use super::condition::{Condition, Seen, owner, token};
use super::groups::Members;
use super::index::{TextIndex, add};
use super::parse::Rule;
use super::pattern::TextSet;
use super::tokens::TokenRule;
use crate::identity::{Principal, TokenClaims};

/// Rules by whom they are for.
///
/// Groups are in it once, however many rules they are in, and lead to the rules.
#[derive(Debug, Default)]
pub(super) struct CallerIndex {
    rules: Keys,
    parts: Keys,
    /// The rules of each part of a group.
    rules_of_parts: Vec<Vec<u32>>,
}

/// The same while rules are added.
#[derive(Debug, Default)]
pub(super) struct CallerRules<'r> {
    rules: Vec<(Key<'r>, u32)>,
    parts: Vec<(Key<'r>, u32)>,
    ids_of_parts: HashMap<*const Members, Option<usize>>,
    rules_of_parts: Vec<Vec<u32>>,
}

/// One thing that a caller has to have for a rule to match.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key<'r> {
    Name(&'r str),
    Subject(&'r str),
    Client(&'r str),
    Issuer(&'r str),
    Authenticator(&'r str),
    Owner(&'r str),
    Scope(&'r str),
    Claim(&'r str, &'r str),
}

impl<'r> CallerRules<'r> {
    /// Whether a rule could be put under those whom it is for. Rules come in order.
    pub(super) fn add(&mut self, id: u32, rule: &'r Rule) -> bool {
        for condition in &rule.conditions {
            if let Condition::Groups(groups) = condition {
                let parts: Option<Vec<_>> = groups.parts().map(|part| self.part(part)).collect();
                if let Some(parts) = parts {
                    parts.into_iter().for_each(|part| add(&mut self.rules_of_parts[part], id));
                    return true;
                }
            } else if let Some(keys) = keys_of(condition) {
                self.rules.extend(keys.into_iter().map(|key| (key, id)));
                return true;
            }
        }
        false
    }

    /// The number of a part of a group; `None` where it has a member who may be anybody.
    fn part(&mut self, members: &'r Members) -> Option<usize> {
        let next = self.rules_of_parts.len();
        let known = self.ids_of_parts.entry(ptr::from_ref(members));
        *known.or_insert_with(|| {
            let id = u32::try_from(next).ok()?;
            let keys = keys_of_members(members)?;
            self.parts.extend(keys.into_iter().map(|key| (key, id)));
            self.rules_of_parts.push(Vec::new());
            Some(next)
        })
    }

    pub(super) fn index(self) -> CallerIndex {
        CallerIndex {
            rules: Keys::new(&self.rules),
            parts: Keys::new(&self.parts),
            rules_of_parts: self.rules_of_parts,
        }
    }
}

impl CallerIndex {
    /// Hands over rules that may match; every rule in the index that does is among them.
    pub(super) fn each(&self, seen: &Seen<'_>, look: &mut impl FnMut(&[u32])) {
        self.rules.each(seen, look);
        self.parts.each(seen, &mut |parts: &[u32]| {
            parts.iter().for_each(|part| look(&self.rules_of_parts[*part as usize]));
        });
    }
}

/// Where one of these is missing, the condition does not hold. `None`: it may hold without any.
fn keys_of(condition: &Condition) -> Option<Vec<Key<'_>>> {
    match condition {
        Condition::Principals(names) => texts(names, Key::Name),
        Condition::ApiKeyOwners(owners) => texts(owners, Key::Owner),
        Condition::Tokens(tokens) => keys_of_tokens(tokens.rules()),
        Condition::Authenticators(names) => texts(names, Key::Authenticator),
        _ => None,
    }
}

pub(super) fn keys_of_members(members: &Members) -> Option<Vec<Key<'_>>> {
    let mut keys = texts(&members.principals, Key::Name)?;
    keys.extend(keys_of_tokens(members.tokens.rules())?);
    keys.extend(texts(&members.owners, Key::Owner)?);
    Some(keys)
}

/// A star alone narrows nothing down.
fn texts<'r>(set: &'r TextSet, key: fn(&'r str) -> Key<'r>) -> Option<Vec<Key<'r>>> {
    (!set.matches_anything()).then(|| set.written().iter().map(|text| key(text)).collect())
}

fn keys_of_tokens(tokens: &[TokenRule]) -> Option<Vec<Key<'_>>> {
    let mut keys = Vec::new();
    for token in tokens {
        keys.extend(keys_of_token(token)?);
    }
    Some(keys)
}

/// By what most tokens differ in.
pub(super) fn keys_of_token(token: &TokenRule) -> Option<Vec<Key<'_>>> {
    let set = |set: &'_ Option<TextSet>| set.as_ref().is_some_and(|set| !set.matches_anything());
    let claim = token.claims.iter().find_map(|(name, values)| {
        let texts = values.all().iter().map(|value| Some(Key::Claim(name, value.as_str()?)));
        texts.collect::<Option<Vec<_>>>()
    });
    match token {
        TokenRule { subjects: Some(all), .. } if set(&token.subjects) => texts(all, Key::Subject),
        TokenRule { clients: Some(all), .. } if set(&token.clients) => texts(all, Key::Client),
        _ if claim.is_some() => claim,
        TokenRule { scopes, .. } if !scopes.is_empty() => Some(vec![Key::Scope(&scopes[0])]),
        TokenRule { issuers: Some(all), .. } if set(&token.issuers) => texts(all, Key::Issuer),
        TokenRule { authenticators: Some(all), .. } => texts(all, Key::Authenticator),
        _ => None,
    }
}

/// Ids by what a caller has to have.
#[derive(Debug, Default)]
pub(super) struct Keys {
    names: TextIndex,
    subjects: TextIndex,
    clients: TextIndex,
    issuers: TextIndex,
    authenticators: TextIndex,
    owners: TextIndex,
    scopes: HashMap<Box<str>, Vec<u32>>,
    claims: HashMap<Box<str>, HashMap<Box<str>, Vec<u32>>>,
    /// Whether anything but names of certificates is asked for.
    proven: bool,
}

impl Keys {
    pub(super) fn new(keys: &[(Key<'_>, u32)]) -> Self {
        let mut all = Self::default();
        let mut lists: [Vec<(&str, u32)>; 6] = Default::default();
        for &(key, id) in keys {
            let (list, text) = match key {
                Key::Name(text) => (0, text),
                Key::Subject(text) => (1, text),
                Key::Client(text) => (2, text),
                Key::Issuer(text) => (3, text),
                Key::Authenticator(text) => (4, text),
                Key::Owner(text) => (5, text),
                Key::Scope(scope) => {
                    add(all.scopes.entry(scope.into()).or_default(), id);
                    continue;
                }
                Key::Claim(name, value) => {
                    let values = all.claims.entry(name.into()).or_default();
                    add(values.entry(value.into()).or_default(), id);
                    continue;
                }
            };
            lists[list].push((text, id));
        }
        all.proven = keys.iter().any(|(key, _)| !matches!(key, Key::Name(_)));
        let [names, subjects, clients, issuers, authenticators, owners] =
            lists.map(|list| TextIndex::new(&list));
        Self { names, subjects, clients, issuers, authenticators, owners, ..all }
    }

    pub(super) fn each(&self, seen: &Seen<'_>, look: &mut impl FnMut(&[u32])) {
        if !self.names.is_empty() {
            seen.any_name(|name| {
                self.names.each(name, look);
                false
            });
        }
        if !self.proven {
            return;
        }
        seen.request.any_caller(|caller| {
            self.of_caller(caller, look);
            false
        });
    }

    /// The same of one caller, whatever its certificate says.
    pub(super) fn of_caller(&self, caller: &Principal, look: &mut impl FnMut(&[u32])) {
        self.authenticators.each(caller.authenticator(), look);
        if let Some(owner) = owner(caller) {
            self.owners.each(owner, look);
        }
        if let Some(token) = token(caller) {
            self.of_token(token, look);
        }
    }

    fn of_token(&self, token: &TokenClaims, look: &mut impl FnMut(&[u32])) {
        let mut each = |index: &TextIndex, text: Option<&str>| {
            if let (false, Some(text)) = (index.is_empty(), text) {
                index.each(text, look);
            }
        };
        each(&self.subjects, token.subject());
        each(&self.clients, token.client());
        each(&self.issuers, token.issuer());
        if !self.scopes.is_empty() {
            let scopes = token.scopes().iter().filter_map(|scope| self.scopes.get(scope.as_str()));
            scopes.for_each(|ids| look(ids));
        }
        for (name, values) in &self.claims {
            let found = match TokenRule::claim(token, name) {
                Some(serde_json::Value::Array(all)) => all.as_slice(),
                Some(one) => std::slice::from_ref(one),
                None => continue,
            };
            let texts = found.iter().filter_map(serde_json::Value::as_str);
            texts.filter_map(|text| values.get(text)).for_each(|ids| look(ids));
        }
    }
}
