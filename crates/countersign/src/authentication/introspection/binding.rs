use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::Presented;
use crate::authentication::jwt::dpop::DpopVerifier;
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
    /// The key of which each call brings a proof, by its thumbprint (RFC 9449 §6.2).
    key: Option<String>,
    /// Something that nobody here can check.
    unknown: bool,
}

impl Binding {
    /// Reads `token_type` and `cnf`. `Err`: they do not say what they are about.
    pub(super) fn read(
        token_type: Option<&str>,
        cnf: Option<&Value>,
    ) -> Result<Self, &'static str> {
        let needs_key = token_type.is_some_and(|kind| kind.eq_ignore_ascii_case("DPoP"));
        let mut binding = Self { unknown: needs_key, ..Self::default() };
        let Some(cnf) = cnf else { return Ok(binding) };
        let members = cnf.as_object().ok_or("`cnf` is not an object")?;
        if let Some(thumbprint) = members.get("x5t#S256") {
            let bytes = thumbprint.as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
            binding.certificate =
                Some(bytes.ok_or("`x5t#S256` is not the base64url of a SHA-256")?);
        }
        if let Some(thumbprint) = members.get("jkt") {
            let text = thumbprint.as_str().filter(|text| !text.is_empty());
            binding.key = Some(text.ok_or("`jkt` is not text")?.to_owned());
        }
        let known = usize::from(binding.certificate.is_some()) + usize::from(binding.key.is_some());
        // What is not known is enforced too, which nothing can satisfy.
        binding.unknown = known == 0 || known < members.len() || needs_key && binding.key.is_none();
        Ok(binding)
    }

    /// Whether each call has to bring a proof of its own.
    pub(super) fn is_per_call(&self) -> bool {
        self.key.is_some()
    }

    /// Whether the caller holds what it has to. A proof counts once. Returns the nonce for the
    /// next proof, if this one's is about to end.
    pub(super) fn check(
        &self,
        presented: Presented<'_>,
        evidence: &Evidence<'_>,
        proofs: &DpopVerifier,
    ) -> Result<Option<String>, AuthenticationError> {
        if self.unknown {
            return Err(AuthenticationError::new(
                Reason::ProofRequired,
                "the token is bound to something that cannot be checked here",
            ));
        }
        self.check_certificate(evidence)?;
        match (&self.key, presented) {
            (None, Presented::Bearer(_)) => Ok(None),
            (Some(_), Presented::Dpop(_)) if evidence.is_looked_at_again() => Ok(None),
            (Some(key), Presented::Dpop(token)) => {
                proofs.verify(evidence.proof(), token, key, evidence.target())
            }
            // RFC 9449 §7.2: not even with a proof, so that nothing can be mistaken for checked.
            (Some(_), Presented::Bearer(_)) => Err(AuthenticationError::new(
                Reason::ProofRequired,
                "the token is bound to a key, and came as `Bearer` and not as `DPoP`",
            )),
            (None, Presented::Dpop(_)) => Err(AuthenticationError::new(
                Reason::ProofInvalid,
                "the token is not bound to a key, and came as `DPoP`",
            )),
        }
    }

    fn check_certificate(&self, evidence: &Evidence<'_>) -> Result<(), AuthenticationError> {
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, OnceLock};
    use std::time::SystemTime;

    use serde_json::json;

    use super::*;
    use crate::authentication::CallEvidence;
    use crate::authentication::jwt::DpopSettings;
    use crate::clock::SystemClock;
    use crate::identity::{PeerAddress, PeerCertificate, PeerIdentity, SecurityLevel};

    fn peer(thumbprint: Option<[u8; 32]>) -> PeerIdentity {
        let certificate = thumbprint.map(|thumbprint| PeerCertificate {
            spiffe_id: None,
            uris: Box::default(),
            dns_names: Box::default(),
            emails: Box::default(),
            ip_addresses: Box::default(),
            subject: Box::default(),
            serial: Box::default(),
            thumbprint,
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH,
            chain: Arc::default(),
            principal: OnceLock::new(),
        });
        let level = SecurityLevel::PrivacyAndIntegrity;
        PeerIdentity::new(PeerAddress::Unknown, None, level, None, certificate)
    }

    fn told(cnf: &Value, peer: &PeerIdentity) -> String {
        let binding = Binding::read(Some("Bearer"), Some(cnf)).expect("a binding");
        let proofs = DpopVerifier::new(DpopSettings::new(), Arc::new(SystemClock));
        let evidence = Evidence::new(peer, CallEvidence::Bearer("t"));
        match binding.check(Presented::Bearer("t"), &evidence, &proofs) {
            Ok(_) => "accepted".to_owned(),
            Err(error) => error.reason().to_string(),
        }
    }

    #[test]
    fn a_bound_token_counts_with_its_certificate_alone() {
        let bound = json!({"x5t#S256": URL_SAFE_NO_PAD.encode([7; 32])});
        assert_eq!(told(&bound, &peer(Some([7; 32]))), "accepted");
        assert_eq!(told(&bound, &peer(Some([8; 32]))), "PROOF_INVALID");
        assert_eq!(told(&bound, &peer(None)), "PROOF_REQUIRED");
        assert_eq!(told(&bound, &PeerIdentity::unknown()), "PROOF_REQUIRED");
    }

    #[test]
    fn what_cannot_be_checked_is_never_a_plain_bearer_token() {
        let both = json!({"x5t#S256": URL_SAFE_NO_PAD.encode([7; 32]), "kid": "k1"});
        for cnf in [json!({}), json!({"jwk": {}}), json!({"x5t": "x"}), both] {
            assert_eq!(told(&cnf, &peer(Some([7; 32]))), "PROOF_REQUIRED", "{cnf}");
        }
        let nameless = Binding::read(Some("dpop"), None).expect("a binding");
        assert!(nameless.unknown);
        let by_certificate = json!({"x5t#S256": URL_SAFE_NO_PAD.encode([7; 32])});
        assert!(Binding::read(Some("DPoP"), Some(&by_certificate)).expect("a binding").unknown);
        assert_eq!(Binding::read(Some("Bearer"), None), Ok(Binding::default()));
    }
}
