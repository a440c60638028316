use serde_json::{Map, Value, json};

use super::signer::{SignError, Signer};
use crate::jose::base64url;
use crate::secret::Secret;

/// A signed JWT in compact form (RFC 7515 §7.1). The header holds `alg`, `typ`, and `kid` if the
/// signer has one.
pub(crate) async fn sign_jwt(
    signer: &dyn Signer,
    typ: &str,
    claims: &Map<String, Value>,
) -> Result<Secret<String>, SignError> {
    let mut header = json!({"alg": signer.algorithm().name(), "typ": typ});
    if let Some(kid) = signer.key_id() {
        header["kid"] = kid.into();
    }
    let header = encoded(&header);
    let claims = encoded(claims);
    let message = format!("{header}.{claims}");
    let signature = signer.sign(message.as_bytes()).await?;
    Ok(Secret::new(format!("{message}.{}", text(signature))))
}

fn encoded(json: &impl serde::Serialize) -> String {
    text(serde_json::to_vec(json).expect("maps with text for keys"))
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    let mut text = String::new();
    base64url::encode_onto(&mut text, bytes);
    text
}

/// A `jti` that nobody has used: 128 random bits.
pub(crate) fn random_id() -> Result<String, SignError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| SignError::transient("the system gives no random numbers"))?;
    Ok(text(bytes))
}
