//! Policy said in protobuf, as options of methods and services (`proto/countersign/policy.proto`).

use std::collections::HashSet;
use std::sync::Arc;

use super::condition::Condition;
use super::error::InvalidPolicy;
use super::groups::Groups;
use super::json::Place;
use super::parse::{Rule, Written};
use super::pattern::TextSet;
use super::tokens::{ClaimValues, TokenRule, TokenSet};
use crate::authorization::methods::{InvalidDescriptorSet, Methods};
use crate::authorization::wire::{Field, Malformed, Message, text};
use crate::identity::MethodPath;

/// What the methods of an interface say themselves of who may call them.
///
/// Read from the options `countersign.v1.access` and `countersign.v1.service_access`, which
/// `proto/countersign/policy.proto` declares. A method's own option takes the place of its
/// service's. Alone they are a policy ([`Policy::from_descriptor_set`](super::Policy::from_descriptor_set));
/// below a policy file they hold where the file says nothing
/// ([`PolicyOptions::with_annotations`](super::PolicyOptions::with_annotations)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    all: Arc<[Annotation]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Annotation {
    path: String,
    access: Access,
}

/// `countersign.v1.Access`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Access {
    public: bool,
    authenticated: bool,
    denied: bool,
    scopes: Vec<String>,
    groups: Vec<String>,
    principals: Vec<String>,
    claims: Vec<(String, Vec<String>)>,
    certificate: bool,
    token: bool,
}

/// Why annotations cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAnnotation {
    /// The bytes are no descriptor set.
    #[error(transparent)]
    DescriptorSet(#[from] InvalidDescriptorSet),
    /// No method has one. Where a build hands descriptors on as types of prost, it loses all
    /// options that prost does not know: hand on the bytes that the compiler wrote.
    #[error("no method and no service of the descriptor set has the option countersign.v1.access")]
    None,
    /// What one says is not to be understood, or cannot hold.
    #[error("the option of {method}: {problem}")]
    Content {
        /// The method's path, also where the option is its service's.
        method: String,
        /// What is wrong.
        problem: String,
    },
}

impl Annotations {
    /// Reads those of a `google.protobuf.FileDescriptorSet`. One without any gives none.
    ///
    /// prost's own `FileDescriptorSet` drops options that it does not know, and with them these:
    /// write the compiler's bytes, for instance protox's `Compiler::encode_file_descriptor_set`
    /// or `protoc --descriptor_set_out`.
    ///
    /// # Errors
    ///
    /// The bytes are no descriptor set, or an option says something that we do not know.
    pub fn from_descriptor_set(bytes: &[u8]) -> Result<Self, InvalidAnnotation> {
        let methods = Methods::from_descriptor_set(bytes)?;
        let read = |(path, bytes): (&str, &[u8])| match Access::read(bytes) {
            Ok(access) => Ok(Annotation { path: path.to_owned(), access }),
            Err(problem) => Err(content(path, problem)),
        };
        let all = methods.options().map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { all: all.into() })
    }

    /// How many methods have one, of their own or of their service.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether no method has one.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// A policy of nothing else. There are no groups in one.
    pub(super) fn alone(&self) -> Result<Written, InvalidAnnotation> {
        let mut written = Written { name: "annotations".to_owned(), ..Written::default() };
        if self.is_empty() {
            return Err(InvalidAnnotation::None);
        }
        for one in self.all.iter() {
            if !one.access.groups.is_empty() {
                let problem = "it names groups, which only a policy file has".to_owned();
                return Err(content(&one.path, problem));
            }
        }
        let start = Place { line: 1, column: 1 };
        self.add_to(&mut written, &Groups::default(), start)
            .map_err(|error| content("a method", error.message().to_owned()))?;
        Ok(written)
    }

    /// Adds rules for methods that no rule of the file allows by its path. What denies stays
    /// first, as in the file itself.
    pub(super) fn add_to(
        &self,
        written: &mut Written,
        groups: &Groups,
        place: Place,
    ) -> Result<(), InvalidPolicy> {
        let names = |rules: &[Rule]| -> HashSet<_> {
            rules.iter().map(|rule| Arc::clone(&rule.name)).collect()
        };
        let taken = [names(&written.deny), names(&written.allow)];
        let mut added = [Vec::new(), Vec::new()];
        for Annotation { path, access } in self.all.iter() {
            if written.allow.iter().any(|rule| names_method(rule, path)) {
                continue;
            }
            let option = format!("option of {path}");
            let groups = groups.set(access.groups.clone(), |_| place);
            let groups = groups.map_err(|error| error.within(&option))?;
            let list = usize::from(!access.denied);
            let name: Arc<str> = option.into();
            if taken[list].contains(&name) {
                let message = format!("the name {name:?} is that of a method's option");
                return Err(InvalidPolicy::new(place, message));
            }
            let mut conditions = vec![Condition::Paths(TextSet::new(std::slice::from_ref(path)))];
            if !access.groups.is_empty() {
                conditions.push(Condition::Groups(groups));
            }
            access.add_to(&mut conditions);
            let (place, empty) = (Place::NOWHERE, Vec::new());
            added[list].push(Rule { name, place, conditions, empty });
        }
        let [deny, allow] = added;
        written.deny.extend(deny);
        written.allow.extend(allow);
        Ok(())
    }
}

fn content(method: &str, problem: String) -> InvalidAnnotation {
    InvalidAnnotation::Content { method: method.to_owned(), problem }
}

/// Whether a rule speaks of this method by its path, which `*` does not and `/*` does.
fn names_method(rule: &Rule, path: &str) -> bool {
    let names = |one: &Condition| match one {
        Condition::Paths(paths) => !paths.matches_anything() && paths.matches(path),
        _ => false,
    };
    MethodPath::parse(path).is_ok() && rule.conditions.iter().any(names)
}

impl Access {
    /// Reads the message. A field that we do not know may be the one that keeps somebody out, so
    /// it is an error.
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut access = Self::default();
        let malformed = |Malformed| "it is not a countersign.v1.Access".to_owned();
        let mut message = Message::new(bytes);
        while let Some((number, field)) = message.next().map_err(malformed)? {
            let flag = match (number, field) {
                (1, Field::Varint(value)) => Some((&mut access.public, value)),
                (2, Field::Varint(value)) => Some((&mut access.authenticated, value)),
                (3, Field::Varint(value)) => Some((&mut access.denied, value)),
                _ => None,
            };
            if let Some((flag, value)) = flag {
                *flag = value != 0;
                continue;
            }
            let string = |bytes| match text(bytes).map_err(malformed)? {
                "" => Err(format!("the text of field {number} is empty")),
                text => Ok(text.to_owned()),
            };
            match (number, field) {
                (4, Field::Bytes(bytes)) => access.scopes.push(string(bytes)?),
                (5, Field::Bytes(bytes)) => access.groups.push(string(bytes)?),
                // The empty principal is a TLS peer without a certificate.
                (6, Field::Bytes(bytes)) => access.principals.push(string(bytes)?),
                (7, Field::Bytes(bytes)) => access.claims.push(claim(bytes)?),
                (8, Field::Varint(kind)) => access.require(kind)?,
                // Numbers are sent one by one or all together.
                (8, Field::Bytes(mut packed)) => {
                    while !packed.is_empty() {
                        let (kind, rest) = packed.split_first().ok_or_else(String::new)?;
                        access.require(u64::from(*kind))?;
                        packed = rest;
                    }
                }
                _ => return Err(format!("it has a field {number} that we do not know")),
            }
        }
        access.check()?;
        Ok(access)
    }

    fn require(&mut self, kind: u64) -> Result<(), String> {
        match kind {
            1 => self.certificate = true,
            2 => self.token = true,
            other => return Err(format!("it requires evidence {other}, which we do not know")),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let asks = self.authenticated
            || self.certificate
            || self.token
            || !(self.scopes.is_empty()
                && self.groups.is_empty()
                && self.principals.is_empty()
                && self.claims.is_empty());
        match (self.public, self.denied, asks) {
            (false, false, false) => Err("it says nothing".to_owned()),
            (true, false, true) => Err("it is public and asks for something".to_owned()),
            (false, true, true) => Err("it denies and asks for something".to_owned()),
            (true, true, _) => Err("it is public and denies".to_owned()),
            (true, false, false) | (false, true, false) | (false, false, true) => Ok(()),
        }
    }

    fn add_to(&self, conditions: &mut Vec<Condition>) {
        if self.public || self.denied {
            return;
        }
        conditions.push(Condition::Proven);
        if !self.principals.is_empty() {
            conditions.push(Condition::Principals(TextSet::new(&self.principals)));
        }
        if !(self.scopes.is_empty() && self.claims.is_empty()) {
            let claim = |(name, values): &(String, Vec<String>)| {
                let values = values.iter().map(|value| value.as_str().into());
                (name.clone(), ClaimValues::new(values.collect()))
            };
            conditions.push(Condition::Tokens(TokenSet::new(vec![TokenRule {
                scopes: self.scopes.clone(),
                claims: self.claims.iter().map(claim).collect(),
                ..TokenRule::default()
            }])));
        }
        if self.certificate {
            conditions.push(Condition::Certificate);
        }
        if self.token {
            conditions.push(Condition::Token);
        }
    }
}

/// `countersign.v1.Claim`
fn claim(bytes: &[u8]) -> Result<(String, Vec<String>), String> {
    let malformed = |Malformed| "a claim in it is not a countersign.v1.Claim".to_owned();
    let (mut name, mut values) = ("", Vec::new());
    let mut message = Message::new(bytes);
    while let Some((number, field)) = message.next().map_err(malformed)? {
        match (number, field) {
            (1, Field::Bytes(bytes)) => name = text(bytes).map_err(malformed)?,
            (2, Field::Bytes(bytes)) => values.push(text(bytes).map_err(malformed)?.to_owned()),
            _ => return Err(format!("a claim in it has a field {number} that we do not know")),
        }
    }
    match name.is_empty() || values.is_empty() {
        true => Err("a claim in it has no name or no values".to_owned()),
        false => Ok((name.to_owned(), values)),
    }
}
