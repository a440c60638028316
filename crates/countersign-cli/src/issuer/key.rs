use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::KeyPair;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::output::Failure;

/// A P-256 key that signs tokens as ES256. Its `kid` is its thumbprint (RFC 7638), so that the
/// file with the key is all there is to keep.
pub(crate) struct SigningKey {
    pair: EcdsaKeyPair,
    kid: String,
}

impl SigningKey {
    /// What it signs with.
    pub(crate) const ALGORITHM: &'static str = "ES256";

    /// A new key, and the PKCS#8 PEM text to keep it in.
    pub(crate) fn generate() -> Result<(Self, Zeroizing<String>), Failure> {
        let made = KeyPair::generate()
            .map_err(|error| Failure::config("cannot make a signing key").because(&error))?;
        let pem = Zeroizing::new(made.serialize_pem());
        let key = Self::from_pem(pem.as_bytes()).map_err(Failure::config)?;
        Ok((key, pem))
    }

    /// Reads a key in PKCS#8, PEM. The error is a clause about the text.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, &'static str> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem)
            .map_err(|_| "it holds no PKCS#8 private key in PEM")?;
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der())
                .map_err(|_| "its key is not of P-256")?;
        let (x, y) = coordinates(&pair);
        // RFC 7638 §3: these members, in this order, without spaces.
        let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest(&SHA256, members.as_bytes()));
        Ok(Self { pair, kid })
    }

    pub(crate) fn kid(&self) -> &str {
        &self.kid
    }

    /// The public key (RFC 7517).
    pub(crate) fn jwk(&self) -> Value {
        let (x, y) = coordinates(&self.pair);
        json!({
            "kty": "EC", "crv": "P-256", "x": x, "y": y,
            "use": "sig", "alg": Self::ALGORITHM, "kid": self.kid,
        })
    }

    /// The signature as RFC 7518 §3.4 writes it.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Failure> {
        let signature = self
            .pair
            .sign(&SystemRandom::new(), message)
            .map_err(|error| Failure::config("cannot sign a token").because(&error))?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// `x` and `y` of the public point, which is uncompressed: 4, x, y.
fn coordinates(pair: &EcdsaKeyPair) -> (String, String) {
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_its_file_with_its_kid() {
        let (key, pem) = SigningKey::generate().expect("a key");
        let again = SigningKey::from_pem(pem.as_bytes()).expect("the same key");
        assert_eq!(again.jwk(), key.jwk());
        assert_eq!(key.kid().len(), 43);
        let (other, _) = SigningKey::generate().expect("a key");
        assert_ne!(other.kid(), key.kid());
    }

    #[test]
    fn what_is_no_key_of_p256_is_refused() {
        assert!(SigningKey::from_pem(b"hunter2").is_err());
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        assert!(SigningKey::from_pem(other.serialize_pem().as_bytes()).is_err());
    }

    #[test]
    fn debug_output_has_no_key() {
        let (key, _) = SigningKey::generate().expect("a key");
        assert_eq!(format!("{key:?}"), format!("SigningKey {{ kid: {:?}, .. }}", key.kid()));
    }
}
