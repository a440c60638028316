//! Proofs that the caller holds the key that its token is bound to (DPoP, RFC 9449).

mod flaw;
mod nonce;
mod proof;
mod replay;
mod target;
#[cfg(test)]
mod tests;

pub use nonce::{DpopNonces, DpopNoncesError};

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use self::flaw::Flaw;
use self::nonce::{NonceMint, NoncePeriod};
use self::proof::ReadProof;
use self::replay::{ProofId, ReplaySet};
use crate::authentication::{AuthenticationError, CallTarget, Proof, Reason};
use crate::clock::Clock;
use crate::digest::sha256;
use crate::identity::Authority;
use crate::secret::constant_time_eq;

/// How proofs of possession are checked (RFC 9449).
///
/// A call with a token that is bound to a key (`cnf.jkt`) carries one proof in its `dpop`
/// metadata, at most 8 KiB, made for this call alone: `htm` is `POST`, `htu` is
/// `https://{authority}/{package.Service}/{Method}` with the scheme `https` whatever the
/// connection, `ath` is the token's hash, `jti` has 1 to 256 bytes. The proof is for the whole
/// call, whatever its number of messages.
///
/// Each process remembers the proofs that it has seen, and does not tell the others: a proof that
/// was caught on its way can be shown once to each process that serves the same authority, and
/// once after a restart, while it is young. [`DpopNonces::random`] closes both.
///
/// The authority is what the call itself says. Where a token is good for several servers, one of
/// them could call the others with a proof that was made for it and under its own name: name what
/// this server is called with [`with_authorities`](Self::with_authorities), or give each server
/// an audience of its own.
#[derive(Clone, Debug)]
pub struct DpopSettings {
    window: Duration,
    replay_entries: usize,
    nonces: Option<DpopNonces>,
    authorities: Vec<Authority>,
}

impl DpopSettings {
    /// The longest [window](Self::with_window).
    pub const MAX_WINDOW: Duration = Duration::from_secs(300);

    /// The defaults.
    pub fn new() -> Self {
        Self {
            window: Duration::from_secs(60),
            replay_entries: 65_536,
            nonces: None,
            authorities: Vec::new(),
        }
    }

    /// How far `iat` may lie in the past or in the future, inclusive. Default: 60 s. What is
    /// above [`MAX_WINDOW`](Self::MAX_WINDOW) counts as that.
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        self.window = window.min(Self::MAX_WINDOW);
        self
    }

    /// How many proofs are remembered, up to 130 bytes each. Default: 65,536, which is enough for
    /// 1,000 calls a second with the default window.
    ///
    /// One key may hold an eighth of them, rounded down, and at least one: with the defaults 8,192
    /// proofs, or 130 calls a second. Its further calls are `UNAVAILABLE` until the first of its
    /// proofs has become too old, and calls with other keys pass. Where fewer keys make most of
    /// the calls, such as a proxy's, set more.
    ///
    /// When all of them can still be shown again, calls with a proof are `UNAVAILABLE` until the
    /// first has become too old. To forget one instead would let a proof pass twice, for whoever
    /// sends enough others; this way a caller that does so is seen in the metrics.
    #[must_use]
    pub fn with_replay_entries(mut self, entries: usize) -> Self {
        self.replay_entries = entries;
        self
    }

    /// Makes callers put a nonce into their proofs (RFC 9449 §9), so that nobody can make proofs
    /// for later. Default: they need none.
    #[must_use]
    pub fn with_nonces(mut self, nonces: DpopNonces) -> Self {
        self.nonces = Some(nonces);
        self
    }

    /// What this server is called by those who make proofs: a proof in a call to anything else is
    /// refused. Compared without regard to case, and port 443 may be left out. Default, and with
    /// an empty list: whatever a call says.
    #[must_use]
    pub fn with_authorities(mut self, ours: impl IntoIterator<Item = Authority>) -> Self {
        self.authorities = ours.into_iter().collect();
        self
    }
}

impl Default for DpopSettings {
    fn default() -> Self {
        Self::new()
    }
}

/// Checks proofs, each once.
#[derive(Debug)]
pub(crate) struct DpopVerifier {
    window: Duration,
    nonces: Option<NonceMint>,
    authorities: Vec<Authority>,
    seen: ReplaySet,
    clock: Arc<dyn Clock>,
}

impl DpopVerifier {
    pub(crate) fn new(settings: DpopSettings, clock: Arc<dyn Clock>) -> Self {
        Self {
            window: settings.window,
            nonces: settings.nonces.as_ref().map(NonceMint::new),
            seen: ReplaySet::new(settings.replay_entries),
            authorities: settings.authorities,
            clock,
        }
    }

    /// Checks the proof that came with a token. `jkt` is what the token, verified before, is
    /// bound to: only its key's holder reaches the signature and the memory.
    ///
    /// Returns the nonce for the next proof, where the one in this proof is about to end.
    ///
    /// # Errors
    ///
    /// `PROOF_REQUIRED` without one, `PROOF_NONCE` where all it lacks is a nonce, both with the
    /// nonce to use; `PROOF_INVALID`; `VERIFIER_UNAVAILABLE` while no proof can be remembered.
    pub(crate) fn verify(
        &self,
        proof: Proof<'_>,
        access_token: &str,
        jkt: &str,
        target: Option<CallTarget<'_>>,
    ) -> Result<Option<String>, AuthenticationError> {
        let now = self.clock.now();
        let text = match proof {
            Proof::One(text) => text,
            Proof::None => {
                let needed = "the token is bound to a key, and the call has no DPoP proof";
                return Err(
                    self.with_nonce(AuthenticationError::new(Reason::ProofRequired, needed), now)
                );
            }
            Proof::Malformed => return Err(Flaw::Several.into()),
        };
        self.check(text, access_token, jkt, target, now).map_err(|flaw| match flaw {
            Flaw::Nonce => self.with_nonce(flaw.into(), now),
            _ => flaw.into(),
        })
    }

    /// RFC 9449 §4.3, the cheap checks first. The nonce is the last of those, so that a caller
    /// who is told to come back has no other reason to be refused.
    fn check(
        &self,
        text: &str,
        access_token: &str,
        jkt: &str,
        target: Option<CallTarget<'_>>,
        now: SystemTime,
    ) -> Result<Option<String>, Flaw> {
        let proof = ReadProof::read(text)?;
        if !constant_time_eq(proof.thumbprint.as_bytes(), jkt.as_bytes()) {
            return Err(Flaw::OtherKey);
        }
        let claims = &proof.claims;
        if claims.method != "POST" {
            return Err(Flaw::Method);
        }
        target::check(&claims.uri, target, &self.authorities)?;
        let end = self.check_age(claims.issued_at, now)?;
        let token_hash = URL_SAFE_NO_PAD.encode(sha256(access_token.as_bytes()));
        let said = claims.token_hash.as_deref().ok_or(Flaw::Claim("ath"))?;
        if !constant_time_eq(said.as_bytes(), token_hash.as_bytes()) {
            return Err(Flaw::OtherToken);
        }
        let mut next = None;
        if let Some(nonces) = &self.nonces {
            let nonce = claims.nonce.as_deref().ok_or(Flaw::Nonce)?;
            next = match nonces.period_of(nonce, now).ok_or(Flaw::Nonce)? {
                NoncePeriod::Current => None,
                NoncePeriod::Last => Some(nonces.current(now)),
            };
        }
        let id = ProofId::new(jkt, &claims.id);
        self.seen.would_admit(id, end, now)?;
        proof.verify_signature()?;
        self.seen.admit(id, end, now)?;
        Ok(next)
    }

    /// The last moment at which the proof is young enough.
    fn check_age(&self, issued_at: SystemTime, now: SystemTime) -> Result<SystemTime, Flaw> {
        let end = match now.duration_since(issued_at) {
            Ok(age) if age > self.window => return Err(Flaw::Old(age.as_secs())),
            Err(ahead) if ahead.duration() > self.window => {
                return Err(Flaw::Early(ahead.duration().as_secs()));
            }
            _ => issued_at.checked_add(self.window),
        };
        end.ok_or(Flaw::Claim("iat"))
    }

    fn with_nonce(&self, error: AuthenticationError, now: SystemTime) -> AuthenticationError {
        match &self.nonces {
            Some(nonces) => error.with_nonce(nonces.current(now)),
            None => error,
        }
    }
}
