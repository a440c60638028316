use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::authentication::{AuthenticationError, Evidence, Reason};
use crate::secret::constant_time_eq;

/// What a caller has to hold besides the token (RFC 7800).
///
/// A token that is bound is never taken as a plain bearer token: the downgrade is the whole
/// attack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Binding {
    /// The certificate of the connection, by its SHA-256 (RFC 8705 §3.1).
    certificate: Option<[u8; 32]>,
    /// A key of which each call brings a proof (RFC 9449 §6.2), or something that nobody here
    /// can check.
    proof: bool,
}

impl Binding {
    /// Reads `token_type` and `cnf`. `Err`: they do not say what they are about.
    pub(super) fn read(
        token_type: Option<&str>,
        cnf: Option<&Value>,
    ) -> Result<Self, &'static str> {
        let mut binding = Self {
            proof: token_type.is_some_and(|kind| kind.eq_ignore_ascii_case("DPoP")),
            certificate: None,
        };
        let Some(cnf) = cnf else { return Ok(binding) };
        let members = cnf.as_object().ok_or("`cnf` is not an object")?;
        if let Some(thumbprint) = members.get("x5t#S256") {
            let bytes = thumbprint.as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            binding.certificate =
                Some(bytes.ok_or("`x5t#S256` is not the base64url of a SHA-256")?);
        }
        // What is not known is enforced too, which nothing can satisfy.
        let only_certificate = members.len() == 1 && binding.certificate.is_some();
        binding.proof |= !only_certificate;
        Ok(binding)
    }

    /// Whether the caller holds what it has to.
    pub(super) fn check(&self, evidence: &Evidence<'_>) -> Result<(), AuthenticationError> {
        if self.proof {
            return Err(AuthenticationError::new(
                Reason::ProofRequired,
                "the token is bound to a key, and proofs are not taken here",
            ));
        }
        let Some(bound) = &self.certificate else { return Ok(()) };
        match evidence.peer().certificate() {
            None => Err(AuthenticationError::new(
                Reason::ProofRequired,
                "the token is bound to a client certificate, and there is none",
            )),
            Some(certificate) if constant_time_eq(certificate.thumbprint(), bound) => Ok(()),
            Some(_) => Err(AuthenticationError::new(
                Reason::ProofInvalid,
                "the token is bound to another client certificate",
            )),
        }
    }
}
