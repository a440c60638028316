use std::path::PathBuf;

/// A TLS setting that cannot be used, found when it is loaded.
///
/// All of these are permanent until somebody mends a file or a setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no certificate in what was given as certificates.
    #[error("{origin} holds no certificate")]
    NoCertificate {
        /// The file, or what the bytes were given as.
        origin: String,
    },
    /// There is no private key in what was given as one.
    #[error("{origin} holds no private key")]
    NoPrivateKey {
        /// The file, or what the bytes were given as.
        origin: String,
    },
    /// A PEM section is broken.
    #[error("{origin} is not PEM: {reason}")]
    NotPem {
        /// The file, or what the bytes were given as.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate cannot be parsed or used.
    #[error("certificate {position} in {origin} cannot be used: {reason}")]
    BadCertificate {
        /// The file, or what the bytes were given as.
        origin: String,
        /// Which one, counted from 1.
        position: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A private key cannot be used. The reason never quotes the key.
    #[error("the private key in {origin} cannot be used: {reason}")]
    BadPrivateKey {
        /// The file, or what the bytes were given as.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The key does not belong to the certificate.
    #[error("the private key in {key} does not belong to the certificate in {certificate}")]
    KeyMismatch {
        /// Where the certificate is from.
        certificate: String,
        /// Where the key is from.
        key: String,
    },
    /// There is not one root to trust.
    #[error("no root certificates to trust: {detail}")]
    NoRoots {
        /// Where they were looked for.
        detail: String,
    },
    /// The verified name is neither a DNS name nor an IP address.
    #[error("{name:?} is neither a DNS name nor an IP address")]
    BadServerName {
        /// The name.
        name: String,
    },
    /// rustls refuses the combination.
    #[error("TLS settings that do not fit together: {reason}")]
    Rejected {
        /// What rustls says.
        reason: String,
    },
}

impl TlsConfigError {
    /// What to do about it, in one clause.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "check the path and its permissions",
            Self::NoCertificate { .. } => {
                "a PEM file of certificates has lines `-----BEGIN CERTIFICATE-----`"
            }
            Self::NoPrivateKey { .. } => {
                "a PEM file of a key has a line `-----BEGIN PRIVATE KEY-----` and is not encrypted"
            }
            Self::NotPem { .. } => "the file may be DER, cut short, or something else altogether",
            Self::BadCertificate { .. } => "issue the certificate again",
            Self::BadPrivateKey { .. } => "use a PKCS#8 key: ECDSA P-256 or P-384, Ed25519, or RSA",
            Self::KeyMismatch { .. } => "take the certificate and the key from the same issuance",
            Self::NoRoots { .. } => {
                "give the CA that signs the server, or install the system's CA certificates"
            }
            Self::BadServerName { .. } => "write the name as it stands in the certificate",
            Self::Rejected { .. } => "choose TLS versions and suites that exist together",
        }
    }
}
