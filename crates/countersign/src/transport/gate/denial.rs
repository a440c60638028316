//! What a caller is told when the gate says no: always a proper gRPC response, with a fixed
//! text, and never the reason's details.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use tonic::{Code, Status};

use super::challenge::Challenge;
use super::decision::Refusal;
use super::details::{ID_LENGTH, Template};
use super::metering::tell_limit;
use crate::audit::clean;
use crate::authentication::Reason;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
/// Where a value for the next proof stands (RFC 9449 §8.1).
pub(super) const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Names one decision, to the caller and in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DecisionId([u8; ID_LENGTH]);

/// Gives decisions their names: a keyed hash of a count, so that none comes twice from one gate
/// and nobody learns from a name how many there were.
#[derive(Debug, Default)]
pub(super) struct DecisionIds {
    key: RandomState,
    count: AtomicU64,
}

impl DecisionIds {
    pub(super) fn next(&self) -> DecisionId {
        DecisionId::of(self.key.hash_one(self.count.fetch_add(1, Ordering::Relaxed)))
    }
}

impl DecisionId {
    fn of(number: u64) -> Self {
        let digit = |at: usize| b"0123456789abcdef"[(number >> (60 - 4 * at)) as usize & 0xf];
        Self(std::array::from_fn(digit))
    }

    /// Its digits.
    pub(super) fn bytes(&self) -> [u8; ID_LENGTH] {
        self.0
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("hexadecimal digits")
    }

    /// A number between zero and one that differs from one decision to the next.
    fn jitter(&self) -> f64 {
        let [high, low] = [self.0[0], self.0[1]]
            .map(|digit| char::from(digit).to_digit(16).map_or(0.0, f64::from));
        (high * 16.0 + low) / 255.0
    }
}

impl std::fmt::Display for DecisionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The code and the text of each class. One match, complete, so that a new class has to choose.
pub(super) fn face(reason: Reason) -> (Code, &'static str) {
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
        Reason::AuditUnavailable => {
            (Code::Unavailable, "the call cannot be put on record at the moment")
        }
        Reason::QuotaUnavailable => (Code::Unavailable, "calls cannot be counted at the moment"),
    }
}

/// Everything that can be said before it is known to whom.
#[derive(Debug)]
pub(super) struct Denials {
    challenge: Challenge,
    /// In the order of [`Reason::ALL`], which is the order that they are declared in.
    faces: Vec<Face>,
}

/// One reason's status, ready to be sent.
#[derive(Debug)]
struct Face {
    code: Code,
    status: HeaderValue,
    message: HeaderValue,
    details: Template,
}

impl Face {
    fn of(reason: Reason) -> Self {
        let (code, text) = face(reason);
        Self {
            code,
            status: HeaderValue::from(code as i32),
            // Nothing in it that `grpc-message` would have to escape.
            message: HeaderValue::from_static(text),
            details: Template::new(code as i32, text, reason.as_str()),
        }
    }
}

impl Denials {
    pub(super) fn new(challenge: Challenge) -> Self {
        let faces = Reason::ALL.into_iter().map(Face::of).collect();
        Self { challenge, faces }
    }

    /// A denial as the caller gets it.
    pub(super) fn response(
        &self,
        request: &HeaderMap,
        refusal: &Refusal,
        decision: DecisionId,
    ) -> http::Response<()> {
        let mut response = http::Response::new(());
        // For what is put in here, without growing on the way.
        let mut headers = HeaderMap::with_capacity(8);
        let face = self.face(refusal.reason);
        if is_grpc(request) {
            headers.insert(CONTENT_TYPE, GRPC);
            self.write_status(refusal, decision, &mut headers);
        } else {
            *response.status_mut() = http_status(face.code);
        }
        self.challenge.add(refusal.reason, &refusal.scopes, &mut headers);
        if let Some(exceeded) = &refusal.exceeded {
            tell_limit(exceeded, &mut headers);
        }
        if let Some(nonce) = refusal.nonce.as_deref().and_then(|text| text.parse().ok()) {
            headers.insert(DPOP_NONCE, nonce);
        }
        *response.headers_mut() = headers;
        response
    }

    /// A call that was let pass and ends before its handler has answered. Such calls are gRPC, or
    /// as good as.
    pub(super) fn late_response(
        &self,
        refusal: &Refusal,
        decision: DecisionId,
    ) -> http::Response<()> {
        let mut response = http::Response::new(());
        *response.headers_mut() = self.trailers(refusal, decision);
        response.headers_mut().insert(CONTENT_TYPE, GRPC);
        response
    }

    /// The trailers of a stream that ends by a refusal.
    pub(super) fn trailers(&self, refusal: &Refusal, decision: DecisionId) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        self.write_status(refusal, decision, &mut headers);
        self.challenge.add(refusal.reason, &refusal.scopes, &mut headers);
        headers
    }

    /// The same as a handler's error.
    pub(super) fn status(&self, refusal: &Refusal, decision: DecisionId) -> Status {
        let trailers = self.trailers(refusal, decision);
        Status::from_header_map(&trailers).expect("it has a status")
    }

    fn write_status(&self, refusal: &Refusal, decision: DecisionId, headers: &mut HeaderMap) {
        let face = self.face(refusal.reason);
        headers.insert(Status::GRPC_STATUS, face.status.clone());
        headers.insert(Status::GRPC_MESSAGE, face.message.clone());
        let retry = retry_after(refusal, decision);
        let details = face.details.fill(&decision.0, retry, refusal.exceeded.as_deref());
        headers.insert(Status::GRPC_STATUS_DETAILS, details);
    }

    fn face(&self, reason: Reason) -> &Face {
        &self.faces[reason as usize]
    }
}

/// When the same call may be made again, where that is worth saying.
fn retry_after(refusal: &Refusal, decision: DecisionId) -> Option<Duration> {
    const SHORT: Duration = Duration::from_secs(5);
    match refusal.reason {
        // Callers come back one to five seconds later, not all at once.
        Reason::VerifierUnavailable | Reason::AuditUnavailable | Reason::QuotaUnavailable => {
            Some(Duration::from_secs_f64(1.0 + 4.0 * decision.jitter()))
        }
        Reason::RateLimited => refusal.retry_after,
        // A clock that is a little ahead; by more it is no matter of waiting.
        Reason::TokenNotYetValid => refusal.retry_after.filter(|after| *after < SHORT),
        _ => None,
    }
}

/// The answer to a `:path` that is not a method's one spelling, whoever asks.
pub(super) fn not_canonical(request: &HeaderMap) -> http::Response<()> {
    let mut response = http::Response::new(());
    if is_grpc(request) {
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, GRPC);
        headers.insert(Status::GRPC_STATUS, HeaderValue::from(Code::Unimplemented as i32));
        let message = HeaderValue::from_static("malformed method name");
        headers.insert(Status::GRPC_MESSAGE, message);
    } else {
        *response.status_mut() = http_status(Code::Unimplemented);
    }
    response
}

/// Not a gRPC caller: HTTP's own status is what it understands.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::NOT_FOUND,
    }
}

fn is_grpc(request: &HeaderMap) -> bool {
    request.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// A piece of foreign text as it goes into a log line: no longer than that, and nothing in it that
/// nobody sees or that changes how the rest is seen, as in the audit.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = 200;
    clean(text, MOST).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::header::WWW_AUTHENTICATE;
    use tonic_types::StatusExt;

    use super::*;
    use crate::authentication::{Authenticator, StaticTokens};

    fn denials() -> Denials {
        let authenticators: Vec<Arc<dyn Authenticator>> = vec![Arc::new(StaticTokens::new())];
        Denials::new(Challenge::new(&authenticators, "grpc"))
    }

    fn denied(reason: Reason, content_type: &str) -> http::Response<()> {
        let mut request = HeaderMap::new();
        request.insert(CONTENT_TYPE, content_type.parse().expect("a value"));
        let decision = DecisionId::of(0x0707_0707_0707_0707);
        denials().response(&request, &Refusal::new(reason, "a detail"), decision)
    }

    #[test]
    fn every_reason_has_its_own_face_and_a_text_that_needs_no_escaping() {
        let denials = denials();
        for (at, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{reason}");
            let (code, text) = face(reason);
            assert_eq!(denials.face(reason).code, code);
            assert!(text.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'%'), "{text}");
        }
    }

    #[test]
    fn no_two_decisions_have_one_name() {
        let ids = DecisionIds::default();
        let names: std::collections::HashSet<String> =
            (0..1_000).map(|_| ids.next().to_string()).collect();
        assert_eq!(names.len(), 1_000);
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_hexdigit())));
    }

    #[test]
    fn a_decisions_name_is_its_number_in_hexadecimal_digits() {
        for number in [0, 1, 0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, u64::MAX] {
            assert_eq!(DecisionId::of(number).to_string(), format!("{number:016x}"));
        }
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
        assert_eq!(shortened("/a.B/C of grüße"), "/a.B/C of grüße");
        assert_eq!(shortened("a\nb"), "a\\u{a}b");
        // Seen as `admin` by a terminal that knows how Hebrew is written.
        assert_eq!(shortened("\u{202e}nimda"), "\\u{202e}nimda");
        assert_eq!(shortened("a\u{2028}b ad\u{200b}min"), "a\\u{2028}b ad\\u{200b}min");
        assert_eq!(shortened(&"x".repeat(500)).chars().count(), 201);
    }
}
