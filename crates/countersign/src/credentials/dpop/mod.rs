//! Tokens that are bound to a key, and the proof of it that goes with each call (RFC 9449).

mod credential;
mod key;

pub use credential::DpopToken;
pub use key::DpopKey;

pub(crate) use credential::nonce_in;
pub(crate) use key::Proven;
