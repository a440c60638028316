//! PEM and DER, from files or bytes, read strictly.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
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
            Self::File(path) => read_bounded(path)
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

/// The largest file that is read, in bytes: some forty times what a system trusts. What is put
/// in the place of a file need not have an end.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

fn read_bounded(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    // Room for all of it, so that no part of a key is left behind where it was before.
    let expected = file.metadata()?.len().min(MAX_BYTES) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(expected).unwrap_or(0)));
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(std::io::Error::new(ErrorKind::FileTooLarge, "it is larger than 16 MiB")),
        false => Ok(bytes),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_an_end_or_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("roots.pem");
        for (bytes, is_read) in [(MAX_BYTES, true), (MAX_BYTES + 1, false)] {
            // Nothing is written: all of it is a hole.
            let file = File::create(&path).expect("made");
            file.set_len(bytes).expect("grown");
            let error = Pem::file(&path).certificates("roots").expect_err("no certificate in it");
            let unreadable = matches!(error, TlsConfigError::Unreadable { .. });
            assert_eq!(!unreadable, is_read, "{bytes}: {error}");
        }
        #[cfg(target_os = "linux")]
        Pem::file("/dev/zero").certificates("roots").expect_err("without an end");
    }
}
