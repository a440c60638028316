//! Certificate authorities: roots and intermediates.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_cert::Certificate as Parsed;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::{self, SubjectKeyIdentifier};
use zeroize::Zeroizing;

use super::key::PrivateKey;
use super::validity::Validity;
use super::{Certificate, KeyAlgorithm, LeafBuilder, PkiError, name, pem};

/// A certificate authority with its private key in memory.
///
/// Clones share one authority. Formatting one shows its name and no key.
#[derive(Clone)]
pub struct CertificateAuthority {
    inner: Arc<Inner>,
}

struct Inner {
    certificate: CertificateDer<'static>,
    /// What issued certificates are followed by: this authority and those above it, without the
    /// root. Empty for a root.
    chain: Vec<CertificateDer<'static>>,
    /// The name, the key identifier and the usages that issued certificates refer to.
    params: CertificateParams,
    subject: String,
    key: PrivateKey,
    validity: Validity,
}

impl CertificateAuthority {
    /// A self-signed root: ECDSA P-256, valid from one hour ago for ten years.
    ///
    /// # Panics
    ///
    /// If the system has no randomness to make a key from.
    #[must_use]
    pub fn new(common_name: &str) -> Self {
        Self::builder(common_name).build()
    }

    /// A self-signed root with a validity or key of one's own.
    #[must_use]
    pub fn builder(common_name: &str) -> CertificateAuthorityBuilder {
        CertificateAuthorityBuilder {
            common_name: common_name.to_owned(),
            algorithm: KeyAlgorithm::default(),
            validity: Validity::authority_default(),
        }
    }

    /// An authority from PEM text, as `countersign pki init` or another tool wrote it.
    ///
    /// The first certificate is the authority's. Those after it are the authorities above an
    /// intermediate; roots among them are left out of issued chains. The key may be PKCS #8,
    /// SEC 1 or PKCS #1, without a password.
    ///
    /// # Errors
    ///
    /// If either text cannot be read, the certificate is no CA, or the key is not its own.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, PkiError> {
        let certificates = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| PkiError::CertificatePem { source: source.into() })?;
        let Some(first) = certificates.first() else {
            return Err(PkiError::CertificatePem { source: "it holds no certificate".into() });
        };
        let parsed = parse(first)?;
        let tbs = parsed.tbs_certificate();
        let subject = tbs.subject().to_string();

        let constraints = tbs.get_extension::<pkix::BasicConstraints>().map_err(unreadable)?;
        if !constraints.is_some_and(|(_, constraints)| constraints.ca) {
            return Err(PkiError::NotAuthority { subject });
        }
        let key = PrivateKey::from_pem(key)?;
        let public_key = tbs.subject_public_key_info().subject_public_key.raw_bytes();
        if key.pair().public_key_raw() != public_key {
            return Err(PkiError::KeyMismatch { subject });
        }

        let mut params = CertificateParams::default();
        params.distinguished_name = name::convert(tbs.subject())
            .ok_or_else(|| PkiError::UnsupportedSubject { subject: subject.clone() })?;
        if let Some((_, id)) = tbs.get_extension::<SubjectKeyIdentifier>().map_err(unreadable)? {
            params.key_identifier_method = KeyIdMethod::PreSpecified(id.0.as_bytes().to_vec());
        }
        let validity = Validity::new(
            tbs.validity().not_before.to_system_time(),
            tbs.validity().not_after.to_system_time(),
        );
        let certificate = first.clone();
        let mut chain = Vec::new();
        for certificate in certificates {
            if !is_root(&certificate)? {
                chain.push(certificate);
            }
        }
        Ok(Self { inner: Arc::new(Inner { certificate, chain, params, subject, key, validity }) })
    }

    /// An authority below this one: ECDSA P-256, valid as long as this one. Chains of what it
    /// issues include it.
    ///
    /// # Panics
    ///
    /// If the system has no randomness to make a key from.
    #[must_use]
    pub fn intermediate(&self, common_name: &str) -> Self {
        let build = || {
            let key = PrivateKey::generate(KeyAlgorithm::default())?;
            let mut params = authority_params(common_name, self.inner.validity);
            params.use_authority_key_identifier_extension = true;
            let certificate = self.sign(&params, &key)?;
            let mut chain = vec![certificate.clone()];
            chain.extend_from_slice(&self.inner.chain);
            Self::new_made(certificate, chain, params, key, self.inner.validity)
        };
        build().expect("names are UTF-8 and fresh keys can sign")
    }

    /// An authority that was made here rather than read.
    fn new_made(
        certificate: CertificateDer<'static>,
        chain: Vec<CertificateDer<'static>>,
        params: CertificateParams,
        key: PrivateKey,
        validity: Validity,
    ) -> Result<Self, PkiError> {
        // Read back, so that it is escaped as every other subject is.
        let subject = parse(&certificate)?.tbs_certificate().subject().to_string();
        let inner = Inner { certificate, chain, params, subject, key, validity };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A certificate built step by step.
    pub fn issue(&self) -> LeafBuilder<'_> {
        LeafBuilder::new(self)
    }

    /// A server's certificate, valid for the system's time and up to a week more.
    ///
    /// Names are DNS names, IP addresses or URIs, told apart by their shape. The first is the
    /// common name too.
    ///
    /// # Panics
    ///
    /// If a name is not ASCII.
    #[must_use]
    pub fn server(&self, names: &[&str]) -> Certificate {
        self.issue().for_server().named(names).build()
    }

    /// A client's certificate, valid for the system's time and up to a week more.
    ///
    /// Names are URIs (with `://`), e-mail addresses (with `@`), IP addresses or DNS names. The
    /// first is the common name too.
    ///
    /// # Panics
    ///
    /// If a name is not ASCII.
    #[must_use]
    pub fn client(&self, names: &[&str]) -> Certificate {
        self.issue().for_client().named(names).build()
    }

    /// This authority's certificate: what peers put among their trust roots.
    #[must_use]
    pub fn certificate_pem(&self) -> String {
        pem::certificates(std::slice::from_ref(&self.inner.certificate))
    }

    /// This authority's certificate, in DER.
    #[must_use]
    pub fn certificate_der(&self) -> CertificateDer<'static> {
        self.inner.certificate.clone()
    }

    /// This authority's private key. The text is wiped when dropped.
    #[must_use]
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.inner.key.pem()
    }

    /// The subject, as RFC 4514 writes it: `CN=dev CA`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.inner.subject
    }

    /// The first second in which this authority is valid.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.inner.validity.not_before
    }

    /// The last second in which this authority is valid.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.inner.validity.not_after
    }

    pub(super) fn validity(&self) -> Validity {
        self.inner.validity
    }

    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.inner.chain
    }

    pub(super) fn sign(
        &self,
        params: &CertificateParams,
        key: &PrivateKey,
    ) -> Result<CertificateDer<'static>, PkiError> {
        let issuer = Issuer::from_params(&self.inner.params, self.inner.key.pair());
        let certificate = params
            .signed_by(key.pair(), &issuer)
            .map_err(|source| PkiError::Sign { source: source.into() })?;
        Ok(certificate.into())
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("subject", &self.inner.subject)
            .field("not_before", &self.inner.validity.not_before)
            .field("not_after", &self.inner.validity.not_after)
            .finish_non_exhaustive()
    }
}

/// Makes a self-signed root.
#[derive(Clone, Debug)]
pub struct CertificateAuthorityBuilder {
    common_name: String,
    algorithm: KeyAlgorithm,
    validity: Validity,
}

impl CertificateAuthorityBuilder {
    /// The time in which the authority is valid, both ends included.
    ///
    /// Default: from one hour ago for ten years.
    #[must_use]
    pub fn valid(mut self, not_before: SystemTime, not_after: SystemTime) -> Self {
        self.validity = Validity::new(not_before, not_after);
        self
    }

    /// The kind of key. Default: [`KeyAlgorithm::EcdsaP256`].
    #[must_use]
    pub fn key(mut self, algorithm: KeyAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// The authority.
    ///
    /// # Panics
    ///
    /// If the system has no randomness to make a key from.
    #[must_use]
    pub fn build(self) -> CertificateAuthority {
        self.try_build().expect("names are UTF-8 and fresh keys can sign")
    }

    /// The authority.
    ///
    /// # Errors
    ///
    /// If no key can be made.
    pub fn try_build(self) -> Result<CertificateAuthority, PkiError> {
        let key = PrivateKey::generate(self.algorithm)?;
        let params = authority_params(&self.common_name, self.validity);
        let certificate = params
            .self_signed(key.pair())
            .map_err(|source| PkiError::Sign { source: source.into() })?
            .into();
        CertificateAuthority::new_made(certificate, Vec::new(), params, key, self.validity)
    }
}

fn authority_params(common_name: &str, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    let (not_before, not_after) = validity.bounds();
    params.not_before = not_before;
    params.not_after = not_after;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    params
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Parsed, PkiError> {
    Parsed::from_der(certificate).map_err(unreadable)
}

fn unreadable(source: x509_cert::der::Error) -> PkiError {
    PkiError::Certificate { source: source.into() }
}

/// Whether a certificate names itself as its issuer. Peers hold such ones; nobody sends them.
fn is_root(certificate: &CertificateDer<'_>) -> Result<bool, PkiError> {
    let parsed = parse(certificate)?;
    let tbs = parsed.tbs_certificate();
    let subject = tbs.subject().to_der().map_err(unreadable)?;
    Ok(tbs.issuer().to_der().map_err(unreadable)? == subject)
}
