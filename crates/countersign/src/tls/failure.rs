//! What a failed handshake means, in one kind, one sentence and one next step.

mod certificate;
mod explain;

use std::fmt;
use std::time::Duration;

use super::{Alpn, HandshakeResult};

pub(crate) use explain::explain_to_server;
pub(super) use explain::{ClientContext, explain_to_client, is_of_tls};

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
