use std::fmt;
use std::path::Path;

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;

use super::TlsConfigError;
use super::files::Pem;

/// Certificate authorities to trust.
///
/// Several sources may be combined. Nothing is read until the credentials are loaded; then every
/// source must hold at least one certificate, and every certificate must be usable: a file that
/// is not what it should be is an error and never an empty set.
#[derive(Clone, Default)]
pub struct RootCertificates {
    sources: Vec<Source>,
}

#[derive(Clone)]
enum Source {
    Pem(Pem),
    Der(CertificateDer<'static>),
}

impl RootCertificates {
    /// Roots from a PEM file, one or more certificates.
    pub fn from_pem_file(path: impl AsRef<Path>) -> Self {
        Self::default().and_pem_file(path)
    }

    /// Roots from PEM text, one or more certificates.
    pub fn from_pem(pem: impl AsRef<[u8]>) -> Self {
        Self::default().and_pem(pem)
    }

    /// One root in DER.
    pub fn from_der(der: impl Into<Vec<u8>>) -> Self {
        Self::default().and_der(der)
    }

    /// Adds the certificates of a PEM file.
    #[must_use]
    pub fn and_pem_file(mut self, path: impl AsRef<Path>) -> Self {
        self.sources.push(Source::Pem(Pem::file(path)));
        self
    }

    /// Adds the certificates of PEM text.
    #[must_use]
    pub fn and_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.sources.push(Source::Pem(Pem::bytes(pem)));
        self
    }

    /// Adds one root in DER.
    #[must_use]
    pub fn and_der(mut self, der: impl Into<Vec<u8>>) -> Self {
        self.sources.push(Source::Der(CertificateDer::from(der.into())));
        self
    }

    /// Puts every certificate into `store`. Blocks on the file system.
    pub(super) fn load_into(&self, store: &mut RootCertStore) -> Result<(), TlsConfigError> {
        const GIVEN_AS: &str = "root certificates";
        for source in &self.sources {
            let (origin, certificates) = match source {
                Source::Pem(pem) => (pem.origin(GIVEN_AS), pem.certificates(GIVEN_AS)?),
                Source::Der(der) => (format!("what was given as {GIVEN_AS}"), vec![der.clone()]),
            };
            for (index, certificate) in certificates.into_iter().enumerate() {
                store.add(certificate).map_err(|error| TlsConfigError::BadCertificate {
                    origin: origin.clone(),
                    position: index + 1,
                    reason: error.to_string(),
                })?;
            }
        }
        if store.is_empty() {
            return Err(TlsConfigError::NoRoots { detail: "none were given".to_owned() });
        }
        Ok(())
    }
}

impl fmt::Debug for RootCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, source) in self.sources.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match source {
                Source::Pem(pem) => fmt::Debug::fmt(pem, f)?,
                Source::Der(_) => f.write_str("DER bytes")?,
            }
        }
        Ok(())
    }
}

/// The operating system's store. A certificate in it that cannot be used is passed over, as the
/// system's other programs do; an empty store is an error.
#[cfg(feature = "system-roots")]
pub(super) fn load_system(store: &mut RootCertStore) -> Result<(), TlsConfigError> {
    let found = rustls_native_certs::load_native_certs();
    let (added, _ignored) = store.add_parsable_certificates(found.certs);
    if added == 0 {
        let detail = match found.errors.first() {
            Some(error) => format!("the system's store: {error}"),
            None => "the system's store is empty".to_owned(),
        };
        return Err(TlsConfigError::NoRoots { detail });
    }
    Ok(())
}

#[cfg(not(feature = "system-roots"))]
pub(super) fn load_system(_store: &mut RootCertStore) -> Result<(), TlsConfigError> {
    Err(TlsConfigError::NoRoots {
        detail: "countersign was built without its feature `system-roots`".to_owned(),
    })
}
