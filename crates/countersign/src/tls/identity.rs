use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::sign::CertifiedKey;

use super::TlsConfigError;
use super::files::Pem;
use super::provider::provider;

/// A certificate chain and its private key: what one end shows to prove who it is.
///
/// Nothing is read until the credentials are loaded; then the key must belong to the first
/// certificate of the chain. `Debug` shows where they come from and never what they are.
#[derive(Clone)]
pub struct Identity {
    chain: Pem,
    key: Pem,
}

impl Identity {
    /// From two PEM files: the chain, leaf first, and the key (PKCS#8, PKCS#1 or SEC1).
    pub fn from_pem_files(chain: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        Self { chain: Pem::file(chain), key: Pem::file(key) }
    }

    /// From PEM text: the chain, leaf first, and the key (PKCS#8, PKCS#1 or SEC1).
    pub fn from_pem(chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        Self { chain: Pem::bytes(chain), key: Pem::bytes(key) }
    }

    /// Blocks on the file system.
    pub(super) fn load(&self) -> Result<Arc<CertifiedKey>, TlsConfigError> {
        const CHAIN: &str = "a certificate chain";
        const KEY: &str = "a private key";
        let chain = self.chain.certificates(CHAIN)?;
        let key = self.key.private_key(KEY)?;
        let key = provider().key_provider.load_private_key(key).map_err(|error| {
            TlsConfigError::BadPrivateKey {
                origin: self.key.origin(KEY),
                reason: error.to_string(),
            }
        })?;
        for (index, certificate) in chain.iter().enumerate() {
            webpki::EndEntityCert::try_from(certificate).map_err(|error| {
                TlsConfigError::BadCertificate {
                    origin: self.chain.origin(CHAIN),
                    position: index + 1,
                    reason: error.to_string(),
                }
            })?;
        }
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(Arc::new(certified)),
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
                Err(TlsConfigError::KeyMismatch {
                    certificate: self.chain.origin(CHAIN),
                    key: self.key.origin(KEY),
                })
            }
            // A key that cannot tell its public half cannot be shown to belong.
            Err(error) => Err(TlsConfigError::BadPrivateKey {
                origin: self.key.origin(KEY),
                reason: error.to_string(),
            }),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("chain", &self.chain).finish_non_exhaustive()
    }
}
