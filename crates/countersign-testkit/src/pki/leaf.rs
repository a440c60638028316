//! Certificates of servers and clients, right ones and wrong ones.

use std::net::IpAddr;
use std::time::SystemTime;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};

use super::key::PrivateKey;
use super::name::{self, AlternativeName};
use super::validity::Validity;
use super::{Certificate, CertificateAuthority, KeyAlgorithm, PkiError};

/// Builds a certificate that a [`CertificateAuthority`] issues.
///
/// It starts without subject, names and extended key usage, with an ECDSA P-256 key, and valid
/// from one hour ago for a week, within the authority's own life. An authority that is not valid
/// at the system's time (a test that moves its clock) shares its whole life instead.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct LeafBuilder<'ca> {
    authority: &'ca CertificateAuthority,
    subject: Vec<(String, String)>,
    names: Vec<AlternativeName>,
    usages: Vec<ExtendedKeyUsagePurpose>,
    validity: Validity,
    is_authority: bool,
    algorithm: KeyAlgorithm,
}

impl<'ca> LeafBuilder<'ca> {
    pub(super) fn new(authority: &'ca CertificateAuthority) -> Self {
        Self {
            authority,
            subject: Vec::new(),
            names: Vec::new(),
            usages: Vec::new(),
            validity: Validity::leaf_default(authority.validity()),
            is_authority: false,
            algorithm: KeyAlgorithm::default(),
        }
    }

    /// Appends a common name to the subject. Peers are known by alternative names, not by it.
    pub fn common_name(mut self, common_name: &str) -> Self {
        self.subject.push(("CN".to_owned(), common_name.to_owned()));
        self
    }

    /// Replaces the subject, in the order given: `[("CN", "x"), ("O", "gRPC")]`.
    ///
    /// Attributes are `CN`, `O`, `OU`, `C`, `ST`, `L` or a dotted object identifier, each once.
    pub fn subject(mut self, attributes: &[(&str, &str)]) -> Self {
        self.subject = attributes
            .iter()
            .map(|(attribute, value)| ((*attribute).to_owned(), (*value).to_owned()))
            .collect();
        self
    }

    /// Adds a DNS name. It may be one that no server could have; only ASCII is asked for.
    pub fn dns(mut self, name: &str) -> Self {
        self.names.push(AlternativeName::Dns(name.to_owned()));
        self
    }

    /// Adds an IP address.
    pub fn ip(mut self, address: IpAddr) -> Self {
        self.names.push(AlternativeName::Ip(address));
        self
    }

    /// Adds a URI, such as a SPIFFE ID.
    pub fn uri(mut self, uri: &str) -> Self {
        self.names.push(AlternativeName::Uri(uri.to_owned()));
        self
    }

    /// Adds an e-mail address.
    pub fn email(mut self, address: &str) -> Self {
        self.names.push(AlternativeName::Email(address.to_owned()));
        self
    }

    /// Adds a name of the kind that its shape tells: `://` makes a URI, `@` an e-mail address,
    /// what reads as an IP address is one, the rest is a DNS name.
    pub fn name(mut self, name: &str) -> Self {
        self.names.push(AlternativeName::guess(name));
        self
    }

    /// Adds names by [`name`](Self::name), and the first one as common name.
    pub(super) fn named(mut self, names: &[&str]) -> Self {
        if let Some(first) = names.first() {
            self = self.common_name(first);
        }
        names.iter().fold(self, |builder, name| builder.name(name))
    }

    /// Adds the extended key usage `serverAuth`.
    pub fn for_server(self) -> Self {
        self.usage(ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Adds the extended key usage `clientAuth`.
    pub fn for_client(self) -> Self {
        self.usage(ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn usage(mut self, usage: ExtendedKeyUsagePurpose) -> Self {
        if !self.usages.contains(&usage) {
            self.usages.push(usage);
        }
        self
    }

    /// The time in which the certificate is valid, both ends included. It may outlive the
    /// authority.
    pub fn valid(mut self, not_before: SystemTime, not_after: SystemTime) -> Self {
        self.validity = Validity::new(not_before, not_after);
        self
    }

    /// Makes it expired: its one day ended a day before the system's time.
    pub fn expired(mut self) -> Self {
        self.validity = Validity::expired();
        self
    }

    /// Makes it valid only later: its week begins a day after the system's time.
    pub fn not_yet_valid(mut self) -> Self {
        self.validity = Validity::not_yet_valid();
        self
    }

    /// Gives it the basic constraint `CA:TRUE`, for which rustls refuses a peer's certificate
    /// (`CaUsedAsEndEntity`).
    pub fn as_ca(mut self) -> Self {
        self.is_authority = true;
        self
    }

    /// The kind of key. Default: [`KeyAlgorithm::EcdsaP256`].
    pub fn key(mut self, algorithm: KeyAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// The certificate.
    ///
    /// # Panics
    ///
    /// If a certificate cannot hold a name or the subject. [`try_build`](Self::try_build) says so
    /// instead.
    #[must_use]
    pub fn build(self) -> Certificate {
        match self.try_build() {
            Ok(certificate) => certificate,
            Err(error) => panic!("{error}"),
        }
    }

    /// The certificate.
    ///
    /// # Errors
    ///
    /// If a name is not ASCII, the subject has an unknown or repeated attribute, or no key can be
    /// made.
    pub fn try_build(self) -> Result<Certificate, PkiError> {
        let params = self.params()?;
        let key = PrivateKey::generate(self.algorithm)?;
        let mut chain = vec![self.authority.sign(&params, &key)?];
        chain.extend_from_slice(self.authority.chain());
        Ok(Certificate::new(chain, key, self.validity))
    }

    fn params(&self) -> Result<CertificateParams, PkiError> {
        let mut params = CertificateParams::default();
        let (not_before, not_after) = self.validity.bounds();
        params.not_before = not_before;
        params.not_after = not_after;
        params.distinguished_name = name::subject(&self.subject)?;
        params.subject_alt_names =
            self.names.iter().map(AlternativeName::encode).collect::<Result<_, _>>()?;
        params.extended_key_usages.clone_from(&self.usages);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if self.algorithm == KeyAlgorithm::Rsa2048 {
            // Peers on TLS 1.2 without (EC)DHE ask for it, and it harms no one else.
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        if self.is_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages.push(KeyUsagePurpose::KeyCertSign);
        } else {
            params.is_ca = IsCa::ExplicitNoCa;
        }
        Ok(params)
    }
}
