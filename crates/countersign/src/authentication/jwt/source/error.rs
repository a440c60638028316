use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::InvalidKeySet;
use crate::fetch::FetchError;

/// A key source that can never give keys, found when it is set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySourceError {
    /// The URL of the keys may not be asked.
    #[error("the keys of {issuer:?} cannot be fetched from there")]
    Url {
        /// Whose keys.
        issuer: String,
        /// What is wrong with it.
        source: FetchError,
    },
    /// The issuer has no metadata: it is not an https URL without query and fragment
    /// (RFC 8414 §2).
    #[error("{issuer:?} is not an https URL without query and fragment, so it has no metadata")]
    Issuer {
        /// The issuer.
        issuer: String,
    },
    /// No given key can be used.
    #[error("none of the keys given for {issuer:?} can be used")]
    NoUsableKey {
        /// Whose keys.
        issuer: String,
    },
}

/// Why the last try to read an issuer's keys failed. All of these are tried again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// There was no whole answer.
    #[error("cannot fetch {url}")]
    Fetch {
        /// What was asked, without its query.
        url: String,
        /// Why.
        source: FetchError,
    },
    /// The answer is not `200`. Redirects are not followed.
    #[error("{url} answers with status {status} and not 200")]
    Status {
        /// What was asked, without its query.
        url: String,
        /// The status.
        status: u16,
    },
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// What was read is no key set.
    #[error("what is at {origin} cannot be used")]
    NotKeys {
        /// The URL or file.
        origin: String,
        /// What is wrong with it.
        source: InvalidKeySet,
    },
    /// What was read has no key that can be used.
    #[error("none of the {count} keys at {origin} can be used")]
    NoUsableKey {
        /// The URL or file.
        origin: String,
        /// How many there are.
        count: usize,
    },
    /// The metadata is not what RFC 8414 asks for.
    #[error("the metadata at {url} cannot be used: {reason}")]
    Metadata {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The metadata is another issuer's (RFC 8414 §3.3).
    #[error("the metadata at {url} is that of issuer {found:?}")]
    OtherIssuer {
        /// What was asked.
        url: String,
        /// Whose it is.
        found: String,
    },
    /// The metadata names keys at a URL that may not be asked.
    #[error("the metadata at {url} names a `jwks_uri` that may not be asked")]
    KeysUrl {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        source: FetchError,
    },
}

impl KeysError {
    /// Whether the issuer's metadata was read, and says that its keys are not to be used.
    pub(super) fn is_authoritative(&self) -> bool {
        matches!(self, Self::OtherIssuer { .. } | Self::KeysUrl { .. })
    }
}

/// Nobody can tell now whether the issuer has a key.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the keys of {issuer:?} cannot be had now")]
pub(crate) struct KeysUnavailable {
    /// Whose keys.
    pub(crate) issuer: String,
    /// When there is another try.
    pub(crate) retry_after: Duration,
    /// What went wrong last; nothing while the first answer is awaited.
    pub(crate) source: Option<Arc<KeysError>>,
}
