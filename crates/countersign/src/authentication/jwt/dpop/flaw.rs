use crate::authentication::{AuthenticationError, Reason};

/// Why a proof is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    #[error("there is not exactly one")]
    Several,
    #[error("it is longer than 8 KiB")]
    TooLong,
    #[error("it is not three parts of canonical base64url")]
    Form,
    #[error("its {0} is not one JSON object that has no member twice")]
    Json(&'static str),
    #[error("its `typ` is not `dpop+jwt`")]
    Type,
    #[error("its `alg` is no asymmetric algorithm that is known")]
    Algorithm,
    #[error("it has `crit`, and no extension is known")]
    Critical,
    #[error("its `jwk`: {0}")]
    Key(&'static str),
    #[error("its key is not the one that the token is bound to")]
    OtherKey,
    #[error("its `{0}` is missing or not of the right type")]
    Claim(&'static str),
    #[error("its `jti` does not have 1 to 256 bytes")]
    Id,
    #[error("its `htm` is not `POST`")]
    Method,
    #[error("it is for {proof:?}, and the call is to {call:?}")]
    Target { proof: String, call: String },
    #[error("it is not known what the call is addressed to")]
    NoTarget,
    #[error("the call is to an authority that is not one of ours")]
    NotOurs,
    #[error("its `iat` is {0} s in the past")]
    Old(u64),
    #[error("its `iat` is {0} s in the future")]
    Early(u64),
    #[error("its `ath` is not the hash of the token")]
    OtherToken,
    #[error("its `nonce` is missing or was not given out lately")]
    Nonce,
    #[error("its signature is not valid")]
    Signature,
    #[error("it was shown before")]
    Replayed,
    #[error("as many proofs as can be remembered are still good")]
    NoRoom,
    #[error("as many proofs by its key as can be remembered are still good")]
    NoRoomForKey,
}

impl Flaw {
    /// What the caller learns.
    fn reason(&self) -> Reason {
        match self {
            Self::Several
            | Self::TooLong
            | Self::Form
            | Self::Json(_)
            | Self::Type
            | Self::Algorithm
            | Self::Critical
            | Self::Key(_)
            | Self::OtherKey
            | Self::Claim(_)
            | Self::Id
            | Self::Method
            | Self::Target { .. }
            | Self::NoTarget
            | Self::NotOurs
            | Self::Old(_)
            | Self::Early(_)
            | Self::OtherToken
            | Self::Signature
            | Self::Replayed => Reason::ProofInvalid,
            Self::Nonce => Reason::ProofNonce,
            // Whether it was shown before cannot be told.
            Self::NoRoom | Self::NoRoomForKey => Reason::VerifierUnavailable,
        }
    }
}

impl From<Flaw> for AuthenticationError {
    fn from(flaw: Flaw) -> Self {
        Self::new(flaw.reason(), format!("the DPoP proof is not accepted: {flaw}"))
    }
}
