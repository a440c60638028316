//! PEM and DER, from files or bytes, read strictly.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::TlsConfigError;

/// Where PEM text comes from. A file is read when it is loaded and not before.
#[derive(Clone)]
pub(super) enum Pem {
    File(PathBuf),
    Bytes(Zeroizing<Vec<u8>>),
}

impl Pem {
    pub(super) fn file(path: impl AsRef<Path>) -> Self {
        Self::File(path.as_ref().to_owned())
    }

    pub(super) fn bytes(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bytes(Zeroizing::new(bytes.as_ref().to_vec()))
    }

    /// How error messages name it.
    pub(super) fn origin(&self, given_as: &str) -> String {
        match self {
            Self::File(path) => format!("`{}`", path.display()),
            Self::Bytes(_) => format!("what was given as {given_as}"),
        }
    }

    fn read(&self) -> Result<Zeroizing<Vec<u8>>, TlsConfigError> {
        match self {
            Self::File(path) => std::fs::read(path)
                .map(Zeroizing::new)
                .map_err(|source| TlsConfigError::Unreadable { path: path.clone(), source }),
            Self::Bytes(bytes) => Ok(bytes.clone()),
        }
    }

    /// Every certificate; none is an error, and so is a broken section between good ones.
    pub(super) fn certificates(
        &self,
        given_as: &str,
    ) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
        let origin = || self.origin(given_as);
        let text = self.read()?;
        let certificates = CertificateDer::pem_slice_iter(&text)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| TlsConfigError::NotPem { origin: origin(), reason: clause(&error) })?;
        if certificates.is_empty() {
            return Err(TlsConfigError::NoCertificate { origin: origin() });
        }
        Ok(certificates)
    }

    /// The first private key.
    pub(super) fn private_key(
        &self,
        given_as: &str,
    ) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
        let origin = || self.origin(given_as);
        let text = self.read()?;
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            rustls_pki_types::pem::Error::NoItemsFound => {
                TlsConfigError::NoPrivateKey { origin: origin() }
            }
            other => TlsConfigError::NotPem { origin: origin(), reason: clause(&other) },
        })
    }
}

/// Only the kind of fault: the parser's own message may quote a line of a key file.
fn clause(error: &rustls_pki_types::pem::Error) -> String {
    use rustls_pki_types::pem::Error;
    match error {
        Error::MissingSectionEnd { .. } => "a section has no end line".to_owned(),
        Error::IllegalSectionStart { .. } => "a section has a malformed first line".to_owned(),
        Error::Base64Decode(_) => "a section is not base64".to_owned(),
        Error::Io(error) => error.to_string(),
        _ => "it cannot be parsed".to_owned(),
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => fmt::Debug::fmt(path, f),
            Self::Bytes(_) => f.write_str("PEM bytes"),
        }
    }
}
