use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::dpop::DpopVerifier;
use super::error::TokenError;
use super::proven::Proven;
use super::source::KeysReport;
use super::verifier::{Judged, Trusted, Verification, Verifier};
use crate::authentication::{
    Authenticated, AuthenticationError, Authenticator, CallEvidence, Evidence, EvidenceKinds,
    Outcome, Readiness,
};
use crate::identity::TokenClaims;

/// Proves callers by tokens that an issuer signed (RFC 7519), as OpenID providers, Kubernetes and
/// SPIFFE give them out.
///
/// Takes `authorization: Bearer <token>`. A token that is bound to a client certificate (RFC 8705)
/// or to a key (RFC 9449, `authorization: DPoP <token>` with a proof in `dpop`) is never taken as
/// a plain bearer token. An issuer that is not listed is never asked for
/// anything, and neither is one that is listed on a token's word: keys come from where the
/// configuration says.
///
/// The principal is named `issuer#subject`, a JWT-SVID's by its SPIFFE ID, and a Kubernetes
/// service account's `namespace/name`; its claims are in
/// [`Principal::token`](crate::Principal::token).
///
/// ```
/// use countersign::Jwt;
///
/// # fn build() -> Result<(), Box<dyn std::error::Error>> {
/// let tokens = Jwt::issuer("https://id.example").audience("orders").build()?;
/// # Ok(())
/// # }
/// ```
///
/// Cloning shares keys and remembered tokens.
#[derive(Clone)]
pub struct Jwt {
    name: Arc<str>,
    verifier: Arc<Verifier>,
    proofs: Arc<DpopVerifier>,
}

impl Jwt {
    /// What rules call it, unless it is named otherwise.
    pub const NAME: &'static str = "jwt";

    /// How many verified tokens are remembered, unless it is said otherwise.
    pub const DEFAULT_CAPACITY: usize = 10_000;

    pub(super) fn new(name: Arc<str>, verifier: Verifier, proofs: DpopVerifier) -> Self {
        Self { name, verifier: Arc::new(verifier), proofs: Arc::new(proofs) }
    }

    /// Verifies a token outside a call. What it is bound to (`cnf`) nobody proves here, so a
    /// bound token is refused.
    ///
    /// Waits for the issuer's keys when they are not there; may be cancelled.
    ///
    /// # Errors
    ///
    /// The first check that the token does not pass.
    pub async fn verify(&self, token: &str) -> Result<TokenClaims, TokenError> {
        let proven = self.prove(token).await?;
        match (&proven.binding, proven.principal.token()) {
            (Some(_), _) => Err(TokenError::ProofRequired("there is no call to prove it")),
            (None, Some(claims)) => Ok(claims.clone()),
            (None, None) => unreachable!("a token has claims"),
        }
    }

    /// Asks every issuer for its keys and waits for the answers. A server may start without.
    pub async fn warm_up(&self) {
        for issuer in self.verifier.issuers() {
            if let Verification::Keys(keys) = &issuer.verification {
                keys.warm_up().await;
            }
        }
    }

    /// Whether every issuer that is not [`optional`](super::Issuer::optional) has keys.
    pub fn is_ready(&self) -> bool {
        self.without_keys().next().is_none()
    }

    /// The issuers whose tokens nobody can judge now, but for those that are optional.
    fn without_keys(&self) -> impl Iterator<Item = &str> {
        self.verifier.issuers().iter().filter_map(|one| match &one.verification {
            Verification::Keys(keys) if !one.issuer.optional && !keys.is_ready() => {
                Some(one.name.as_str())
            }
            Verification::Keys(_) | Verification::Shared(_) => None,
        })
    }

    /// How the keys of each issuer are doing, for metrics.
    pub fn keys(&self) -> Vec<KeysReport> {
        let issuers = self.verifier.issuers().iter();
        let report = |one: &Trusted| match &one.verification {
            Verification::Keys(keys) => Some(keys.report()),
            Verification::Shared(_) => None,
        };
        issuers.filter_map(report).collect()
    }

    /// How many signatures were checked: what the remembered tokens did not save.
    pub fn verifications(&self) -> u64 {
        self.verifier.verifications()
    }

    async fn prove(&self, token: &str) -> Result<Arc<Proven>, TokenError> {
        match self.verifier.judge(token) {
            Judged::Done(result) => result,
            Judged::Wait { keys, seen, kid } => {
                let asked = keys.refetched_for(&seen, kid.as_deref()).await;
                let snapshot = asked.map_err(|error| TokenError::Unavailable {
                    retry_after: Some(error.retry_after),
                })?;
                self.verifier.judge_again(token, keys, snapshot)
            }
        }
    }

    /// What a proven token makes of a call: it may be bound to what the call has to prove.
    fn accept(
        &self,
        proven: &Arc<Proven>,
        token: &Presented<'_>,
        evidence: &Evidence<'_>,
    ) -> Result<Authenticated, AuthenticationError> {
        let accepted = evidence.accept(proven.principal.clone()).expiring_at(proven.end);
        let Some(binding) = &proven.binding else {
            return match token.by_dpop {
                false => Ok(accepted.leased(proven.lease())),
                // RFC 9449 §7.1: this scheme is for bound tokens.
                true => Err(TokenError::ProofInvalid("the token is bound to no key").into()),
            };
        };
        binding.check_certificate(evidence.peer())?;
        match &binding.key {
            None if token.by_dpop => {
                Err(TokenError::ProofInvalid("the token is bound to no key").into())
            }
            None => Ok(accepted.leased(proven.lease())),
            // RFC 9449 §7.2: a bound token is no bearer token, proof or not.
            Some(_) if !token.by_dpop => {
                Err(TokenError::ProofRequired("it came as a bearer token").into())
            }
            Some(key) => {
                // The proof is for this call alone.
                let accepted = accepted.leased_while_open(proven.lease());
                if evidence.is_looked_at_again() {
                    return Ok(accepted);
                }
                let target = evidence.target();
                let next = self.proofs.verify(evidence.proof(), token.token, key, target)?;
                Ok(accepted.with_next_nonce(next))
            }
        }
    }
}

/// A token and how it came.
#[derive(Clone, Copy)]
struct Presented<'a> {
    token: &'a str,
    /// By the scheme `DPoP` (RFC 9449 §7.1).
    by_dpop: bool,
}

impl<'a> Presented<'a> {
    fn read(evidence: &Evidence<'a>) -> Option<Self> {
        match evidence.call() {
            CallEvidence::Bearer(token) => Some(Self { token, by_dpop: false }),
            CallEvidence::Other { scheme, value } if scheme.eq_ignore_ascii_case("dpop") => {
                Some(Self { token: value, by_dpop: true })
            }
            _ => None,
        }
    }
}

#[async_trait]
impl Authenticator for Jwt {
    fn name(&self) -> &str {
        &self.name
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { authorization: true, ..EvidenceKinds::default() }
    }

    fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
        let Some(presented) = Presented::read(evidence) else {
            return Some(Ok(None));
        };
        match self.verifier.judge(presented.token) {
            // A proof counts once, and whoever asks at once may ask again.
            Judged::Done(Ok(proven)) if presented.by_dpop && proven.is_bound_to_key() => None,
            Judged::Done(Ok(proven)) => Some(self.accept(&proven, &presented, evidence).map(Some)),
            Judged::Done(Err(error)) => Some(Err(error.into())),
            Judged::Wait { .. } => None,
        }
    }

    async fn authenticate(&self, evidence: &Evidence<'_>) -> Outcome {
        let Some(presented) = Presented::read(evidence) else {
            return Ok(None);
        };
        let proven = self.prove(presented.token).await.map_err(AuthenticationError::from)?;
        self.accept(&proven, &presented, evidence).map(Some)
    }

    fn is_repeatable(&self) -> bool {
        true
    }

    fn readiness(&self) -> Readiness {
        let missing: Vec<_> = self.without_keys().collect();
        match missing.is_empty() {
            true => Readiness::Ready,
            false => Readiness::NotReady { why: format!("there are no keys of {missing:?}") },
        }
    }

    fn challenges(&self) -> &[&'static str] {
        &["Bearer", "DPoP"]
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let issuers = self.verifier.issuers().iter().map(|one| one.name.as_str());
        f.debug_struct("Jwt")
            .field("name", &self.name)
            .field("issuers", &issuers.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
