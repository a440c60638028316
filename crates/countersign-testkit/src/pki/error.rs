//! Why a certificate could not be read or made.

use super::KeyAlgorithm;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a certificate could not be read or made.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The text holds no certificate, or is not PEM.
    #[error("cannot find a certificate in the PEM text")]
    CertificatePem {
        /// What the PEM reader said.
        source: Source,
    },
    /// The text holds no private key that is readable without a password, or is not PEM.
    #[error("cannot find an unencrypted private key in the PEM text")]
    KeyPem {
        /// What the PEM reader said.
        source: Source,
    },
    /// The certificate is not an X.509 certificate.
    #[error("cannot read the certificate")]
    Certificate {
        /// What the X.509 reader said.
        source: Source,
    },
    /// The private key is broken or of an unknown algorithm.
    #[error("cannot read the private key")]
    Key {
        /// What the key reader said.
        source: Source,
    },
    /// The certificate lacks the basic constraint `CA:TRUE` (RFC 5280 §4.2.1.9).
    #[error("certificate `{subject}` is not a CA: its basic constraints do not say CA:TRUE")]
    NotAuthority {
        /// The certificate's subject.
        subject: String,
    },
    /// The private key belongs to another certificate.
    #[error("the private key does not belong to certificate `{subject}`")]
    KeyMismatch {
        /// The certificate's subject.
        subject: String,
    },
    /// The subject has a form in which we cannot repeat it as an issuer, byte for byte.
    ///
    /// Several values of one attribute (`DC=example,DC=org`) and rare string types are such forms.
    #[error("cannot issue in the name of `{subject}`: an attribute repeats or has a rare encoding")]
    UnsupportedSubject {
        /// The certificate's subject.
        subject: String,
    },
    /// A DNS name, URI or e-mail address with characters outside ASCII.
    #[error("certificate name {name:?} is not ASCII")]
    Name {
        /// The name.
        name: String,
    },
    /// A subject attribute that is neither a known short name nor an object identifier.
    #[error("subject attribute {attribute:?} is not one of CN, O, OU, C, ST, L or a dotted OID")]
    SubjectAttribute {
        /// The attribute.
        attribute: String,
    },
    /// A subject attribute that was given more than once.
    #[error("subject attribute {attribute} is given twice")]
    RepeatedAttribute {
        /// The attribute.
        attribute: String,
    },
    /// A subject value that its attribute cannot hold.
    #[error("subject attribute {attribute} cannot hold {value:?}")]
    SubjectValue {
        /// The attribute.
        attribute: String,
        /// The value.
        value: String,
    },
    /// No key could be made.
    #[error("cannot make a key of type {algorithm}")]
    Generate {
        /// The type that was asked for.
        algorithm: KeyAlgorithm,
        /// What the cryptography library said.
        source: Source,
    },
    /// The certificate could not be signed.
    #[error("cannot sign the certificate")]
    Sign {
        /// What the cryptography library said.
        source: Source,
    },
}
