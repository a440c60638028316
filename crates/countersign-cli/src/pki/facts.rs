//! What a certificate says, as plain values.

use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Serialize, Serializer};
use x509_cert::Certificate;
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use x509_cert::der::oid::db::DB;
use x509_cert::der::{self, Decode, Encode as _, Reader as _, SliceReader};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName,
    SubjectKeyIdentifier,
};

use crate::pki::{store, text};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ELLIPTIC_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// What one certificate says about itself. Nothing in it has been verified.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Facts {
    pub(super) subject: String,
    pub(super) issuer: String,
    pub(super) serial: String,
    pub(super) names: Vec<Name>,
    pub(super) key: Key,
    pub(super) signature_algorithm: String,
    /// `None`: the certificate has no such extension and leaves its use open.
    pub(super) extended_key_usage: Option<Vec<String>>,
    pub(super) ca: bool,
    /// `None`: the certificate does not limit the use of its key.
    pub(super) can_sign_certificates: Option<bool>,
    #[serde(serialize_with = "timestamp")]
    pub(super) not_before: SystemTime,
    #[serde(serialize_with = "timestamp")]
    pub(super) not_after: SystemTime,
    pub(super) fingerprint_sha256: String,
    /// Extensions that we know and that could not be read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) unreadable: Vec<&'static str>,
    #[serde(skip)]
    pub(super) links: Links,
}

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Name {
    pub(super) kind: &'static str,
    pub(super) value: String,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Key {
    pub(super) algorithm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bits: Option<u32>,
}

/// What ties a certificate to its issuer and to its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Links {
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) subject_key_id: Option<Vec<u8>>,
    pub(super) authority_key_id: Option<Vec<u8>>,
    pub(super) public_key: Vec<u8>,
}

impl Facts {
    /// Reads a certificate.
    pub(super) fn read(certificate: &[u8]) -> Result<Self, der::Error> {
        let parsed = Certificate::from_der(certificate)?;
        let tbs = parsed.tbs_certificate();
        let mut extensions = Extensions { tbs, unreadable: Vec::new() };
        let names = extensions.get::<SubjectAltName>("subjectAltName");
        let constraints = extensions.get::<BasicConstraints>("basicConstraints");
        let extended_usage = extensions.get::<ExtendedKeyUsage>("extendedKeyUsage");
        let usage = extensions.get::<KeyUsage>("keyUsage");
        let subject_key_id = extensions.get::<SubjectKeyIdentifier>("subjectKeyIdentifier");
        let authority_key_id = extensions.get::<AuthorityKeyIdentifier>("authorityKeyIdentifier");
        let unreadable = extensions.unreadable;

        Ok(Self {
            subject: tbs.subject().to_string(),
            issuer: tbs.issuer().to_string(),
            serial: serial(tbs.serial_number().as_bytes()),
            names: names.map(|names| names.0.iter().map(name).collect()).unwrap_or_default(),
            key: key(tbs),
            signature_algorithm: oid(&parsed.signature_algorithm().oid),
            extended_key_usage: extended_usage.map(|usage| usage.0.iter().map(purpose).collect()),
            ca: constraints.is_some_and(|constraints| constraints.ca),
            can_sign_certificates: usage.map(|usage| usage.key_cert_sign()),
            not_before: tbs.validity().not_before.to_system_time(),
            not_after: tbs.validity().not_after.to_system_time(),
            fingerprint_sha256: text::hex(&store::fingerprint(certificate)),
            unreadable,
            links: Links {
                subject: tbs.subject().to_der()?,
                issuer: tbs.issuer().to_der()?,
                subject_key_id: subject_key_id.map(|id| id.0.as_bytes().to_vec()),
                authority_key_id: authority_key_id
                    .and_then(|id| id.key_identifier)
                    .map(|id| id.as_bytes().to_vec()),
                public_key: tbs.subject_public_key_info().subject_public_key.raw_bytes().to_vec(),
            },
        })
    }

    /// Whether subject and issuer are the same: a root, or a lone self-signed certificate.
    pub(super) fn is_self_issued(&self) -> bool {
        self.links.subject == self.links.issuer
    }

    /// Whether `other` can have issued this certificate, by name and key identifier. The signature
    /// is not checked.
    pub(super) fn names_as_issuer(&self, other: &Self) -> bool {
        let ids = (&self.links.authority_key_id, &other.links.subject_key_id);
        self.links.issuer == other.links.subject
            && !matches!(ids, (Some(wanted), Some(found)) if wanted != found)
    }

    /// Whether the extended key usage allows a purpose. `None`: there is no such extension.
    pub(super) fn allows(&self, purpose: &str) -> Option<bool> {
        let usages = self.extended_key_usage.as_ref()?;
        Some(usages.iter().any(|usage| usage == purpose || usage == "any"))
    }

    /// The first name, or else the subject: what people know the certificate by.
    pub(super) fn title(&self) -> String {
        let title = match self.names.first() {
            Some(name) => &name.value,
            None => &self.subject,
        };
        text::printable(title)
    }
}

/// Reads extensions and remembers the ones that it could not read.
struct Extensions<'a> {
    tbs: &'a TbsCertificate,
    unreadable: Vec<&'static str>,
}

impl<'a> Extensions<'a> {
    fn get<T>(&mut self, name: &'static str) -> Option<T>
    where
        T: Decode<'a, Error = der::Error> + der::oid::AssociatedOid,
    {
        match self.tbs.get_extension::<T>() {
            Ok(found) => found.map(|(_, extension)| extension),
            Err(_) => {
                self.unreadable.push(name);
                None
            }
        }
    }
}

fn serial(bytes: &[u8]) -> String {
    // A leading zero only keeps the number positive.
    match bytes {
        [0, rest @ ..] if !rest.is_empty() => text::hex(rest),
        bytes => text::hex(bytes),
    }
}

fn name(name: &GeneralName) -> Name {
    let (kind, value) = match name {
        GeneralName::DnsName(name) => ("dns", name.to_string()),
        GeneralName::UniformResourceIdentifier(name) => ("uri", name.to_string()),
        GeneralName::Rfc822Name(name) => ("email", name.to_string()),
        GeneralName::DirectoryName(name) => ("directory", name.to_string()),
        GeneralName::RegisteredId(id) => ("oid", id.to_string()),
        GeneralName::OtherName(name) => ("other", name.type_id.to_string()),
        GeneralName::EdiPartyName(_) => ("other", "ediPartyName".to_owned()),
        GeneralName::IpAddress(address) => {
            let bytes = address.as_bytes();
            let address = <[u8; 4]>::try_from(bytes)
                .map(IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
            // Anything else is malformed, and is shown as it stands.
            ("ip", address.map_or_else(|_| text::hex(bytes), |address| address.to_string()))
        }
    };
    Name { kind, value }
}

fn purpose(usage: &ObjectIdentifier) -> String {
    match *usage {
        SERVER_AUTH => "server".to_owned(),
        CLIENT_AUTH => "client".to_owned(),
        ANY_USAGE => "any".to_owned(),
        _ => oid(usage),
    }
}

fn key(tbs: &TbsCertificate) -> Key {
    let info = tbs.subject_public_key_info();
    let named = |algorithm: &str, bits| Key { algorithm: algorithm.to_owned(), bits };
    match info.algorithm.oid {
        RSA => named("RSA", rsa_bits(info.subject_public_key.raw_bytes())),
        ELLIPTIC_CURVE => {
            let curve = info
                .algorithm
                .parameters
                .as_ref()
                .and_then(|parameters| AnyRef::from(parameters).decode_as().ok())
                .map(|curve: ObjectIdentifier| curve.to_string());
            match curve.as_deref() {
                Some("1.2.840.10045.3.1.7") => named("ECDSA P-256", Some(256)),
                Some("1.3.132.0.34") => named("ECDSA P-384", Some(384)),
                Some("1.3.132.0.35") => named("ECDSA P-521", Some(521)),
                Some(curve) => named(&format!("ECDSA on curve {curve}"), None),
                None => named("ECDSA on an unnamed curve", None),
            }
        }
        other => match other.to_string().as_str() {
            "1.3.101.112" => named("Ed25519", Some(256)),
            "1.3.101.113" => named("Ed448", Some(456)),
            _ => named(&oid(&other), None),
        },
    }
}

/// The size of the modulus: `RSAPublicKey ::= SEQUENCE { modulus, publicExponent }` (RFC 8017).
fn rsa_bits(public_key: &[u8]) -> Option<u32> {
    let mut reader = SliceReader::new(public_key).ok()?;
    let modulus = reader
        .sequence(|reader| {
            let modulus = UintRef::decode(reader)?;
            UintRef::decode(reader)?;
            Ok::<_, der::Error>(modulus)
        })
        .ok()?;
    let first = modulus.as_bytes().first()?;
    u32::try_from(modulus.as_bytes().len()).ok()?.checked_mul(8)?.checked_sub(first.leading_zeros())
}

/// The name that standards use, or the numbers where there is none.
fn oid(oid: &ObjectIdentifier) -> String {
    DB.by_oid(oid).map_or_else(|| oid.to_string(), str::to_owned)
}

fn timestamp<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text::timestamp(*time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_testkit::pki::{CertificateAuthority, KeyAlgorithm};

    fn read(certificate: &countersign_testkit::pki::Certificate) -> Facts {
        Facts::read(&certificate.chain_der()[0]).unwrap()
    }

    #[test]
    fn names_are_read_with_their_kinds() {
        let ca = CertificateAuthority::new("dev CA");
        let facts = read(&ca.client(&["spiffe://dev/x", "x@example.org", "::1", "x.example.org"]));
        let names: Vec<_> = facts.names.iter().map(|n| (n.kind, n.value.as_str())).collect();
        assert_eq!(
            names,
            [
                ("uri", "spiffe://dev/x"),
                ("email", "x@example.org"),
                ("ip", "::1"),
                ("dns", "x.example.org"),
            ]
        );
        assert_eq!(facts.subject, "CN=spiffe://dev/x");
        assert_eq!(facts.issuer, "CN=dev CA");
        assert_eq!(facts.extended_key_usage, Some(vec!["client".to_owned()]));
    }

    #[test]
    fn keys_are_named_and_measured() {
        let ca = CertificateAuthority::new("dev CA");
        let cases = [
            (KeyAlgorithm::EcdsaP256, "ECDSA P-256", 256),
            (KeyAlgorithm::EcdsaP384, "ECDSA P-384", 384),
            (KeyAlgorithm::Ed25519, "Ed25519", 256),
            (KeyAlgorithm::Rsa2048, "RSA", 2048),
        ];
        for (algorithm, name, bits) in cases {
            let facts = read(&ca.issue().dns("x").key(algorithm).build());
            assert_eq!(facts.key, Key { algorithm: name.to_owned(), bits: Some(bits) });
        }
    }

    #[test]
    fn a_short_modulus_is_measured_to_the_bit() {
        // SEQUENCE { INTEGER 0x7f01, INTEGER 3 }: the first byte has seven bits.
        let public_key = [0x30, 0x07, 0x02, 0x02, 0x7f, 0x01, 0x02, 0x01, 0x03];
        assert_eq!(rsa_bits(&public_key), Some(15));
        assert_eq!(rsa_bits(&public_key[..5]), None);
    }

    #[test]
    fn the_issuer_is_told_by_name_and_key_identifier() {
        let ca = CertificateAuthority::new("dev CA");
        let leaf = read(&ca.server(&["localhost"]));
        let issuer = Facts::read(&ca.certificate_der()).unwrap();
        let same_name = CertificateAuthority::new("dev CA");
        let other_key = Facts::read(&same_name.certificate_der()).unwrap();
        assert!(leaf.names_as_issuer(&issuer));
        assert!(!leaf.names_as_issuer(&other_key));
        assert!(!leaf.names_as_issuer(&leaf));
        assert!(issuer.ca && issuer.is_self_issued() && !leaf.ca && !leaf.is_self_issued());
    }

    #[test]
    fn bytes_that_are_no_certificate_are_refused() {
        assert!(Facts::read(b"").is_err());
        assert!(Facts::read(&[0x30, 0x03, 0x02, 0x01, 0x01]).is_err());
    }
}
