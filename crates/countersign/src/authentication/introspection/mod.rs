//! Opaque tokens, judged by the authorization server that issued them (RFC 7662).

mod answer;
mod binding;
mod builder;
mod cache;
mod endpoint;
mod flights;
mod health;

#[cfg(test)]
mod tests;

pub use builder::{IntrospectionBuilder, IntrospectionError, KnowsAudience, WantsAudience};

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use self::answer::Verdict;
use self::cache::Entry;
use self::flights::Shared;
use super::{
    AuthenticationError, Authenticator, CallEvidence, Evidence, EvidenceKinds, Outcome, Reason,
};

/// Proves callers by tokens that their issuer vouches for when it is asked (RFC 7662).
///
/// Reads `authorization: Bearer <token>`. What the token looks like does not matter: a JWT is
/// asked for like any other.
///
/// ```no_run
/// use countersign::Introspection;
/// use countersign::credentials::oauth::ClientAuthentication;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let secret = "hidden";
/// let tokens = Introspection::new("https://id.example/introspect")
///     .authenticated_by(ClientAuthentication::basic("orders", secret))
///     .audience("orders")
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// **Accepted** is a token whose answer says `active: true`, whose `aud` holds one of the
/// audiences, whose `exp` and `nbf` hold with 60 s of leeway, whose `iss`, if there is one, is the
/// [`issuer`](IntrospectionBuilder::issuer) that was set, and which is an access token as far as
/// the answer tells (`token_type`, `token_use`, `typ`). A token with `cnf` is accepted only with
/// the client certificate that it is bound to (RFC 8705 §3.2); one bound to a key (RFC 9449) or in
/// a way that is not known is refused with `PROOF_REQUIRED`.
///
/// **The principal** is `iss#sub`, or `sub` where the issuer is not known. An answer without `sub`
/// speaks of a client: that is named `client:` and its `client_id`, so that no client can pass for
/// a user by its id (RFC 9068 §5). Handlers find the whole answer in
/// [`Principal::token`](crate::Principal::token).
///
/// **Refused**, as `UNAUTHENTICATED`: `active: false` is `TOKEN_INVALID`. The endpoint does not
/// say why (RFC 7662 §2.2), so whether the token ended, was revoked or never was is not known
/// here either.
///
/// **Unknown**, as `UNAVAILABLE`: the endpoint is out of reach, refuses us as its client, or
/// answers with anything that is not plainly yes or no. Signed answers (RFC 9701) are not read.
/// The operator's log has the cause; the token is never in it.
///
/// **Remembered**: yes for 60 s and never beyond `exp`, no for 5 s; 10,000 tokens, by their
/// SHA-256. A token that is revoked passes for as long; [`forget`](Self::forget) ends it at once.
///
/// **Asked** once for a token at a time, however many calls carry it, and 64 times at once for
/// all. A call that waits longer than 2 s for its turn is `UNAVAILABLE`. An endpoint that failed
/// three times in a row is left alone for half a second, and for twice as long with each further
/// failure, up to 30 s; then one request finds out.
///
/// Requests run in tasks that belong to the authenticator: a call that ends does not stop one,
/// and dropping the last clone stops all. Needs a tokio runtime when it is asked, not when it is
/// built.
#[derive(Clone)]
pub struct Introspection {
    handle: Arc<Handle>,
}

/// What stops everything when it is dropped; tasks hold the inside alone.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Introspection {
    /// What rules call it.
    pub const NAME: &'static str = "introspection";

    /// Asks an endpoint: an `https` URL, or `http` on a loopback address.
    #[expect(clippy::new_ret_no_self, reason = "an audience has to be named first")]
    pub fn new(endpoint: &str) -> IntrospectionBuilder<WantsAudience> {
        IntrospectionBuilder::new(endpoint)
    }

    fn with(shared: Shared) -> Self {
        Self { handle: Arc::new(Handle { shared: Arc::new(shared) }) }
    }

    /// Forgets all answers, also those that connections remember: the next call with any token
    /// asks again. For when it becomes known that something was revoked.
    pub fn forget(&self) {
        self.handle.shared.forget();
    }
}

/// The token, if the evidence is one.
fn token_of<'a>(evidence: &Evidence<'a>) -> Option<&'a str> {
    match evidence.call() {
        CallEvidence::Bearer(token) => Some(token),
        _ => None,
    }
}

fn judged(entry: &Entry, evidence: &Evidence<'_>) -> Outcome {
    match &entry.verdict {
        Verdict::Known(known) => {
            known.binding.check(evidence)?;
            let caller = evidence.accept(known.principal.clone()).leased(entry.lease.clone());
            Ok(Some(match known.ends_at {
                Some(end) => caller.expiring_at(end),
                None => caller,
            }))
        }
        Verdict::Refused { reason, detail } => Err(AuthenticationError::new(*reason, *detail)),
        Verdict::Trouble(trouble) => {
            Err(AuthenticationError::unavailable("the token cannot be introspected")
                .with_source(Arc::clone(trouble))
                .with_retry_after(trouble.retry_after()))
        }
    }
}

#[async_trait]
impl Authenticator for Introspection {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { authorization: true, ..EvidenceKinds::default() }
    }

    fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
        let Some(token) = token_of(evidence) else { return Some(Ok(None)) };
        if token.len() > CallEvidence::MAX_BYTES {
            let detail = "the credential is longer than 16 KiB";
            return Some(Err(AuthenticationError::new(Reason::CredentialsMalformed, detail)));
        }
        let entry = self.handle.shared.remembered(token)?;
        Some(judged(&entry, evidence))
    }

    async fn authenticate(&self, evidence: &Evidence<'_>) -> Outcome {
        if let Some(outcome) = self.authenticate_now(evidence) {
            return outcome;
        }
        let Some(token) = token_of(evidence) else { return Ok(None) };
        let entry = self.handle.shared.ask(token).await;
        judged(&entry, evidence)
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn challenge(&self) -> Option<&'static str> {
        Some("Bearer")
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let endpoint = &self.handle.shared.endpoint;
        f.debug_struct("Introspection")
            .field("endpoint", &endpoint.url)
            .field("client", &endpoint.client)
            .finish_non_exhaustive()
    }
}
