use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use quick_cache::sync::Cache;

use super::error::TokenError;
use super::proven::Proven;
use crate::authentication::Lease;
use crate::digest::sha256;

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

    /// By what a token is looked up here; `None` where nothing is remembered.
    pub(super) fn digest(&self, token: &str) -> Option<Digest> {
        self.good.is_some().then(|| sha256(token.as_bytes()))
    }

    /// What is known of a token.
    pub(super) fn find(
        &self,
        digest: &Digest,
        now: SystemTime,
    ) -> Option<Result<Arc<Proven>, TokenError>> {
        let good = self.good.as_ref()?;
        if let Some(proven) = good.get(digest) {
            if proven.holds(now) {
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
        digest: Option<&Digest>,
        now: SystemTime,
        verify: impl FnOnce() -> Result<Proven, TokenError>,
        forged_for: impl FnOnce() -> Lease,
    ) -> Result<Arc<Proven>, TokenError> {
        let (Some(good), Some(digest)) = (&self.good, digest) else {
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

/// Lets one thread at a time verify the tokens whose digests meet in one of so many places. Two
/// different ones rarely do, and nobody can make tokens that do: where a digest goes is a secret
/// of this process. Otherwise forgeries could be chosen that all wait for each other, and hold up
/// every thread while they do.
struct Turns {
    places: Box<[Mutex<()>]>,
    key: RandomState,
}

impl Turns {
    fn new() -> Self {
        Self { places: (0..=u8::MAX).map(|_| Mutex::new(())).collect(), key: RandomState::new() }
    }

    fn take(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        self.places[self.place(digest)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, digest: &Digest) -> usize {
        usize::from(self.key.hash_one(digest).to_le_bytes()[0])
    }
}

impl fmt::Debug for Turns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turns")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_make_tokens_that_wait_for_each_other() {
        let turns = Turns::new();
        let alike = |last: u8| {
            let mut digest = [7; 32];
            digest[31] = last;
            digest
        };
        let mut places: Vec<_> = (0..=u8::MAX).map(|last| turns.place(&alike(last))).collect();
        assert_eq!(turns.place(&alike(1)), turns.place(&alike(1)), "one token has one place");
        places.sort_unstable();
        places.dedup();
        // Of 256 thrown at random, about 162 places are hit.
        assert!(places.len() > 64, "{}", places.len());
        let other = Turns::new();
        assert!((0..=u8::MAX).any(|last| turns.place(&alike(last)) != other.place(&alike(last))));
    }
}
