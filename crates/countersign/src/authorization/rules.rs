use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::coverage::{Coverage, MethodCoverage, Reach};
use super::methods::Methods;
use super::pattern::{InvalidPattern, Pattern};
use crate::authentication::{Anonymous, Authenticated};
use crate::identity::MethodPath;

/// Who may call what, method by method. A method without a rule is allowed to nobody.
///
/// Patterns are `/package.Service/Method`, `/package.Service/*`, or globs in which a star stands
/// for any characters but a slash; `*` alone is every method. A `denied` rule that matches
/// wins. Among the others an exact rule goes first, and then the one with the most characters
/// given: `/orders.v1.Orders/Delete*` before `/orders.v1.Orders/*` before `*`. Of two with as
/// many, the one that asks for more. Equal patterns are an error.
///
/// ```
/// use countersign::Rules;
///
/// let rules = Rules::new()
///     .health_is_public()
///     .authenticated("/orders.v1.Orders/*")
///     .authenticated_by("/orders.v1.Admin/*", ["mutual-tls"])
///     .denied("/orders.v1.Orders/Purge");
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "rules do nothing until a gate has them"]
pub struct Rules {
    rules: Vec<(String, Access)>,
}

/// What a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Public,
    Optional,
    Authenticated,
    AuthenticatedBy(Vec<String>),
    /// By each of them.
    AuthenticatedByAll(Vec<String>),
    /// By a token with all of these scopes.
    WithScopes(Arc<[String]>),
    Denied,
}

impl Access {
    fn strictness(&self) -> u8 {
        match self {
            Self::Public => 0,
            Self::Optional => 1,
            Self::Authenticated => 2,
            Self::AuthenticatedBy(_) => 3,
            Self::AuthenticatedByAll(_) => 4,
            Self::WithScopes(_) => 5,
            Self::Denied => 6,
        }
    }
}

impl Rules {
    /// No rule: nobody may call anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Everybody may call it. Credentials are not looked at, so a bad one does not keep anyone
    /// from a health check, and the handler knows no principal.
    pub fn public(self, pattern: &str) -> Self {
        self.rule(pattern, Access::Public)
    }

    /// Everybody may call it. Credentials are checked when there are some; bad ones are refused.
    pub fn optional(self, pattern: &str) -> Self {
        self.rule(pattern, Access::Optional)
    }

    /// Every proven caller may call it. Whom
    /// [`Anonymous`](crate::authentication::Anonymous) lets in is nobody here.
    pub fn authenticated(self, pattern: &str) -> Self {
        self.rule(pattern, Access::Authenticated)
    }

    /// Callers that one of these authenticators proved may call it.
    pub fn authenticated_by<'a>(
        self,
        pattern: &str,
        authenticators: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let names = authenticators.into_iter().map(str::to_owned).collect();
        self.rule(pattern, Access::AuthenticatedBy(names))
    }

    /// Callers that every one of these authenticators proved may call it: for instance by
    /// certificate *and* token. The principal is the one that the first of them proved.
    pub fn authenticated_by_all<'a>(
        self,
        pattern: &str,
        authenticators: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let names = authenticators.into_iter().map(str::to_owned).collect();
        self.rule(pattern, Access::AuthenticatedByAll(names))
    }

    /// Callers whose token has every one of these scopes may call it
    /// ([`TokenClaims::scopes`](crate::identity::TokenClaims::scopes)). Who is proven and lacks
    /// one is told `INSUFFICIENT_SCOPE`, and in the challenge which scopes the method asks for
    /// (RFC 6750 §3.1).
    pub fn with_scopes<'a>(self, pattern: &str, scopes: impl IntoIterator<Item = &'a str>) -> Self {
        let scopes = scopes.into_iter().map(str::to_owned).collect();
        self.rule(pattern, Access::WithScopes(scopes))
    }

    /// Nobody may call it, whatever other rules say.
    pub fn denied(self, pattern: &str) -> Self {
        self.rule(pattern, Access::Denied)
    }

    /// Health checks (`grpc.health.v1.Health`) for everybody.
    pub fn health_is_public(self) -> Self {
        self.public("/grpc.health.v1.Health/*")
    }

    /// Server reflection, both versions, for proven callers.
    pub fn reflection_is_authenticated(self) -> Self {
        self.authenticated("/grpc.reflection.v1.ServerReflection/*")
            .authenticated("/grpc.reflection.v1alpha.ServerReflection/*")
    }

    /// Server reflection, both versions, for everybody: strangers can list every method.
    pub fn reflection_is_public(self) -> Self {
        self.public("/grpc.reflection.v1.ServerReflection/*")
            .public("/grpc.reflection.v1alpha.ServerReflection/*")
    }

    fn rule(mut self, pattern: &str, access: Access) -> Self {
        self.rules.push((pattern.to_owned(), access));
        self
    }
}

/// Why rules cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// A pattern cannot be read.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// Two rules have the same pattern, and only one of them would hold.
    #[error("two rules are for {pattern:?}")]
    Duplicate {
        /// The pattern.
        pattern: String,
    },
    /// A rule asks for an authenticator that the gate has not got: it would allow nobody.
    #[error(
        "the rule for {pattern:?} asks for the authenticator {name:?}, and the gate has {known:?}"
    )]
    UnknownAuthenticator {
        /// The rule's pattern.
        pattern: String,
        /// The authenticator that is missing.
        name: String,
        /// Those that are there.
        known: Vec<String>,
    },
    /// A rule lists no authenticator at all: it would allow nobody.
    #[error("the rule for {pattern:?} lists no authenticator")]
    NoAuthenticator {
        /// The rule's pattern.
        pattern: String,
    },
    /// A rule asks for scopes and lists none: it would allow every token.
    #[error("the rule for {pattern:?} lists no scope")]
    NoScope {
        /// The rule's pattern.
        pattern: String,
    },
    /// A scope has a character that none may have (RFC 6749 §3.3): no token could have it.
    #[error("the rule for {pattern:?} asks for {scope:?}, which is not a scope")]
    Scope {
        /// The rule's pattern.
        pattern: String,
        /// What is not a scope.
        scope: String,
    },
}

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
    name: Arc<str>,
    pattern: Pattern,
    pub(crate) access: Access,
}

impl Access {
    /// Refuses what could never allow anybody, or would allow more than it seems to.
    fn check(&self, pattern: &str, authenticators: &[&str]) -> Result<(), RulesError> {
        let pattern = || pattern.to_owned();
        match self {
            Self::AuthenticatedBy(names) | Self::AuthenticatedByAll(names) => {
                if names.is_empty() {
                    return Err(RulesError::NoAuthenticator { pattern: pattern() });
                }
                match names.iter().find(|name| !authenticators.contains(&name.as_str())) {
                    Some(name) => Err(RulesError::UnknownAuthenticator {
                        pattern: pattern(),
                        name: name.clone(),
                        known: authenticators.iter().map(|&name| name.to_owned()).collect(),
                    }),
                    None => Ok(()),
                }
            }
            Self::WithScopes(scopes) => {
                if scopes.is_empty() {
                    return Err(RulesError::NoScope { pattern: pattern() });
                }
                match scopes.iter().find(|scope| !is_scope(scope)) {
                    Some(scope) => {
                        Err(RulesError::Scope { pattern: pattern(), scope: scope.clone() })
                    }
                    None => Ok(()),
                }
            }
            Self::Public | Self::Optional | Self::Authenticated | Self::Denied => Ok(()),
        }
    }
}

/// `scope-token` of RFC 6749 §3.3, which needs no quoting in a challenge either.
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\')
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
                let denied = || Denied { scopes: Some(Arc::clone(scopes)), ..self.denial() };
                Some(callers.iter().find(has_all).cloned().ok_or_else(denied)?)
            }
            Access::Denied => return Err(self.denial()),
        };
        Ok(Permit { rule: Arc::clone(&self.name), caller })
    }

    fn denial(&self) -> Denied {
        Denied { rule: Some(Arc::clone(&self.name)), scopes: None }
    }
}

/// Leave for one call, and the rule that gave it.
#[derive(Clone, Debug)]
pub struct Permit {
    rule: Arc<str>,
    caller: Option<Authenticated>,
}

impl Permit {
    pub(crate) fn new(rule: Arc<str>, caller: Option<Authenticated>) -> Self {
        Self { rule, caller }
    }

    /// The rule's pattern, or its name in a policy.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The same, shared.
    pub(crate) fn shared_rule(&self) -> &Arc<str> {
        &self.rule
    }

    /// Who may call; `None` on a public method, and where a policy let in somebody of whom no
    /// authenticator knows.
    pub fn caller(&self) -> Option<&Authenticated> {
        self.caller.as_ref()
    }
}

/// No leave for one call, and the rule that refused it, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Denied {
    rule: Option<Arc<str>>,
    scopes: Option<Arc<[String]>>,
}

impl Denied {
    /// The rule's pattern; `None` when the method has no rule.
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }

    /// The scopes that the rule asks for, of which the caller lacks one; empty where it was not
    /// for a scope.
    pub fn scopes(&self) -> &[String] {
        self.scopes.as_deref().unwrap_or_default()
    }

    /// The rule's pattern, shared.
    pub(crate) fn into_rule(self) -> Option<Arc<str>> {
        self.rule
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authentication::{CallEvidence, Evidence};
    use crate::identity::{PeerIdentity, Principal};

    const KNOWN: [&str; 2] = ["mutual-tls", "static-tokens"];

    fn proven_by(authenticator: &str) -> Authenticated {
        let peer = PeerIdentity::unknown();
        Evidence::new(&peer, CallEvidence::None).accept(Principal::new("ci", authenticator))
    }

    fn compiled(rules: Rules) -> RuleSet {
        RuleSet::compile(rules, &KNOWN).expect("valid rules")
    }

    fn found<'a>(set: &'a RuleSet, path: &str) -> Option<&'a str> {
        set.find(&MethodPath::parse(path).expect("canonical")).map(|rule| &*rule.name)
    }

    #[test]
    fn no_rules_allow_nothing() {
        assert_eq!(found(&compiled(Rules::new()), "/a.B/C"), None);
    }

    #[test]
    fn the_closest_rule_counts_and_a_denial_before_all() {
        let set = compiled(
            Rules::new()
                .authenticated("*")
                .public("/a.*/Get*")
                .optional("/a.B/*")
                .authenticated("/a.B/C")
                .denied("/a.B/Purge*"),
        );
        for (path, rule) in [
            ("/a.B/C", "/a.B/C"),
            ("/a.B/D", "/a.B/*"),
            ("/a.X/GetOne", "/a.*/Get*"),
            ("/z.Z/Z", "*"),
            ("/a.B/PurgeAll", "/a.B/Purge*"),
        ] {
            assert_eq!(found(&set, path), Some(rule), "{path}");
        }
    }

    #[test]
    fn a_narrower_glob_is_not_lost_behind_a_service() {
        let set = compiled(
            Rules::new()
                .public("/a.B/*")
                .authenticated_by("/a.B/Delete*", ["mutual-tls"])
                .public("/a.*/*Delete*"),
        );
        assert_eq!(found(&set, "/a.B/DeleteAll"), Some("/a.B/Delete*"));
        assert_eq!(found(&set, "/a.B/Get"), Some("/a.B/*"));
    }

    #[test]
    fn of_two_rules_as_close_the_stricter_one_counts() {
        for order in [true, false] {
            let (public, strict) = ("/a.*/C", "/*.B/C");
            let rules = match order {
                true => Rules::new().public(public).authenticated(strict),
                false => Rules::new().authenticated(strict).public(public),
            };
            assert_eq!(found(&compiled(rules), "/a.B/C"), Some(strict));
        }
    }

    #[test]
    fn a_rule_by_authenticator_takes_its_callers_and_no_others() {
        let set = compiled(Rules::new().authenticated_by("/a.B/*", ["mutual-tls"]));
        let rule = set.find(&MethodPath::parse("/a.B/C").expect("canonical")).expect("a rule");
        let permit = rule
            .authorize(&[proven_by("static-tokens"), proven_by("mutual-tls")])
            .expect("one of them is");
        let caller = permit.caller().expect("a caller").principal();
        assert_eq!(caller.authenticator(), "mutual-tls");
        rule.authorize(&[proven_by("static-tokens")]).expect_err("none of them is");
        rule.authorize(&[]).expect_err("nobody");
    }

    fn with_scopes(authenticator: &str, scopes: &str) -> Authenticated {
        let claims = serde_json::Map::from_iter([("scope".to_owned(), scopes.into())]);
        let claims = crate::identity::TokenClaims::from_object(claims);
        let peer = PeerIdentity::unknown();
        Evidence::new(&peer, CallEvidence::None).accept(Principal::with_token(
            "ci",
            authenticator,
            claims,
        ))
    }

    #[test]
    fn a_rule_by_all_takes_callers_that_each_of_them_proved() {
        let set =
            compiled(Rules::new().authenticated_by_all("/a.B/*", ["static-tokens", "mutual-tls"]));
        let rule = set.find(&MethodPath::parse("/a.B/C").expect("canonical")).expect("a rule");
        let (token, certificate) = (proven_by("static-tokens"), proven_by("mutual-tls"));
        for order in [[certificate.clone(), token.clone()], [token.clone(), certificate.clone()]] {
            let permit = rule.authorize(&order).expect("both are there");
            let caller = permit.caller().expect("a caller").principal();
            assert_eq!(caller.authenticator(), "static-tokens", "the first that the rule names");
        }
        let (one, twice) = (vec![token.clone()], vec![token.clone(), token]);
        for callers in [Vec::new(), one, vec![certificate], twice] {
            let denied = rule.authorize(&callers).expect_err("one is missing");
            assert_eq!((denied.rule(), denied.scopes().len()), (Some("/a.B/*"), 0));
        }
    }

    #[test]
    fn a_rule_with_scopes_takes_tokens_that_have_all_of_them() {
        let set = compiled(Rules::new().with_scopes("/a.B/*", ["read", "write"]));
        let rule = set.find(&MethodPath::parse("/a.B/C").expect("canonical")).expect("a rule");
        let certificate = proven_by("mutual-tls");
        for (name, callers, allowed) in [
            ("all", &[with_scopes("jwt", "write read")][..], true),
            ("more", &[with_scopes("jwt", "write admin read")], true),
            (
                "behind a certificate",
                &[certificate.clone(), with_scopes("jwt", "read write")],
                true,
            ),
            ("one is missing", &[with_scopes("jwt", "read")], false),
            ("a longer one", &[with_scopes("jwt", "read writer")], false),
            ("none", &[with_scopes("jwt", "")], false),
            ("no token", &[certificate], false),
            (
                "two halves are no whole",
                &[with_scopes("jwt", "read"), with_scopes("other", "write")],
                false,
            ),
            ("nobody", &[], false),
        ] {
            let outcome = rule.authorize(callers);
            assert_eq!(outcome.is_ok(), allowed, "{name}");
            if let Err(denied) = outcome {
                assert_eq!(denied.scopes(), ["read", "write"], "{name}");
            }
        }
    }

    #[test]
    fn public_rules_name_nobody_and_optional_ones_whoever_is_proven() {
        let set = compiled(Rules::new().public("/a.B/P").optional("/a.B/O"));
        let rule = |path| set.find(&MethodPath::parse(path).expect("canonical")).expect("a rule");
        let known = [proven_by("mutual-tls")];
        assert!(rule("/a.B/P").authorize(&known).expect("public").caller().is_none());
        assert!(rule("/a.B/O").authorize(&known).expect("optional").caller().is_some());
        assert!(rule("/a.B/O").authorize(&[]).expect("optional").caller().is_none());
    }

    #[test]
    fn rules_that_cannot_hold_are_refused() {
        let error = |rules| RuleSet::compile(rules, &KNOWN).expect_err("refused");
        let twice = Rules::new().public("/a.B/C").denied("/a.B/C");
        assert!(matches!(error(twice), RulesError::Duplicate { .. }));
        for (one, same) in [("*", "/*/*"), ("/a.B/*", "/a.B/**"), ("/a**b/C", "/a*b/C")] {
            let spelled = Rules::new().public(one).authenticated(same);
            assert!(matches!(error(spelled), RulesError::Duplicate { .. }), "{one} {same}");
        }
        let unknown = Rules::new().authenticated_by("/a.B/C", ["mtls"]);
        assert!(matches!(error(unknown), RulesError::UnknownAuthenticator { .. }));
        let nobody = Rules::new().authenticated_by("/a.B/C", []);
        assert!(matches!(error(nobody), RulesError::NoAuthenticator { .. }));
        let nobody = Rules::new().authenticated_by_all("/a.B/C", []);
        assert!(matches!(error(nobody), RulesError::NoAuthenticator { .. }));
        let unknown = Rules::new().authenticated_by_all("/a.B/C", ["mutual-tls", "jwt"]);
        assert!(matches!(error(unknown), RulesError::UnknownAuthenticator { .. }));
        let anything = Rules::new().with_scopes("/a.B/C", []);
        assert!(matches!(error(anything), RulesError::NoScope { .. }));
        for scope in ["", "a b", "a\"b", "a\\b", "ä", "a\n"] {
            let odd = Rules::new().with_scopes("/a.B/C", ["read", scope]);
            assert!(matches!(error(odd), RulesError::Scope { .. }), "{scope:?}");
        }
        assert!(matches!(error(Rules::new().public("a.B/C")), RulesError::Pattern(_)));
    }
}
