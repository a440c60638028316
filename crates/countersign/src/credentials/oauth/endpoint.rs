use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use serde_json::{Map, Value};

use super::client_authentication::ClientAuthentication;
use super::form::Form;
use super::signer::SignError;
use crate::clock::{Clock, SystemClock};
use crate::credentials::dpop::{DpopKey, Proven, nonce_in};
use crate::credentials::{FetchedToken, TokenError};
use crate::fetch::{FetchError, FetchLimits, HttpClient, Url};
use crate::jose::json;
use crate::secret::Secret;

/// An authorization server's token endpoint (RFC 6749 §3.2), and who asks there.
///
/// Cloning shares the HTTP client. Answers have 64 KiB at most, come within 5 s, and redirects
/// are not followed: what was sent is for this server alone.
#[derive(Clone)]
pub struct TokenEndpoint {
    url: Url,
    client: Option<ClientAuthentication>,
    http: Arc<dyn HttpClient>,
    clock: Arc<dyn Clock>,
    dpop: Option<Arc<Binding>>,
}

/// What tokens are to be bound to.
struct Binding {
    key: DpopKey,
    /// What the endpoint wants to see in the next proof.
    nonce: Mutex<Option<Arc<str>>>,
}

/// A token endpoint's answer, checked as far as it is the same for all grants.
pub(super) struct TokenAnswer {
    pub(super) token: FetchedToken,
    pub(super) refresh_token: Option<Secret<String>>,
    pub(super) issued_token_type: Option<String>,
}

/// Which `token_type` is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accept {
    Bearer,
    /// Token exchange: `N_A` says that it is no access token (RFC 8693 §2.2.1).
    BearerOrNone,
}

impl TokenEndpoint {
    const LIMITS: FetchLimits =
        FetchLimits { timeout: Duration::from_secs(5), max_bytes: 64 * 1024 };

    /// An endpoint, and how the client proves itself to it.
    ///
    /// # Errors
    ///
    /// When `url` is not an https URL, nor an http URL on this machine.
    pub fn new(
        url: &str,
        client: ClientAuthentication,
        http: impl HttpClient,
    ) -> Result<Self, TokenError> {
        Self::make(url, Some(client), Arc::new(http))
    }

    /// An endpoint where nobody says who asks: the grant itself says it.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn without_client(url: &str, http: impl HttpClient) -> Result<Self, TokenError> {
        Self::make(url, None, Arc::new(http))
    }

    fn make(
        url: &str,
        client: Option<ClientAuthentication>,
        http: Arc<dyn HttpClient>,
    ) -> Result<Self, TokenError> {
        let url = Url::parse(url)
            .map_err(|error| TokenError::permanent("the token endpoint").with_source(error))?;
        Ok(Self { url, client, http, clock: Arc::new(SystemClock), dpop: None })
    }

    /// Reads the time of assertions from here. Default: the operating system's clock.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Has tokens bound to this key (RFC 9449 §5), and takes no others.
    ///
    /// An endpoint that asks for a nonce is asked once more with it.
    #[must_use]
    pub fn with_dpop(mut self, key: DpopKey) -> Self {
        self.dpop = Some(Arc::new(Binding { key, nonce: Mutex::new(None) }));
        self
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The endpoint's URL without its query, the usual audience of assertions.
    pub(super) fn url(&self) -> String {
        self.url.uri().to_string()
    }

    /// Sends one grant and reads the answer.
    pub(super) async fn ask(&self, form: Form, accept: Accept) -> Result<TokenAnswer, TokenError> {
        let mut answer = self.send(form.copy()).await?;
        if self.wants_a_nonce(&answer) {
            answer = self.send(form).await?;
        }
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK {
            return Err(self.refused(head.status, &head.headers, &body));
        }
        self.read(&body, accept)
    }

    async fn send(&self, form: Form) -> Result<Response<Bytes>, TokenError> {
        let mut request = self.request(form).await.map_err(|error| signing(error, self))?;
        if let Some(dpop) = &self.dpop {
            let nonce = dpop.nonce();
            let url = self.url();
            let of = Proven {
                method: "POST",
                url: url.split('?').next().unwrap_or_default(),
                token: None,
                nonce: nonce.as_deref(),
            };
            let proof = dpop.key.proof(&of, self.clock.now())?;
            let proof = HeaderValue::try_from(proof).expect("base64url and dots");
            request.headers_mut().insert("dpop", proof);
        }
        let answer = self.http.send(request, Self::LIMITS).await.map_err(|error| {
            let words = format!("there is no answer from {self:?}");
            match error {
                FetchError::Url { .. } => TokenError::permanent(words).with_source(error),
                _ => TokenError::transient(words).with_source(error),
            }
        })?;
        Ok(answer)
    }

    /// Whether the same grant may do better with the nonce that is in the answer
    /// (RFC 9449 §8). The nonce is remembered, whatever the answer is.
    fn wants_a_nonce(&self, answer: &Response<Bytes>) -> bool {
        let Some(dpop) = &self.dpop else { return false };
        let Some(nonce) = nonce_in(answer.headers()) else { return false };
        let last = dpop.nonce.lock().unwrap_or_else(PoisonError::into_inner).replace(nonce.clone());
        let is_new = last.is_none_or(|last| last != nonce);
        let wants = || {
            let mut members = json::object(answer.body()).unwrap_or_default();
            text(&mut members, "error").is_some_and(|code| code == "use_dpop_nonce")
        };
        is_new && answer.status().is_client_error() && wants()
    }

    async fn request(&self, form: Form) -> Result<Request<Bytes>, SignError> {
        if let Some(client) = &self.client {
            return client.request(self.url.uri(), form, self.clock.now()).await;
        }
        let mut request = Request::new(form.into_body());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.uri().clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(Form::CONTENT_TYPE));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        Ok(request)
    }

    /// RFC 6749 §5.1. What cannot be read says nothing about us: that is transient.
    fn read(&self, body: &[u8], accept: Accept) -> Result<TokenAnswer, TokenError> {
        let bad = |what: &str| TokenError::transient(format!("{self:?} answered {what}"));
        let mut members =
            json::object(body).map_err(|_| bad("with something that is not a JSON object"))?;
        let token = text(&mut members, "access_token")
            .filter(|token| !token.is_empty())
            .ok_or_else(|| bad("without an access_token"))?;
        let token = Secret::from(token);
        let kind = text(&mut members, "token_type").ok_or_else(|| bad("without a token_type"))?;
        let wanted = if self.dpop.is_some() { "DPoP" } else { "Bearer" };
        let fits = kind.eq_ignore_ascii_case(wanted)
            || (accept == Accept::BearerOrNone && kind.eq_ignore_ascii_case("n_a"));
        if !fits {
            let words =
                format!("{self:?} gave a token of type {:?}, not {wanted}", shortened(&kind));
            return Err(TokenError::permanent(words));
        }
        let mut token = match self.dpop {
            Some(_) => FetchedToken::dpop(token),
            None => FetchedToken::bearer(token),
        };
        match members.get("expires_in") {
            None | Some(Value::Null) => {}
            Some(value) => {
                // Text is not what the RFC says, and what some servers send.
                let seconds = value.as_f64().or_else(|| value.as_str()?.parse().ok());
                let lifetime = seconds.and_then(|it| Duration::try_from_secs_f64(it).ok());
                token = token
                    .expires_in(lifetime.ok_or_else(|| bad("with an expires_in of no sense"))?);
            }
        }
        Ok(TokenAnswer {
            token,
            refresh_token: text(&mut members, "refresh_token")
                .filter(|token| !token.is_empty())
                .map(Secret::from),
            issued_token_type: text(&mut members, "issued_token_type"),
        })
    }

    /// RFC 6749 §5.2.
    fn refused(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> TokenError {
        let mut members = json::object(body).unwrap_or_default();
        let code = text(&mut members, "error").map(|code| shortened(&code));
        let mut words = format!("{self:?} answered {}", status.as_u16());
        if status.is_redirection() {
            words.push_str(", a redirect, which is not followed");
        }
        if let Some(code) = &code {
            words = format!("{words} {code}");
        }
        if let Some(description) = text(&mut members, "error_description") {
            words = format!("{words} ({})", shortened(&description));
        }
        let later = status.is_server_error()
            || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            || matches!(code.as_deref(), Some("temporarily_unavailable" | "server_error"));
        if !later {
            return TokenError::permanent(words);
        }
        let delay = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let error = TokenError::transient(words);
        match delay {
            Some(seconds) => error.with_retry_after(Duration::from_secs(seconds)),
            None => error,
        }
    }
}

impl Binding {
    fn nonce(&self) -> Option<Arc<str>> {
        self.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where, and as whom.
impl fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token endpoint {}", self.url)
    }
}

fn signing(error: SignError, endpoint: &TokenEndpoint) -> TokenError {
    let words = format!("a request to {endpoint:?} cannot be signed");
    match error.is_transient() {
        true => TokenError::transient(words).with_source(error),
        false => TokenError::permanent(words).with_source(error),
    }
}

/// A signature that is not to be had.
pub(super) fn unsigned(error: SignError) -> TokenError {
    let words = "a token cannot be signed";
    match error.is_transient() {
        true => TokenError::transient(words).with_source(error),
        false => TokenError::permanent(words).with_source(error),
    }
}

fn text(members: &mut Map<String, Value>, name: &str) -> Option<String> {
    match members.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// Foreign text for an error: 200 characters at most, and none that could be a line of its own.
pub(crate) fn shortened(text: &str) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(200).map(printable).collect()
}
