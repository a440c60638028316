use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaEncoding, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::authentication::jwt::{Algorithm, thumbprint};

/// A caller with a key of its own.
pub(super) struct Holder {
    algorithm: Algorithm,
    pub(super) jwk: Value,
    key: PrivateKey,
}

enum PrivateKey {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
}

pub(super) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Holder {
    pub(super) fn new() -> Self {
        Self::of(Algorithm::ES256)
    }

    pub(super) fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::ES256 => {
                Self::ecdsa(algorithm, &signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")
            }
            Algorithm::ES384 => {
                Self::ecdsa(algorithm, &signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")
            }
            Algorithm::ES512 => {
                Self::ecdsa(algorithm, &signature::ECDSA_P521_SHA512_FIXED_SIGNING, "P-521")
            }
            Algorithm::EdDSA => {
                let key = Ed25519KeyPair::generate().expect("a key");
                let x = base64url(key.public_key());
                let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x});
                Self { algorithm, jwk, key: PrivateKey::Ed25519(key) }
            }
            Algorithm::RS256 => Self::rsa(algorithm, &signature::RSA_PKCS1_SHA256),
            Algorithm::RS384 => Self::rsa(algorithm, &signature::RSA_PKCS1_SHA384),
            Algorithm::RS512 => Self::rsa(algorithm, &signature::RSA_PKCS1_SHA512),
            Algorithm::PS256 => Self::rsa(algorithm, &signature::RSA_PSS_SHA256),
            Algorithm::PS384 => Self::rsa(algorithm, &signature::RSA_PSS_SHA384),
            Algorithm::PS512 => Self::rsa(algorithm, &signature::RSA_PSS_SHA512),
        }
    }

    fn ecdsa(algorithm: Algorithm, kind: &'static EcdsaSigningAlgorithm, crv: &str) -> Self {
        let key = EcdsaKeyPair::generate(kind).expect("a key");
        let point = &key.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        let jwk = json!({"kty": "EC", "crv": crv, "x": base64url(x), "y": base64url(y)});
        Self { algorithm, jwk, key: PrivateKey::Ecdsa(key) }
    }

    fn rsa(algorithm: Algorithm, encoding: &'static dyn RsaEncoding) -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        // RSAPublicKey (RFC 8017 §A.1.1): two headers and a zero, 256 bytes of `n`, then `e`.
        let n = base64url(&key.public_key().as_ref()[9..265]);
        let jwk = json!({"kty": "RSA", "n": n, "e": "AQAB"});
        Self { algorithm, jwk, key: PrivateKey::Rsa(key, encoding) }
    }

    pub(super) fn jkt(&self) -> String {
        thumbprint(self.jwk.as_object().expect("an object")).expect("a key")
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            PrivateKey::Ecdsa(key) => {
                key.sign(&random, message).expect("a signature").as_ref().to_vec()
            }
            PrivateKey::Ed25519(key) => key.sign(message).as_ref().to_vec(),
            PrivateKey::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, message, &mut signature).expect("a signature");
                signature
            }
        }
    }

    pub(super) fn header(&self) -> Value {
        json!({"typ": "dpop+jwt", "alg": self.algorithm.name(), "jwk": self.jwk})
    }

    /// A proof of these words, whatever they say.
    pub(super) fn proof_of(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", base64url(header), base64url(payload));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", base64url(signature))
    }

    pub(super) fn proof(&self, claims: &Value) -> String {
        self.proof_of(&self.header().to_string(), &claims.to_string())
    }
}
