use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::credentials::{CallCredentialsError, InvalidMetadata};
use crate::identity::SecurityLevel;
use crate::tls::{TlsFailure, TlsFailureKind};

/// Why a connection could not be made.
///
/// Says at which stage, under a stable code, with the values at fault and the next step.
/// `Display` prints all of it. Cloning is one atomic increment.
#[derive(Clone)]
pub struct ConnectError {
    inner: Arc<Inner>,
}

struct Inner {
    kind: ConnectErrorKind,
    target: String,
    address: Option<String>,
    sentence: String,
    help: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// How far connecting came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ConnectStage {
    /// The target or the credentials cannot be used; nothing was sent.
    Configure,
    /// From name to addresses.
    Resolve,
    /// From address to connection.
    Dial,
    /// The TLS handshake, including the server's verdict on our certificate.
    Tls,
    /// The agreement on `h2` inside the handshake.
    Alpn,
    /// The server's first HTTP/2 frame.
    Http2,
}

impl fmt::Display for ConnectStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configure => "configure",
            Self::Resolve => "resolve",
            Self::Dial => "dial",
            Self::Tls => "tls",
            Self::Alpn => "alpn",
            Self::Http2 => "http2",
        })
    }
}

/// What kept a connection from being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// The target's text cannot be read.
    InvalidTarget,
    /// The target's scheme does not fit the channel credentials.
    SchemeMismatch,
    /// A file or setting of the credentials cannot be used; see
    /// [`TlsConfigError`](crate::tls::TlsConfigError) in `source()`.
    Credentials,
    /// The name could not be resolved.
    ResolveFailed,
    /// The name resolves to nothing.
    NoAddresses,
    /// Nobody listens there.
    Refused,
    /// The address cannot be reached.
    Unreachable,
    /// The address did not answer in time.
    DialTimeout,
    /// Local credentials, and the peer is not on this machine.
    NotLocal,
    /// The TLS handshake failed.
    Tls(TlsFailureKind),
    /// Plaintext was sent to a port that speaks TLS.
    ServerSpeaksTls,
    /// The server speaks, and not HTTP/2.
    NotHttp2,
    /// The server closed the connection before its first HTTP/2 frame, or right after it.
    ClosedBeforeSettings,
    /// The server said nothing for too long after the connection was made.
    SettingsTimeout,
    /// The server's first words were to go away.
    GoAway,
    /// A task of the channel ended badly, for instance by a panic of a custom resolver.
    Broken,
    /// A call was made outside of a tokio runtime.
    NoRuntime,
}

impl ConnectErrorKind {
    /// A name that never changes its meaning, for programs and for the error index.
    pub fn code(self) -> &'static str {
        use TlsFailureKind as Tls;
        match self {
            Self::InvalidTarget => "INVALID_TARGET",
            Self::SchemeMismatch => "SCHEME_MISMATCH",
            Self::Credentials => "CREDENTIALS_UNUSABLE",
            Self::ResolveFailed => "RESOLVE_FAILED",
            Self::NoAddresses => "RESOLVE_EMPTY",
            Self::Refused => "DIAL_REFUSED",
            Self::Unreachable => "DIAL_UNREACHABLE",
            Self::DialTimeout => "DIAL_TIMEOUT",
            Self::NotLocal => "DIAL_NOT_LOCAL",
            Self::Tls(kind) => match kind {
                Tls::UnknownIssuer => "TLS_UNKNOWN_ISSUER",
                Tls::NameMismatch => "TLS_NAME_MISMATCH",
                Tls::CertificateExpired => "TLS_CERTIFICATE_EXPIRED",
                Tls::CertificateNotYetValid => "TLS_CERTIFICATE_NOT_YET_VALID",
                Tls::CertificateRevoked => "TLS_CERTIFICATE_REVOKED",
                Tls::CaUsedAsLeaf => "TLS_CA_USED_AS_LEAF",
                Tls::WrongPurpose => "TLS_WRONG_PURPOSE",
                Tls::CertificateMalformed => "TLS_CERTIFICATE_MALFORMED",
                Tls::CertificateRefused => "TLS_CERTIFICATE_REFUSED",
                Tls::BadSignature => "TLS_BAD_SIGNATURE",
                Tls::ClientCertificateRequired => "TLS_CLIENT_CERTIFICATE_REQUIRED",
                Tls::OurIssuerUnknownToPeer => "TLS_CLIENT_CERTIFICATE_UNKNOWN_ISSUER",
                Tls::OurCertificateExpired => "TLS_CLIENT_CERTIFICATE_EXPIRED",
                Tls::OurCertificateRefused => "TLS_CLIENT_CERTIFICATE_REFUSED",
                Tls::PeerIsPlaintext => "TLS_SERVER_IS_PLAINTEXT",
                Tls::NoApplicationProtocol => "ALPN_NO_H2",
                Tls::VersionMismatch => "TLS_VERSION_MISMATCH",
                Tls::NothingInCommon => "TLS_NOTHING_IN_COMMON",
                Tls::Timeout => "TLS_TIMEOUT",
                Tls::PeerClosed => "TLS_SERVER_CLOSED",
                Tls::DecryptFailed => "TLS_DECRYPT_FAILED",
                Tls::PeerMisbehaved => "TLS_SERVER_MISBEHAVED",
                Tls::Other => "TLS_FAILED",
            },
            Self::ServerSpeaksTls => "HTTP2_SERVER_SPEAKS_TLS",
            Self::NotHttp2 => "HTTP2_NOT_SPOKEN",
            Self::ClosedBeforeSettings => "HTTP2_CLOSED_EARLY",
            Self::SettingsTimeout => "HTTP2_TIMEOUT",
            Self::GoAway => "HTTP2_GO_AWAY",
            Self::Broken => "CHANNEL_BROKEN",
            Self::NoRuntime => "NO_RUNTIME",
        }
    }

    /// How far connecting came.
    pub fn stage(self) -> ConnectStage {
        match self {
            Self::InvalidTarget
            | Self::SchemeMismatch
            | Self::Credentials
            | Self::Broken
            | Self::NoRuntime => ConnectStage::Configure,
            Self::ResolveFailed | Self::NoAddresses => ConnectStage::Resolve,
            Self::Refused | Self::Unreachable | Self::DialTimeout | Self::NotLocal => {
                ConnectStage::Dial
            }
            Self::Tls(TlsFailureKind::NoApplicationProtocol) => ConnectStage::Alpn,
            Self::Tls(_) => ConnectStage::Tls,
            Self::ServerSpeaksTls
            | Self::NotHttp2
            | Self::ClosedBeforeSettings
            | Self::SettingsTimeout
            | Self::GoAway => ConnectStage::Http2,
        }
    }

    /// Whether it stays until somebody mends something. Other errors may pass by themselves.
    pub fn is_permanent(self) -> bool {
        use TlsFailureKind as Tls;
        match self {
            Self::InvalidTarget
            | Self::SchemeMismatch
            | Self::Credentials
            | Self::NotLocal
            | Self::ServerSpeaksTls
            | Self::NoRuntime
            | Self::NotHttp2 => true,
            Self::Tls(kind) => !matches!(
                kind,
                Tls::CertificateNotYetValid
                    | Tls::Timeout
                    | Tls::PeerClosed
                    | Tls::DecryptFailed
                    | Tls::PeerMisbehaved
                    | Tls::Other
            ),
            Self::ResolveFailed
            | Self::NoAddresses
            | Self::Refused
            | Self::Unreachable
            | Self::DialTimeout
            | Self::ClosedBeforeSettings
            | Self::SettingsTimeout
            | Self::Broken
            | Self::GoAway => false,
        }
    }
}

impl ConnectError {
    pub(super) fn new(
        kind: ConnectErrorKind,
        target: &str,
        sentence: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                kind,
                target: target.to_owned(),
                address: None,
                sentence: sentence.into(),
                help: help.into(),
                source: None,
            }),
        }
    }

    pub(super) fn tls(target: &str, failure: TlsFailure) -> Self {
        let (sentence, help) = (failure.to_string(), failure.help().to_owned());
        Self::new(ConnectErrorKind::Tls(failure.kind()), target, sentence, help).caused_by(failure)
    }

    /// Only before it is shared.
    pub(super) fn caused_by(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.source = Some(Box::new(source));
        }
        self
    }

    /// Only before it is shared.
    pub(super) fn at(mut self, address: &impl fmt::Display) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.address = Some(address.to_string());
        }
        self
    }

    /// What kept the connection from being made.
    pub fn kind(&self) -> ConnectErrorKind {
        self.inner.kind
    }

    /// A name that never changes its meaning, for instance `TLS_UNKNOWN_ISSUER`.
    pub fn code(&self) -> &'static str {
        self.inner.kind.code()
    }

    /// How far connecting came.
    pub fn stage(&self) -> ConnectStage {
        self.inner.kind.stage()
    }

    /// Whether it stays until somebody mends something.
    pub fn is_permanent(&self) -> bool {
        self.inner.kind.is_permanent()
    }

    /// The target as it was given.
    pub fn target(&self) -> &str {
        &self.inner.target
    }

    /// The address that was dialled, when it came so far.
    pub fn address(&self) -> Option<&str> {
        self.inner.address.as_deref()
    }

    /// What happened, in one sentence, without target and code.
    pub fn sentence(&self) -> &str {
        &self.inner.sentence
    }

    /// The next step, in one clause.
    pub fn help(&self) -> &str {
        &self.inner.help
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.inner;
        write!(f, "cannot connect to {}", inner.target)?;
        match &inner.address {
            Some(address) if !inner.target.contains(address.as_str()) => {
                write!(f, " ({address})")?;
            }
            _ => {}
        }
        write!(f, ": {} [{}]; {}", inner.sentence, self.code(), inner.help)
    }
}

impl fmt::Debug for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectError")
            .field("code", &self.code())
            .field("stage", &self.stage())
            .field("target", &self.inner.target)
            .field("address", &self.inner.address)
            .field("sentence", &self.inner.sentence)
            .field("help", &self.inner.help)
            .finish()
    }
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Why a call ended before the server could answer it.
///
/// A generated client returns it inside its `Status`: [`CallError::of`] finds it there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no connection to send it on.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The call's deadline passed.
    #[error("the deadline passed {during}")]
    DeadlineExceeded {
        /// What was going on.
        during: CallPhase,
        /// Why there was no connection yet, if that was it.
        #[source]
        last: Option<ConnectError>,
    },
    /// The connection protects less than the call credentials need. They were not asked.
    #[error(
        "cannot send secure credentials on an insecure connection: its level is {have}, and the \
         credentials need {need}"
    )]
    Insecure {
        /// The connection's level.
        have: SecurityLevel,
        /// The least that the credentials need.
        need: SecurityLevel,
    },
    /// The call credentials have nothing to send.
    #[error("call credentials are not to be had: {0}")]
    Credentials(#[source] CallCredentialsError),
    /// The call's metadata may not be sent.
    #[error(transparent)]
    Metadata(#[from] InvalidMetadata),
    /// More than one `authorization` would leave.
    #[error("the call has {count} `authorization` values and may have one")]
    ManyAuthorizations {
        /// How many there are.
        count: usize,
    },
    /// The authority asked for is not one that the server's certificate vouches for.
    #[error("the server's certificate does not vouch for the authority {authority:?}")]
    Authority {
        /// The authority.
        authority: String,
    },
    /// The request broke off on this side: its stream failed, or a message could not be encoded.
    /// The call has that status' code.
    #[error("the request broke off: {}", .0.message())]
    Request(#[source] tonic::Status),
    /// The connection was lost, or the server ended the stream.
    #[error("{sentence}")]
    Transport {
        /// What happened.
        sentence: String,
        /// The gRPC code for it (as `i32`).
        code: i32,
        /// What HTTP/2 says.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// What a call was waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallPhase {
    /// A connection.
    Connecting,
    /// Its call credentials.
    Credentials,
    /// The server's answer.
    Response,
}

impl fmt::Display for CallPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "while waiting for a connection",
            Self::Credentials => "while waiting for call credentials",
            Self::Response => "while waiting for the server",
        })
    }
}

impl CallError {
    /// The error behind a status that a call over our [`Channel`](crate::Channel) returned;
    /// `None` when the status is the server's own.
    pub fn of(status: &tonic::Status) -> Option<&Self> {
        let mut source = status.source();
        while let Some(error) = source {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            source = error.source();
        }
        None
    }

    /// The connection error, if that was it.
    pub fn connect_error(&self) -> Option<&ConnectError> {
        match self {
            Self::Connect(error) => Some(error),
            Self::DeadlineExceeded { last, .. } => last.as_ref(),
            _ => None,
        }
    }
}

impl ConnectError {
    /// The connection error behind a status that a call over our [`Channel`](crate::Channel)
    /// returned.
    pub fn of(status: &tonic::Status) -> Option<&Self> {
        CallError::of(status).and_then(CallError::connect_error)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_code_has_a_row_in_the_error_index() {
        let page = include_str!("../../../../../docs/book/src/errors.md");
        let is_code = |text: &&str| {
            text.contains('_')
                && text.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
        };
        let codes: Vec<&str> = include_str!("error.rs").split('"').filter(is_code).collect();
        assert!(codes.len() > 30, "{codes:?}");
        let missing: Vec<_> =
            codes.into_iter().filter(|code| !page.contains(&format!("| `{code}` |"))).collect();
        assert!(missing.is_empty(), "not in docs/book/src/errors.md: {missing:?}");
    }
}
