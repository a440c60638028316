//! What a caller is told when the gate says no: always a proper gRPC response, with a fixed
//! text, and never the reason's details.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::authentication::{Authenticator, Reason};

/// `ErrorInfo.domain` of everything that the gate says.
const DOMAIN: &str = "countersign";

/// What `www-authenticate` says, for each class of denial.
#[derive(Debug)]
pub(super) struct Challenge {
    missing: Vec<HeaderValue>,
    malformed: Vec<HeaderValue>,
    invalid: Vec<HeaderValue>,
}

impl Challenge {
    pub(super) fn new(authenticators: &[Arc<dyn Authenticator>], realm: &str) -> Self {
        let mut schemes: Vec<&str> = Vec::new();
        for scheme in authenticators.iter().filter_map(|one| one.challenge()) {
            if !schemes.contains(&scheme) {
                schemes.push(scheme);
            }
        }
        let each = |error: &str| {
            schemes
                .iter()
                .map(|scheme| {
                    let text = match error {
                        // RFC 6750 §3.1: no error code where there were no credentials.
                        "" => format!("{scheme} realm=\"{realm}\""),
                        _ => format!("{scheme} realm=\"{realm}\", error=\"{error}\""),
                    };
                    HeaderValue::from_str(&text).expect("scheme and realm were checked")
                })
                .collect()
        };
        Self {
            missing: each(""),
            malformed: each("invalid_request"),
            invalid: each("invalid_token"),
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
            | Reason::ProofRequired
            | Reason::ProofInvalid
            | Reason::ProofNonce
            | Reason::StepUp => &self.invalid,
            Reason::PolicyDenied
            | Reason::InsufficientScope
            | Reason::RateLimited
            | Reason::PolicyError
            | Reason::VerifierUnavailable => &[],
        }
    }
}

/// Names one decision, to the caller and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DecisionId([u8; 8]);

impl DecisionId {
    pub(super) fn random() -> Self {
        let mut bytes = [0; 8];
        // Without randomness an ID names nothing, and the decision stands all the same.
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        Self(bytes)
    }
}

impl std::fmt::Display for DecisionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The code and the text of each class. One match, complete, so that a new class has to choose.
fn face(reason: Reason) -> (Code, &'static str) {
    match reason {
        Reason::CredentialsMissing => {
            (Code::Unauthenticated, "the call needs credentials and has none")
        }
        Reason::CredentialsMalformed => {
            (Code::Unauthenticated, "the call's credentials are malformed")
        }
        Reason::TokenExpired => (Code::Unauthenticated, "the token is expired"),
        Reason::TokenNotYetValid => (Code::Unauthenticated, "the token is not valid yet"),
        Reason::TokenInvalid | Reason::TokenAudience | Reason::CredentialsRevoked => {
            (Code::Unauthenticated, "call credentials were not accepted")
        }
        Reason::ProofRequired | Reason::ProofInvalid | Reason::ProofNonce => {
            (Code::Unauthenticated, "the token's proof of possession was not accepted")
        }
        Reason::StepUp => (Code::Unauthenticated, "the method needs stronger authentication"),
        Reason::PolicyDenied => (Code::PermissionDenied, "the caller may not call this method"),
        Reason::InsufficientScope => {
            (Code::PermissionDenied, "the token lacks a scope that the method asks for")
        }
        Reason::RateLimited => (Code::ResourceExhausted, "too many calls; try again later"),
        Reason::PolicyError => (Code::Internal, "the call could not be decided"),
        Reason::VerifierUnavailable => {
            (Code::Unavailable, "credentials cannot be checked at the moment")
        }
    }
}

/// A denial as the caller gets it.
pub(super) fn response<B: Default>(
    request: &HeaderMap,
    reason: Reason,
    challenge: &Challenge,
    decision: DecisionId,
) -> http::Response<B> {
    let (code, text) = face(reason);
    let metadata = HashMap::from([("decision".to_owned(), decision.to_string())]);
    let mut details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, metadata);
    if reason == Reason::VerifierUnavailable {
        // Callers come back one to five seconds later, not all at once.
        let millis = 1_000 + 4_000 * u64::from(decision.0[0]) / 255;
        details.set_retry_info(Some(Duration::from_millis(millis)));
    }
    let status = Status::with_error_details(code, text, details);
    finish(request, status, challenge.of(reason))
}

/// The answer to a `:path` that is not a method's one spelling, whoever asks.
pub(super) fn not_canonical<B: Default>(request: &HeaderMap) -> http::Response<B> {
    finish(request, Status::unimplemented("malformed method name"), &[])
}

fn finish<B: Default>(
    request: &HeaderMap,
    status: Status,
    challenges: &[HeaderValue],
) -> http::Response<B> {
    let mut response = if is_grpc(request) {
        status.into_http()
    } else {
        // Not a gRPC caller: HTTP's own status is what it understands.
        let mut response = http::Response::new(B::default());
        *response.status_mut() = match status.code() {
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::NOT_FOUND,
        };
        response
    };
    for challenge in challenges {
        response.headers_mut().append(WWW_AUTHENTICATE, challenge.clone());
    }
    response
}

fn is_grpc(request: &HeaderMap) -> bool {
    request.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The longest piece of foreign text that goes into a log line.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = 200;
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == MOST {
            out.push('…');
            break;
        }
        match c.is_control() {
            true => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
            false => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authentication::StaticTokens;

    fn denied(reason: Reason, content_type: &str) -> http::Response<()> {
        let authenticators: Vec<Arc<dyn Authenticator>> = vec![Arc::new(StaticTokens::new())];
        let mut request = HeaderMap::new();
        request.insert(CONTENT_TYPE, content_type.parse().expect("a value"));
        let challenge = Challenge::new(&authenticators, "grpc");
        response(&request, reason, &challenge, DecisionId([7; 8]))
    }

    #[test]
    fn each_class_has_its_code_reason_and_challenge() {
        let invalid = Some("Bearer realm=\"grpc\", error=\"invalid_token\"");
        for (reason, code, name, challenge) in [
            (
                Reason::CredentialsMissing,
                Code::Unauthenticated,
                "CREDENTIALS_MISSING",
                Some("Bearer realm=\"grpc\""),
            ),
            (
                Reason::CredentialsMalformed,
                Code::Unauthenticated,
                "CREDENTIALS_MALFORMED",
                Some("Bearer realm=\"grpc\", error=\"invalid_request\""),
            ),
            (Reason::TokenExpired, Code::Unauthenticated, "TOKEN_EXPIRED", invalid),
            (Reason::TokenInvalid, Code::Unauthenticated, "TOKEN_INVALID", invalid),
            (Reason::TokenAudience, Code::Unauthenticated, "TOKEN_AUDIENCE", invalid),
            (Reason::CredentialsRevoked, Code::Unauthenticated, "CREDENTIALS_REVOKED", invalid),
            (Reason::PolicyDenied, Code::PermissionDenied, "POLICY_DENIED", None),
            (Reason::VerifierUnavailable, Code::Unavailable, "VERIFIER_UNAVAILABLE", None),
        ] {
            let response = denied(reason, "application/grpc+proto");
            let told = response.headers().get(WWW_AUTHENTICATE).map(HeaderValue::as_bytes);
            assert_eq!(told, challenge.map(str::as_bytes), "{name}");
            let status = Status::from_header_map(response.headers()).expect("a gRPC status");
            assert_eq!(status.code(), code, "{name}");
            let info = status.get_details_error_info().expect("ErrorInfo");
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (name, "countersign"));
            assert_eq!(info.metadata["decision"], "0707070707070707");
            let retry = status.get_details_retry_info().is_some();
            assert_eq!(retry, reason == Reason::VerifierUnavailable, "{name}");
            assert!(status.details().len() <= 1024);
        }
    }

    #[test]
    fn callers_that_are_not_grpc_get_https_own_status() {
        let response = denied(Reason::TokenInvalid, "application/json");
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
        assert!(response.headers().contains_key(WWW_AUTHENTICATE));
        assert_eq!(denied(Reason::PolicyDenied, "text/html").status(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn foreign_text_is_shortened_and_escaped_for_the_log() {
        assert_eq!(shortened("a\nb"), "a\\u{a}b");
        assert_eq!(shortened(&"x".repeat(500)).chars().count(), 201);
    }
}
