use std::time::Duration;

use bytes::Bytes;
use countersign::{Clock as _, SystemClock};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::{Value, json};

use super::{client, form};
use crate::issuer::{DevClient, Draft, IssuerFacts, IssuerStore, SigningKey};
use crate::output::Failure;

/// Where the key set is.
pub(super) const JWKS: &str = "/jwks";

/// Where tokens are given out.
pub(super) const TOKEN: &str = "/token";

/// What an issuer on this machine answers. Keys are read for each request, so that a rotation
/// counts at once.
pub(super) struct DevIssuer {
    store: IssuerStore,
    facts: IssuerFacts,
    client: DevClient,
}

type Answer = Response<Full<Bytes>>;

impl DevIssuer {
    const TOKEN_LIFE: Duration = Duration::from_secs(15 * 60);

    /// More than any request for a token has.
    const MAX_FORM_BYTES: usize = 16 * 1024;

    pub(super) fn open(store: IssuerStore) -> Result<Self, Failure> {
        Ok(Self { facts: store.facts()?, client: store.client()?, store })
    }

    pub(super) async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let reads = request.method() == Method::GET || request.method() == Method::HEAD;
        match request.uri().path() {
            // RFC 8414 and OpenID Connect Discovery: one document, two places.
            "/.well-known/oauth-authorization-server" | "/.well-known/openid-configuration" => {
                if reads {
                    document(&self.metadata())
                } else {
                    only("GET")
                }
            }
            JWKS if reads => match self.store.jwks() {
                Ok(jwks) => json_text(StatusCode::OK, jwks, "max-age=60"),
                Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR),
            },
            JWKS => only("GET"),
            TOKEN if request.method() == Method::POST => self.token(request).await,
            TOKEN => only("POST"),
            _ => plain(StatusCode::NOT_FOUND),
        }
    }

    fn metadata(&self) -> Value {
        let issuer = &self.facts.issuer;
        json!({
            "issuer": issuer,
            "jwks_uri": format!("{issuer}{JWKS}"),
            "token_endpoint": format!("{issuer}{TOKEN}"),
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [SigningKey::ALGORITHM],
        })
    }

    /// RFC 6749 §4.4, with an access token as RFC 9068 has it.
    async fn token<B>(&self, request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, Self::MAX_FORM_BYTES).collect().await else {
            return refused(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request");
        };
        let body = body.to_bytes();
        let Some(parameters) = std::str::from_utf8(&body).ok().and_then(form::parse) else {
            return refused(StatusCode::BAD_REQUEST, "invalid_request");
        };
        let parameter = |name: &str| {
            let found = parameters.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
        };
        if !client::is_proven(&self.client, &head.headers, &parameters) {
            let mut answer = refused(StatusCode::UNAUTHORIZED, "invalid_client");
            let scheme = HeaderValue::from_static("Basic realm=\"countersign dev\"");
            answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            return answer;
        }
        match parameter("grant_type") {
            Some("client_credentials") => {}
            Some(_) => return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            None => return refused(StatusCode::BAD_REQUEST, "invalid_request"),
        }
        let audience = parameter("resource").or(parameter("audience"));
        match self.signed(audience.unwrap_or(&self.facts.audience), parameter("scope")) {
            Ok(token) => json_text(StatusCode::OK, token.to_string(), "no-store"),
            Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        }
    }

    fn signed(&self, audience: &str, scope: Option<&str>) -> Result<Value, Failure> {
        let (id, life) = (self.client.client_id.as_str(), Self::TOKEN_LIFE);
        let audience = [audience.to_owned()];
        let draft =
            Draft::access_token(&self.facts.issuer, id, &audience, SystemClock.now(), life)?;
        let draft = draft.claim("client_id", id).claim("scope", scope);
        let mut answer = json!({
            "access_token": draft.sign(&self.store.current()?)?.token,
            "token_type": "Bearer",
            "expires_in": life.as_secs(),
        });
        if let Some(scope) = scope {
            answer["scope"] = scope.into();
        }
        Ok(answer)
    }
}

fn document(value: &Value) -> Answer {
    json_text(StatusCode::OK, value.to_string(), "max-age=60")
}

fn refused(status: StatusCode, error: &str) -> Answer {
    json_text(status, json!({ "error": error }).to_string(), "no-store")
}

fn json_text(status: StatusCode, text: String, caching: &'static str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(caching));
    answer
}

fn plain(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

fn only(method: &'static str) -> Answer {
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
    answer
}
