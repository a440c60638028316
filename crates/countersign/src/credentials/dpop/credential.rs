use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use quick_cache::sync::Cache;
use serde_json::Value;

use super::key::{DpopKey, Proven};
use crate::clock::{Clock, SystemClock};
use crate::credentials::{
    CachedToken, CallCredentials, CallCredentialsError, CallDetails, CallMetadata,
    ChannelSecurityInfo, Rejection, TokenSource,
};

/// The longest nonce that is taken over, in bytes.
const MAX_NONCE_BYTES: usize = 1024;

/// For how many hosts a nonce is remembered.
const MAX_HOSTS: usize = 1_000;

/// Call credentials from a source of bound tokens: `authorization: DPoP <token>` and, in `dpop`,
/// a proof of its key for this very call (RFC 9449 §7).
///
/// The source has to bind its tokens to the same key, as
/// [`TokenEndpoint::with_dpop`](crate::credentials::oauth::TokenEndpoint::with_dpop) does; what
/// is no `DPoP` token is not sent. `htu` is `https://{authority}/{package.Service}/{Method}`.
///
/// A server that asks for a nonce gives it in its answer's `dpop-nonce`: it is remembered for the
/// host, and the call is sent once more where that is possible. A nonce that comes with any other
/// answer (§8.2) is taken over for the next call.
pub struct DpopToken<S> {
    token: CachedToken<S>,
    key: DpopKey,
    clock: Arc<dyn Clock>,
    nonces: Arc<Cache<String, Arc<str>>>,
}

impl<S: TokenSource> DpopToken<S> {
    /// Sends these tokens, with proofs of this key.
    pub fn new(token: CachedToken<S>, key: DpopKey) -> Self {
        let nonces = Arc::new(Cache::new(MAX_HOSTS));
        Self { token, key, clock: Arc::new(SystemClock), nonces }
    }

    /// Reads the time of proofs from here. Default: the operating system's clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    fn prove(
        &self,
        call: &CallDetails,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        let value = metadata.value(&AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("DPoP ")).ok_or_else(|| {
            CallCredentialsError::permanent("the source's token is not bound to a key")
        })?;
        let nonce = self.nonces.get(call.audience_host());
        let url = format!("https://{}{}", call.audience_host(), call.path());
        let of = Proven { method: "POST", url: &url, token: Some(token), nonce: nonce.as_deref() };
        let proof = self.key.proof(&of, self.clock.now())?;
        Ok(metadata.insert("dpop", &proof)?)
    }
}

#[async_trait]
impl<S: TokenSource> CallCredentials for DpopToken<S> {
    async fn get_metadata(
        &self,
        call: &CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<(), CallCredentialsError> {
        self.token.get_metadata(call, security, metadata).await?;
        self.prove(call, metadata)
    }

    fn get_metadata_now(
        &self,
        call: &CallDetails,
        security: &ChannelSecurityInfo,
        metadata: &mut CallMetadata,
    ) -> Result<bool, CallCredentialsError> {
        if !self.token.get_metadata_now(call, security, metadata)? {
            return Ok(false);
        }
        self.prove(call, metadata)?;
        Ok(true)
    }

    fn can_replace(&self) -> bool {
        true
    }

    fn answered(&self, call: &CallDetails, answer: &HeaderMap) {
        let Some(nonce) = nonce_in(answer) else { return };
        let host = call.audience_host();
        if self.nonces.get(host).as_deref() != Some(&*nonce) {
            self.nonces.insert(host.to_owned(), nonce);
        }
    }

    fn rejected(&self, rejection: &Rejection<'_>) -> bool {
        self.answered(rejection.call(), rejection.answer());
        let proven_with = rejection.sent().get("dpop").and_then(nonce_of);
        if let Some(nonce) = nonce_in(rejection.answer()) {
            // With the nonce that it had, the next proof is no better.
            if proven_with.as_deref() != Some(&*nonce) {
                return true;
            }
        }
        // Another token does not mend a proof.
        let of_the_proof = rejection.reason().is_some_and(|reason| reason.starts_with("PROOF_"));
        !of_the_proof && self.token.rejected(rejection)
    }
}

/// The nonce in a proof of ours.
fn nonce_of(proof: &[u8]) -> Option<String> {
    let claims = proof.split(|byte| *byte == b'.').nth(1)?;
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Some(claims.get("nonce")?.as_str()?.to_owned())
}

/// The nonce that an answer gives, if it is one (RFC 9449 §8.1: no characters but visible ones).
pub(crate) fn nonce_in(answer: &HeaderMap) -> Option<Arc<str>> {
    let nonce = answer.get("dpop-nonce")?.to_str().ok()?;
    let fits = !nonce.is_empty()
        && nonce.len() <= MAX_NONCE_BYTES
        && nonce.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| nonce.into())
}

impl<S> Clone for DpopToken<S> {
    fn clone(&self) -> Self {
        Self {
            token: self.token.clone(),
            key: self.key.clone(),
            clock: Arc::clone(&self.clock),
            nonces: Arc::clone(&self.nonces),
        }
    }
}

impl<S: TokenSource> fmt::Debug for DpopToken<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DpopToken").field(&self.token).field(&self.key).finish()
    }
}
