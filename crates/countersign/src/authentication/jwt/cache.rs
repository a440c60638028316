use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
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
    flights: Flights,
}

impl VerifiedTokens {
    /// Forgeries that are remembered; they push out each other alone.
    const FORGED: usize = 1_024;

    pub(super) fn new(capacity: usize) -> Self {
        Self {
            good: (capacity > 0).then(|| Cache::new(capacity)),
            forged: Cache::new(Self::FORGED),
            flights: Flights::default(),
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
        let flight = self.flights.join(digest);
        let result = flight.get_or_init(|| {
            // Another flight may have landed since the caller looked.
            if let Some(known) = self.find(digest, now) {
                self.flights.leave(digest);
                return known;
            }
            let result = verify().map(Arc::new);
            match &result {
                Ok(proven) => {
                    if let Some(good) = &self.good {
                        good.insert(*digest, Arc::clone(proven));
                    }
                }
                Err(TokenError::Signature) => self.forged.insert(*digest, forged_for()),
                Err(_) => {}
            }
            // Whoever comes now finds it in the cache, or has to look again.
            self.flights.leave(digest);
            result
        });
        result.clone()
    }
}

type Flight = Arc<OnceLock<Result<Arc<Proven>, TokenError>>>;

/// Verifications under way, at most one for each thread.
#[derive(Debug, Default)]
struct Flights {
    by_token: Mutex<HashMap<Digest, Flight>>,
}

impl Flights {
    fn join(&self, digest: &Digest) -> Flight {
        let mut flights = self.by_token.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(flights.entry(*digest).or_default())
    }

    fn leave(&self, digest: &Digest) {
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }
}
