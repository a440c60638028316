//! Tokens that an issuer signed (RFC 7519): parsed strictly, verified against the issuer's keys.
//!
//! What is read here comes from strangers. Sizes are bounded before anything is decoded, and
//! nothing in a token names where to fetch or which check to leave out (RFC 8725).

mod authenticator;
mod builder;
mod cache;
mod check;
pub(crate) mod dpop;
mod error;
mod hmac;
mod issuer;
mod keys;
mod profile;
mod proven;
mod revocation;
mod source;
#[cfg(test)]
mod tests;
mod token;
mod verifier;

pub use authenticator::Jwt;
pub use builder::{JwtBuilder, JwtError};
pub use dpop::{DpopNonces, DpopNoncesError, DpopSettings};
pub use error::TokenError;
pub use hmac::{HmacAlgorithm, SharedSecret, ShortSecret};
pub use issuer::{Issuer, IssuerWithoutAudience};
pub use keys::{InvalidKeySet, KeySet, SkippedKey};
pub use profile::Profile;
pub use revocation::{Revocations, RevocationsFull};
pub use source::{KeySource, KeySourceError, KeysError, KeysReport};

pub use crate::jose::{Algorithm, NoThumbprint, thumbprint};
