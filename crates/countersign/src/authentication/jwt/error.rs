use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::authentication::{AuthenticationError, Reason};

/// Why a token is not accepted.
///
/// The sentence quotes nothing of the token, and neither does `Debug`, so both can be logged; the
/// fields hold what was found and what was expected, for whoever holds the token and asks.
#[derive(Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It is not a JWS in compact form.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Its header asks for something that is not done.
    #[error("the token's header is refused: {0}")]
    Header(&'static str),
    /// Its `alg` is not one that the issuer may use.
    #[error("the token's algorithm is not allowed for its issuer")]
    Algorithm {
        /// What the header says.
        found: String,
        /// What is allowed.
        allowed: Vec<&'static str>,
    },
    /// Its `typ` is not one that the profile takes.
    #[error("the token's type is not that of the profile `{profile}`")]
    Type {
        /// What the header says.
        found: Option<String>,
        /// The profile.
        profile: &'static str,
    },
    /// Nobody trusts its issuer.
    #[error("the token's issuer is not trusted")]
    Issuer {
        /// `iss`, or the trust domain of a JWT-SVID.
        found: String,
        /// Who is trusted, in alphabetical order.
        trusted: Arc<[String]>,
    },
    /// The issuer has no key of that `kid` for that algorithm.
    #[error("the token's issuer has no such key")]
    UnknownKey {
        /// `kid`.
        kid: Option<String>,
    },
    /// It is past `exp` and the leeway.
    #[error("the token is expired")]
    Expired {
        /// How long ago, without leeway.
        ago: Duration,
        /// What is granted.
        leeway: Duration,
    },
    /// It is before `nbf` and the leeway.
    #[error("the token is not valid yet")]
    NotYetValid {
        /// How long until then, without leeway.
        ahead: Duration,
        /// What is granted.
        leeway: Duration,
    },
    /// It is for somebody else, or does not say for whom.
    #[error("the token is for another audience")]
    Audience {
        /// `aud`.
        found: Vec<String>,
        /// Who we are.
        accepted: Vec<String>,
    },
    /// A claim that has to be there is not.
    #[error("the token has no claim `{name}`")]
    MissingClaim {
        /// The claim.
        name: String,
    },
    /// A claim is not what it should be.
    #[error("the token's claim `{name}` is not {expected}")]
    Claim {
        /// The claim.
        name: String,
        /// What it should be.
        expected: &'static str,
    },
    /// It lives longer than its issuer's tokens may.
    #[error("the token lives longer than its issuer's may")]
    Lifetime {
        /// What is allowed.
        most: Duration,
    },
    /// It is a token of another kind, as an ID token where an access token is wanted.
    #[error("the token is none of the profile `{profile}`: {problem}")]
    Profile {
        /// The profile.
        profile: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// The signature is not the key's.
    #[error("the token's signature does not verify")]
    Signature,
    /// The token, its subject or its key was taken back.
    #[error("the token was revoked")]
    Revoked,
    /// It is bound to a key (`cnf`), and nothing proves that the caller has it.
    #[error("the token is bound to a key and the call does not prove it: {0}")]
    ProofRequired(&'static str),
    /// It is bound to another key than the one that was proven.
    #[error("the token is bound to another key: {0}")]
    ProofInvalid(&'static str),
    /// Whether it is good cannot be told now.
    #[error("the token's issuer has no keys at the moment")]
    Unavailable {
        /// When it may be known.
        retry_after: Option<Duration>,
    },
}

impl TokenError {
    /// What the caller learns.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Malformed(_) => Reason::CredentialsMalformed,
            Self::Header(_)
            | Self::Algorithm { .. }
            | Self::Type { .. }
            | Self::Issuer { .. }
            | Self::UnknownKey { .. }
            | Self::MissingClaim { .. }
            | Self::Claim { .. }
            | Self::Lifetime { .. }
            | Self::Profile { .. }
            | Self::Signature => Reason::TokenInvalid,
            Self::Expired { .. } => Reason::TokenExpired,
            Self::NotYetValid { .. } => Reason::TokenNotYetValid,
            Self::Audience { .. } => Reason::TokenAudience,
            Self::Revoked => Reason::CredentialsRevoked,
            Self::ProofRequired(_) => Reason::ProofRequired,
            Self::ProofInvalid(_) => Reason::ProofInvalid,
            Self::Unavailable { .. } => Reason::VerifierUnavailable,
        }
    }

    /// Whether the same token may be accepted later without anyone's help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::NotYetValid { .. } | Self::Unavailable { .. })
    }
}

/// The sentence: an `{error:?}` is written by those who do not look at what is in it.
impl fmt::Debug for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenError").field(&format_args!("{self}")).finish()
    }
}

impl From<TokenError> for AuthenticationError {
    fn from(error: TokenError) -> Self {
        let told = Self::new(error.reason(), error.to_string());
        match error {
            TokenError::NotYetValid { ahead, leeway } => {
                told.with_retry_after(ahead.saturating_sub(leeway))
            }
            TokenError::Unavailable { retry_after: Some(after) } => told.with_retry_after(after),
            _ => told,
        }
    }
}
