use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};

use super::health::Sign;
use crate::clock::Clock;
use crate::credentials::oauth::{ClientAuthentication, Form, SignError};
use crate::fetch::{FetchError, FetchLimits, HttpClient, Url};

/// Where tokens are asked for, and how.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) url: Url,
    pub(super) client: ClientAuthentication,
    pub(super) http: Arc<dyn HttpClient>,
    pub(super) limits: FetchLimits,
    pub(super) clock: Arc<dyn Clock>,
}

/// Why it cannot be told what a token is worth. Never quotes a token or an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("there is no answer")]
    Fetch(#[source] FetchError),
    #[error("we cannot sign who we are")]
    Sign(#[source] SignError),
    #[error("the endpoint gave no whole answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("the endpoint refuses us as its client {client:?} ({status}{error})")]
    Client { client: String, status: StatusCode, error: ErrorCode },
    #[error("the endpoint answers with status {status}{error}")]
    Status { status: StatusCode, error: ErrorCode },
    #[error("the endpoint's answer cannot be used: {0}")]
    Garbage(&'static str),
    #[error("the endpoint failed again and again, and is left alone for {} ms more", .0.as_millis())]
    Resting(Duration),
    #[error("too many introspections are under way")]
    Busy,
    #[error("the introspection was cut off")]
    CutOff,
    #[error("there is no tokio runtime to introspect in")]
    NoRuntime,
}

impl Trouble {
    pub(super) fn sign(&self) -> Sign {
        match self {
            // How large an answer is depends on the token.
            Self::Fetch(FetchError::TooLarge { .. }) | Self::Garbage(_) => Sign::Odd,
            Self::Status { status, .. } | Self::Client { status, .. }
                if may_be_about_the_token(*status) =>
            {
                Sign::Odd
            }
            _ => Sign::Ill,
        }
    }

    /// When the same call may pass.
    pub(super) fn retry_after(&self) -> Duration {
        match self {
            Self::Resting(left) => (*left).max(Duration::from_secs(1)),
            _ => Duration::from_secs(1),
        }
    }
}

/// A firewall before the endpoint may take offence at what a stranger chose for a token.
fn may_be_about_the_token(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
        )
}

/// The `error` of RFC 6749 §5.2, if it is one: a few small letters.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorCode(Option<String>);

impl ErrorCode {
    /// What else the body says may quote what was sent.
    fn of(body: &[u8]) -> Self {
        let read = crate::jose::json::object(body).ok();
        let code = read.and_then(|members| Some(members.get("error")?.as_str()?.to_owned()));
        let known = |code: &String| KNOWN_ERRORS.contains(&code.as_str());
        Self(code.filter(known))
    }
}

/// RFC 6749 §5.2 and RFC 6750 §3.1. Others might be something that we sent.
const KNOWN_ERRORS: [&str; 8] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_token",
    "insufficient_scope",
];

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(code) => write!(f, ", {code}"),
            None => Ok(()),
        }
    }
}

impl Endpoint {
    /// Sends the question (RFC 7662 §2.1); the body of an answer that is JSON.
    pub(super) async fn ask(&self, token: &str) -> Result<Bytes, Trouble> {
        let asking = async {
            let form = Form::new().with("token", token).with("token_type_hint", "access_token");
            let now = self.clock.now();
            let uri = self.url.uri();
            let request = self.client.request(uri, form, now).await.map_err(Trouble::Sign)?;
            self.http.send(request, self.limits).await.map_err(Trouble::Fetch)
        };
        // The signer and an HTTP client that somebody brought are not trusted with the time.
        let timeout = self.limits.timeout;
        let answer = tokio::time::timeout(timeout, asking)
            .await
            .unwrap_or(Err(Trouble::Timeout(timeout)))?;
        self.body(answer)
    }

    fn body(&self, answer: Response<Bytes>) -> Result<Bytes, Trouble> {
        let status = answer.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            let client = self.client.client_id().to_owned();
            return Err(Trouble::Client { client, status, error: ErrorCode::of(answer.body()) });
        }
        if status != StatusCode::OK {
            return Err(Trouble::Status { status, error: ErrorCode::of(answer.body()) });
        }
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
        match essence {
            Some(kind) if kind.eq_ignore_ascii_case("application/json") => {}
            Some(kind) if kind.eq_ignore_ascii_case("application/token-introspection+jwt") => {
                return Err(Trouble::Garbage("it is signed (RFC 9701), which is not read"));
            }
            _ => return Err(Trouble::Garbage("it is not `application/json`")),
        }
        if answer.body().len() > self.limits.max_bytes {
            return Err(Trouble::Garbage("it is larger than was asked for"));
        }
        Ok(answer.into_body())
    }
}
