//! Every outcome of a call that does not pass, as its caller sees it: a row for each of the table
//! in the book.

#[path = "support/reached.rs"]
mod support;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use countersign::authentication::{
    AuthenticationError, CallEvidence, CallTarget, Evidence, EvidenceKinds, Outcome, Proof, Reason,
};
use countersign::identity::{MethodPath, TokenClaims};
use countersign::{Authenticator, Gate, Principal, Rules, ServerCredentials};
use countersign_testkit::greeter::SAY_HELLO;
use http::StatusCode;
use support::{
    RawClient, Reached, Served, challenges_of, collect_logs, decision_of, empty_message, greeter,
    grpc_request, keep_logs_awake, serve,
};
use tonic::Code;
use tonic_types::StatusExt;
use tower_layer::Layer;

const RESET: &str = "/countersign.demo.v1.Greeter/Reset";
const NOWHERE: &str = "/no.such.Service/Method";

type Verdict = fn() -> AuthenticationError;

/// Accepts `good` with one scope and `better` with two, and gives every other token the verdict.
#[derive(Debug)]
struct Judge {
    verdict: Verdict,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Authenticator for Judge {
    fn name(&self) -> &str {
        "judge"
    }

    fn reads(&self) -> EvidenceKinds {
        EvidenceKinds { authorization: true, ..EvidenceKinds::default() }
    }

    fn authenticate_now(&self, evidence: &Evidence<'_>) -> Option<Outcome> {
        let proof = match evidence.proof() {
            Proof::None => "no proof".to_owned(),
            Proof::One(text) => format!("proof {text}"),
            Proof::Malformed => "malformed proof".to_owned(),
        };
        let target = evidence.target();
        let target = target.map(|CallTarget { authority, path }| format!("{authority}{path}"));
        let seen = format!("{proof} for {}", target.unwrap_or_default());
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
        Some(match evidence.call() {
            CallEvidence::Bearer(token @ ("good" | "better")) => {
                let scope = if token == "good" { "read" } else { "write read" };
                let claims = serde_json::Map::from_iter([("scope".to_owned(), scope.into())]);
                let claims = TokenClaims::from_object(claims);
                Ok(Some(evidence.accept(Principal::with_token("ci", "judge", claims))))
            }
            CallEvidence::None => Ok(None),
            _ => Err((self.verdict)()),
        })
    }

    fn challenges(&self) -> &[&'static str] {
        &["Bearer", "DPoP"]
    }
}

fn judge(verdict: Verdict) -> Judge {
    Judge { verdict, seen: Arc::default() }
}

async fn behind(judge: Judge) -> (Served, Reached) {
    keep_logs_awake();
    let rules = Rules::new().with_scopes(SAY_HELLO, ["read", "write"]).denied(RESET);
    let gate = Gate::builder().authenticate(judge).authorize(rules.authenticated(NOWHERE));
    let reached = Reached::default();
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let service = gate.build().expect("a gate").layer(greeter(&reached));
    (serve(incoming, service), reached)
}

struct Row {
    name: &'static str,
    path: &'static str,
    authorization: Option<&'static str>,
    verdict: Verdict,
    code: Code,
    http: StatusCode,
    reason: &'static str,
    /// After scheme and realm, for both schemes.
    challenge: Option<&'static str>,
    /// Instead of `challenge`.
    only_dpop: Option<&'static str>,
    retry_millis: Option<Range<u128>>,
    nonce: Option<&'static str>,
}

const TOKEN: Row = Row {
    name: "",
    path: SAY_HELLO,
    authorization: Some("Bearer some"),
    verdict: || AuthenticationError::new(Reason::TokenInvalid, "detail of it"),
    code: Code::Unauthenticated,
    http: StatusCode::UNAUTHORIZED,
    reason: "",
    challenge: Some(", error=\"invalid_token\""),
    only_dpop: None,
    retry_millis: None,
    nonce: None,
};

const KNOWN: Row = Row {
    authorization: Some("Bearer good"),
    code: Code::PermissionDenied,
    http: StatusCode::FORBIDDEN,
    challenge: None,
    ..TOKEN
};

const UNCHALLENGED: Row = Row { challenge: None, ..TOKEN };

macro_rules! verdict {
    ($reason:ident $(, $with:ident($argument:expr))*) => {
        || AuthenticationError::new(Reason::$reason, "detail of it")$(.$with($argument))*
    };
}

#[rustfmt::skip]
const TABLE: &[Row] = &[
    Row { name: "no credential", authorization: None, reason: "CREDENTIALS_MISSING", challenge: Some(""), ..TOKEN },
    Row { name: "nobody, and a rule says no", path: RESET, authorization: None, reason: "CREDENTIALS_MISSING", challenge: Some(""), ..TOKEN },
    Row { name: "nobody, and no such method", path: NOWHERE, authorization: None, reason: "CREDENTIALS_MISSING", challenge: Some(""), ..TOKEN },
    Row { name: "garbage", authorization: Some("garbage"), reason: "CREDENTIALS_MALFORMED", challenge: Some(", error=\"invalid_request\""), ..TOKEN },
    Row { name: "expired", verdict: verdict!(TokenExpired), reason: "TOKEN_EXPIRED", ..TOKEN },
    Row { name: "not yet valid", verdict: verdict!(TokenNotYetValid), reason: "TOKEN_NOT_YET_VALID", ..TOKEN },
    Row {
        name: "not yet valid, but soon",
        verdict: verdict!(TokenNotYetValid, with_retry_after(Duration::from_millis(4_999))),
        reason: "TOKEN_NOT_YET_VALID", retry_millis: Some(4_999..5_000), ..TOKEN
    },
    Row {
        name: "not yet valid, and not soon",
        verdict: verdict!(TokenNotYetValid, with_retry_after(Duration::from_secs(5))),
        reason: "TOKEN_NOT_YET_VALID", ..TOKEN
    },
    Row { name: "invalid", reason: "TOKEN_INVALID", ..TOKEN },
    Row {
        name: "invalid is invalid later too",
        verdict: verdict!(TokenInvalid, with_retry_after(Duration::from_secs(1))),
        reason: "TOKEN_INVALID", ..TOKEN
    },
    Row { name: "wrong audience", verdict: verdict!(TokenAudience), reason: "TOKEN_AUDIENCE", ..TOKEN },
    Row { name: "revoked", verdict: verdict!(CredentialsRevoked), reason: "CREDENTIALS_REVOKED", ..TOKEN },
    Row { name: "no proof", verdict: verdict!(ProofRequired), reason: "PROOF_REQUIRED", ..TOKEN },
    Row { name: "bad proof", verdict: verdict!(ProofInvalid), reason: "PROOF_INVALID", only_dpop: Some("invalid_dpop_proof"), ..TOKEN },
    Row {
        name: "a proof without our nonce",
        verdict: verdict!(ProofNonce, with_nonce("n-0S6_WzA2Mj")),
        reason: "PROOF_NONCE", only_dpop: Some("use_dpop_nonce"), nonce: Some("n-0S6_WzA2Mj"), ..TOKEN
    },
    Row { name: "a nonce that fits no header", verdict: verdict!(ProofNonce, with_nonce("a\nb")), reason: "PROOF_NONCE", only_dpop: Some("use_dpop_nonce"), ..TOKEN },
    Row { name: "step up", verdict: verdict!(StepUp), reason: "STEP_UP", challenge: Some(", error=\"insufficient_user_authentication\""), ..TOKEN },
    Row { name: "known, and a rule says no", path: RESET, reason: "POLICY_DENIED", ..KNOWN },
    Row { name: "known, and there is no rule", path: "/x.Y/Z", reason: "POLICY_DENIED", ..KNOWN },
    Row { name: "known, and a scope is missing", reason: "INSUFFICIENT_SCOPE", challenge: Some(", error=\"insufficient_scope\", scope=\"read write\""), ..KNOWN },
    Row {
        name: "nobody can tell",
        verdict: verdict!(VerifierUnavailable),
        code: Code::Unavailable, http: StatusCode::SERVICE_UNAVAILABLE,
        reason: "VERIFIER_UNAVAILABLE", retry_millis: Some(1_000..5_001), ..UNCHALLENGED
    },
    Row {
        name: "too many",
        verdict: verdict!(RateLimited, with_retry_after(Duration::from_secs(7))),
        code: Code::ResourceExhausted, http: StatusCode::TOO_MANY_REQUESTS,
        reason: "RATE_LIMITED", retry_millis: Some(7_000..7_001), ..UNCHALLENGED
    },
    Row {
        name: "rules out of order",
        verdict: verdict!(PolicyError),
        code: Code::Internal, http: StatusCode::INTERNAL_SERVER_ERROR,
        reason: "POLICY_ERROR", ..UNCHALLENGED
    },
];

fn expected_challenges(row: &Row) -> Vec<String> {
    if let Some(error) = row.only_dpop {
        return vec![format!("DPoP realm=\"grpc\", error=\"{error}\"")];
    }
    let each = |rest: &str| ["Bearer", "DPoP"].map(|it| format!("{it} realm=\"grpc\"{rest}"));
    row.challenge.map(|rest| each(rest).to_vec()).unwrap_or_default()
}

#[tokio::test]
async fn each_outcome_has_its_row() {
    for row in TABLE {
        let logs = collect_logs();
        let (server, reached) = behind(judge(row.verdict)).await;
        let mut client = RawClient::connect(&server).await;
        let metadata: Vec<_> =
            row.authorization.map(|it| ("authorization", it)).into_iter().collect();
        let answer = client.call(row.path, &metadata).await;
        let name = row.name;
        assert_eq!(answer.status, StatusCode::OK, "{name}");
        assert!(answer.body.is_empty() && answer.trailers.is_empty(), "{name}: trailers only");
        let status = answer.grpc();
        assert_eq!(status.code(), row.code, "{name}");
        assert!(!status.message().is_empty() && !status.message().contains("detail"), "{name}");
        assert!(status.details().len() <= 1024, "{name}");
        let info = status.get_details_error_info().expect("ErrorInfo");
        assert_eq!((&*info.reason, &*info.domain), (row.reason, "countersign"), "{name}");
        assert_eq!(challenges_of(&status), expected_challenges(row), "{name}");
        let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
        match &row.retry_millis {
            Some(range) => {
                let delay = retry.expect(name).as_millis();
                assert!(range.contains(&delay), "{name}: {delay}");
            }
            None => assert_eq!(retry, None, "{name}"),
        }
        let nonce = answer.headers.get("dpop-nonce").map(|value| value.to_str().expect("ASCII"));
        assert_eq!(nonce, row.nonce, "{name}");
        let decision = decision_of(&status).expect("a decision");
        let [line] = &logs.lines_with(&decision)[..] else { panic!("{name}: {}", logs.text()) };
        assert!(line.contains(row.reason), "{name}: {line}");
        assert_eq!(reached.count(), 0, "{name}");

        // The same for whoever does not speak gRPC.
        let mut request = grpc_request(row.path);
        request.headers_mut().expect("headers").remove("content-type");
        for (key, value) in metadata {
            request = request.header(key, value);
        }
        let answer = client.send(request.body(empty_message()).expect("a request")).await;
        assert_eq!(answer.status, row.http, "{name}");
        assert!(!answer.headers.contains_key("grpc-status"), "{name}");
        let told: Vec<_> = answer.headers.get_all("www-authenticate").iter().cloned().collect();
        assert_eq!(told, expected_challenges(row), "{name}");
        let nonce = answer.headers.get("dpop-nonce").map(|value| value.to_str().expect("ASCII"));
        assert_eq!(nonce, row.nonce, "{name}");
    }
}

#[tokio::test]
async fn every_reason_that_an_authenticator_can_give_is_in_the_table() {
    for reason in [
        "CREDENTIALS_MISSING",
        "CREDENTIALS_MALFORMED",
        "TOKEN_EXPIRED",
        "TOKEN_NOT_YET_VALID",
        "TOKEN_INVALID",
        "TOKEN_AUDIENCE",
        "CREDENTIALS_REVOKED",
        "PROOF_REQUIRED",
        "PROOF_INVALID",
        "PROOF_NONCE",
        "STEP_UP",
        "POLICY_DENIED",
        "INSUFFICIENT_SCOPE",
        "RATE_LIMITED",
        "POLICY_ERROR",
        "VERIFIER_UNAVAILABLE",
    ] {
        assert!(TABLE.iter().any(|row| row.reason == reason), "{reason}");
    }
}

#[tokio::test]
async fn a_token_with_every_scope_passes_and_one_that_lacks_one_does_not() {
    let (server, reached) = behind(judge(TOKEN.verdict)).await;
    let mut client = RawClient::connect(&server).await;
    for (token, code) in [("Bearer better", Code::Ok), ("Bearer good", Code::PermissionDenied)] {
        let answer = client.call(SAY_HELLO, &[("authorization", token)]).await;
        assert_eq!(answer.grpc().code(), code, "{token}");
    }
    assert_eq!(reached.count(), 1);
}

#[tokio::test]
async fn after_authentication_a_method_that_is_not_there_is_unimplemented() {
    let (server, _) = behind(judge(TOKEN.verdict)).await;
    let mut client = RawClient::connect(&server).await;
    let answer = client.call(NOWHERE, &[("authorization", "Bearer good")]).await;
    assert_eq!(answer.grpc().code(), Code::Unimplemented);
    let answer = client.call(NOWHERE, &[("authorization", "Bearer some")]).await;
    assert_eq!(answer.grpc().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn an_authenticator_sees_the_proof_and_what_the_call_is_addressed_to() {
    let path = MethodPath::parse(SAY_HELLO).expect("canonical");
    for (name, proofs, told) in [
        ("none", &[][..], "no proof"),
        ("one", &[("dpop", "a.b.c")], "proof a.b.c"),
        ("two", &[("dpop", "a.b.c"), ("dpop", "a.b.c")], "malformed proof"),
    ] {
        let judge = judge(TOKEN.verdict);
        let seen = Arc::clone(&judge.seen);
        let (server, _) = behind(judge).await;
        let mut client = RawClient::connect(&server).await;
        let metadata = [&[("authorization", "DPoP some")], proofs].concat();
        client.call(SAY_HELLO, &metadata).await;
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert_eq!(seen, [format!("{told} for localhost{path}")], "{name}");
    }
    // HTTP/1 has no `:authority`, and what is not text is no proof.
    let judge = judge(TOKEN.verdict);
    let seen = Arc::clone(&judge.seen);
    let gate = Gate::builder().authenticate(judge).build().expect("a gate");
    let binary = http::HeaderValue::from_bytes(b"\xff").expect("HTTP allows it");
    let request = http::Request::post(SAY_HELLO)
        .header("host", "orders.example:8443")
        .header("authorization", "DPoP some")
        .header("dpop", binary)
        .body(tonic::body::Body::empty())
        .expect("a request");
    let reached = Reached::default();
    let response = tower_service::Service::call(&mut gate.layer(greeter(&reached)), request).await;
    assert_eq!(response.expect("an answer").status(), StatusCode::UNAUTHORIZED);
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(seen, [format!("malformed proof for orders.example:8443{path}")]);
}
