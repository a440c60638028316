//! What `www-authenticate` says (RFC 9110 §11.6.1), for each class of denial.

use std::sync::Arc;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};

use crate::authentication::{Authenticator, Reason};

/// The challenges, made once: a refused caller costs a reference to each.
#[derive(Debug)]
pub(super) struct Challenge {
    missing: Vec<HeaderValue>,
    malformed: Vec<HeaderValue>,
    invalid: Vec<HeaderValue>,
    too_weak: Vec<HeaderValue>,
    wants_nonce: Vec<HeaderValue>,
    bad_proof: Vec<HeaderValue>,
    /// All but the scopes and the closing quote.
    scope: Vec<String>,
}

impl Challenge {
    /// Schemes and realm were checked: they fit a header.
    pub(super) fn new(authenticators: &[Arc<dyn Authenticator>], realm: &str) -> Self {
        let mut schemes: Vec<&str> = Vec::new();
        for &scheme in authenticators.iter().flat_map(|one| one.challenges()) {
            if !schemes.contains(&scheme) {
                schemes.push(scheme);
            }
        }
        let value = |text: String| HeaderValue::from_str(&text).expect("scheme and realm fit");
        let one =
            |scheme: &str, error: &str| format!("{scheme} realm=\"{realm}\", error=\"{error}\"");
        let each = |error: &str| schemes.iter().map(|scheme| value(one(scheme, error))).collect();
        Self {
            // RFC 6750 §3.1: no error code where there were no credentials.
            missing: schemes
                .iter()
                .map(|scheme| value(format!("{scheme} realm=\"{realm}\"")))
                .collect(),
            malformed: each("invalid_request"),
            invalid: each("invalid_token"),
            // RFC 9470 §3.
            too_weak: each("insufficient_user_authentication"),
            // RFC 9449 §9 and §7.1: these are about the proof, and only the one scheme has any.
            wants_nonce: vec![value(one("DPoP", "use_dpop_nonce"))],
            bad_proof: vec![value(one("DPoP", "invalid_dpop_proof"))],
            scope: schemes
                .iter()
                .map(|scheme| format!("{}, scope=\"", one(scheme, "insufficient_scope")))
                .collect(),
        }
    }

    /// Adds the challenges for a reason. `scopes` are what the rule asks for.
    pub(super) fn add(&self, reason: Reason, scopes: &[String], headers: &mut HeaderMap) {
        for challenge in self.of(reason) {
            headers.append(WWW_AUTHENTICATE, challenge.clone());
        }
        if reason == Reason::InsufficientScope && !scopes.is_empty() {
            for begun in &self.scope {
                let whole = format!("{begun}{}\"", scopes.join(" "));
                // An authenticator's own scopes may be anything.
                if let Ok(value) = HeaderValue::try_from(whole) {
                    headers.append(WWW_AUTHENTICATE, value);
                }
            }
        }
    }

    fn of(&self, reason: Reason) -> &[HeaderValue] {
        match reason {
            Reason::CredentialsMissing => &self.missing,
            Reason::CredentialsMalformed => &self.malformed,
            Reason::TokenExpired
            | Reason::TokenNotYetValid
            | Reason::TokenInvalid
            | Reason::TokenAudience
            | Reason::CredentialsRevoked
            | Reason::ProofRequired => &self.invalid,
            Reason::ProofInvalid => &self.bad_proof,
            Reason::ProofNonce => &self.wants_nonce,
            Reason::StepUp => &self.too_weak,
            Reason::InsufficientScope
            | Reason::PolicyDenied
            | Reason::RateLimited
            | Reason::PolicyError
            | Reason::VerifierUnavailable
            | Reason::AuditUnavailable
            | Reason::QuotaUnavailable => &[],
        }
    }
}
