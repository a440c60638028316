//! Principals gathered under names, for rules to share.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::callers::{Keys, keys_of_members};
use super::condition::{Seen, owner};
use super::error::InvalidPolicy;
use super::fields::{Fields, empty, list, mistyped, nearest};
use super::index::index_of;
use super::json::{Member, Node, Place, Value};
use super::own;
use super::pattern::TextSet;
use super::tokens::{TokenRule, TokenSet};

/// The groups of a policy by name.
#[derive(Debug, Default)]
pub(super) struct Groups {
    ids: HashMap<String, u32>,
    roster: Arc<Roster>,
}

/// Who is in which group. A part is what one group names itself, and has that group's number.
#[derive(Debug, Default)]
struct Roster {
    members: Vec<Members>,
    /// The parts of each group: its own, and those of the groups within it, however deep.
    parts: Vec<Vec<u32>>,
    /// The groups that each part is in.
    groups: Vec<Vec<u32>>,
    /// Parts by whom they are for.
    keys: Keys,
    /// Those with a member who may be anybody.
    others: Vec<u32>,
}

/// What one group names itself. Any of it will do.
#[derive(Debug, Default)]
pub(super) struct Members {
    pub(super) principals: TextSet,
    pub(super) tokens: TokenSet,
    pub(super) owners: TextSet,
}

/// The groups of one list, of one of which a caller has to be.
#[derive(Clone, Debug)]
pub(super) struct GroupSet {
    names: Vec<String>,
    roster: Arc<Roster>,
    /// In order.
    groups: Vec<u32>,
    /// Whether they have so few parts that each may be asked.
    is_small: bool,
}

/// How many groups may lie in each other.
const MAX_DEPTH: usize = 32;
/// How many parts all groups have together, those within others counted anew.
const MAX_PARTS: usize = 100_000;
/// How many parts are asked one by one; of more, those that may have the caller are looked up.
const FEW: usize = 8;

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
        let (mut all, mut count) = (Vec::new(), 0);
        for (id, member) in written.iter().enumerate() {
            let parts = reader.parts(id, 0)?;
            count += parts.len();
            if count > MAX_PARTS {
                let message = "the groups within groups are too many";
                return Err(InvalidPolicy::new(member.place, message));
            }
            all.push(parts.iter().copied().collect());
        }
        let members = reader.known.into_iter().map(Known::members).collect();
        let names = written.iter().map(|member| member.name.clone());
        Ok(Self { ids: names.zip(0..).collect(), roster: Arc::new(Roster::new(members, all)) })
    }

    /// The groups of these names, which stand where `place` says.
    pub(super) fn set(
        &self,
        names: Vec<String>,
        place: impl Fn(usize) -> Place,
    ) -> Result<GroupSet, InvalidPolicy> {
        let found = names.iter().enumerate().map(|(at, name)| {
            let id = self.ids.get(name).copied();
            id.ok_or_else(|| unknown(name, place(at), self.ids.keys().map(String::as_str)))
        });
        let mut groups: Vec<_> = found.collect::<Result<_, _>>()?;
        groups.sort_unstable();
        groups.dedup();
        let roster = Arc::clone(&self.roster);
        let mut set = GroupSet { names, roster, groups, is_small: false };
        let more = set.parts().nth(FEW).is_some();
        set.is_small = !more;
        Ok(set)
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
    ids: HashMap<&'n str, u32>,
    known: Vec<Known>,
}

enum Known {
    Not,
    /// It is being read, and so must not be within itself.
    Reading,
    Read(Box<Members>, Arc<BTreeSet<u32>>),
}

impl Known {
    fn members(self) -> Members {
        match self {
            Self::Read(members, _) => *members,
            Self::Not | Self::Reading => Members::default(),
        }
    }
}

impl Reader<'_> {
    /// The group itself and every group within it.
    fn parts(&mut self, id: usize, depth: usize) -> Result<Arc<BTreeSet<u32>>, InvalidPolicy> {
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
        let (mut members, mut parts) = (Written::default(), BTreeSet::from([index_of(id)]));
        for node in nodes {
            for (inner, place) in members.add(node).map_err(within)? {
                let Some(&inner_id) = self.ids.get(inner) else {
                    return Err(within(unknown(inner, place, self.ids.keys().copied())));
                };
                let inner_id = inner_id as usize;
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
        self.known[id] = Known::Read(Box::new(members.into()), Arc::clone(&parts));
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
            tokens: TokenSet::new(joined(written.tokens)),
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

impl Roster {
    fn new(members: Vec<Members>, parts: Vec<Vec<u32>>) -> Self {
        let mut groups = vec![Vec::new(); members.len()];
        for (parts, group) in parts.iter().zip(0..) {
            parts.iter().for_each(|part| groups[*part as usize].push(group));
        }
        let (mut keys, mut others) = (Vec::new(), Vec::new());
        for (part, id) in members.iter().zip(0..) {
            match keys_of_members(part) {
                Some(of_part) => keys.extend(of_part.into_iter().map(|key| (key, id))),
                None => others.push(id),
            }
        }
        let keys = Keys::new(&keys);
        Self { members, parts, groups, keys, others }
    }
}

impl Members {
    fn has_caller(&self, seen: &Seen<'_>) -> bool {
        let certificate = || seen.any_name(|name| self.principals.matches(name));
        let proven = || {
            seen.request.any_caller(|caller| {
                self.tokens.allow(caller)
                    || owner(caller).is_some_and(|owner| self.owners.matches(owner))
            })
        };
        certificate() || proven()
    }
}

impl GroupSet {
    pub(super) fn holds(&self, seen: &Seen<'_>) -> bool {
        if self.is_small {
            return self.parts().any(|part| part.has_caller(seen));
        }
        let mut found = false;
        let mut look = |parts: &[u32]| {
            found = found
                || parts.iter().any(|&part| {
                    self.has_part(part) && self.roster.members[part as usize].has_caller(seen)
                });
        };
        self.roster.keys.each(seen, &mut look);
        look(&self.roster.others);
        found
    }

    /// Whether one of the groups has a part. The shorter list is looked up in the longer.
    fn has_part(&self, part: u32) -> bool {
        let has = &self.roster.groups[part as usize];
        let (few, many) = match has.len() < self.groups.len() {
            true => (has, &self.groups),
            false => (&self.groups, has),
        };
        few.iter().any(|group| many.binary_search(group).is_ok())
    }

    /// What the groups name, and what the groups within them name.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Members> {
        let parts = self.groups.iter().flat_map(|group| &self.roster.parts[*group as usize]);
        parts.map(|part| &self.roster.members[*part as usize])
    }

    /// The groups' names, at most four of them.
    pub(super) fn describe(&self) -> String {
        TextSet::new(&self.names).describe()
    }
}
