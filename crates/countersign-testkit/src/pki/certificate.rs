//! An issued certificate with its private key.

use std::fmt;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rcgen::{BasicConstraints, CertificateParams, IsCa};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::key::PrivateKey;
use super::name::AlternativeName;
use super::validity::Validity;
use super::{KeyAlgorithm, PkiError, pem};

/// A certificate, the intermediates that vouch for it, and its private key.
///
/// Formatting one shows how many certificates there are and when they are valid, and no key.
#[derive(Clone)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKey>,
    validity: Validity,
}

impl Certificate {
    pub(super) fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKey,
        validity: Validity,
    ) -> Self {
        Self { chain, key: Arc::new(key), validity }
    }

    /// What a server or client sends: this certificate, then intermediates, without the root.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        pem::certificates(&self.chain)
    }

    /// The chain in DER, this certificate first.
    #[must_use]
    pub fn chain_der(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    /// The private key (PKCS #8). The text is wiped when dropped.
    #[must_use]
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.key.pem()
    }

    /// The private key in DER (PKCS #8).
    #[must_use]
    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        self.key.der()
    }

    /// The first second in which the certificate is valid.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.validity.not_before
    }

    /// The last second in which the certificate is valid.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.validity.not_after
    }

    #[cfg(test)]
    pub(super) fn validity(&self) -> Validity {
        self.validity
    }

    /// Writes the chain to `name.pem` and the key to `name.key`, and returns both paths.
    ///
    /// The key is readable by its owner only, from its first byte on. Files of these names are
    /// replaced, each in one step, the key first: a program that reloads them may see the new key
    /// beside the old certificate for a moment, and never half a file.
    ///
    /// # Errors
    ///
    /// If a file cannot be written. The directory has to exist.
    pub fn write(&self, dir: &Path, name: &str) -> io::Result<(PathBuf, PathBuf)> {
        let certificate = dir.join(format!("{name}.pem"));
        let key = dir.join(format!("{name}.key"));
        replace(dir, &key, self.key.pem().as_bytes(), 0o600)?;
        replace(dir, &certificate, self.chain_pem().as_bytes(), 0o644)?;
        Ok((certificate, key))
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("certificates", &self.chain.len())
            .field("not_before", &self.validity.not_before)
            .field("not_after", &self.validity.not_after)
            .finish_non_exhaustive()
    }
}

/// A lone certificate as `openssl req -x509` makes it: self-signed, `CA:TRUE`, without extended
/// key usage, ECDSA P-256, valid from one hour ago for 30 days.
///
/// rustls refuses such a certificate from a peer (`CaUsedAsEndEntity`), even where it is trusted.
/// Names are told apart as in [`LeafBuilder::name`](super::LeafBuilder::name); the first is the
/// common name too.
///
/// # Panics
///
/// If a name is not ASCII.
#[must_use]
pub fn self_signed(names: &[&str]) -> Certificate {
    let build = || {
        let key = PrivateKey::generate(KeyAlgorithm::default())?;
        let validity = Validity::self_signed_default();
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = validity.bounds();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(first) = names.first() {
            params.distinguished_name.push(rcgen::DnType::CommonName, *first);
        }
        params.subject_alt_names = names
            .iter()
            .map(|name| AlternativeName::guess(name).encode())
            .collect::<Result<_, _>>()?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.use_authority_key_identifier_extension = true;
        let certificate = params
            .self_signed(key.pair())
            .map_err(|source| PkiError::Sign { source: source.into() })?;
        Ok::<_, PkiError>(Certificate::new(vec![certificate.into()], key, validity))
    };
    match build() {
        Ok(certificate) => certificate,
        Err(error) => panic!("{error}"),
    }
}

/// Puts a new file in a path's place in one step.
fn replace(dir: &Path, path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = builder.tempfile_in(dir)?;
    file.write_all(contents)?;
    file.persist(path)?;
    Ok(())
}
