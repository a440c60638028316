//! Tokens that an issuer signed (RFC 7519): parsed strictly, verified against the issuer's keys.
//!
//! What is read here comes from strangers. Sizes are bounded before anything is decoded, and
//! nothing in a token names where to fetch or which check to leave out (RFC 8725).

mod algorithm;
pub(crate) mod json;
mod keys;
mod source;

pub use algorithm::Algorithm;
pub use keys::{InvalidKeySet, KeySet, SkippedKey};
pub use source::{KeySource, KeySourceError, KeysError, KeysReport};

pub(crate) use source::{KeySettings, Keys, KeysUnavailable, Missing, Snapshot};
