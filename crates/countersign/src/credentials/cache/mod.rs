//! Tokens that stay fresh: where they come from, and the one cache that all sources share.
//!
//! A [`TokenSource`] gets one token. [`CachedToken`] makes call credentials of it: it keeps the
//! token, asks for the next one before this one ends, asks once for however many calls, and
//! leaves a source alone that fails.

mod backoff;
mod credential;
mod engine;
mod error;
mod flight;
mod held;
mod settings;
mod slot;
mod source;
mod telemetry;
#[cfg(test)]
mod tests;
mod warm;
mod windows;

pub use credential::{CachedToken, CachedTokenBuilder};
pub use error::TokenError;
pub use source::{FetchedToken, TokenRequest, TokenScope, TokenSource};
pub use telemetry::TokenTelemetry;
pub use warm::KeepWarm;
pub use windows::RefreshWindows;

pub(crate) use engine::TokenCache;
pub(crate) use error::unreached;
pub(crate) use held::jwt_expiry;
pub(crate) use settings::Settings;
