use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::credentials::TokenError;
use crate::credentials::oauth::assertion::random_id;
use crate::digest::sha256;
use crate::jose::thumbprint;

/// A key that tokens are bound to: P-256, made here, and never leaving this process.
///
/// Cloning shares it. A credential has one of its own, so that its tokens are worth nothing to
/// whoever gets hold of another's. `Debug` shows its thumbprint.
#[derive(Clone)]
pub struct DpopKey {
    inner: Arc<Inner>,
}

struct Inner {
    key: EcdsaKeyPair,
    /// The header of all its proofs, in base64url.
    header: String,
    thumbprint: String,
}

/// What one proof is for.
pub(crate) struct Proven<'a> {
    pub(crate) method: &'a str,
    /// Without query and fragment.
    pub(crate) url: &'a str,
    /// The access token that goes with it; none at the token endpoint.
    pub(crate) token: Option<&'a str>,
    pub(crate) nonce: Option<&'a str>,
}

impl DpopKey {
    /// Makes a new key.
    ///
    /// # Errors
    ///
    /// When the system gives no random numbers.
    pub fn generate() -> Result<Self, TokenError> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| TokenError::transient("the system gives no random numbers"))?;
        // 0x04 and the two coordinates (SEC 1 §2.3.3).
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)});
        let thumbprint = jwk.as_object().and_then(|jwk| thumbprint(jwk).ok());
        let thumbprint = thumbprint.expect("a key of our own making has all its members");
        let header = json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk});
        let header = encode(header.to_string().as_bytes());
        Ok(Self { inner: Arc::new(Inner { key, header, thumbprint }) })
    }

    /// Its SHA-256 thumbprint (RFC 7638), what a token's `cnf.jkt` holds.
    pub fn thumbprint(&self) -> &str {
        &self.inner.thumbprint
    }

    /// A proof, good once (RFC 9449 §4.2). Signing takes some 20 µs.
    pub(crate) fn proof(&self, of: &Proven<'_>, now: SystemTime) -> Result<String, TokenError> {
        let failed = |_| TokenError::permanent("the key does not sign");
        let id = random_id()
            .map_err(|error| TokenError::transient("no proof can be made").with_source(error))?;
        let mut claims = json!({
            "jti": id,
            "htm": of.method,
            "htu": of.url,
            "iat": now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        });
        if let Some(token) = of.token {
            claims["ath"] = URL_SAFE_NO_PAD.encode(sha256(token.as_bytes())).into();
        }
        if let Some(nonce) = of.nonce {
            claims["nonce"] = nonce.into();
        }
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        let message = format!("{}.{claims}", self.inner.header);
        let signature =
            self.inner.key.sign(&SystemRandom::new(), message.as_bytes()).map_err(failed)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl fmt::Debug for DpopKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DpopKey({})", self.inner.thumbprint)
    }
}
