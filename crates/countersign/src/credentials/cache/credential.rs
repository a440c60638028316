use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::AUTHORIZATION;

use super::{
    KeepWarm, RefreshWindows, Settings, TokenCache, TokenError, TokenRequest, TokenScope,
    TokenSource, TokenTelemetry,
};
use crate::clock::Clock;
use crate::credentials::{
    CallCredentials, CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
    Rejection,
};
use crate::secret::Secret;

/// Call credentials from a [`TokenSource`]: one `authorization` value that stays fresh.
///
/// * **Nothing runs while there are no calls.** It is made without a runtime, and spawns
///   nothing before the first call. [`keep_warm`](Self::keep_warm) is for those who want more.
/// * **One fetch** for however many calls, in a task of its own: a call that is given up does
///   not stop it. Clones share it, and the last one dropped aborts it.
/// * **Ahead of time.** From the advisory window on, a call sets off the next fetch and does not
///   wait for it ([`RefreshWindows`]).
/// * **Failures.** While a token lasts, it is used. Without one, calls fail at once with what
///   the last fetch failed with: `UNAVAILABLE` during a back-off of 1 s × 1.6 ±20 % up to 2 min,
///   or `UNAUTHENTICATED` for 30 s. Then the next call asks again; nothing is final.
/// * **Rejections.** A server that answers `UNAUTHENTICATED` to the very token that is cached
///   has it replaced, at most once in 30 s.
///
/// Never below [`SecurityLevel::PrivacyAndIntegrity`](crate::SecurityLevel).
///
/// ```
/// use countersign::credentials::{
///     CachedToken, FetchedToken, TokenError, TokenRequest, TokenSource,
/// };
/// use countersign::{Secret, async_trait};
/// use std::time::Duration;
///
/// /// Any other SDK, through the trait.
/// #[derive(Debug)]
/// struct Sdk;
///
/// #[async_trait]
/// impl TokenSource for Sdk {
///     async fn fetch(&self, _: &TokenRequest) -> Result<FetchedToken, TokenError> {
///         let token = Secret::from("what the SDK gave");
///         Ok(FetchedToken::bearer(token).expires_in(Duration::from_secs(3600)))
///     }
///
///     fn name(&self) -> &'static str {
///         "sdk"
///     }
/// }
///
/// let credentials = CachedToken::new(Sdk);
/// assert_eq!(credentials.telemetry().refreshed, 0);
/// ```
pub struct CachedToken<S> {
    cache: Arc<TokenCache<S>>,
}

impl<S: TokenSource> CachedToken<S> {
    /// With the source's own settings and the operating system's clock.
    pub fn new(source: S) -> Self {
        Self::builder(source).build()
    }

    /// With other settings.
    pub fn builder(source: S) -> CachedTokenBuilder<S> {
        CachedTokenBuilder { source, settings: Settings::default() }
    }

    /// What it has done so far.
    pub fn telemetry(&self) -> TokenTelemetry {
        self.cache.telemetry()
    }

    /// The token itself, fetched if need be; for what is not a gRPC call. A host is wanted by
    /// sources of [`TokenScope::Host`] and not seen by others.
    ///
    /// # Errors
    ///
    /// As a call would fail.
    pub async fn token(&self, request: &TokenRequest) -> Result<Secret<String>, TokenError> {
        let key = self.key(request.host());
        let held = self.cache.get(key, || self.request(request.host())).await?;
        Ok(Secret::from(held.token()))
    }

    /// Keeps the token fresh while nobody calls, from now until the handle is dropped: it is
    /// fetched at once if need be, and then ahead of each end as if there were calls. A host is
    /// wanted by sources of [`TokenScope::Host`] and not seen by others.
    ///
    /// Off unless asked for. It is for calls that must not wait even after a long silence; what
    /// fails is tried again as the back-off allows, and never given up.
    ///
    /// # Errors
    ///
    /// Outside of a tokio runtime.
    pub fn keep_warm(&self, request: &TokenRequest) -> Result<KeepWarm, TokenError> {
        let key = self.key(request.host()).map(str::to_owned);
        KeepWarm::start(&self.cache, key, self.request(request.host()))
    }

    #[cfg(test)]
    pub(super) fn cache(&self) -> &TokenCache<S> {
        &self.cache
    }

    fn key<'a>(&self, host: Option<&'a str>) -> Option<&'a str> {
        match self.cache.source().scope() {
            TokenScope::Any => None,
            TokenScope::Host => host,
        }
    }

    fn request(&self, host: Option<&str>) -> TokenRequest {
        self.key(host).map_or_else(TokenRequest::any, TokenRequest::for_host)
    }
}

#[async_trait]
impl<S: TokenSource> CallCredentials for CachedToken<S> {
    async fn get_metadata(
        &self,
        call: &CallDetails,
        _security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        let host = Some(call.audience_host());
        let key = self.key(host);
        let held = self.cache.get(key, || self.request(host)).await;
        let held = held.map_err(|error| self.cache.failure(key, error))?;
        Ok(metadata.insert_authorization(held.value().clone())?)
    }

    fn get_metadata_now(
        &self,
        call: &CallDetails,
        _security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<bool, CallCredentialsError> {
        let host = Some(call.audience_host());
        let key = self.key(host);
        let now = self.cache.now(key, || self.request(host));
        match now.map_err(|error| self.cache.failure(key, error))? {
            Some(value) => {
                metadata.insert_authorization(value)?;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn can_replace(&self) -> bool {
        true
    }

    fn rejected(&self, rejection: &Rejection<'_>) -> bool {
        if rejection.is_final() {
            return false;
        }
        let Some(sent) = rejection.sent().value(&AUTHORIZATION) else { return false };
        self.cache.reject(self.key(Some(rejection.call().audience_host())), sent)
    }
}

impl<S> Clone for CachedToken<S> {
    fn clone(&self) -> Self {
        Self { cache: Arc::clone(&self.cache) }
    }
}

impl<S: TokenSource> fmt::Debug for CachedToken<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CachedToken").field(self.cache.source()).finish()
    }
}

/// Sets up a [`CachedToken`].
#[derive(Debug)]
pub struct CachedTokenBuilder<S> {
    source: S,
    settings: Settings,
}

impl<S: TokenSource> CachedTokenBuilder<S> {
    /// Reads the wall clock from here. Default: the operating system's.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// When tokens are replaced. Default: [`TokenSource::windows`].
    #[must_use]
    pub fn with_windows(mut self, windows: RefreshWindows) -> Self {
        self.settings.windows = Some(windows);
        self
    }

    /// How long one fetch may take. Default: [`TokenSource::fetch_timeout`].
    #[must_use]
    pub fn with_fetch_timeout(mut self, timeout: Duration) -> Self {
        self.settings.fetch_timeout = Some(timeout);
        self
    }

    /// For how many hosts a token is kept at most, where each has its own. Default: 1,000.
    #[must_use]
    pub fn with_max_entries(mut self, entries: usize) -> Self {
        self.settings.max_entries = entries;
        self
    }

    /// Makes the credentials. Spawns nothing.
    pub fn build(self) -> CachedToken<S> {
        CachedToken { cache: Arc::new(TokenCache::new(self.source, self.settings)) }
    }
}
