use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::SigningKey;
use crate::output::Failure;

/// The `typ` of access tokens (RFC 9068 §2.1).
pub(crate) const ACCESS_TOKEN: &str = "at+jwt";

/// A token before it is signed.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    kind: String,
    claims: Map<String, Value>,
}

/// A token and its claims.
pub(crate) struct Signed {
    pub(crate) token: String,
    pub(crate) claims: Map<String, Value>,
}

impl Draft {
    /// An access token that holds from `now` for a while.
    pub(crate) fn access_token(
        issuer: &str,
        subject: &str,
        audiences: &[String],
        now: SystemTime,
        life: Duration,
    ) -> Result<Self, Failure> {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|error| {
            Failure::config("the system gives no random numbers").because(&error)
        })?;
        let begin = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let draft = Self { kind: ACCESS_TOKEN.to_owned(), claims: Map::new() };
        let audience = match audiences {
            [one] => json!(one),
            all => json!(all),
        };
        Ok(draft
            .claim("iss", issuer)
            .claim("sub", subject)
            .claim("aud", audience)
            .claim("iat", begin)
            .claim("exp", begin.saturating_add(life.as_secs()))
            .claim("jti", URL_SAFE_NO_PAD.encode(id)))
    }

    /// The header's `typ`.
    pub(crate) fn kind(mut self, kind: &str) -> Self {
        kind.clone_into(&mut self.kind);
        self
    }

    /// Sets a claim; `null` takes it away.
    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        match value.into() {
            Value::Null => self.claims.remove(name),
            value => self.claims.insert(name.to_owned(), value),
        };
        self
    }

    /// Signs it, with the key's `kid` in the header.
    pub(crate) fn sign(self, key: &SigningKey) -> Result<Signed, Failure> {
        let header =
            json!({"alg": SigningKey::ALGORITHM, "typ": self.kind, "kid": key.kid()}).to_string();
        let claims = Value::Object(self.claims.clone()).to_string();
        let message =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes())?);
        Ok(Signed { token: format!("{message}.{signature}"), claims: self.claims })
    }

    /// With `alg` `none` and no signature: what a verifier must never take.
    pub(crate) fn unsigned(self) -> String {
        let header = json!({"alg": "none", "typ": self.kind}).to_string();
        let claims = Value::Object(self.claims).to_string();
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }
}
