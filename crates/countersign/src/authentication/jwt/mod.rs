//! Tokens that an issuer signed (RFC 7519): parsed strictly, verified against the issuer's keys.
//!
//! What is read here comes from strangers. Sizes are bounded before anything is decoded, and
//! nothing in a token names where to fetch or which check to leave out (RFC 8725).

mod algorithm;
pub(crate) mod dpop;
pub(crate) mod json;
mod keys;
mod thumbprint;

pub use algorithm::Algorithm;
pub use dpop::{DpopNonces, DpopNoncesError, DpopSettings};
pub use keys::{InvalidKeySet, KeySet, SkippedKey};
pub use thumbprint::{NoThumbprint, thumbprint};
