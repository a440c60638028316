use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::AUTHORIZATION;

use super::token_exchange::TokenExchange;
use crate::credentials::cache::{Settings, TokenCache};
use crate::credentials::{
    CallCredentials, CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
    Rejection, TokenRequest, TokenScope, TokenSource, TokenTelemetry,
};
use crate::digest::sha256;
use crate::secret::Secret;

/// Calls on behalf of others: exchanges each subject's token once, and keeps what it got.
///
/// What is kept stands under the SHA-256 of the subject's token, and the host where each host
/// has its own: nobody gets another subject's token. At most
/// [`max_entries`](Self::with_max_entries) are kept, the least used fall out. Cloning shares.
#[derive(Clone)]
pub struct SubjectTokens {
    cache: Arc<TokenCache<TokenExchange>>,
}

impl SubjectTokens {
    /// Keeps up to 10,000 tokens.
    pub fn new(exchange: TokenExchange) -> Self {
        Self::with(exchange, Settings::default().max_entries(10_000))
    }

    /// Keeps up to this many tokens.
    pub fn with_max_entries(exchange: TokenExchange, entries: usize) -> Self {
        Self::with(exchange, Settings::default().max_entries(entries))
    }

    fn with(exchange: TokenExchange, settings: Settings) -> Self {
        Self { cache: Arc::new(TokenCache::new(exchange, settings)) }
    }

    /// Credentials for one call, or more, on behalf of whose token this is.
    pub fn on_behalf_of(&self, subject: impl Into<Secret<String>>) -> OnBehalfOf {
        let subject = subject.into();
        let digest = sha256(subject.expose().as_bytes());
        let key = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        OnBehalfOf { cache: Arc::clone(&self.cache), subject, key }
    }

    /// What it has done so far.
    pub fn telemetry(&self) -> TokenTelemetry {
        self.cache.telemetry()
    }
}

impl fmt::Debug for SubjectTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SubjectTokens").field(self.cache.source()).finish()
    }
}

/// Call credentials on behalf of one subject; from [`SubjectTokens`].
#[derive(Clone)]
pub struct OnBehalfOf {
    cache: Arc<TokenCache<TokenExchange>>,
    subject: Secret<String>,
    /// SHA-256 of the subject's token, in hex.
    key: String,
}

impl OnBehalfOf {
    fn key(&self, call: &CallDetails) -> String {
        match self.cache.source().scope() {
            TokenScope::Host => format!("{} {}", self.key, call.audience_host()),
            TokenScope::Any => self.key.clone(),
        }
    }

    fn request(&self, call: &CallDetails) -> TokenRequest {
        let request = match self.cache.source().scope() {
            TokenScope::Host => TokenRequest::for_host(call.audience_host()),
            TokenScope::Any => TokenRequest::any(),
        };
        request.of_subject(self.subject.clone())
    }
}

#[async_trait]
impl CallCredentials for OnBehalfOf {
    async fn get_metadata(
        &self,
        call: &CallDetails,
        _security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        let key = self.key(call);
        let held = self.cache.get(Some(&key), || self.request(call)).await;
        let held = held.map_err(|error| self.cache.failure(Some(&key), error))?;
        Ok(metadata.insert_authorization(held.value().clone())?)
    }

    fn get_metadata_now(
        &self,
        call: &CallDetails,
        _security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<bool, CallCredentialsError> {
        let key = self.key(call);
        let now = self.cache.now(Some(&key), || self.request(call));
        match now.map_err(|error| self.cache.failure(Some(&key), error))? {
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
        let sent = rejection.sent().value(&AUTHORIZATION).filter(|_| !rejection.is_final());
        sent.is_some_and(|sent| self.cache.reject(Some(&self.key(rejection.call())), sent))
    }
}

/// Says that there is a subject, and not which.
impl fmt::Debug for OnBehalfOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnBehalfOf").field(self.cache.source()).finish()
    }
}
