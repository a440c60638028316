//! Key pairs and what kinds of them there are.

use std::fmt;

use rcgen::KeyPair;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::{PkiError, pem};

/// The kind of a key pair. Default: ECDSA on P-256, which every TLS library accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// ECDSA on the curve P-256, with SHA-256.
    #[default]
    EcdsaP256,
    /// ECDSA on the curve P-384, with SHA-384.
    EcdsaP384,
    /// Ed25519. Some peers refuse it: browsers, and Java before version 15.
    Ed25519,
    /// RSA with a modulus of 2048 bits, with SHA-256. Making one takes tenths of a second.
    Rsa2048,
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::Ed25519 => "Ed25519",
            Self::Rsa2048 => "RSA 2048",
        })
    }
}

/// A private key: the means to sign, and the encoding that it came or leaves in.
pub(super) struct PrivateKey {
    pair: Zeroizing<KeyPair>,
    der: Zeroizing<PrivateKeyDer<'static>>,
}

impl PrivateKey {
    pub(super) fn generate(algorithm: KeyAlgorithm) -> Result<Self, PkiError> {
        let scheme = match algorithm {
            KeyAlgorithm::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyAlgorithm::Ed25519 => &rcgen::PKCS_ED25519,
            KeyAlgorithm::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
        };
        let pair = KeyPair::generate_for(scheme)
            .map_err(|source| PkiError::Generate { algorithm, source: source.into() })?;
        let der = PrivatePkcs8KeyDer::from(pair.serialize_der());
        Ok(Self { pair: Zeroizing::new(pair), der: Zeroizing::new(der.into()) })
    }

    pub(super) fn from_pem(text: &str) -> Result<Self, PkiError> {
        use rustls_pki_types::pem::PemObject as _;

        let der = PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|source| PkiError::KeyPem { source: source.into() })?;
        let der = Zeroizing::new(der);
        let pair =
            KeyPair::try_from(&*der).map_err(|source| PkiError::Key { source: source.into() })?;
        Ok(Self { pair: Zeroizing::new(pair), der })
    }

    pub(super) fn pair(&self) -> &KeyPair {
        &self.pair
    }

    pub(super) fn der(&self) -> PrivateKeyDer<'static> {
        self.der.clone_key()
    }

    /// The key under the PEM label that its encoding calls for.
    pub(super) fn pem(&self) -> Zeroizing<String> {
        let label = match &*self.der {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        pem::encode(label, self.der.secret_der())
    }
}
