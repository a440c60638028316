//! Rules as they are written.

mod set;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::pattern::InvalidPattern;

pub(crate) use set::{Rule, RuleSet};

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
