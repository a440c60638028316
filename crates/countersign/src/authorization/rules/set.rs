//! Rules made ready to be asked, and asking them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Access, Rules, RulesError};
use crate::authentication::{Anonymous, Authenticated};
use crate::authorization::coverage::{Coverage, MethodCoverage, Reach};
use crate::authorization::methods::Methods;
use crate::authorization::pattern::Pattern;
use crate::authorization::permit::{Denied, Permit};
use crate::identity::MethodPath;

/// Rules made ready to be asked.
#[derive(Debug)]
pub(crate) struct RuleSet {
    denied: Vec<Arc<Rule>>,
    exact: HashMap<String, Arc<Rule>>,
    services: HashMap<String, Arc<Rule>>,
    /// The closest first.
    globs: Vec<Arc<Rule>>,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(super) name: Arc<str>,
    pattern: Pattern,
    pub(crate) access: Access,
}
impl RuleSet {
    /// `authenticators` are the names that rules may ask for.
    pub(crate) fn compile(rules: Rules, authenticators: &[&str]) -> Result<Self, RulesError> {
        let mut set = Self {
            denied: Vec::new(),
            exact: HashMap::new(),
            services: HashMap::new(),
            globs: Vec::new(),
        };
        let mut seen = HashSet::new();
        for (pattern, access) in rules.rules {
            let parsed = Pattern::parse(&pattern)?;
            if !seen.insert(parsed.clone()) {
                return Err(RulesError::Duplicate { pattern });
            }
            access.check(&pattern, authenticators)?;
            let rule = Arc::new(Rule { name: pattern.into(), pattern: parsed.clone(), access });
            match parsed {
                _ if rule.access == Access::Denied => set.denied.push(rule),
                Pattern::Exact(path) => drop(set.exact.insert(path, rule)),
                Pattern::Service(service) => drop(set.services.insert(service, rule)),
                Pattern::Glob { .. } => set.globs.push(rule),
            }
        }
        set.globs.sort_by_key(|rule| std::cmp::Reverse(rule.rank()));
        Ok(set)
    }

    /// The rule for a method. `None`: nobody may call it.
    pub(crate) fn find(&self, path: &MethodPath<'_>) -> Option<&Arc<Rule>> {
        let matching = |rules: &'_ [Arc<Rule>]| rules.iter().position(|r| r.pattern.matches(path));
        if let Some(denied) = matching(&self.denied) {
            return Some(&self.denied[denied]);
        }
        if let Some(exact) = self.exact.get(path.as_str()) {
            return Some(exact);
        }
        let service = self.services.get(path.service());
        let glob = matching(&self.globs).map(|glob| &self.globs[glob]);
        service.into_iter().chain(glob).max_by_key(|rule| rule.rank())
    }

    /// What the rules say of each method.
    pub(crate) fn coverage(&self, methods: &Methods) -> Coverage {
        let is_anonymous = |name: &String| name == Anonymous::NAME;
        let of = |path: &str| {
            let rule = MethodPath::parse(path).ok().and_then(|path| self.find(&path));
            let reach = match rule.map(|rule| &rule.access) {
                Some(Access::Public | Access::Optional) => Reach::Public,
                // Who shows nothing is known to this authenticator.
                Some(Access::AuthenticatedBy(names)) if names.iter().any(is_anonymous) => {
                    Reach::Public
                }
                Some(Access::AuthenticatedByAll(names)) if names.iter().all(is_anonymous) => {
                    Reach::Public
                }
                Some(Access::Denied) => Reach::Denied,
                Some(_) => Reach::Authenticated,
                None => Reach::NoRule,
            };
            let rule = rule.map(|rule| rule.name.to_string());
            MethodCoverage { path: path.to_owned(), reach, rule }
        };
        Coverage::new(methods.paths().map(of).collect())
    }
}

impl Rule {
    /// How close it is to the methods that it is for; among equals the stricter one is closer.
    fn rank(&self) -> (usize, u8) {
        (self.pattern.literal_length(), self.access.strictness())
    }

    /// Decides one call for those who were proven, the strongest claim first.
    pub(crate) fn authorize(&self, callers: &[Authenticated]) -> Result<Permit, Denied> {
        let caller = match &self.access {
            Access::Public => None,
            Access::Optional => callers.first().cloned(),
            Access::Authenticated => {
                let known = callers.iter().find(|caller| !caller.is_anonymous());
                Some(known.cloned().ok_or_else(|| self.denial())?)
            }
            Access::AuthenticatedBy(names) => {
                let by = |caller: &&Authenticated| {
                    names.iter().any(|name| name == caller.principal().authenticator())
                };
                Some(callers.iter().find(by).cloned().ok_or_else(|| self.denial())?)
            }
            Access::AuthenticatedByAll(names) => {
                let by = |name: &String| {
                    callers.iter().find(|caller| caller.principal().authenticator() == name)
                };
                if !names.iter().all(|name| by(name).is_some()) {
                    return Err(self.denial());
                }
                Some(names.first().and_then(by).cloned().ok_or_else(|| self.denial())?)
            }
            Access::WithScopes(scopes) => {
                let has_all = |caller: &&Authenticated| {
                    let token = caller.principal().token();
                    token.is_some_and(|token| scopes.iter().all(|scope| token.has_scope(scope)))
                };
                let denied = || self.denial().of_scopes(Arc::clone(scopes));
                Some(callers.iter().find(has_all).cloned().ok_or_else(denied)?)
            }
            Access::Denied => return Err(self.denial()),
        };
        Ok(Permit::new(Arc::clone(&self.name), caller))
    }

    fn denial(&self) -> Denied {
        Denied::by(Arc::clone(&self.name))
    }
}
