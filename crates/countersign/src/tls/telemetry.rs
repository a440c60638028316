//! Handshake counters, by the names and values of gRFC A118.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a TLS handshake ended: the values of `grpc.tls.handshake.result` (gRFC A118).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names are the gRFC's and say all there is")]
pub enum HandshakeResult {
    UnknownFailure,
    Success,
    CertificateVerificationFailed,
    CertificateRevoked,
    CertificateExpired,
    CertificateNotYetValid,
    CertificateAuthorityInvalid,
    CertificateHostnameMismatch,
    CertificateMalformed,
    CipherSuiteMismatch,
    ProtocolVersionUnsupported,
    InappropriateFallback,
    NoApplicationProtocol,
    SignatureVerificationFailed,
    DecryptionFailed,
    KeyExchangeFailure,
    UnexpectedMessage,
    HandshakeTimeout,
    PeerConnectionClosed,
}

impl HandshakeResult {
    /// Every value, in the gRFC's order.
    pub const ALL: &'static [Self] = &[
        Self::UnknownFailure,
        Self::Success,
        Self::CertificateVerificationFailed,
        Self::CertificateRevoked,
        Self::CertificateExpired,
        Self::CertificateNotYetValid,
        Self::CertificateAuthorityInvalid,
        Self::CertificateHostnameMismatch,
        Self::CertificateMalformed,
        Self::CipherSuiteMismatch,
        Self::ProtocolVersionUnsupported,
        Self::InappropriateFallback,
        Self::NoApplicationProtocol,
        Self::SignatureVerificationFailed,
        Self::DecryptionFailed,
        Self::KeyExchangeFailure,
        Self::UnexpectedMessage,
        Self::HandshakeTimeout,
        Self::PeerConnectionClosed,
    ];

    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownFailure => "UNKNOWN_FAILURE",
            Self::Success => "SUCCESS",
            Self::CertificateVerificationFailed => "CERTIFICATE_VERIFICATION_FAILED",
            Self::CertificateRevoked => "CERTIFICATE_REVOKED",
            Self::CertificateExpired => "CERTIFICATE_EXPIRED",
            Self::CertificateNotYetValid => "CERTIFICATE_NOT_YET_VALID",
            Self::CertificateAuthorityInvalid => "CERTIFICATE_AUTHORITY_INVALID",
            Self::CertificateHostnameMismatch => "CERTIFICATE_HOSTNAME_MISMATCH",
            Self::CertificateMalformed => "CERTIFICATE_MALFORMED",
            Self::CipherSuiteMismatch => "CIPHER_SUITE_MISMATCH",
            Self::ProtocolVersionUnsupported => "PROTOCOL_VERSION_UNSUPPORTED",
            Self::InappropriateFallback => "INAPPROPRIATE_FALLBACK",
            Self::NoApplicationProtocol => "NO_APPLICATION_PROTOCOL",
            Self::SignatureVerificationFailed => "SIGNATURE_VERIFICATION_FAILED",
            Self::DecryptionFailed => "DECRYPTION_FAILED",
            Self::KeyExchangeFailure => "KEY_EXCHANGE_FAILURE",
            Self::UnexpectedMessage => "UNEXPECTED_MESSAGE",
            Self::HandshakeTimeout => "HANDSHAKE_TIMEOUT",
            Self::PeerConnectionClosed => "PEER_CONNECTION_CLOSED",
        }
    }
}

impl fmt::Display for HandshakeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a session was resumed: the values of `grpc.tls.handshake.resumed` (gRFC A118).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resumption {
    /// Every check was made.
    FullHandshake,
    /// An earlier session went on.
    ResumedHandshake,
}

impl Resumption {
    /// The label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FullHandshake => "FULL_HANDSHAKE",
            Self::ResumedHandshake => "RESUMED_HANDSHAKE",
        }
    }
}

/// Which end counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Counted by a channel.
    Client,
    /// Counted by a listener.
    Server,
}

impl Side {
    /// The name of the metric (gRFC A118).
    pub fn metric(self) -> &'static str {
        match self {
            Self::Client => "grpc.client.tls.handshakes",
            Self::Server => "grpc.server.tls.handshakes",
        }
    }
}

/// Counts handshakes of one channel or listener.
///
/// Clones count together. There is no global registry: hand one in, or take the one that a
/// channel or listener made, and export it as you export everything else.
#[derive(Clone, Default)]
pub struct HandshakeCounters {
    counts: Arc<[[AtomicU64; 2]; HandshakeResult::ALL.len()]>,
}

impl HandshakeCounters {
    /// Counters at zero.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn count(&self, result: HandshakeResult, resumption: Resumption) {
        self.counts[result as usize][resumption as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many handshakes ended so, resumed or not.
    pub fn get(&self, result: HandshakeResult) -> u64 {
        self.counts[result as usize].iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// How many handshakes ended so and were, or were not, resumed.
    pub fn get_with(&self, result: HandshakeResult, resumption: Resumption) -> u64 {
        self.counts[result as usize][resumption as usize].load(Ordering::Relaxed)
    }

    /// Every counter that is not zero, for an exporter.
    pub fn snapshot(&self) -> Vec<(HandshakeResult, Resumption, u64)> {
        HandshakeResult::ALL
            .iter()
            .flat_map(|&result| {
                [Resumption::FullHandshake, Resumption::ResumedHandshake]
                    .map(|resumption| (result, resumption, self.get_with(result, resumption)))
            })
            .filter(|(_, _, count)| *count > 0)
            .collect()
    }
}

impl fmt::Debug for HandshakeCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.snapshot().iter().map(|(result, resumption, count)| {
                (format!("{} {}", result.as_str(), resumption.as_str()), *count)
            }))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_result_has_its_own_counter_and_name() {
        let counters = HandshakeCounters::new();
        for &result in HandshakeResult::ALL {
            counters.count(result, Resumption::FullHandshake);
        }
        assert!(HandshakeResult::ALL.iter().all(|result| counters.get(*result) == 1));
        let names: std::collections::HashSet<_> =
            HandshakeResult::ALL.iter().map(|result| result.as_str()).collect();
        assert_eq!(names.len(), 19);
    }

    #[test]
    fn clones_count_together_and_resumption_apart() {
        let counters = HandshakeCounters::new();
        counters.clone().count(HandshakeResult::Success, Resumption::ResumedHandshake);
        assert_eq!(
            counters.snapshot(),
            [(HandshakeResult::Success, Resumption::ResumedHandshake, 1)]
        );
    }
}
