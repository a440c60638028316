use std::fmt;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Algorithm;

/// A private key that signs tokens with one algorithm. Clones share it.
#[derive(Clone)]
pub struct SigningKey {
    kid: Option<String>,
    algorithm: Algorithm,
    pair: Arc<Pair>,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl SigningKey {
    /// A new key. One for RSA takes tenths of a second to make; see [`rsa`](Self::rsa).
    ///
    /// # Panics
    ///
    /// If the system has no randomness, or the algorithm is unknown.
    #[must_use]
    pub fn generate(algorithm: Algorithm, kid: &str) -> Self {
        let made = "a fresh key";
        let ec = |kind| Pair::Ec(EcdsaKeyPair::generate(kind).expect(made));
        let pair = match algorithm {
            Algorithm::ES256 => ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Algorithm::ES384 => ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            Algorithm::ES512 => ec(&signature::ECDSA_P521_SHA512_FIXED_SIGNING),
            Algorithm::EdDSA => Pair::Ed(Ed25519KeyPair::generate().expect(made)),
            _ if rsa_encoding(algorithm).is_some() => {
                Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).expect(made))
            }
            _ => panic!("no key for {algorithm}"),
        };
        Self { kid: Some(kid.to_owned()), algorithm, pair: Arc::new(pair) }
    }

    /// The RSA key of this process, made once, for an algorithm of RSA.
    ///
    /// # Panics
    ///
    /// If the algorithm is another one.
    #[must_use]
    pub fn rsa(algorithm: Algorithm, kid: &str) -> Self {
        static PAIR: OnceLock<SigningKey> = OnceLock::new();
        assert!(rsa_encoding(algorithm).is_some(), "{algorithm} is not an algorithm of RSA");
        let pair = &PAIR.get_or_init(|| Self::generate(Algorithm::RS256, "")).pair;
        Self { kid: Some(kid.to_owned()), algorithm, pair: Arc::clone(pair) }
    }

    /// The same key under another `kid`.
    #[must_use]
    pub fn named(mut self, kid: &str) -> Self {
        self.kid = Some(kid.to_owned());
        self
    }

    /// The same key without a `kid`.
    #[must_use]
    pub fn unnamed(mut self) -> Self {
        self.kid = None;
        self
    }

    /// Its `kid`.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public key as RFC 7517 and RFC 8037 write it, with `use`, `alg` and `kid`.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let mut jwk = match &*self.pair {
            Pair::Rsa(pair) => {
                let (n, e) = rsa_numbers(pair.public_key().as_ref());
                json!({ "kty": "RSA", "n": encode(n), "e": encode(e) })
            }
            Pair::Ec(pair) => {
                // An uncompressed point: 4, x, y.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(self.coordinate_bytes());
                let crv = match self.algorithm {
                    Algorithm::ES384 => "P-384",
                    Algorithm::ES512 => "P-521",
                    _ => "P-256",
                };
                json!({ "kty": "EC", "crv": crv, "x": encode(x), "y": encode(y) })
            }
            Pair::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()) })
            }
        };
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm.name());
        if let Some(kid) = &self.kid {
            jwk["kid"] = json!(kid);
        }
        jwk
    }

    /// The bytes of the public key: what a careless verifier might take for an HMAC secret.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        match &*self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// The signature of a message, as RFC 7518 §3 and RFC 8037 §3.1 encode it.
    ///
    /// # Panics
    ///
    /// If the system has no randomness.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let signed = "a fresh key can sign";
        match &*self.pair {
            Pair::Rsa(pair) => {
                let encoding = rsa_encoding(self.algorithm).expect("an algorithm of RSA");
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, message, &mut signature).expect(signed);
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, message).expect(signed).as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    fn coordinate_bytes(&self) -> usize {
        match self.algorithm {
            Algorithm::ES384 => 48,
            Algorithm::ES512 => 66,
            _ => 32,
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa_encoding(algorithm: Algorithm) -> Option<&'static dyn signature::RsaEncoding> {
    Some(match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_SHA512,
        _ => return None,
    })
}

/// Modulus and exponent of a 2,048-bit `RSAPublicKey` (RFC 8017 §A.1.1), without leading zeros.
fn rsa_numbers(der: &[u8]) -> (&[u8], &[u8]) {
    // SEQUENCE of 266 bytes, INTEGER of 257 bytes of which the first is 0, INTEGER of 3 bytes.
    let (head, rest) = der.split_at(9);
    assert_eq!(head, [0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00], "2,048 bits");
    let (n, e) = rest.split_at(256);
    (n, &e[2..])
}
