//! Principals gathered under names, for rules to share.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::condition::{Seen, TokenRule, owner};
use super::error::InvalidPolicy;
use super::fields::{Fields, empty, list, mistyped, nearest};
use super::json::{Member, Node, Place, Value};
use super::own;
use super::pattern::TextSet;

/// The groups of a policy by name, each with all that it takes in.
#[derive(Debug, Default)]
pub(super) struct Groups {
    all: HashMap<String, Arc<Group>>,
}

/// A group, and the groups within it, however deep.
#[derive(Debug)]
pub(super) struct Group {
    parts: Vec<Arc<Members>>,
}

/// What one group names itself. Any of it will do.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) principals: TextSet,
    pub(super) tokens: Vec<TokenRule>,
    pub(super) owners: TextSet,
}

/// The groups of one list, of one of which a caller has to be.
#[derive(Clone, Debug)]
pub(super) struct GroupSet {
    names: Vec<String>,
    groups: Vec<Arc<Group>>,
}

/// How many groups may lie in each other.
const MAX_DEPTH: usize = 32;
/// How many parts all groups have together, those within others counted anew.
const MAX_PARTS: usize = 100_000;

impl Groups {
    /// Reads `"groups"`: a name for each list of members.
    pub(super) fn read(node: &Node) -> Result<Self, InvalidPolicy> {
        let Value::Object(written) = &node.value else {
            return Err(mistyped(node, "\"groups\"", "an object"));
        };
        if written.is_empty() {
            return Err(empty(node.place, "groups"));
        }
        let ids = written.iter().zip(0..).map(|(member, id)| (member.name.as_str(), id)).collect();
        let mut reader = Reader { written, ids, known: Vec::new() };
        reader.known.resize_with(written.len(), || Known::Not);
        let mut groups = Self::default();
        let mut parts = 0;
        for (id, member) in written.iter().enumerate() {
            let taken_in = reader.parts(id, 0)?;
            parts += taken_in.len();
            if parts > MAX_PARTS {
                let message = "the groups within groups are too many";
                return Err(InvalidPolicy::new(member.place, message));
            }
            let parts = taken_in.iter().filter_map(|id| reader.members(*id)).collect();
            groups.all.insert(member.name.clone(), Arc::new(Group { parts }));
        }
        Ok(groups)
    }

    /// The groups of these names, which stand where `place` says.
    pub(super) fn set(
        &self,
        names: Vec<String>,
        place: impl Fn(usize) -> Place,
    ) -> Result<GroupSet, InvalidPolicy> {
        let found = names.iter().enumerate().map(|(at, name)| {
            let group = self.all.get(name).map(Arc::clone);
            group.ok_or_else(|| unknown(name, place(at), self.all.keys().map(String::as_str)))
        });
        let groups = found.collect::<Result<_, _>>()?;
        Ok(GroupSet { names, groups })
    }
}

fn unknown<'a>(name: &str, place: Place, known: impl Iterator<Item = &'a str>) -> InvalidPolicy {
    let error = InvalidPolicy::new(place, format!("there is no group {name:?}"));
    let mut known: Vec<_> = known.collect();
    known.sort_unstable();
    match (nearest(name, &known), known.as_slice()) {
        (Some(near), _) => error.with_hint(format!("did you mean {near:?}?")),
        (None, []) => error.with_hint("\"groups\" stands under \"countersign\" of the policy"),
        (None, known) => {
            let some: Vec<_> = known.iter().copied().take(8).collect();
            error.with_hint(format!("groups are {}", some.join(", ")))
        }
    }
}

/// Reads each group once, those within it first.
struct Reader<'n> {
    written: &'n [Member],
    ids: HashMap<&'n str, usize>,
    known: Vec<Known>,
}

enum Known {
    Not,
    /// It is being read, and so must not be within itself.
    Reading,
    Read(Arc<Members>, Arc<BTreeSet<usize>>),
}

impl Reader<'_> {
    fn members(&self, id: usize) -> Option<Arc<Members>> {
        match &self.known[id] {
            Known::Read(members, _) => Some(Arc::clone(members)),
            Known::Not | Known::Reading => None,
        }
    }

    /// The group itself and every group within it.
    fn parts(&mut self, id: usize, depth: usize) -> Result<Arc<BTreeSet<usize>>, InvalidPolicy> {
        if let Known::Read(_, parts) = &self.known[id] {
            return Ok(Arc::clone(parts));
        }
        let Member { name, place, value } = &self.written[id];
        let within = |error: InvalidPolicy| error.within(format!("the group {name:?}"));
        self.known[id] = Known::Reading;
        let nodes = list(value, &format!("the group {name:?}"))?;
        if name.is_empty() {
            return Err(InvalidPolicy::new(*place, "a group has no name"));
        }
        if nodes.is_empty() {
            let error = InvalidPolicy::new(value.place, format!("the group {name:?} is empty"));
            return Err(error.with_hint("a group without members matches nobody: leave it out"));
        }
        let (mut members, mut parts) = (Written::default(), BTreeSet::from([id]));
        for node in nodes {
            for (inner, place) in members.add(node).map_err(within)? {
                let Some(&inner_id) = self.ids.get(inner) else {
                    return Err(within(unknown(inner, place, self.ids.keys().copied())));
                };
                if matches!(self.known[inner_id], Known::Reading) {
                    let message = format!("the group {inner:?} is within itself");
                    return Err(within(InvalidPolicy::new(place, message)));
                }
                if depth >= MAX_DEPTH {
                    let message = format!("more than {MAX_DEPTH} groups lie in each other");
                    return Err(within(InvalidPolicy::new(place, message)));
                }
                parts.extend(self.parts(inner_id, depth + 1)?.iter());
            }
        }
        let parts = Arc::new(parts);
        self.known[id] = Known::Read(Arc::new(members.into()), Arc::clone(&parts));
        Ok(parts)
    }
}

/// The members of a group as they are read.
#[derive(Default)]
struct Written {
    principals: Vec<String>,
    tokens: Vec<TokenRule>,
    owners: Vec<String>,
}

impl Written {
    /// Takes in one member, and returns the groups that it names.
    fn add<'n>(&mut self, node: &'n Node) -> Result<Vec<(&'n str, Place)>, InvalidPolicy> {
        let known = ["principals", "tokens", "api_key_owners", "groups"];
        let fields = Fields::of(node, "a group's member", &known)?;
        // In a source all keys have to match, in a group any member: with two keys in one member
        // either could be meant.
        if known.iter().filter(|key| fields.get(key).is_some()).count() != 1 {
            let message = "a group's member has exactly one key";
            return Err(InvalidPolicy::new(node.place, message)
                .with_hint(format!("write a member for each of {}", known.join(", "))));
        }
        self.principals.extend(fields.some_texts("principals")?.unwrap_or_default());
        self.owners.extend(fields.some_texts("api_key_owners")?.unwrap_or_default());
        if let Some(node) = fields.get("tokens") {
            self.tokens.extend(own::tokens(node)?);
        }
        let inner = fields
            .some_texts("groups")?
            .map_or(&[][..], |_| fields.list("groups").unwrap_or_default());
        let name = |node: &'n Node| match &node.value {
            Value::Text(name) => Some((name.as_str(), node.place)),
            _ => None,
        };
        Ok(inner.iter().filter_map(name).collect())
    }
}

impl From<Written> for Members {
    fn from(written: Written) -> Self {
        Self {
            principals: TextSet::new(&written.principals),
            tokens: joined(written.tokens),
            owners: TextSet::new(&written.owners),
        }
    }
}

/// Tokens that differ in their subjects alone are one with all of these, which is found by hash.
fn joined(tokens: Vec<TokenRule>) -> Vec<TokenRule> {
    let written = |set: &Option<TextSet>| set.as_ref().map(|set| set.written().to_vec());
    let mut all = Vec::new();
    let mut alike: HashMap<_, (TokenRule, Vec<String>)> = HashMap::new();
    for mut token in tokens {
        let plain = token.clients.is_none() && token.scopes.is_empty() && token.claims.is_empty();
        match token.subjects.take_if(|_| plain) {
            Some(subjects) => {
                let by = (written(&token.issuers), written(&token.authenticators));
                let (_, known) = alike.entry(by).or_insert_with(|| (token, Vec::new()));
                known.extend_from_slice(subjects.written());
            }
            None => all.push(token),
        }
    }
    all.extend(
        alike.into_values().map(|(token, subjects)| TokenRule {
            subjects: Some(TextSet::new(&subjects)),
            ..token
        }),
    );
    all
}

impl Group {
    pub(super) fn has_caller(&self, seen: &Seen<'_>) -> bool {
        self.parts.iter().any(|part| part.has_caller(seen))
    }

    /// What it names, and what the groups within it name.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Members> {
        self.parts.iter().map(|part| &**part)
    }
}

impl Members {
    fn has_caller(&self, seen: &Seen<'_>) -> bool {
        let certificate = || seen.any_name(|name| self.principals.matches(name));
        let proven = || {
            seen.request.any_caller(|caller| {
                self.tokens.iter().any(|token| token.allows(caller))
                    || owner(caller).is_some_and(|owner| self.owners.matches(owner))
            })
        };
        certificate() || proven()
    }
}

impl GroupSet {
    pub(super) fn holds(&self, seen: &Seen<'_>) -> bool {
        self.groups.iter().any(|group| group.has_caller(seen))
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Members> {
        self.groups.iter().flat_map(|group| group.parts())
    }

    /// The groups' names, at most four of them.
    pub(super) fn describe(&self) -> String {
        TextSet::new(&self.names).describe()
    }
}
