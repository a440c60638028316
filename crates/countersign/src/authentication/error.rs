use std::error::Error;
use std::fmt;
use std::time::Duration;

/// The class of a denial: what the caller learns, as `ErrorInfo.reason`. Never changes meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A credential is needed and there is none.
    CredentialsMissing,
    /// Two credentials, an unknown scheme, or garbage.
    CredentialsMalformed,
    /// The token is past its end.
    TokenExpired,
    /// The token has not begun.
    TokenNotYetValid,
    /// Bad signature, unknown key, issuer or algorithm not allowed, unknown token.
    TokenInvalid,
    /// The token is for somebody else.
    TokenAudience,
    /// The token or key was taken back.
    CredentialsRevoked,
    /// The token is bound to a key, and no proof of it was sent.
    ProofRequired,
    /// The proof does not hold.
    ProofInvalid,
    /// The proof has to hold a value that the server gives out (RFC 9449 §8).
    ProofNonce,
    /// The authentication is too weak for the method.
    StepUp,
    /// The caller is known, and no rule allows the call.
    PolicyDenied,
    /// The caller is known, and its token has not the scope that the method asks for.
    InsufficientScope,
    /// The caller, or whoever is where the caller is, has had its share for now.
    RateLimited,
    /// The rules could not be asked.
    PolicyError,
    /// It cannot be found out now whether the credential is good.
    VerifierUnavailable,
    /// The decision cannot be put on record now, and no call may go on without
    /// ([`WhenFull::RefuseCall`](crate::audit::WhenFull::RefuseCall)).
    AuditUnavailable,
    /// Quotas are counted elsewhere, and nobody can tell there.
    QuotaUnavailable,
}

impl Reason {
    /// Each of them.
    pub(crate) const ALL: [Self; 18] = [
        Self::CredentialsMissing,
        Self::CredentialsMalformed,
        Self::TokenExpired,
        Self::TokenNotYetValid,
        Self::TokenInvalid,
        Self::TokenAudience,
        Self::CredentialsRevoked,
        Self::ProofRequired,
        Self::ProofInvalid,
        Self::ProofNonce,
        Self::StepUp,
        Self::PolicyDenied,
        Self::InsufficientScope,
        Self::RateLimited,
        Self::PolicyError,
        Self::VerifierUnavailable,
        Self::AuditUnavailable,
        Self::QuotaUnavailable,
    ];

    /// The value of `ErrorInfo.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CredentialsMissing => "CREDENTIALS_MISSING",
            Self::CredentialsMalformed => "CREDENTIALS_MALFORMED",
            Self::TokenExpired => "TOKEN_EXPIRED",
            Self::TokenNotYetValid => "TOKEN_NOT_YET_VALID",
            Self::TokenInvalid => "TOKEN_INVALID",
            Self::TokenAudience => "TOKEN_AUDIENCE",
            Self::CredentialsRevoked => "CREDENTIALS_REVOKED",
            Self::ProofRequired => "PROOF_REQUIRED",
            Self::ProofInvalid => "PROOF_INVALID",
            Self::ProofNonce => "PROOF_NONCE",
            Self::StepUp => "STEP_UP",
            Self::PolicyDenied => "POLICY_DENIED",
            Self::InsufficientScope => "INSUFFICIENT_SCOPE",
            Self::RateLimited => "RATE_LIMITED",
            Self::PolicyError => "POLICY_ERROR",
            Self::VerifierUnavailable => "VERIFIER_UNAVAILABLE",
            Self::AuditUnavailable => "AUDIT_UNAVAILABLE",
            Self::QuotaUnavailable => "QUOTA_UNAVAILABLE",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why evidence was not accepted.
///
/// The caller learns the [`Reason`]. The detail is for the operator's log, and must not quote
/// the credential.
#[derive(Debug)]
pub struct AuthenticationError {
    reason: Reason,
    detail: String,
    nonce: Option<String>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl AuthenticationError {
    /// The credential is not acceptable.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into(), nonce: None, retry_after: None, source: None }
    }

    /// It cannot be found out now whether the credential is good: `UNAVAILABLE`.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(Reason::VerifierUnavailable, detail)
    }

    /// Adds the cause, for the operator.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Gives the caller a value for its next proof, as `dpop-nonce` (RFC 9449 §9).
    #[must_use]
    pub fn with_nonce(mut self, nonce: impl Into<String>) -> Self {
        self.nonce = Some(nonce.into());
        self
    }

    /// Tells the caller when the same call may pass, as `RetryInfo`.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The value for the caller's next proof.
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }

    /// When the same call may pass.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What the caller learns.
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

impl fmt::Display for AuthenticationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl Error for AuthenticationError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
