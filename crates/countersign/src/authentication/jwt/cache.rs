use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use quick_cache::sync::Cache;

use super::error::TokenError;
use super::proven::Proven;
use crate::authentication::Lease;

/// SHA-256 of a token.
pub(super) type Digest = [u8; 32];

/// Tokens that were verified, and for a short while those whose signature was not.
///
/// Looked up by SHA-256 of the whole token, so that a token that differs in one bit is another
/// one (two tokens may share header, payload and even a `jti`). Only verified tokens are put in:
/// an attacker cannot push good ones out by guessing.
#[derive(Debug)]
pub(super) struct VerifiedTokens {
    /// `None`: nothing is remembered.
    good: Option<Cache<Digest, Arc<Proven>>>,
    forged: Cache<Digest, Lease>,
    turns: Turns,
}

impl VerifiedTokens {
    /// Forgeries that are remembered; they push out each other alone.
    const FORGED: usize = 1_024;

    pub(super) fn new(capacity: usize) -> Self {
        Self {
            good: (capacity > 0).then(|| Cache::new(capacity)),
            forged: Cache::new(Self::FORGED),
            turns: Turns::new(),
        }
    }

    /// What is known of a token.
    pub(super) fn find(
        &self,
        digest: &Digest,
        now: SystemTime,
    ) -> Option<Result<Arc<Proven>, TokenError>> {
        let good = self.good.as_ref()?;
        if let Some(proven) = good.get(digest) {
            if proven.lease.holds(now) {
                return Some(Ok(proven));
            }
            good.remove(digest);
        }
        let forged = self.forged.get(digest)?;
        match forged.holds(now) {
            true => Some(Err(TokenError::Signature)),
            false => {
                self.forged.remove(digest);
                None
            }
        }
    }

    /// Verifies a token once, however many ask for it at the same time. They wait for the one
    /// that does it: for a signature, some ten microseconds.
    pub(super) fn verify_once(
        &self,
        digest: &Digest,
        now: SystemTime,
        verify: impl FnOnce() -> Result<Proven, TokenError>,
        forged_for: impl FnOnce() -> Lease,
    ) -> Result<Arc<Proven>, TokenError> {
        let Some(good) = &self.good else {
            return verify().map(Arc::new);
        };
        let _turn = self.turns.take(digest);
        // Somebody else's turn may have ended since the caller looked.
        if let Some(known) = self.find(digest, now) {
            return known;
        }
        let result = verify().map(Arc::new);
        match &result {
            Ok(proven) => good.insert(*digest, Arc::clone(proven)),
            Err(TokenError::Signature) => self.forged.insert(*digest, forged_for()),
            Err(_) => {}
        }
        result
    }
}

/// Lets one thread at a time verify the tokens whose digests begin with the same byte. Two
/// different ones rarely meet, and which ones do nobody can choose who does not know both.
struct Turns {
    by_first_byte: Box<[Mutex<()>]>,
}

impl Turns {
    fn new() -> Self {
        Self { by_first_byte: (0..=u8::MAX).map(|_| Mutex::new(())).collect() }
    }

    fn take(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        let turn = &self.by_first_byte[usize::from(digest[0])];
        turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turns")
    }
}
