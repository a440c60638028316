//! From a verified chain to the names in it.

use std::net::IpAddr;
use std::sync::OnceLock;

use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::digest::sha256;
use crate::identity::{PeerCertificate, SpiffeId};

/// Parses the leaf of a chain that has been verified.
///
/// # Errors
///
/// The clause says what cannot be read. The connection is then refused: a certificate that one
/// parser believes and another cannot read is no basis for an identity.
pub(crate) fn peer_certificate(
    chain: &[CertificateDer<'_>],
) -> Result<PeerCertificate, &'static str> {
    let leaf = chain.first().ok_or("the chain is empty")?;
    let parsed = Certificate::from_der(leaf).map_err(|_| "the certificate is not strict DER")?;
    let tbs = parsed.tbs_certificate();

    let mut certificate = PeerCertificate {
        spiffe_id: None,
        uris: Vec::new(),
        dns_names: Vec::new(),
        emails: Vec::new(),
        ip_addresses: Vec::new(),
        subject: tbs.subject().to_string(),
        serial: serial(tbs.serial_number().as_bytes()),
        thumbprint: sha256(leaf),
        not_before: tbs.validity().not_before.to_system_time(),
        not_after: tbs.validity().not_after.to_system_time(),
        chain: chain.iter().map(|certificate| certificate.to_vec()).collect(),
        principal: OnceLock::new(),
    };
    let names = tbs
        .get_extension::<SubjectAltName>()
        .map_err(|_| "the subject alternative names cannot be read")?
        .map(|(_critical, names)| names.0)
        .unwrap_or_default();
    for name in names {
        match name {
            GeneralName::UniformResourceIdentifier(uri) => {
                certificate.uris.push(printable(uri.as_str())?);
            }
            GeneralName::DnsName(name) => certificate.dns_names.push(printable(name.as_str())?),
            GeneralName::Rfc822Name(email) => certificate.emails.push(printable(email.as_str())?),
            GeneralName::IpAddress(octets) => certificate.ip_addresses.push(
                ip_address(octets.as_bytes()).ok_or("an IP name has neither 4 nor 16 bytes")?,
            ),
            // Names that nothing here decides on.
            GeneralName::OtherName(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EdiPartyName(_)
            | GeneralName::RegisteredId(_) => {}
        }
    }
    // X509-SVID §2: exactly one URI name, and that a SPIFFE ID. Two names and nobody knows
    // which one was meant.
    if let [uri] = certificate.uris.as_slice() {
        certificate.spiffe_id = SpiffeId::parse(uri).ok().filter(SpiffeId::is_workload);
    }
    Ok(certificate)
}

/// As `openssl x509 -serial` and `countersign pki inspect` write it.
fn serial(bytes: &[u8]) -> String {
    // A leading zero only keeps the number positive (X.690 §8.3).
    let bytes = match bytes {
        [0, rest @ ..] if !rest.is_empty() => rest,
        bytes => bytes,
    };
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name becomes a principal, a log field and a line in an error: it is one visible word.
fn printable(name: &str) -> Result<String, &'static str> {
    match !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(name.to_owned()),
        false => Err("a name is empty or has a character that is not visible"),
    }
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(IpAddr::from(octets));
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_written_without_the_zero_that_keeps_it_positive() {
        for (bytes, written) in
            [(&[0x0b, 0xad][..], "0bad"), (&[0, 0xfe, 0xed], "feed"), (&[0], "00"), (&[1], "01")]
        {
            assert_eq!(serial(bytes), written);
        }
    }
}
