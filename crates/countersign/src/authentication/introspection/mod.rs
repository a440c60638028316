//! Opaque tokens, judged by the authorization server that issued them (RFC 7662).

mod answer;
mod binding;
mod builder;
mod cache;
mod endpoint;
mod flights;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod health;

pub use builder::{IntrospectionBuilder, IntrospectionError, KnowsAudience, WantsAudience};

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use self::answer::Verdict;
use self::cache::Entry;
use self::flights::Shared;
use super::jwt::dpop::DpopVerifier;
use super::{
    AuthenticationError, Authenticator, CallEvidence, Evidence, EvidenceKinds, Outcome, Reason,
};
use crate::identity::Source;

/// Proves callers by tokens that their issuer vouches for when it is asked (RFC 7662).
///
/// Reads `authorization` with the schemes `Bearer` and `DPoP`. What the token looks like does not matter: a JWT is
/// asked for like any other, unless [`except_jwts`](IntrospectionBuilder::except_jwts) leaves it to somebody else.
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
/// what it is bound to: the client certificate of the connection (RFC 8705 §3.2), or a proof for
/// the call, which comes with the scheme `DPoP` (RFC 9449 §7). One that is bound in a way that is
/// not known is refused with `PROOF_REQUIRED`.
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
/// **Remembered**: yes for 60 s and never beyond `exp`, no for 5 s; 10,000 tokens of each kind, so
/// that bad ones never push out good ones, by their SHA-256. A token that is revoked passes for as long; [`forget`](Self::forget) ends it at once.
///
/// **Asked** once for a token at a time, however many calls carry it, and 64 times at once for
/// all. A call that waits longer than 2 s for its turn is `UNAVAILABLE`. So is one whose address
/// (of IPv6: its /64) waits for the answers on 128 other tokens, twice as many as are asked for at
/// once: nobody takes the endpoint from the others with tokens that they think of. Callers behind
/// one proxy are one address. An endpoint that failed
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
    proofs: DpopVerifier,
    left: LeftAlone,
}

/// Tokens that the endpoint never sees.
#[derive(Debug, Default)]
struct LeftAlone {
    jwts: bool,
    prefixes: Vec<String>,
}

impl LeftAlone {
    fn has(&self, token: &str) -> bool {
        let jwt = || self.jwts && token.matches('.').count() == 2;
        jwt() || self.prefixes.iter().any(|prefix| token.starts_with(&**prefix))
    }
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

    fn with(shared: Shared, proofs: DpopVerifier, left: LeftAlone) -> Self {
        Self { handle: Arc::new(Handle { shared: Arc::new(shared), proofs, left }) }
    }

    /// Forgets all answers, also those that connections remember: the next call with any token
    /// asks again. For when it becomes known that something was revoked.
    pub fn forget(&self) {
        self.handle.shared.forget();
    }
}

/// A token, and the scheme that it came with.
#[derive(Clone, Copy)]
enum Presented<'a> {
    Bearer(&'a str),
    Dpop(&'a str),
}

impl<'a> Presented<'a> {
    /// `Ok(None)`: the evidence is something else, or for others.
    fn of(evidence: &Evidence<'a>, left: &LeftAlone) -> Result<Option<Self>, AuthenticationError> {
        let presented = match evidence.call() {
            CallEvidence::Bearer(token) => Self::Bearer(token),
            CallEvidence::Other { scheme, value } if scheme.eq_ignore_ascii_case("DPoP") => {
                Self::Dpop(value)
            }
            _ => return Ok(None),
        };
        let token = presented.token();
        if left.has(token) {
            return Ok(None);
        }
        let malformed =
            |detail| Err(AuthenticationError::new(Reason::CredentialsMalformed, detail));
        if token.len() > CallEvidence::MAX_BYTES {
            return malformed("the credential is longer than 16 KiB");
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
            return malformed("the credential has a character that none may have");
        }
        Ok(Some(presented))
    }

    fn token(self) -> &'a str {
        match self {
            Self::Bearer(token) | Self::Dpop(token) => token,
        }
    }
}

impl Entry {
    /// What the answer means for a call.
    fn judge(
        &self,
        presented: Presented<'_>,
        evidence: &Evidence<'_>,
        proofs: &DpopVerifier,
    ) -> Outcome {
        let known = match &self.verdict {
            Verdict::Known(known) => known,
            Verdict::Refused { reason, detail } => {
                return Err(AuthenticationError::new(*reason, *detail));
            }
            Verdict::Trouble(trouble) => {
                let error = AuthenticationError::unavailable("the token cannot be introspected");
                return Err(error
                    .with_source(Arc::clone(trouble))
                    .with_retry_after(trouble.retry_after()));
            }
        };
        let next_nonce = known.binding.check(presented, evidence, proofs)?;
        let mut caller = evidence.accept(known.principal.clone()).with_next_nonce(next_nonce);
        if let Some(end) = known.ends_at {
            caller = caller.expiring_at(end);
        }
        let lease = self.lease.clone();
        Ok(Some(match known.binding.is_per_call() {
            true => caller.leased_while_open(lease),
            false => caller.leased(lease),
        }))
    }

    /// Whether it may be judged but once for a call.
    fn is_per_call(&self) -> bool {
        matches!(&self.verdict, Verdict::Known(known) if known.binding.is_per_call())
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
        let presented = match Presented::of(evidence, &self.handle.left) {
            Ok(Some(presented)) => presented,
            Ok(None) => return Some(Ok(None)),
            Err(error) => return Some(Err(error)),
        };
        let entry = self.handle.shared.remembered(presented.token())?;
        // A proof counts once, and whoever asks at once may ask again.
        if entry.is_per_call() {
            return None;
        }
        Some(entry.judge(presented, evidence, &self.handle.proofs))
    }

    async fn authenticate(&self, evidence: &Evidence<'_>) -> Outcome {
        let Some(presented) = Presented::of(evidence, &self.handle.left)? else { return Ok(None) };
        let shared = &self.handle.shared;
        let entry = match shared.remembered(presented.token()) {
            Some(entry) => entry,
            None => {
                let source = Source::of(evidence.peer().address());
                shared.ask(presented.token(), source).await
            }
        };
        entry.judge(presented, evidence, &self.handle.proofs)
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn challenges(&self) -> &[&'static str] {
        &["Bearer", "DPoP"]
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
