use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    self, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RsaEncoding, RsaKeyPair,
};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::signer::{SignError, Signer};
use crate::jose::Algorithm;

/// Signs with a private key in this process: RSA of 2,048 to 8,192 bits, P-256, P-384 or
/// Ed25519.
///
/// Signs as `RS256`, `ES256`, `ES384` or `EdDSA`, by the key; RSA keys can do more, see
/// [`with_algorithm`](Self::with_algorithm). `Debug` shows the algorithm and the key's id.
pub struct PemSigner {
    key: Key,
    algorithm: Algorithm,
    key_id: Option<String>,
}

enum Key {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A private key cannot be used to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSigningKey {
    /// There is no private key in the text, or it is encrypted.
    #[error("there is no private key in the PEM text, or it is encrypted")]
    NotPem,
    /// It is of a kind or size that is not used.
    #[error("the key is not RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519")]
    Kind,
    /// The algorithm is not for this key.
    #[error("the key cannot sign as {0}")]
    Algorithm(Algorithm),
}

impl PemSigner {
    /// The first private key in a PEM text: PKCS#8, PKCS#1 (`RSA PRIVATE KEY`) or SEC 1
    /// (`EC PRIVATE KEY`).
    ///
    /// # Errors
    ///
    /// [`InvalidSigningKey::NotPem`] and [`InvalidSigningKey::Kind`].
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Result<Self, InvalidSigningKey> {
        let key =
            PrivateKeyDer::from_pem_slice(pem.as_ref()).map_err(|_| InvalidSigningKey::NotPem)?;
        match &key {
            PrivateKeyDer::Pkcs8(key) => Self::from_pkcs8(key.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(key) => rsa(RsaKeyPair::from_der(key.secret_pkcs1_der()).ok()),
            PrivateKeyDer::Sec1(key) => {
                let read = |kind| EcdsaKeyPair::from_private_key_der(kind, key.secret_sec1_der());
                ecdsa(|kind| read(kind).ok())
            }
            _ => Err(InvalidSigningKey::Kind),
        }
    }

    /// A private key in PKCS#8, DER.
    ///
    /// # Errors
    ///
    /// [`InvalidSigningKey::Kind`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, InvalidSigningKey> {
        if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            return Ok(Self::new(Key::Ed25519(key), Algorithm::EdDSA));
        }
        ecdsa(|kind| EcdsaKeyPair::from_pkcs8(kind, der).ok())
            .or_else(|_| rsa(RsaKeyPair::from_pkcs8(der).ok()))
    }

    fn new(key: Key, algorithm: Algorithm) -> Self {
        Self { key, algorithm, key_id: None }
    }

    /// Sends this `kid` with what it signs. Default: none.
    #[must_use]
    pub fn with_key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }

    /// Signs with another algorithm of the key: with RSA any of `RS256` to `PS512`.
    ///
    /// # Errors
    ///
    /// [`InvalidSigningKey::Algorithm`] when it is not for this key.
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Result<Self, InvalidSigningKey> {
        let fits = match self.key {
            Key::Rsa(_) => rsa_encoding(algorithm).is_some(),
            Key::Ecdsa(_) | Key::Ed25519(_) => algorithm == self.algorithm,
        };
        if !fits {
            return Err(InvalidSigningKey::Algorithm(algorithm));
        }
        self.algorithm = algorithm;
        Ok(self)
    }
}

fn rsa(key: Option<RsaKeyPair>) -> Result<PemSigner, InvalidSigningKey> {
    let key = key.filter(|key| (256..=1024).contains(&key.public_modulus_len()));
    let key = key.ok_or(InvalidSigningKey::Kind)?;
    Ok(PemSigner::new(Key::Rsa(Box::new(key)), Algorithm::RS256))
}

fn ecdsa(
    read: impl Fn(&'static EcdsaSigningAlgorithm) -> Option<EcdsaKeyPair>,
) -> Result<PemSigner, InvalidSigningKey> {
    for (kind, algorithm) in [
        (&signature::ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256),
        (&signature::ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::ES384),
    ] {
        if let Some(key) = read(kind) {
            return Ok(PemSigner::new(Key::Ecdsa(key), algorithm));
        }
    }
    Err(InvalidSigningKey::Kind)
}

fn rsa_encoding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
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

#[async_trait]
impl Signer for PemSigner {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let failed = |_| SignError::permanent("the key does not sign");
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(key) => {
                let encoding = rsa_encoding(self.algorithm).expect("checked when it was set");
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Key::Ecdsa(key) => Ok(key.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Key::Ed25519(key) => Ok(key.sign(message).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for PemSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PemSigner")
            .field("algorithm", &self.algorithm)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair, UnparsedPublicKey};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    }

    async fn verifies(signer: &PemSigner, public: &[u8]) -> bool {
        let signature = signer.sign(b"message").await.expect("a signature");
        let key = UnparsedPublicKey::new(signer.algorithm().verification(), public);
        key.verify(b"message", &signature).is_ok() && key.verify(b"massage", &signature).is_err()
    }

    #[tokio::test]
    async fn each_kind_of_key_signs_what_its_public_key_verifies() {
        let p256 = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING);
        let p384 = EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING);
        for (key, algorithm) in [(p256, Algorithm::ES256), (p384, Algorithm::ES384)] {
            let key = key.expect("a key");
            let sec1: EcPrivateKeyRfc5915Der<'_> = key.private_key().as_der().expect("DER");
            let pkcs8 = key.to_pkcs8v1().expect("DER");
            for text in [pem("EC PRIVATE KEY", sec1.as_ref()), pem("PRIVATE KEY", pkcs8.as_ref())] {
                let signer = PemSigner::from_pem(text).expect("a key");
                assert_eq!(signer.algorithm(), algorithm);
                assert!(verifies(&signer, key.public_key().as_ref()).await, "{algorithm}");
            }
        }
        let key = Ed25519KeyPair::generate().expect("a key");
        for der in [key.to_pkcs8v1().expect("DER"), key.to_pkcs8().expect("DER")] {
            let signer = PemSigner::from_pem(pem("PRIVATE KEY", der.as_ref())).expect("a key");
            assert_eq!(signer.algorithm(), Algorithm::EdDSA);
            assert!(verifies(&signer, key.public_key().as_ref()).await);
        }
    }

    #[tokio::test]
    async fn an_rsa_key_signs_as_it_is_told() {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der: Pkcs8V1Der<'_> = key.as_der().expect("DER");
        let signer = || PemSigner::from_pem(pem("PRIVATE KEY", der.as_ref())).expect("a key");
        assert_eq!(signer().algorithm(), Algorithm::RS256);
        for algorithm in [Algorithm::RS256, Algorithm::PS256, Algorithm::PS512] {
            let signer = signer().with_algorithm(algorithm).expect("its algorithm");
            assert!(verifies(&signer, key.public_key().as_ref()).await, "{algorithm}");
        }
        let refused = signer().with_algorithm(Algorithm::ES256).expect_err("not its algorithm");
        assert_eq!(refused, InvalidSigningKey::Algorithm(Algorithm::ES256));
    }

    #[test]
    fn what_is_no_key_to_sign_with_is_refused() {
        let other = EcdsaKeyPair::generate(&signature::ECDSA_P521_SHA512_FIXED_SIGNING);
        let other = other.expect("a key").to_pkcs8v1().expect("DER");
        for (name, text, error) in [
            ("no PEM", "hunter2".to_owned(), InvalidSigningKey::NotPem),
            ("empty", String::new(), InvalidSigningKey::NotPem),
            ("encrypted", pem("ENCRYPTED PRIVATE KEY", b"\x30\x00"), InvalidSigningKey::NotPem),
            ("no key inside", pem("PRIVATE KEY", b"\x30\x00"), InvalidSigningKey::Kind),
            ("another curve", pem("PRIVATE KEY", other.as_ref()), InvalidSigningKey::Kind),
        ] {
            assert_eq!(PemSigner::from_pem(text).expect_err(name), error, "{name}");
        }
    }

    #[test]
    fn debug_output_shows_which_key_it_is() {
        let key = Ed25519KeyPair::generate().expect("a key");
        let signer = PemSigner::from_pkcs8(key.to_pkcs8v1().expect("DER").as_ref());
        let shown = format!("{:?}", signer.expect("a key").with_key_id("k1"));
        assert_eq!(shown, r#"PemSigner { algorithm: EdDSA, key_id: Some("k1"), .. }"#);
    }
}
