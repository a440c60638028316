//! Finding the rules that may match, without asking those that cannot.

use std::collections::HashMap;

use super::callers::{CallerIndex, CallerRules};
use super::condition::{Condition, Seen};
use super::parse::Rule;
use super::pattern::Pattern;
use crate::identity::MethodPath;

/// The rules of one list, in the order of the file.
///
/// Each rule stands in one of three places: under its paths, else under those whom it is for, else
/// among those that are asked for every call.
#[derive(Debug)]
pub(super) struct RuleIndex {
    rules: Vec<Rule>,
    /// What each of them depends on beside them.
    reads: Vec<Reads>,
    paths: PathIndex,
    callers: CallerIndex,
    others: Vec<u32>,
}

/// What there is among the rules of one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The first rule in the file's order that matches.
    pub(super) rule: Option<usize>,
    /// What the rules depend on that were looked at.
    pub(super) reads: Reads,
}

/// What a rule depends on beside method, callers and connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reads {
    /// It may say another thing of the next call.
    pub(super) volatile: bool,
    /// And so for its headers.
    pub(super) headers: bool,
}

impl Reads {
    fn of(rule: &Rule) -> Self {
        Self {
            volatile: rule.conditions.iter().any(Condition::is_volatile),
            headers: rule.conditions.iter().any(Condition::reads_headers),
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        Self { volatile: self.volatile || other.volatile, headers: self.headers || other.headers }
    }
}

impl RuleIndex {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        let (mut paths, mut callers) = (Vec::new(), CallerRules::default());
        let mut others = Vec::new();
        for (id, rule) in (0..).zip(&rules) {
            let by_path = rule.conditions.iter().find_map(|one| match one {
                // A star alone narrows nothing down.
                Condition::Paths(all) if !all.matches_anything() => Some(all.written()),
                _ => None,
            });
            match by_path {
                Some(texts) => paths.extend(texts.iter().map(|text| (text.as_str(), id))),
                None if callers.add(id, rule) => {}
                None => others.push(id),
            }
        }
        let (paths, callers) = (PathIndex::new(&paths), callers.index());
        let reads = rules.iter().map(Reads::of).collect();
        Self { rules, reads, paths, callers, others }
    }

    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(super) fn first(&self, seen: &Seen<'_>) -> Found {
        self.first_among(seen, |_| true)
    }

    /// The first that matches among those that are wanted.
    pub(super) fn first_among(&self, seen: &Seen<'_>, wanted: impl Fn(&Rule) -> bool) -> Found {
        let mut best = None;
        let mut reads = Reads::default();
        let mut look = |ids: &[u32]| {
            // Ids ascend, so what follows the first match, or the best so far, is not better.
            let before = |id: &&u32| best.is_none_or(|best| **id < best);
            let holds = |id: &&u32| {
                let rule = &self.rules[**id as usize];
                reads = reads.or(self.reads[**id as usize]);
                wanted(rule) && rule.conditions.iter().all(|condition| condition.holds(seen))
            };
            if let Some(id) = ids.iter().take_while(before).find(holds) {
                best = Some(*id);
            }
        };
        self.paths.each(&seen.request.path(), &mut look);
        self.callers.each(seen, &mut look);
        look(&self.others);
        Found { rule: best.map(|id| id as usize), reads }
    }
}

/// Paths and the rules that have them. Those of a whole service, `/package.Service/*`, are the
/// most usual prefixes, and are found by the hash of the service.
#[derive(Debug, Default)]
struct PathIndex {
    services: HashMap<Box<str>, Vec<u32>>,
    others: TextIndex,
}

impl PathIndex {
    fn new(patterns: &[(&str, u32)]) -> Self {
        let mut index = Self::default();
        let mut others = Vec::new();
        for (text, id) in patterns {
            match service(text) {
                Some(service) => add(index.services.entry(service.into()).or_default(), *id),
                None => others.push((*text, *id)),
            }
        }
        index.others = TextIndex::new(&others);
        index
    }

    fn each(&self, path: &MethodPath<'_>, look: &mut impl FnMut(&[u32])) {
        if let Some(ids) = self.services.get(path.service()) {
            look(ids);
        }
        self.others.each(path.as_str(), look);
    }
}

/// The service of a pattern that is for all of its methods and nothing else.
fn service(pattern: &str) -> Option<&str> {
    let service = pattern.strip_prefix('/')?.strip_suffix("/*")?;
    (!service.is_empty() && !service.contains('/')).then_some(service)
}

/// Ids come in order, and a rule may have a text twice.
pub(super) fn add(ids: &mut Vec<u32>, id: u32) {
    if ids.last() != Some(&id) {
        ids.push(id);
    }
}

/// Patterns and the rules that have them: exact texts by hash, prefixes and suffixes by order.
#[derive(Debug, Default)]
pub(super) struct TextIndex {
    exact: HashMap<Box<[u8]>, Vec<u32>>,
    prefixes: Prefixes,
    suffixes: Prefixes,
}

impl TextIndex {
    pub(super) fn new(patterns: &[(&str, u32)]) -> Self {
        let mut index = Self::default();
        let (mut prefixes, mut suffixes) = (Vec::new(), Vec::new());
        for (text, id) in patterns {
            match Pattern::parse(text) {
                Pattern::Exact(exact) => {
                    add(index.exact.entry(exact.as_bytes().into()).or_default(), *id);
                }
                Pattern::Prefix(prefix) => prefixes.push((prefix.bytes().collect(), *id)),
                Pattern::Suffix(suffix) => suffixes.push((suffix.bytes().rev().collect(), *id)),
                Pattern::Present => unreachable!("a star alone is in no index"),
            }
        }
        index.prefixes = Prefixes::new(prefixes);
        index.suffixes = Prefixes::new(suffixes);
        index
    }

    pub(super) fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.all.is_empty() && self.suffixes.all.is_empty()
    }

    /// Hands over the rules of every pattern that matches.
    pub(super) fn each(&self, text: &str, look: &mut impl FnMut(&[u32])) {
        let text = text.as_bytes();
        if let Some(ids) = self.exact.get(text) {
            look(ids);
        }
        self.prefixes.each(text, look);
        if !self.suffixes.all.is_empty() {
            // A text turned round: on the stack, as all but absurd ones are short.
            let mut short = [0; 256];
            let mut long = Vec::new();
            let turned = match short.get_mut(..text.len()) {
                Some(short) => short,
                None => {
                    long.resize(text.len(), 0);
                    &mut long[..]
                }
            };
            turned.copy_from_slice(text);
            turned.reverse();
            self.suffixes.each(turned, look);
        }
    }
}

/// Prefixes in order, each with the longest other one that is a prefix of it.
#[derive(Debug, Default)]
struct Prefixes {
    all: Vec<Prefix>,
}

#[derive(Debug)]
struct Prefix {
    text: Box<[u8]>,
    parent: Option<u32>,
    ids: Vec<u32>,
}

impl Prefixes {
    fn new(mut prefixes: Vec<(Box<[u8]>, u32)>) -> Self {
        prefixes.sort_unstable();
        prefixes.dedup();
        let mut all: Vec<Prefix> = Vec::new();
        for (text, id) in prefixes {
            match all.last_mut() {
                Some(last) if last.text == text => last.ids.push(id),
                last => {
                    // What is a prefix of this one is the text before, or one of its own.
                    let mut parent = last.is_some().then(|| index_of(all.len() - 1));
                    while let Some(at) = parent
                        && !text.starts_with(&all[at as usize].text)
                    {
                        parent = all[at as usize].parent;
                    }
                    all.push(Prefix { text, parent, ids: vec![id] });
                }
            }
        }
        Self { all }
    }

    /// Every prefix of the text. All of them stand before the text in order, and none of them
    /// other than the last that does, or a prefix of that one.
    fn each(&self, text: &[u8], look: &mut impl FnMut(&[u32])) {
        let end = self.all.partition_point(|prefix| *prefix.text <= *text);
        let mut at = end.checked_sub(1).map(index_of);
        while let Some(prefix) = at.map(|at| &self.all[at as usize]) {
            if text.starts_with(&prefix.text) {
                look(&prefix.ids);
            }
            at = prefix.parent;
        }
    }
}

pub(super) fn index_of(at: usize) -> u32 {
    u32::try_from(at).expect("a policy of at most 16 MiB has fewer texts")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(prefixes: &[&str], text: &str) -> Vec<u32> {
        let all = prefixes.iter().zip(0..).map(|(p, id)| (p.as_bytes().into(), id)).collect();
        let mut found = Vec::new();
        Prefixes::new(all).each(text.as_bytes(), &mut |ids| found.extend(ids));
        found.sort_unstable();
        found
    }

    #[test]
    fn every_prefix_is_found_and_nothing_else() {
        let prefixes = ["/a", "/a.b/", "/a.b/Get", "/a.c", "/b", "/a", "/a.b/GetX"];
        assert_eq!(found(&prefixes, "/a.b/GetOne"), [0, 1, 2, 5]);
        assert_eq!(found(&prefixes, "/a.b/GetX"), [0, 1, 2, 5, 6]);
        assert_eq!(found(&prefixes, "/a.b/Put"), [0, 1, 5]);
        assert_eq!(found(&prefixes, "/a.d"), [0, 5]);
        assert_eq!(found(&prefixes, "/c"), [] as [u32; 0]);
        assert_eq!(found(&prefixes, ""), [] as [u32; 0]);
        assert_eq!(found(&[], "/a"), [] as [u32; 0]);
    }
}
