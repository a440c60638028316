//! What a failed handshake means, in one kind, one sentence and one next step.

use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::{DateTime, Decode};

use super::certificate::peer_certificate;
use super::{Alpn, HandshakeResult};
use crate::identity::PeerCertificate;

/// Why a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TlsFailureKind {
    /// The peer's certificate is not signed by a CA that is trusted here.
    UnknownIssuer,
    /// The server's certificate does not name what was dialled.
    NameMismatch,
    /// The peer's certificate is past its end.
    CertificateExpired,
    /// The peer's certificate has not begun.
    CertificateNotYetValid,
    /// The peer's certificate was revoked.
    CertificateRevoked,
    /// The peer shows a CA certificate as its own, as `openssl req -x509` makes them.
    CaUsedAsLeaf,
    /// The peer's certificate is for another purpose (extended key usage).
    WrongPurpose,
    /// The peer's certificate cannot be read.
    CertificateMalformed,
    /// The peer's certificate is refused for another reason.
    CertificateRefused,
    /// The peer has not got the key of its certificate.
    BadSignature,
    /// The server wants a client certificate and was shown none.
    ClientCertificateRequired,
    /// The peer does not know the CA of the certificate that we showed.
    OurIssuerUnknownToPeer,
    /// The peer says that the certificate that we showed is expired.
    OurCertificateExpired,
    /// The peer refuses the certificate that we showed.
    OurCertificateRefused,
    /// The peer does not speak TLS on this port.
    PeerIsPlaintext,
    /// Nothing was agreed by ALPN, or not `h2`.
    NoApplicationProtocol,
    /// No TLS version in common.
    VersionMismatch,
    /// No cipher suite, group or signature scheme in common.
    NothingInCommon,
    /// The peer said nothing for too long.
    Timeout,
    /// The peer hung up in the middle.
    PeerClosed,
    /// A message could not be decrypted.
    DecryptFailed,
    /// The peer broke the protocol.
    PeerMisbehaved,
    /// Anything else.
    Other,
}

impl TlsFailureKind {
    /// The value of `grpc.tls.handshake.result` for it (gRFC A118).
    pub fn result(self) -> HandshakeResult {
        match self {
            Self::UnknownIssuer | Self::OurIssuerUnknownToPeer => {
                HandshakeResult::CertificateAuthorityInvalid
            }
            Self::NameMismatch => HandshakeResult::CertificateHostnameMismatch,
            Self::CertificateExpired | Self::OurCertificateExpired => {
                HandshakeResult::CertificateExpired
            }
            Self::CertificateNotYetValid => HandshakeResult::CertificateNotYetValid,
            Self::CertificateRevoked => HandshakeResult::CertificateRevoked,
            Self::CertificateMalformed => HandshakeResult::CertificateMalformed,
            Self::CaUsedAsLeaf
            | Self::WrongPurpose
            | Self::CertificateRefused
            | Self::ClientCertificateRequired
            | Self::OurCertificateRefused => HandshakeResult::CertificateVerificationFailed,
            Self::BadSignature => HandshakeResult::SignatureVerificationFailed,
            Self::NoApplicationProtocol => HandshakeResult::NoApplicationProtocol,
            Self::VersionMismatch => HandshakeResult::ProtocolVersionUnsupported,
            Self::NothingInCommon => HandshakeResult::CipherSuiteMismatch,
            Self::Timeout => HandshakeResult::HandshakeTimeout,
            Self::PeerClosed => HandshakeResult::PeerConnectionClosed,
            Self::DecryptFailed => HandshakeResult::DecryptionFailed,
            Self::PeerIsPlaintext | Self::PeerMisbehaved => HandshakeResult::UnexpectedMessage,
            Self::Other => HandshakeResult::UnknownFailure,
        }
    }
}

/// A failed handshake: its kind, what happened with the values at fault, and the next step.
#[derive(Clone, Debug)]
pub struct TlsFailure {
    kind: TlsFailureKind,
    sentence: String,
    help: String,
}

impl TlsFailure {
    pub(crate) fn new(
        kind: TlsFailureKind,
        sentence: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { kind, sentence: sentence.into(), help: help.into() }
    }

    pub(crate) fn timeout(after: Duration) -> Self {
        Self::new(
            TlsFailureKind::Timeout,
            format!("the peer accepted the connection and said nothing for {after:?}"),
            "check that a TLS server listens there and that no proxy stands between",
        )
    }

    pub(crate) fn silent_client(after: Duration) -> Self {
        Self::new(
            TlsFailureKind::Timeout,
            format!("the client connected and said nothing for {after:?}, or not enough"),
            "a port scan or a stuck client is the usual cause",
        )
    }

    pub(super) fn server_without_alpn(alpn: Alpn) -> Self {
        let (sentence, help) = match alpn {
            Alpn::Required | Alpn::Optional => (
                "the server agreed to no application protocol; gRPC needs `h2` by ALPN",
                "a TLS-terminating proxy in the middle is the usual cause: let it offer h2",
            ),
            Alpn::Http1 => (
                "the server agreed to another application protocol than `http/1.1`",
                "let it offer http/1.1 by ALPN",
            ),
        };
        Self::new(TlsFailureKind::NoApplicationProtocol, sentence, help)
    }

    pub(crate) fn client_without_alpn() -> Self {
        Self::new(
            TlsFailureKind::NoApplicationProtocol,
            "the client offered no application protocol; gRPC needs `h2` by ALPN",
            "an HTTP/1 client or an old gRPC library is the usual cause",
        )
    }

    pub(crate) fn unreadable_certificate(reason: &str) -> Self {
        Self::new(
            TlsFailureKind::CertificateMalformed,
            format!("the peer's certificate cannot be read: {reason}"),
            "issue the certificate again",
        )
    }

    /// What failed.
    pub fn kind(&self) -> TlsFailureKind {
        self.kind
    }

    /// What to do about it, in one clause.
    pub fn help(&self) -> &str {
        &self.help
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for TlsFailure {}

/// What a client knows when its handshake fails.
pub(super) struct ClientContext<'a> {
    pub(super) name: &'a ServerName<'a>,
    pub(super) server_chain: &'a [CertificateDer<'a>],
    pub(super) chain_refused: bool,
    pub(super) asked_for_certificate: bool,
    pub(super) has_identity: bool,
    pub(super) alpn: Alpn,
    pub(super) trusted: &'a str,
    pub(super) now: SystemTime,
}

pub(super) fn explain_to_client(error: &io::Error, context: &ClientContext<'_>) -> TlsFailure {
    match tls_error(error) {
        Some(Error::InvalidCertificate(fault)) => server_certificate(fault, context),
        Some(Error::AlertReceived(alert)) => alert_to_client(*alert, context),
        Some(Error::NoApplicationProtocol) => TlsFailure::server_without_alpn(context.alpn),
        Some(other) => either_side(other, "server"),
        None => broken_off(error, "server"),
    }
}

/// Explains a failed handshake to the operator of a server.
pub(crate) fn explain_to_server(error: &io::Error, now: SystemTime) -> TlsFailure {
    use TlsFailureKind as Kind;
    match tls_error(error) {
        Some(Error::NoCertificatesPresented) => TlsFailure::new(
            Kind::ClientCertificateRequired,
            "the client showed no certificate and one is required",
            "give the client a certificate and its key",
        ),
        Some(Error::InvalidCertificate(fault)) => {
            let (kind, sentence) = match fault {
                CertificateError::UnknownIssuer => (
                    Kind::UnknownIssuer,
                    "the client's certificate is not signed by a CA for clients".to_owned(),
                ),
                other => {
                    let kind = certificate_kind(other);
                    (kind, certificate_sentence(kind, other, "client", None, now))
                }
            };
            TlsFailure::new(kind, sentence, "issue the client a certificate that fits")
        }
        Some(Error::AlertReceived(alert)) => {
            let (kind, says) = match alert {
                AlertDescription::UnknownCA => {
                    (Kind::OurIssuerUnknownToPeer, "does not trust the CA of our certificate")
                }
                AlertDescription::CertificateExpired => {
                    (Kind::OurCertificateExpired, "says that our certificate is expired")
                }
                AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateRevoked
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::DecryptError => {
                    (Kind::OurCertificateRefused, "refused our certificate")
                }
                AlertDescription::ProtocolVersion => {
                    (Kind::VersionMismatch, "speaks no TLS version in common with us")
                }
                AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                    (Kind::NothingInCommon, "found nothing in common with us")
                }
                _ => (Kind::Other, "ended the handshake"),
            };
            TlsFailure::new(
                kind,
                format!("the client {says} (TLS alert {alert:?})"),
                "compare the client's roots and clock with the certificate that we show",
            )
        }
        Some(other) => either_side(other, "client"),
        None => broken_off(error, "client"),
    }
}

/// What rustls said, if it was rustls that spoke.
fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
}

fn broken_off(error: &io::Error, peer: &str) -> TlsFailure {
    TlsFailure::new(
        TlsFailureKind::PeerClosed,
        format!("the {peer} closed the connection during the handshake ({error})"),
        match peer {
            "server" => "look into the server's log; it may be full, stopping, or not speak TLS",
            _ => "look into the client's log; it may not trust our certificate",
        },
    )
}

fn either_side(error: &Error, peer: &str) -> TlsFailure {
    use TlsFailureKind as Kind;
    let (kind, sentence, help) = match error {
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => (
            Kind::PeerIsPlaintext,
            format!("the {peer} does not speak TLS on this port"),
            match peer {
                "server" => "dial http:// with insecure credentials, or put TLS on the server",
                _ => "let the client use TLS",
            },
        ),
        Error::NoApplicationProtocol => return TlsFailure::client_without_alpn(),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled,
        ) => (
            Kind::VersionMismatch,
            format!("no TLS version in common with the {peer}"),
            "enable TLS 1.2 or 1.3 at both ends",
        ),
        Error::PeerIncompatible(what) => (
            Kind::NothingInCommon,
            format!("the {peer} and we have nothing in common: {what:?}"),
            "offer a modern suite, group and signature scheme at both ends",
        ),
        Error::DecryptError => (
            Kind::DecryptFailed,
            format!("a message of the {peer} could not be decrypted"),
            "something between changes what is sent",
        ),
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. }
        | Error::PeerMisbehaved(_)
        | Error::PeerSentOversizedRecord => (
            Kind::PeerMisbehaved,
            format!("the {peer} does not keep to the TLS protocol: {error}"),
            "something else than TLS may listen there",
        ),
        other => (
            Kind::Other,
            format!("the handshake with the {peer} failed: {other}"),
            "the sentence above is all that is known",
        ),
    };
    TlsFailure::new(kind, sentence, help)
}

fn alert_to_client(alert: AlertDescription, context: &ClientContext<'_>) -> TlsFailure {
    use TlsFailureKind as Kind;
    let about_us = |kind, what: &str, help: &str| {
        TlsFailure::new(kind, format!("the server {what} (TLS alert {alert:?})"), help)
    };
    let without_identity = context.asked_for_certificate && !context.has_identity;
    match alert {
        AlertDescription::CertificateRequired => about_us(
            Kind::ClientCertificateRequired,
            "requires a client certificate and was shown none",
            "give the channel an identity: `ClientTls::identity`",
        ),
        // TLS 1.2 has no alert of its own for it, and stacks differ in what they send instead.
        AlertDescription::HandshakeFailure
        | AlertDescription::BadCertificate
        | AlertDescription::AccessDenied
            if without_identity =>
        {
            about_us(
                Kind::ClientCertificateRequired,
                "asked for a client certificate, was shown none, and ended the connection",
                "give the channel an identity: `ClientTls::identity`",
            )
        }
        AlertDescription::UnknownCA => about_us(
            Kind::OurIssuerUnknownToPeer,
            "rejected our client certificate: it does not know the CA that signed it",
            "use a certificate of a CA that the server trusts for clients",
        ),
        AlertDescription::CertificateExpired => about_us(
            Kind::OurCertificateExpired,
            "rejected our client certificate: it is expired, or not yet valid, by its clock",
            "renew the client certificate, and compare both clocks",
        ),
        // What a signature that does not hold is answered with (RFC 8446 §6.2).
        AlertDescription::DecryptError if context.has_identity => about_us(
            Kind::OurCertificateRefused,
            "rejected our client certificate: a signature does not hold",
            "if the CA for clients was made anew, issue the client certificate again",
        ),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => about_us(
            Kind::OurCertificateRefused,
            "rejected our client certificate",
            "the server's log has the reason",
        ),
        AlertDescription::ProtocolVersion => about_us(
            Kind::VersionMismatch,
            "speaks no TLS version in common with us",
            "enable TLS 1.2 or 1.3 at the server",
        ),
        AlertDescription::NoApplicationProtocol => TlsFailure::server_without_alpn(context.alpn),
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => about_us(
            Kind::NothingInCommon,
            "found nothing in common with us",
            "offer a modern suite, group and signature scheme at the server",
        ),
        _ => about_us(Kind::Other, "ended the connection", "the server's log has the reason"),
    }
}

fn server_certificate(fault: &CertificateError, context: &ClientContext<'_>) -> TlsFailure {
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

fn certificate_kind(fault: &CertificateError) -> TlsFailureKind {
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

fn certificate_sentence(
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
