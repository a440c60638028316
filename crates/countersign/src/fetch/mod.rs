//! Requests of our own over HTTP: key sets, introspection, token endpoints.
//!
//! Everything is bounded: https or loopback alone, no redirect is followed, and neither bytes nor
//! time grow beyond what was asked for. No error quotes a query, a header or a body.

mod https;
mod url;

pub use https::HttpsClient;

pub(crate) use url::Url;

use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// Sends one HTTP request and reads its whole answer. Bring one's own for a proxy or a test.
///
/// Called in tasks that belong to a credential or an authenticator, never on a call's own path.
/// Dropping the future ends the request.
#[async_trait]
pub trait HttpClient: fmt::Debug + Send + Sync + 'static {
    /// Sends the request, whose URI is absolute, and reads the answer within the limits.
    ///
    /// An answer of any status is an answer. Redirects are not followed.
    ///
    /// # Errors
    ///
    /// There was no whole answer within the limits, or the URI is not one that may be asked.
    async fn send(
        &self,
        request: http::Request<Bytes>,
        limits: FetchLimits,
    ) -> Result<http::Response<Bytes>, FetchError>;
}

/// What an answer may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// From name resolution to the last byte. Default: 5 s.
    pub timeout: Duration,
    /// The largest body, in bytes. Default: 512 KiB.
    pub max_bytes: usize,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), max_bytes: 512 * 1024 }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Only https may be asked, and http on a loopback address; without user information.
    #[error("{url:?} is not an https URL, nor an http URL of this machine")]
    Url {
        /// What should have been one, without its query and user information.
        url: String,
    },
    /// The other end could not be reached, is not who it should be, broke off, or does not speak
    /// HTTP. A failed TLS handshake has a [`TlsFailure`](crate::tls::TlsFailure) as its source.
    #[error("cannot reach {host}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The answer took too long.
    #[error("{host} gave no whole answer within {} ms", timeout.as_millis())]
    Timeout {
        /// Host and port.
        host: String,
        /// What was allowed.
        timeout: Duration,
    },
    /// The answer is too large.
    #[error("the answer of {host} is larger than {max_bytes} bytes")]
    TooLarge {
        /// Host and port.
        host: String,
        /// What was allowed.
        max_bytes: usize,
    },
}
