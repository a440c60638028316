//! From what rustls says to a failure, for the end that was dialled and for the one that dialled.

use std::io;
use std::time::SystemTime;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible};
use rustls_pki_types::{CertificateDer, ServerName};

use super::certificate::{certificate_kind, certificate_sentence, server_certificate};
use super::{TlsFailure, TlsFailureKind};
use crate::tls::Alpn;

/// What a client knows when its handshake fails.
pub(in crate::tls) struct ClientContext<'a> {
    pub(in crate::tls) name: &'a ServerName<'a>,
    pub(in crate::tls) server_chain: &'a [CertificateDer<'a>],
    pub(in crate::tls) chain_refused: bool,
    pub(in crate::tls) asked_for_certificate: bool,
    pub(in crate::tls) has_identity: bool,
    pub(in crate::tls) alpn: Alpn,
    pub(in crate::tls) trusted: &'a str,
    pub(in crate::tls) now: SystemTime,
}

pub(in crate::tls) fn explain_to_client(
    error: &io::Error,
    context: &ClientContext<'_>,
) -> TlsFailure {
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

/// Whether it was rustls that spoke, and not the system below it.
pub(in crate::tls) fn is_of_tls(error: &io::Error) -> bool {
    tls_error(error).is_some()
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
