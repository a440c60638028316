//! Where an issuer's keys come from, and how they stay fresh.
//!
//! One task per issuer fetches, so there is never more than one fetch at a time. It starts with
//! the first question and ends with the last handle. Who asks for a key that is there never
//! waits for it; what a stranger can make it fetch is bounded by a cooldown.

mod discovery;
mod error;
mod fetcher;
mod keeper;
mod keys;
mod state;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::KeySet;
use super::keys::KeyUse;
use crate::fetch::{FetchLimits, HttpClient};

pub(crate) use error::KeysUnavailable;
pub use error::{KeySourceError, KeysError};
pub use keys::KeysReport;
pub(crate) use keys::{Keys, Missing, Snapshot};

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub struct KeySource(Source);

#[derive(Clone, Debug)]
enum Source {
    Given(KeySet),
    File(PathBuf),
    Url(String),
    Discovery,
}

impl KeySource {
    /// These keys, and no others while the program runs.
    pub fn given(keys: KeySet) -> Self {
        Self(Source::Given(keys))
    }

    /// A file with a JWK Set. It is read again every second, so that a new one counts without a
    /// restart; a Kubernetes volume may hold it.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// An https URL of a JWK Set, or an http URL of this machine. For issuers without metadata:
    /// [`discovery`](Self::discovery) follows the issuer when it moves its keys.
    pub fn url(url: impl Into<String>) -> Self {
        Self(Source::Url(url.into()))
    }

    /// The `jwks_uri` of the issuer's own metadata, at
    /// `/.well-known/oauth-authorization-server` before the issuer's path (RFC 8414 §3.1), or
    /// else at `/.well-known/openid-configuration` after it (OpenID Connect Discovery §4).
    ///
    /// The metadata has to name the very issuer that was asked (RFC 8414 §3.3).
    pub fn discovery() -> Self {
        Self(Source::Discovery)
    }
}

/// How keys are kept.
#[derive(Clone, Debug)]
pub(crate) struct KeySettings {
    /// Who fetches.
    pub(crate) client: Arc<dyn HttpClient>,
    /// What one answer may cost. Default: 5 s, 512 KiB.
    pub(crate) limits: FetchLimits,
    /// How often keys are fetched, up to a tenth more or less, when the issuer says nothing by
    /// `Cache-Control: max-age`. What it says counts from a minute to an hour. Default: 10 min.
    pub(crate) refresh: Duration,
    /// How long after a fetch for the sake of an unknown `kid` there is no other. Default: 30 s.
    pub(crate) cooldown: Duration,
    /// How long keys are good after the last good fetch. Default: 24 h.
    pub(crate) max_stale: Duration,
    /// How long a call waits for a fetch. Default: 2 s.
    pub(crate) wait: Duration,
    /// Which keys of a set count. Default: those for signatures.
    pub(in crate::authentication::jwt) key_use: KeyUse,
}

impl KeySettings {
    /// The defaults.
    pub(crate) fn new(client: Arc<dyn HttpClient>) -> Self {
        Self {
            client,
            limits: FetchLimits { max_bytes: KeySet::MAX_BYTES, ..FetchLimits::default() },
            refresh: Duration::from_secs(600),
            cooldown: Duration::from_secs(30),
            max_stale: Duration::from_secs(24 * 3600),
            wait: Duration::from_secs(2),
            key_use: KeyUse::Signature,
        }
    }
}
