use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::world::Failure;

/// A key that tokens are bound to, and the proofs that it makes (RFC 9449 §4.2).
pub(crate) struct DpopKey(Ed25519KeyPair);

impl DpopKey {
    pub(crate) fn generate() -> Result<Self, Failure> {
        Ok(Self(Ed25519KeyPair::generate().map_err(|_| "no key was made")?))
    }

    /// A proof for a POST to `url`; with a token, for use together with that.
    pub(crate) fn proof(&self, url: &str, token: Option<&str>) -> Result<String, Failure> {
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| "no random numbers")?;
        let now: SystemTime = SystemClock.now();
        let mut claims = json!({
            "jti": URL_SAFE_NO_PAD.encode(id),
            "htm": "POST",
            "htu": url,
            "iat": now.duration_since(UNIX_EPOCH)?.as_secs(),
        });
        if let Some(token) = token {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
            claims["ath"] = URL_SAFE_NO_PAD.encode(digest).into();
        }
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        let header = json!({
            "typ": "dpop+jwt",
            "alg": "EdDSA",
            "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x},
        });
        let encoded = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let message = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes()));
        Ok(format!("{message}.{signature}"))
    }
}
