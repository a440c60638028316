use std::any::Any;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;

use super::claims::{ClaimsError, TokenClaims};

/// The identity that was accepted for a caller (gRFC A43).
///
/// A name, the authenticator that vouches for it, and the claims of the token that proved it, if
/// one did. Two authenticators may know the same name and mean different callers, so equality
/// looks at both, and not at the claims. Cloning is one atomic increment.
#[derive(Clone)]
pub struct Principal {
    inner: Arc<Inner>,
}

struct Inner {
    name: Box<str>,
    authenticator: Arc<str>,
    token: Option<TokenClaims>,
    seen: AtomicBool,
    kept: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl Principal {
    /// Names a principal. It proves nothing by itself: what a handler is given is a principal
    /// inside an [`Authenticated`](crate::authentication::Authenticated).
    pub fn new(name: impl Into<String>, authenticator: impl Into<String>) -> Self {
        Self::with(name.into(), authenticator.into().into(), None)
    }

    /// Names a principal that a token proved.
    pub fn with_token(
        name: impl Into<String>,
        authenticator: impl Into<String>,
        token: TokenClaims,
    ) -> Self {
        Self::with(name.into(), authenticator.into().into(), Some(token))
    }

    /// The same for an authenticator that keeps its own name for all whom it proves.
    pub(crate) fn proven_by(
        authenticator: &Arc<str>,
        name: impl Into<Box<str>>,
        token: TokenClaims,
    ) -> Self {
        Self::with(name, Arc::clone(authenticator), Some(token))
    }

    fn with(
        name: impl Into<Box<str>>,
        authenticator: Arc<str>,
        token: Option<TokenClaims>,
    ) -> Self {
        let name = name.into();
        let (seen, kept) = Default::default();
        Self { inner: Arc::new(Inner { name, authenticator, token, seen, kept }) }
    }

    /// The name, for instance `spiffe://prod.example/orders` or `ci`.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The authenticator that proved it, for instance `mutual-tls`.
    pub fn authenticator(&self) -> &str {
        &self.inner.authenticator
    }

    /// What the token says that proved it: issuer, subject, client, scopes, expiry. `None` for a
    /// principal that was proven by something else.
    pub fn token(&self) -> Option<&TokenClaims> {
        self.inner.token.as_ref()
    }

    /// What another room keeps with a caller that is remembered, for as long as it is: until the
    /// last clone is gone. `None` when it is asked for the first time, since most principals that
    /// nobody remembers are asked about once, and where something of another type is kept.
    pub(crate) fn keep<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<&T> {
        let Inner { seen, kept, .. } = &*self.inner;
        if let Some(known) = kept.get() {
            return known.downcast_ref();
        }
        if !seen.swap(true, Ordering::Relaxed) {
            return None;
        }
        kept.get_or_init(|| Box::new(make())).downcast_ref()
    }

    /// The token's claims as a type of one's own, parsed once for each token and type.
    ///
    /// # Errors
    ///
    /// There are no claims, or they do not fit the type.
    pub fn claims<T>(&self) -> Result<Arc<T>, ClaimsError>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        self.token().ok_or(ClaimsError::None)?.parse()
    }
}

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        let [a, b] = [self, other].map(|one| (one.name(), one.authenticator()));
        a == b
    }
}

impl Eq for Principal {}

impl Hash for Principal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.name(), self.authenticator()).hash(state);
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Principal({:?} by {})", self.inner.name, self.inner.authenticator)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.name)
    }
}
