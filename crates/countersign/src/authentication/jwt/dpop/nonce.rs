use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::secret::{Secret, constant_time_eq};

/// Nonces that proofs have to hold (RFC 9449 §8 and §9).
///
/// A nonce names a period of time and is made with a secret, so that nobody can make proofs for
/// later. The server keeps none: it makes the one of the current period again, and accepts the
/// one before as well. A caller without a good one is told one in `dpop-nonce` and calls again; a
/// caller with the one before is told the current one in the answer to the same call (§8.2), so
/// that whoever calls once in a period is never refused.
#[derive(Clone, Debug)]
pub struct DpopNonces {
    secret: Secret<Vec<u8>>,
    period: Duration,
}

/// Why there is no secret to make nonces with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DpopNoncesError {
    /// It could be guessed.
    #[error("a secret for nonces has 32 bytes or more, this one has {0}")]
    TooShort(usize),
    /// The operating system gives none.
    #[error("there is no randomness to make a secret of")]
    NoRandomness,
}

impl DpopNonces {
    /// How long a secret has to be at least, in bytes.
    pub const MIN_SECRET_BYTES: usize = 32;

    /// With a secret of this process alone. A nonce is worth nothing to other processes and
    /// after a restart, and neither is a proof. For callers that stay with one process: one
    /// that is sent to another is told a new nonce there and calls again.
    ///
    /// # Errors
    ///
    /// [`DpopNoncesError::NoRandomness`].
    pub fn random() -> Result<Self, DpopNoncesError> {
        let mut secret = vec![0; Self::MIN_SECRET_BYTES];
        rand::fill(&mut secret).map_err(|_| DpopNoncesError::NoRandomness)?;
        Self::from_secret(Secret::new(secret))
    }

    /// With a secret that several processes share, so that a caller may be sent to any of them.
    /// A proof can then be shown once to each: they do not share what they have seen.
    ///
    /// # Errors
    ///
    /// [`DpopNoncesError::TooShort`] below [`MIN_SECRET_BYTES`](Self::MIN_SECRET_BYTES).
    pub fn from_secret(secret: Secret<Vec<u8>>) -> Result<Self, DpopNoncesError> {
        match secret.expose().len() {
            short if short < Self::MIN_SECRET_BYTES => Err(DpopNoncesError::TooShort(short)),
            _ => Ok(Self { secret, period: Duration::from_secs(300) }),
        }
    }

    /// How long a nonce is given out; it is accepted for as long again. Default: 5 minutes, at
    /// least a second, in whole seconds.
    #[must_use]
    pub fn with_period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }
}

/// When a nonce was given out that is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoncePeriod {
    Current,
    /// With the period that goes on now, its time is over.
    Last,
}

/// Makes nonces and knows them again.
#[derive(Debug)]
pub(super) struct NonceMint {
    key: hmac::Key,
    period: u64,
}

impl NonceMint {
    pub(super) fn new(settings: &DpopNonces) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, settings.secret.expose()),
            period: settings.period.as_secs().max(1),
        }
    }

    /// The nonce to give out.
    pub(super) fn current(&self, now: SystemTime) -> String {
        self.of(self.slot(now))
    }

    /// Which of the accepted nonces it is, if it is one.
    pub(super) fn period_of(&self, nonce: &str, now: SystemTime) -> Option<NoncePeriod> {
        let slot = self.slot(now);
        let is_of = |slot| constant_time_eq(self.of(slot).as_bytes(), nonce.as_bytes());
        if is_of(slot) {
            return Some(NoncePeriod::Current);
        }
        slot.checked_sub(1).is_some_and(is_of).then_some(NoncePeriod::Last)
    }

    fn slot(&self, now: SystemTime) -> u64 {
        now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / self.period
    }

    /// 128 bits: it has to be unpredictable, and nobody profits from two that are equal.
    fn of(&self, slot: u64) -> String {
        let tag = hmac::sign(&self.key, &slot.to_be_bytes());
        URL_SAFE_NO_PAD.encode(&tag.as_ref()[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: SystemTime = UNIX_EPOCH;

    fn mint(fill: u8) -> NonceMint {
        let nonces = DpopNonces::from_secret(Secret::new(vec![fill; 32])).expect("long enough");
        NonceMint::new(&nonces.with_period(Duration::from_secs(100)))
    }

    fn after(seconds: u64) -> SystemTime {
        NOON + Duration::from_secs(seconds)
    }

    #[test]
    fn a_nonce_is_good_in_its_period_and_the_next() {
        let mint = mint(1);
        let nonce = mint.current(after(150));
        for (seconds, period) in [
            (99, None),
            (100, Some(NoncePeriod::Current)),
            (199, Some(NoncePeriod::Current)),
            (200, Some(NoncePeriod::Last)),
            (299, Some(NoncePeriod::Last)),
            (300, None),
        ] {
            assert_eq!(mint.period_of(&nonce, after(seconds)), period, "{seconds} s");
        }
        assert_eq!(nonce, mint.current(after(199)));
        assert_ne!(nonce, mint.current(after(200)));
    }

    #[test]
    fn another_secret_makes_other_nonces() {
        let accepts = |mint: NonceMint, nonce: String| mint.period_of(&nonce, NOON).is_some();
        assert!(accepts(mint(1), mint(1).current(NOON)));
        assert!(!accepts(mint(1), mint(2).current(NOON)));
        let random = || NonceMint::new(&DpopNonces::random().expect("randomness"));
        assert!(!accepts(random(), random().current(NOON)));
    }

    #[test]
    fn what_is_no_nonce_is_not_accepted() {
        for nonce in ["", "AAAAAAAAAAAAAAAAAAAAAA", "é"] {
            assert_eq!(mint(1).period_of(nonce, NOON), None, "{nonce:?}");
        }
    }

    #[test]
    fn a_short_secret_is_refused() {
        let of = |bytes| DpopNonces::from_secret(Secret::new(vec![0; bytes])).map(drop);
        assert_eq!(of(31), Err(DpopNoncesError::TooShort(31)));
        assert_eq!(of(32), Ok(()));
    }

    #[test]
    fn the_secret_stays_hidden_in_debug_output() {
        let nonces = DpopNonces::from_secret(Secret::new(b"hunter2-".repeat(4))).expect("long");
        for shown in [format!("{nonces:?}"), format!("{:?}", NonceMint::new(&nonces))] {
            assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
        }
    }
}
