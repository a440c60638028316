//! What both ends of a token share: strict JSON and base64url, the algorithms, the name of a key.

mod algorithm;
pub(crate) mod base64url;
pub(crate) mod json;
mod thumbprint;

pub use algorithm::Algorithm;
pub use thumbprint::{NoThumbprint, thumbprint};

pub(crate) use algorithm::KeyKind;
