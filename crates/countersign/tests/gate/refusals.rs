use countersign::authentication::{AuthenticationError, Evidence, EvidenceKinds, Outcome, Reason};
use countersign::{Authenticator, Gate, MutualTls, Rules};
use countersign_testkit::greeter::SAY_HELLO;
use countersign_testkit::pki::CertificateAuthority;
use http::StatusCode;
use tonic::Code;
use tonic_types::StatusExt;

use super::scripted::{Scripted, only_good};
use super::support::{
    RawClient, behind_tls, challenges_of, channel, collect_logs, decision_of, empty_message,
    grpc_request, identity, trusting,
};
use super::{BAD_BEARER, BEARER, RESET, behind, gate, greet};

#[tokio::test]
async fn each_reason_has_its_status_its_challenge_and_its_place_in_the_log() {
    use Code::{PermissionDenied, Unauthenticated, Unavailable};
    macro_rules! refusing {
        ($reason:ident) => {
            (Reason::$reason, |_: &str| {
                Err(AuthenticationError::new(Reason::$reason, "detail of it"))
            })
        };
    }
    type Verdict = fn(&str) -> Result<&'static str, AuthenticationError>;
    let rows: [((Reason, Verdict), Code, Option<&str>); 11] = [
        (refusing!(CredentialsMissing), Unauthenticated, Some("")),
        (refusing!(CredentialsMalformed), Unauthenticated, Some("invalid_request")),
        (refusing!(TokenExpired), Unauthenticated, Some("invalid_token")),
        (refusing!(TokenNotYetValid), Unauthenticated, Some("invalid_token")),
        (refusing!(TokenInvalid), Unauthenticated, Some("invalid_token")),
        (refusing!(TokenAudience), Unauthenticated, Some("invalid_token")),
        (refusing!(CredentialsRevoked), Unauthenticated, Some("invalid_token")),
        (refusing!(ProofRequired), Unauthenticated, Some("invalid_token")),
        (refusing!(StepUp), Unauthenticated, Some("insufficient_user_authentication")),
        (refusing!(PolicyDenied), PermissionDenied, None),
        (refusing!(VerifierUnavailable), Unavailable, None),
    ];
    for ((reason, verdict), code, challenge) in rows {
        let logs = collect_logs();
        let gate = Gate::builder()
            .authenticate(Scripted::judging("scripted", verdict))
            .authorize(Rules::new().authenticated(SAY_HELLO))
            .realm("orders");
        let (server, _) = behind(gate.build().expect("a gate")).await;
        let answer = RawClient::connect(&server).await.call(SAY_HELLO, &[BEARER]).await;
        assert_eq!(answer.status, StatusCode::OK, "{reason}: always a gRPC response");
        let status = answer.grpc();
        assert_eq!(status.code(), code, "{reason}");
        let info = status.get_details_error_info().expect("ErrorInfo");
        assert_eq!((&*info.reason, &*info.domain), (reason.as_str(), "countersign"));
        let challenge = challenge.map(|error| match error {
            "" => "Bearer realm=\"orders\"".to_owned(),
            _ => format!("Bearer realm=\"orders\", error=\"{error}\""),
        });
        assert_eq!(challenges_of(&status), Vec::from_iter(challenge), "{reason}");

        // The peer learns the class; the operator finds the reason under the same ID.
        let decision = decision_of(&status).expect("a decision ID");
        assert!(decision.len() == 16 && decision.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(
            !answer.without_decision().contains("detail of it"),
            "{}",
            answer.without_decision()
        );
        let lines = logs.lines_with(&decision);
        let [line] = lines.as_slice() else { panic!("{reason}: {}", logs.text()) };
        for part in [reason.as_str(), "detail of it", SAY_HELLO, "peer=127.0.0.1:"] {
            assert!(line.contains(part), "{reason}: {part} is not in {line}");
        }
    }
}

#[tokio::test]
async fn the_log_names_the_rule_and_the_caller_that_the_refused_one_is_not_told() {
    let logs = collect_logs();
    let (server, _) = behind(gate(Rules::new().denied("/countersign.*/Re*"))).await;
    let mut client = RawClient::connect(&server).await;
    let answer = client.call(RESET, &[BEARER]).await;
    let (status, text) = (answer.grpc(), answer.without_decision());
    assert_eq!(status.message(), "the caller may not call this method");
    assert!(!text.contains("Re*") && !text.contains("ci\""), "{text}");
    let [line] = &logs.lines_with(&decision_of(&status).expect("an ID"))[..] else {
        panic!("{}", logs.text())
    };
    for part in ["POLICY_DENIED", "rule=\"/countersign.*/Re*\"", "caller=\"ci\""] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
    // Each decision has its own.
    let again = client.call(RESET, &[BEARER]).await.grpc();
    assert_ne!(decision_of(&again), decision_of(&status));
}

#[tokio::test]
async fn a_known_caller_fills_no_disk_and_silences_no_stranger() {
    let logs = collect_logs();
    let (server, _) = behind(gate(Rules::new().denied(RESET))).await;
    let mut client = RawClient::connect(&server).await;
    let begin = std::time::Instant::now();
    for _ in 0..1_000 {
        assert_eq!(client.call(RESET, &[BEARER]).await.grpc().code(), Code::PermissionDenied);
    }
    let seconds = begin.elapsed().as_secs() as usize + 1;
    let told = |reason: &str| {
        let lines = logs.lines_with(reason);
        lines.iter().filter(|line| line.contains("INFO") && line.contains("withheld=")).count()
    };
    let known = told("POLICY_DENIED");
    assert!((100..=100 + 10 * seconds).contains(&known), "{known} lines in {seconds} s");
    // What was withheld is still there for who looks closer.
    assert_eq!(logs.lines_with("POLICY_DENIED").len(), 1_000);
    client.call(RESET, &[BAD_BEARER]).await;
    assert_eq!(told("TOKEN_INVALID"), 1);
}

#[tokio::test]
async fn what_a_caller_writes_is_shortened_in_the_log_and_begins_no_line_of_its_own() {
    let logs = collect_logs();
    let ca = CertificateAuthority::new("test CA");
    let (server, _) = behind_tls(&ca, &gate(Rules::new())).await;
    for (name, subject) in [
        ("long", "x".repeat(4_000)),
        ("two lines", "alice\n INFO countersign: forged".to_owned()),
        ("a terminal's escapes", "alice\u{1b}[2J".to_owned()),
    ] {
        let certificate = ca.issue().common_name(&subject).for_client().build();
        let channel = channel(&server, trusting(&ca).identity(identity(&certificate))).await;
        let status = greet(&channel, &[]).await.expect_err("no rule");
        let [line] = &logs.lines_with(&decision_of(&status).expect("an ID"))[..] else {
            panic!("{name}: {}", logs.text())
        };
        assert!(line.contains("subject:CN=") && line.len() < 1_000, "{name}: {line}");
        assert!(line.contains("a call was refused"), "{name}: {line}");
        assert!(!line.contains('\u{1b}'), "{name}: {line}");
    }
    assert_eq!(logs.lines_with("forged").len(), 1);

    let path = format!("/x/{}", "y".repeat(900));
    let (server, _) = behind(gate(Rules::new())).await;
    let answer = RawClient::connect(&server).await.call(&path, &[]).await;
    let [line] = &logs.lines_with(&decision_of(&answer.grpc()).expect("an ID"))[..] else {
        panic!("{}", logs.text())
    };
    assert!(line.contains("/x/yyy") && line.len() < 1_000, "{line}");
}

#[tokio::test]
async fn every_scheme_that_could_help_is_a_challenge_and_each_only_once() {
    #[derive(Debug)]
    struct Named(&'static str, &'static str);
    impl Authenticator for Named {
        fn name(&self) -> &str {
            self.0
        }
        fn reads(&self) -> EvidenceKinds {
            EvidenceKinds { authorization: true, ..EvidenceKinds::default() }
        }
        fn authenticate_now(&self, _evidence: &Evidence<'_>) -> Option<Outcome> {
            Some(Ok(None))
        }
        fn challenges(&self) -> &[&'static str] {
            std::slice::from_ref(&self.1)
        }
    }
    let gate = Gate::builder()
        .authenticate(Named("a", "DPoP"))
        .authenticate(Named("b", "Bearer"))
        .authenticate(Named("c", "Bearer"))
        .authenticate(MutualTls::new());
    let (server, _) = behind(gate.build().expect("a gate")).await;
    let status = RawClient::connect(&server).await.call(SAY_HELLO, &[]).await.grpc();
    assert_eq!(challenges_of(&status), ["DPoP realm=\"grpc\"", "Bearer realm=\"grpc\""]);
}

#[tokio::test]
async fn callers_that_are_not_grpc_get_https_own_status_with_the_same_challenge() {
    let down = Scripted::judging("down", |token| match token {
        "down" => Err(AuthenticationError::unavailable("the store is down")),
        _ => only_good(token),
    });
    let gate = Gate::builder().authenticate(down).authorize(Rules::new().denied(RESET));
    let (server, reached) = behind(gate.build().expect("a gate")).await;
    let mut client = RawClient::connect(&server).await;
    let down = ("authorization", "Bearer down");
    for (name, path, metadata, status, code) in [
        ("nobody", SAY_HELLO, None, StatusCode::UNAUTHORIZED, Code::Unauthenticated),
        ("bad token", RESET, Some(BAD_BEARER), StatusCode::UNAUTHORIZED, Code::Unauthenticated),
        ("known", RESET, Some(BEARER), StatusCode::FORBIDDEN, Code::PermissionDenied),
        ("unknown", RESET, Some(down), StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable),
        ("no method", "/favicon.ico", None, StatusCode::NOT_FOUND, Code::Unimplemented),
    ] {
        for content_type in [Some("application/json"), Some("text/html"), None] {
            let mut request = grpc_request(path);
            request.headers_mut().expect("headers").remove("content-type");
            if let Some((key, value)) = metadata {
                request = request.header(key, value);
            }
            if let Some(content_type) = content_type {
                request = request.header("content-type", content_type);
            }
            let answer = client.send(request.body(empty_message()).expect("a request")).await;
            assert_eq!(answer.status, status, "{name}");
            assert!(!answer.headers.contains_key("grpc-status"), "{name}");
            let challenged = answer.headers.contains_key("www-authenticate");
            assert_eq!(challenged, status == StatusCode::UNAUTHORIZED, "{name}");
        }
        let answer = client.call(path, &Vec::from_iter(metadata)).await;
        assert_eq!((answer.status, answer.grpc().code()), (StatusCode::OK, code), "{name}");
    }
    assert_eq!(reached.count(), 0);
}
