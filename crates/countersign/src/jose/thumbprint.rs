use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// The SHA-256 thumbprint of a key (RFC 7638), base64url without padding: what a token's
/// `cnf.jkt` holds (RFC 9449 §6.1).
///
/// For RSA, elliptic-curve and Ed25519 keys. Only the members that make the public key count, so
/// a private key and its public half have one thumbprint. Nothing says that the key is valid.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = serde_json::json!({
///     "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
/// });
/// let key = key.as_object().ok_or("an object")?;
/// let thumbprint = countersign::authentication::jwt::thumbprint(key)?;
/// assert_eq!(thumbprint, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`NoThumbprint`] when `kty` is none of these, or a member that counts is missing or no text.
pub fn thumbprint(jwk: &Map<String, Value>) -> Result<String, NoThumbprint> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    // In the order of their names, which is the order that is hashed (RFC 7638 §3.3).
    let members: &[&str] = match text("kty") {
        Some("RSA") => &["e", "kty", "n"],
        Some("EC") => &["crv", "kty", "x", "y"],
        Some("OKP") => &["crv", "kty", "x"],
        _ => return Err(NoThumbprint("its `kty` is not RSA, EC or OKP")),
    };
    let mut hash = digest::Context::new(&digest::SHA256);
    for (index, name) in members.iter().enumerate() {
        let value = text(name).ok_or(NoThumbprint("a member of the key is missing or no text"))?;
        // Quoted by the rules of JSON, so that no value can stand for two members.
        let value = Value::from(value).to_string();
        let before = if index == 0 { '{' } else { ',' };
        hash.update(format!("{before}\"{name}\":{value}").as_bytes());
    }
    hash.update(b"}");
    Ok(URL_SAFE_NO_PAD.encode(hash.finish()))
}

/// A JSON object is no key that has a thumbprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key has no thumbprint: {0}")]
pub struct NoThumbprint(pub(crate) &'static str);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(jwk: Value) -> Result<String, NoThumbprint> {
        thumbprint(jwk.as_object().expect("an object"))
    }

    #[test]
    fn the_thumbprint_of_rfc_7638_section_3_1() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1\
                 L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4\
                 QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbO\
                 pbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csF\
                 Cur-kEgU8awapJzKnqDKgw";
        let jwk = json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
        assert_eq!(of(jwk), Ok("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".to_owned()));
    }

    #[test]
    fn what_is_not_the_public_key_does_not_count() {
        let public = json!({"kty": "EC", "crv": "P-256", "x": "eA", "y": "eQ"});
        let mut private = public.clone();
        private["d"] = json!("ZA");
        private["use"] = json!("sig");
        assert_eq!(of(private), of(public.clone()));
        for name in ["crv", "x", "y"] {
            let mut other = public.clone();
            other[name] = json!("b3RoZXI");
            assert_ne!(of(other), of(public.clone()), "{name}");
        }
    }

    #[test]
    fn what_is_no_public_key_has_none() {
        for (name, jwk) in [
            ("no kty", json!({"crv": "Ed25519", "x": "eA"})),
            ("kty of another type", json!({"kty": 1})),
            ("symmetric", json!({"kty": "oct", "k": "aw"})),
            ("member missing", json!({"kty": "OKP", "crv": "Ed25519"})),
            ("member of another type", json!({"kty": "OKP", "crv": "Ed25519", "x": 1})),
        ] {
            assert!(of(jwk).is_err(), "{name}");
        }
    }
}
