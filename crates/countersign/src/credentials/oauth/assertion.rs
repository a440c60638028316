use serde::Serialize;

use super::signer::{SignError, Signer};
use crate::jose::{Algorithm, base64url};
use crate::secret::Secret;

/// The header of what a signer signs, encoded: `alg`, `typ`, and `kid` if it has one.
#[derive(Clone, Debug)]
pub(crate) struct JwtHeader {
    algorithm: Algorithm,
    key_id: Option<String>,
    encoded: String,
}

impl JwtHeader {
    pub(crate) fn of(signer: &dyn Signer) -> Self {
        let (algorithm, key_id) = (signer.algorithm(), signer.key_id().map(str::to_owned));
        let mut json = format!(r#"{{"alg":"{algorithm}","typ":"JWT""#).into_bytes();
        if let Some(key_id) = &key_id {
            json.extend_from_slice(br#","kid":"#);
            write_json(&mut json, key_id);
        }
        json.push(b'}');
        let mut encoded = String::new();
        base64url::encode_onto(&mut encoded, json);
        Self { algorithm, key_id, encoded }
    }

    /// Whether the signer would have the same one: it may have changed its key.
    pub(crate) fn is_of(&self, signer: &dyn Signer) -> bool {
        self.algorithm == signer.algorithm() && self.key_id.as_deref() == signer.key_id()
    }
}

/// A signed JWT in compact form (RFC 7515 §7.1). The claims are one JSON object.
pub(crate) async fn sign_jwt(
    signer: &dyn Signer,
    header: &JwtHeader,
    claims: &[u8],
) -> Result<Secret<String>, SignError> {
    // What the signature of a key of 256 bits and the two dots take.
    const MORE: usize = 88;
    let mut token =
        String::with_capacity(header.encoded.len() + claims.len().div_ceil(3) * 4 + MORE);
    token.push_str(&header.encoded);
    token.push('.');
    base64url::encode_onto(&mut token, claims);
    let signature = signer.sign(token.as_bytes()).await?;
    // At once, so that no part of the token is left behind where it was before.
    token.reserve(1 + signature.len().div_ceil(3) * 4);
    token.push('.');
    base64url::encode_onto(&mut token, signature);
    Ok(Secret::new(token))
}

/// Adds a value.
pub(crate) fn write_json(json: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(json, value).expect("texts, and maps with text for keys");
}

/// A `jti` that nobody has used: 128 random bits.
pub(crate) fn random_id() -> Result<String, SignError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| SignError::transient("the system gives no random numbers"))?;
    let mut id = String::new();
    base64url::encode_onto(&mut id, bytes);
    Ok(id)
}
