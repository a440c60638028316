//! What the tests have in common.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use countersign::credentials::{
    CallCredentialsError, CallDetails, CallMetadata, ChannelSecurityInfo,
};
use countersign::fetch::{FetchError, FetchLimits, HttpClient};
use countersign::{CallCredentials, Clock, SecurityLevel, async_trait};
use tokio::time::Instant;

/// What the wall clock shows when a test begins.
pub(crate) const BEGIN: u64 = 1_800_000_000;

pub(crate) const ENDPOINT: &str = "https://id.example/token";

pub(crate) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Wall-clock time that goes along with the paused runtime.
#[derive(Clone, Debug)]
pub(crate) struct Wall(Instant);

impl Wall {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Wall {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + seconds(BEGIN) + self.0.elapsed()
    }
}

/// A token that says its name and when it ends, and is signed by nobody.
pub(crate) fn jwt(name: &str, end: u64) -> String {
    let encode = |text: String| URL_SAFE_NO_PAD.encode(text);
    let claims = encode(format!(r#"{{"sub":"{name}","exp":{end}}}"#));
    format!("{}.{claims}.c2lnbmF0dXJl", encode(r#"{"alg":"none"}"#.to_owned()))
}

/// Asks as the channel does, and returns the token.
pub(crate) async fn call(
    credentials: &impl CallCredentials,
) -> Result<String, CallCredentialsError> {
    call_to(credentials, "orders.example").await
}

pub(crate) async fn call_to(
    credentials: &impl CallCredentials,
    authority: &str,
) -> Result<String, CallCredentialsError> {
    let mut metadata = CallMetadata::default();
    let call = CallDetails::new(authority, "/orders.v1.Orders/Get");
    let security = ChannelSecurityInfo::new("tls", SecurityLevel::PrivacyAndIntegrity);
    if !credentials.get_metadata_now(&call, &security, &mut metadata)? {
        credentials.get_metadata(&call, &security, &mut metadata).await?;
    }
    assert_eq!(metadata.len(), 1);
    let value = metadata.get("authorization").expect("an authorization value");
    let text = std::str::from_utf8(value).expect("text");
    Ok(text.strip_prefix("Bearer ").expect("a bearer token").to_owned())
}

/// The token that a call would be sent with at once; `None` where it would have to wait.
pub(crate) fn call_now(
    credentials: &impl CallCredentials,
) -> Result<Option<String>, CallCredentialsError> {
    let mut metadata = CallMetadata::default();
    let call = CallDetails::new("orders.example", "/orders.v1.Orders/Get");
    let security = ChannelSecurityInfo::new("tls", SecurityLevel::PrivacyAndIntegrity);
    credentials.get_metadata_now(&call, &security, &mut metadata)?;
    let text = metadata.get("authorization").map(|value| String::from_utf8_lossy(value));
    Ok(text.map(|text| text.trim_start_matches("Bearer ").to_owned()))
}

/// An error and its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}

/// What an HTTP server was told to answer, or why there is no answer.
pub(crate) enum Told {
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: String },
    Unreachable,
}

pub(crate) fn answer(status: u16, body: &str) -> Told {
    Told::Answer { status, headers: Vec::new(), body: body.to_owned() }
}

/// A good answer with this token for an hour.
pub(crate) fn good(token: &str) -> Told {
    let body = format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":3600}}"#);
    answer(200, &body)
}

/// An HTTP client that gives what it was told, and notes what it was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Http {
    answers: Arc<Mutex<VecDeque<http::Response<Bytes>>>>,
    asked: Arc<Mutex<Vec<http::Request<Bytes>>>>,
}

impl Http {
    pub(crate) fn new(answers: impl IntoIterator<Item = Told>) -> Self {
        let http = Self::default();
        answers.into_iter().for_each(|told| http.then(told));
        http
    }

    pub(crate) fn then(&self, told: Told) {
        let response = match told {
            Told::Answer { status, headers, body } => {
                let mut response = http::Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                response.body(Bytes::from(body)).expect("a response")
            }
            Told::Unreachable => {
                // A status that nobody sends stands for a broken connection.
                http::Response::builder().status(999).body(Bytes::new()).expect("a response")
            }
        };
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push_back(response);
    }

    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The last request.
    pub(crate) fn last(&self) -> http::Request<Bytes> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.last().expect("a request").clone()
    }

    /// The last request's form.
    pub(crate) fn last_form(&self) -> HashMap<String, String> {
        let body = String::from_utf8(self.last().into_body().to_vec()).expect("text");
        let mut form = HashMap::new();
        for field in body.split('&') {
            let (name, value) = field.split_once('=').expect("a field");
            assert!(form.insert(decoded(name), decoded(value)).is_none(), "{name} twice");
        }
        form
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
                let digits = std::str::from_utf8(&digits).expect("ASCII");
                bytes.push(u8::from_str_radix(digits, 16).expect("hex"));
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).expect("text")
}

#[async_trait]
impl HttpClient for Http {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        _limits: FetchLimits,
    ) -> Result<http::Response<Bytes>, FetchError> {
        let host = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let answer = self.answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let answer = answer.expect("the test told an answer for each request");
        match answer.status().as_u16() {
            999 => Err(FetchError::Unreachable { host, source: "connection reset".into() }),
            _ => Ok(answer),
        }
    }
}
