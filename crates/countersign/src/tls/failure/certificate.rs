//! What is wrong with a certificate, by its names, its times and its issuer.

use std::time::{Duration, SystemTime};

use rustls::CertificateError;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::{DateTime, Decode};

use super::explain::ClientContext;
use super::{TlsFailure, TlsFailureKind};
use crate::identity::PeerCertificate;
use crate::tls::certificate::peer_certificate;

pub(super) fn server_certificate(
    fault: &CertificateError,
    context: &ClientContext<'_>,
) -> TlsFailure {
    use TlsFailureKind as Kind;
    let kind = certificate_kind(fault);
    // A CA that was made anew has the old one's name and another key.
    if kind == Kind::BadSignature && context.chain_refused {
        let issuer = context.server_chain.last().and_then(issuer).unwrap_or_default();
        return TlsFailure::new(
            Kind::UnknownIssuer,
            format!(
                "the server's certificate is not signed by a CA you trust; a CA named {issuer:?} \
                 is trusted, and its key is another one"
            ),
            "the CA was probably made anew: trust its new certificate",
        );
    }
    let leaf = peer_certificate(context.server_chain).ok();
    let sentence = certificate_sentence(kind, fault, "server", Some(context), context.now);
    let help = match kind {
        Kind::UnknownIssuer => {
            let more = if context.server_chain.len() == 1 {
                "; or let the server send the intermediate certificate, it sent its own alone"
            } else {
                ""
            };
            format!("trust the CA that signed it: `ClientTls::only_roots`{more}")
        }
        Kind::NameMismatch => match leaf.as_ref().map(names) {
            Some(names) if !names.is_empty() => format!("dial one of: {}", names.join(", ")),
            _ => "issue a certificate with the name as a subject alternative name".to_owned(),
        },
        Kind::CertificateExpired => {
            "renew the server's certificate; compare both clocks".to_owned()
        }
        Kind::CertificateNotYetValid => "compare both clocks".to_owned(),
        Kind::CaUsedAsLeaf => "`openssl req -x509` makes such certificates: issue the server one \
             of its own, `countersign pki issue server`"
            .to_owned(),
        Kind::WrongPurpose => "issue a certificate with the purpose serverAuth".to_owned(),
        _ => "issue the server a certificate that fits".to_owned(),
    };
    TlsFailure::new(kind, sentence, help)
}

pub(super) fn certificate_kind(fault: &CertificateError) -> TlsFailureKind {
    use TlsFailureKind as Kind;
    match fault {
        CertificateError::UnknownIssuer => Kind::UnknownIssuer,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Kind::NameMismatch
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Kind::CertificateExpired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Kind::CertificateNotYetValid
        }
        CertificateError::Revoked => Kind::CertificateRevoked,
        CertificateError::BadEncoding => Kind::CertificateMalformed,
        CertificateError::BadSignature => Kind::BadSignature,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Kind::WrongPurpose
        }
        CertificateError::Other(other)
            if matches!(
                other.0.downcast_ref::<webpki::Error>(),
                Some(webpki::Error::CaUsedAsEndEntity)
            ) =>
        {
            Kind::CaUsedAsLeaf
        }
        _ => Kind::CertificateRefused,
    }
}

pub(super) fn certificate_sentence(
    kind: TlsFailureKind,
    fault: &CertificateError,
    whose: &str,
    context: Option<&ClientContext<'_>>,
    now: SystemTime,
) -> String {
    use TlsFailureKind as Kind;
    match (kind, fault) {
        (Kind::UnknownIssuer, _) => {
            let mut text = format!("the {whose}'s certificate is not signed by a CA you trust");
            if let Some(context) = context {
                if let Some(issuer) = context.server_chain.last().and_then(issuer) {
                    text.push_str(&format!("; it was issued by {issuer:?}"));
                }
                text.push_str(&format!("; trusted: {}", context.trusted));
            }
            text
        }
        (Kind::NameMismatch, _) => {
            let Some(context) = context else {
                return format!("the {whose}'s certificate is for another name");
            };
            let dialled = context.name.to_str();
            let known = peer_certificate(context.server_chain).map(|leaf| names(&leaf));
            match (context.name, known) {
                (_, Ok(names)) if names.is_empty() => format!(
                    "the {whose}'s certificate names nothing; {dialled:?} was dialled, and the \
                     common name does not count"
                ),
                (ServerName::IpAddress(_), Ok(names)) => format!(
                    "the {whose} was dialled by the address {dialled}, and its certificate \
                     is for {}",
                    names.join(", ")
                ),
                (_, Ok(names)) => format!(
                    "the {whose}'s certificate is for {} and not for {dialled}",
                    names.join(", ")
                ),
                (_, Err(_)) => format!("the {whose}'s certificate is not for {dialled}"),
            }
        }
        (_, CertificateError::ExpiredContext { time, not_after }) => {
            let ago = time.as_secs().saturating_sub(not_after.as_secs());
            format!(
                "the {whose}'s certificate expired {} ago, at {}; this clock says {}",
                rough(ago),
                utc(*not_after),
                utc(*time)
            )
        }
        (_, CertificateError::NotValidYetContext { time, not_before }) => {
            let wait = not_before.as_secs().saturating_sub(time.as_secs());
            format!(
                "the {whose}'s certificate is not valid for another {}, until {}; this clock \
                 says {}",
                rough(wait),
                utc(*not_before),
                utc(*time)
            )
        }
        (Kind::CertificateExpired, _) => {
            format!("the {whose}'s certificate is expired; this clock says {}", utc_now(now))
        }
        (Kind::CertificateNotYetValid, _) => {
            format!("the {whose}'s certificate is not yet valid; this clock says {}", utc_now(now))
        }
        (Kind::CaUsedAsLeaf, _) => {
            format!("the {whose} shows a CA certificate as its own")
        }
        (Kind::WrongPurpose, _) => {
            format!("the {whose}'s certificate is for another purpose: {fault}")
        }
        _ => format!("the {whose}'s certificate is refused: {fault}"),
    }
}

/// The first names of a certificate that is not believed, shortened: whoever made it chose them.
fn names(leaf: &PeerCertificate) -> Vec<String> {
    const MOST: usize = 10;
    let dns = leaf.dns_names().iter().map(|name| shortened(name));
    let all = dns.chain(leaf.ip_addresses().iter().map(ToString::to_string));
    let mut some: Vec<String> = all.take(MOST + 1).collect();
    if some.len() > MOST {
        some[MOST] = "and more".to_owned();
    }
    some
}

fn shortened(text: &str) -> String {
    const MOST: usize = 100;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn issuer(certificate: &CertificateDer<'_>) -> Option<String> {
    let parsed = Certificate::from_der(certificate).ok()?;
    Some(shortened(&parsed.tbs_certificate().issuer().to_string()))
}

fn utc(time: UnixTime) -> String {
    DateTime::from_unix_duration(Duration::from_secs(time.as_secs()))
        .map_or_else(|_| format!("{} (Unix)", time.as_secs()), |time| time.to_string())
}

fn utc_now(now: SystemTime) -> String {
    DateTime::from_system_time(now).map_or_else(|_| "nothing".to_owned(), |time| time.to_string())
}

/// A span as people say it.
fn rough(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} minutes", seconds / 60),
        7_200..=172_799 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_rounded_to_what_people_say() {
        for (seconds, text) in
            [(5, "5 s"), (600, "10 minutes"), (7_200, "2 hours"), (864_000, "10 days")]
        {
            assert_eq!(rough(seconds), text);
        }
    }
}
