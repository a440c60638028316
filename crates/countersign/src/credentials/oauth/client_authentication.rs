use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use serde_json::json;
use zeroize::Zeroizing;

use super::assertion::{JwtHeader, random_id, sign_jwt};
use super::form::{Form, encoded};
use super::signer::{SignError, Signer};
use crate::secret::Secret;

/// How a client proves to an authorization server who it is: at the token endpoint, and at the
/// introspection endpoint (RFC 7662 §2.1).
///
/// Cloning shares the signer. `Debug` shows the client's id and no secret.
#[derive(Clone, Debug)]
pub struct ClientAuthentication {
    id: String,
    method: Means,
}

#[derive(Clone, Debug)]
enum Means {
    None,
    Basic(Secret<String>),
    Post(Secret<String>),
    PrivateKeyJwt { signer: Arc<dyn Signer>, audience: Option<String> },
    MutualTls,
}

impl ClientAuthentication {
    /// How long an assertion of [`private_key_jwt`](Self::private_key_jwt) is good for.
    pub const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);

    /// A public client: says its id and proves nothing (`none`, RFC 6749 §3.2.1).
    pub fn none(id: impl Into<String>) -> Self {
        Self::new(id, Means::None)
    }

    /// Sends id and secret in `authorization` (`client_secret_basic`, RFC 6749 §2.3.1).
    ///
    /// Both are form-encoded first, as the RFC has it. A server that does not decode them knows
    /// a secret with other characters than letters, digits and `*-._` only by
    /// [`post`](Self::post).
    pub fn basic(id: impl Into<String>, secret: impl Into<Secret<String>>) -> Self {
        Self::new(id, Means::Basic(secret.into()))
    }

    /// Sends id and secret in the form (`client_secret_post`, RFC 6749 §2.3.1).
    pub fn post(id: impl Into<String>, secret: impl Into<Secret<String>>) -> Self {
        Self::new(id, Means::Post(secret.into()))
    }

    /// Signs a statement that is good for one request (`private_key_jwt`, RFC 7523 §2.2).
    ///
    /// It is made for the URL that is asked, unless
    /// [`assertion_audience`](Self::assertion_audience) says another, and ends after
    /// [`ASSERTION_LIFETIME`](Self::ASSERTION_LIFETIME).
    pub fn private_key_jwt(id: impl Into<String>, signer: impl Signer) -> Self {
        Self::new(id, Means::PrivateKeyJwt { signer: Arc::new(signer), audience: None })
    }

    /// Says the id; the certificate of the TLS connection proves it (`tls_client_auth` and
    /// `self_signed_tls_client_auth`, RFC 8705 §2). The HTTP client has to bring that.
    pub fn mutual_tls(id: impl Into<String>) -> Self {
        Self::new(id, Means::MutualTls)
    }

    fn new(id: impl Into<String>, method: Means) -> Self {
        Self { id: id.into(), method }
    }

    /// Makes assertions for this audience, most often the server's issuer identifier. Other
    /// means than [`private_key_jwt`](Self::private_key_jwt) have none, and stay as they are.
    #[must_use]
    pub fn assertion_audience(mut self, to: impl Into<String>) -> Self {
        if let Means::PrivateKeyJwt { audience, .. } = &mut self.method {
            *audience = Some(to.into());
        }
        self
    }

    /// The client's id.
    pub fn client_id(&self) -> &str {
        &self.id
    }

    /// The name of the means, as server metadata lists it (RFC 8414 §2).
    pub fn method(&self) -> &'static str {
        match self.method {
            Means::None => "none",
            Means::Basic(_) => "client_secret_basic",
            Means::Post(_) => "client_secret_post",
            Means::PrivateKeyJwt { .. } => "private_key_jwt",
            Means::MutualTls => "tls_client_auth",
        }
    }

    /// A POST of the form with the client's proof. Asks for JSON.
    ///
    /// Made anew for each try: an assertion is good for one. Waits for nothing but the signer.
    pub(crate) async fn request(
        &self,
        endpoint: &Uri,
        mut form: Form,
        now: SystemTime,
    ) -> Result<Request<Bytes>, SignError> {
        let mut authorization = None;
        match &self.method {
            Means::None | Means::MutualTls => form.push("client_id", &self.id),
            Means::Basic(secret) => authorization = Some(basic(&self.id, secret)),
            Means::Post(secret) => {
                form.push("client_id", &self.id);
                form.push("client_secret", secret.expose());
            }
            Means::PrivateKeyJwt { signer, audience } => {
                let audience = match audience {
                    Some(audience) => audience.clone(),
                    None => endpoint.to_string(),
                };
                let claims = self.claims(&audience, now)?;
                let assertion =
                    sign_jwt(&**signer, &JwtHeader::of(&**signer), claims.as_bytes()).await?;
                form.push("client_id", &self.id);
                form.push("client_assertion_type", ASSERTION_TYPE);
                form.push("client_assertion", assertion.expose());
            }
        }
        let mut request = Request::new(form.into_body());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = endpoint.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(Form::CONTENT_TYPE));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// What RFC 7523 §3 asks for, and `jti` so that the server can refuse a second use.
    fn claims(&self, audience: &str, now: SystemTime) -> Result<String, SignError> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = json!({
            "iss": self.id,
            "sub": self.id,
            "aud": audience,
            "jti": random_id()?,
            "iat": now,
            "exp": now + Self::ASSERTION_LIFETIME.as_secs(),
        });
        Ok(claims.to_string())
    }
}

fn basic(id: &str, secret: &Secret<String>) -> HeaderValue {
    let (id, secret) = (encoded(id), encoded(secret.expose()));
    let pair = Zeroizing::new([id.as_bytes(), b":", secret.as_bytes()].concat());
    let text = Zeroizing::new(STANDARD.encode(&*pair));
    let text = Zeroizing::new([b"Basic ", text.as_bytes()].concat());
    let mut value = HeaderValue::from_bytes(&text).expect("base64 is visible ASCII");
    value.set_sensitive(true);
    value
}

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[cfg(test)]
mod tests;
