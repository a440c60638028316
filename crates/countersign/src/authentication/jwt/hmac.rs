use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;

use crate::secret::Secret;

/// A secret that an issuer and we share, for tokens with a message authentication code.
///
/// An issuer kind of its own: such a secret is never looked for in a key set, and no public key
/// is ever taken for one (RFC 8725 §2.1). Whoever can check these tokens can make them.
#[derive(Clone)]
pub struct SharedSecret {
    algorithm: HmacAlgorithm,
    key: Arc<hmac::Key>,
}

/// RFC 7518 §3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the RFC's and say all there is")]
pub enum HmacAlgorithm {
    HS256,
    HS384,
    HS512,
}

impl HmacAlgorithm {
    /// The name in a token's header.
    pub fn name(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
        }
    }

    /// A secret is at least as long as the hash (RFC 7518 §3.2), so never below 256 bits.
    fn least_bytes(self) -> usize {
        match self {
            Self::HS256 => 32,
            Self::HS384 => 48,
            Self::HS512 => 64,
        }
    }
}

/// The secret is too short for its algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret for {algorithm} has at least {least} bytes, and this one {found}")]
pub struct ShortSecret {
    algorithm: &'static str,
    least: usize,
    found: usize,
}

impl SharedSecret {
    /// A secret of random bytes.
    ///
    /// # Errors
    ///
    /// It is shorter than the algorithm's hash.
    pub fn new(algorithm: HmacAlgorithm, secret: &Secret<Vec<u8>>) -> Result<Self, ShortSecret> {
        let (found, least) = (secret.expose().len(), algorithm.least_bytes());
        if found < least {
            return Err(ShortSecret { algorithm: algorithm.name(), least, found });
        }
        let kind = match algorithm {
            HmacAlgorithm::HS256 => hmac::HMAC_SHA256,
            HmacAlgorithm::HS384 => hmac::HMAC_SHA384,
            HmacAlgorithm::HS512 => hmac::HMAC_SHA512,
        };
        Ok(Self { algorithm, key: Arc::new(hmac::Key::new(kind, secret.expose())) })
    }

    pub(super) fn algorithm(&self) -> HmacAlgorithm {
        self.algorithm
    }

    pub(super) fn verifies(&self, message: &[u8], code: &[u8]) -> bool {
        hmac::verify(&self.key, message, code).is_ok()
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedSecret({})", self.algorithm.name())
    }
}
