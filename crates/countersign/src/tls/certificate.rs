//! From a verified chain to the names in it.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls_pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::digest::sha256;
use crate::identity::{PeerCertificate, SpiffeId};

/// Parses the leaf of a chain.
///
/// # Errors
///
/// The clause says what cannot be read. The connection is then refused: a certificate that one
/// parser believes and another cannot read is no basis for an identity.
pub(crate) fn peer_certificate(
    chain: &[CertificateDer<'_>],
) -> Result<PeerCertificate, &'static str> {
    let copied = || chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
    parse(chain, || Arc::new(copied()))
}

/// The same of a chain that has been verified, and that stays where it is.
///
/// # Errors
///
/// As of [`peer_certificate`].
pub(crate) fn shared_certificate(
    chain: Arc<Vec<CertificateDer<'static>>>,
) -> Result<PeerCertificate, &'static str> {
    parse(&chain, || Arc::clone(&chain))
}

fn parse(
    chain: &[CertificateDer<'_>],
    kept: impl FnOnce() -> Arc<Vec<CertificateDer<'static>>>,
) -> Result<PeerCertificate, &'static str> {
    let leaf = chain.first().ok_or("the chain is empty")?;
    let parsed = Certificate::from_der(leaf).map_err(|_| "the certificate is not strict DER")?;
    let tbs = parsed.tbs_certificate();

    let [mut uris, mut dns_names, mut emails] = [const { Vec::new() }; 3];
    let mut ip_addresses = Vec::new();
    let names = tbs
        .get_extension::<SubjectAltName>()
        .map_err(|_| "the subject alternative names cannot be read")?
        .map(|(_critical, names)| names.0)
        .unwrap_or_default();
    for name in names {
        match name {
            GeneralName::UniformResourceIdentifier(uri) => {
                uris.push(printable(uri.as_str())?);
            }
            GeneralName::DnsName(name) => dns_names.push(printable(name.as_str())?),
            GeneralName::Rfc822Name(email) => emails.push(printable(email.as_str())?),
            GeneralName::IpAddress(octets) => ip_addresses.push(
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
    let spiffe_id = match uris.as_slice() {
        [uri] => SpiffeId::parse(uri).ok().filter(SpiffeId::is_workload),
        _ => None,
    };
    // Boxes: they stay as long as the connection does, and never grow.
    Ok(PeerCertificate {
        spiffe_id,
        uris: uris.into(),
        dns_names: dns_names.into(),
        emails: emails.into(),
        ip_addresses: ip_addresses.into(),
        subject: tbs.subject().to_string().into(),
        serial: serial(tbs.serial_number().as_bytes()).into(),
        thumbprint: sha256(leaf),
        not_before: tbs.validity().not_before.to_system_time(),
        not_after: tbs.validity().not_after.to_system_time(),
        chain: kept(),
        principal: OnceLock::new(),
    })
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
