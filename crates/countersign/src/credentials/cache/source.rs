use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;

use super::{RefreshWindows, TokenError};
use crate::secret::Secret;

/// Where tokens come from. [`CachedToken`](super::CachedToken) makes call credentials of it.
///
/// An adapter for any other SDK is one function, [`fetch`](Self::fetch): the cache decides when
/// to ask. `Debug` says which source it is, and must not show what it holds.
#[async_trait]
pub trait TokenSource: fmt::Debug + Send + Sync + 'static {
    /// Gets a token.
    ///
    /// Called in a task of the cache's own, never twice at the same time for one key, and given
    /// up after [`fetch_timeout`](Self::fetch_timeout). The task is aborted when the last handle
    /// to the credential is dropped, so this has to be cancel-safe.
    ///
    /// # Errors
    ///
    /// [`TokenError::transient`] when the same request may succeed later, and
    /// [`TokenError::permanent`] when somebody has to do something first.
    async fn fetch(&self, request: &TokenRequest) -> Result<FetchedToken, TokenError>;

    /// What metrics and logs call it, for instance `client_credentials`.
    fn name(&self) -> &'static str;

    /// For whom one token is good. Default: for every call that these credentials are given to.
    fn scope(&self) -> TokenScope {
        TokenScope::Any
    }

    /// When a token is replaced. Default: [`RefreshWindows::default`].
    fn windows(&self) -> RefreshWindows {
        RefreshWindows::default()
    }

    /// How long one fetch may take. Default: 10 s.
    fn fetch_timeout(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// Whether what the source reads has changed since the last fetch began, so that a permanent
    /// failure may be over.
    ///
    /// Asked at most once a second, and only while such a failure is remembered. It may look at
    /// a file's metadata and must not wait for anything else. Default: `false`.
    fn has_changed(&self) -> bool {
        false
    }
}

#[async_trait]
impl<S: TokenSource + ?Sized> TokenSource for Arc<S> {
    async fn fetch(&self, request: &TokenRequest) -> Result<FetchedToken, TokenError> {
        S::fetch(self, request).await
    }

    fn name(&self) -> &'static str {
        S::name(self)
    }

    fn scope(&self) -> TokenScope {
        S::scope(self)
    }

    fn windows(&self) -> RefreshWindows {
        S::windows(self)
    }

    fn fetch_timeout(&self) -> Duration {
        S::fetch_timeout(self)
    }

    fn has_changed(&self) -> bool {
        S::has_changed(self)
    }
}

/// For whom one token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenScope {
    /// Every call that the credentials are given to.
    Any,
    /// The calls to one host: the token names it as its audience.
    Host,
}

/// What a token is wanted for.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TokenRequest {
    host: Option<Arc<str>>,
    subject: Option<Secret<String>>,
}

impl TokenRequest {
    /// A token for no host in particular.
    pub fn any() -> Self {
        Self::default()
    }

    /// A token for one host, with its port unless that is 443.
    pub fn for_host(host: impl Into<Arc<str>>) -> Self {
        Self { host: Some(host.into()), subject: None }
    }

    /// On behalf of whose token this is.
    #[must_use]
    pub fn of_subject(mut self, subject: Secret<String>) -> Self {
        self.subject = Some(subject);
        self
    }

    /// On behalf of whom, if not of the client itself.
    pub fn subject(&self) -> Option<&Secret<String>> {
        self.subject.as_ref()
    }

    /// The host that the call is addressed to, without `:443`. Only a source of
    /// [`TokenScope::Host`] is told: any other token would be sent to other hosts too.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// The audience that AIP-4111 asks for: `https://host/`.
    pub fn audience(&self) -> Option<String> {
        self.host().map(|host| format!("https://{host}/"))
    }
}

/// What a source got.
///
/// Without [`expires_in`](Self::expires_in), [`expires_at`](Self::expires_at) and
/// [`recheck_after`](Self::recheck_after), the cache reads `exp` if the token is a JWT, and
/// counts on five minutes if it is not.
#[derive(Clone, Debug)]
pub struct FetchedToken {
    pub(super) token: Secret<String>,
    pub(super) scheme: &'static str,
    pub(super) expires_in: Option<Duration>,
    pub(super) expires_at: Option<SystemTime>,
    pub(super) recheck_after: Option<Duration>,
}

impl FetchedToken {
    /// A bearer token (RFC 6750).
    pub fn bearer(token: impl Into<Secret<String>>) -> Self {
        Self {
            token: token.into(),
            scheme: "Bearer",
            expires_in: None,
            expires_at: None,
            recheck_after: None,
        }
    }

    /// A token that is bound to a key, sent under the scheme `DPoP` (RFC 9449 §7.1).
    pub fn dpop(token: impl Into<Secret<String>>) -> Self {
        Self { scheme: "DPoP", ..Self::bearer(token) }
    }

    /// It lasts this long, counted from before the fetch began.
    #[must_use]
    pub fn expires_in(mut self, lifetime: Duration) -> Self {
        self.expires_in = Some(lifetime);
        self
    }

    /// It ends at this time of the wall clock. With [`expires_in`](Self::expires_in) too, the
    /// earlier of the two counts.
    #[must_use]
    pub fn expires_at(mut self, end: SystemTime) -> Self {
        self.expires_at = Some(end);
        self
    }

    /// It has no end of its own; ask again after this long.
    #[must_use]
    pub fn recheck_after(mut self, delay: Duration) -> Self {
        self.recheck_after = Some(delay);
        self
    }

    /// The token. Each use is a place a reviewer looks at.
    pub fn token(&self) -> &Secret<String> {
        &self.token
    }

    /// The scheme that it is sent under: `Bearer` or `DPoP`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }
}
