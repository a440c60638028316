//! One event for each decision.

use std::time::{Duration, SystemTime};

use countersign::audit::{Audit, AuditCondition, SinkOptions, WhenFull};
use countersign::quota::{Limit, Quota};
use countersign::{
    ChannelCredentials, Gate, MutualTls, Rules, ServerCredentials, SystemClock, connect,
};
use countersign_testkit::clock::ManualClock;
use countersign_testkit::greeter::proto::HelloRequest;
use countersign_testkit::greeter::{GreeterClient, SAY_HELLO};
use countersign_testkit::pki::CertificateAuthority;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower_layer::Layer;

use super::handlers::Endless;
use super::kit::{ALICE, BAD, OPEN, RESET, SOON, Sink, Tokens, behind, builder, one, rules, told};
use super::support::{
    RawClient, behind_tls, collect_logs, decision_of, empty_message, grpc_request, identity,
    reason_of, serve, trusting,
};

const REQUEST_ID: (&str, &str) = ("x-request-id", "6f1c9a52-7f0e-4f7e-9a51-0d8f2e7b6c11");
const TRACE: (&str, &str) =
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");

/// Takes out what differs from run to run, and checks it.
fn without_accidents(mut event: Value) -> Value {
    let fields = event.as_object_mut().expect("an object");
    let id = fields.remove("id").expect("an ID");
    assert_eq!(id.as_str().map(str::len), Some(16), "{id}");
    assert!(fields.remove("latency_ns").is_some_and(|ns| ns.is_u64()));
    let peer = fields.remove("peer").expect("a peer");
    assert!(peer.as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{peer}");
    event
}

#[tokio::test]
async fn each_decision_makes_one_event_under_the_id_that_its_caller_got() {
    for waits in [false, true] {
        let logs = collect_logs();
        let sink = Sink::default();
        let (audit, writer) = one(&sink);
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + Duration::new(1_795_951_207, 5));
        let gate = Gate::builder().authenticate(Tokens { waits, until: None }).authorize(rules());
        let (server, reached) = behind(gate.clock(clock).audit(&audit)).await;
        let mut client = RawClient::connect(&server).await;
        let refused = |reason: &str, detail: &str, status: &str| json!({"outcome": "refused", "reason": reason, "detail": detail, "status": status});
        let alice = json!({"principal": "alice", "authenticated_by": "tokens"});
        for (path, metadata, expected, more) in [
            (
                SAY_HELLO,
                &[ALICE, REQUEST_ID, TRACE][..],
                "Ok",
                &[
                    json!({
                        "outcome": "allowed", "rule": SAY_HELLO, "request_id": REQUEST_ID.1,
                        "trace_id": &TRACE.1[3..35], "span_id": &TRACE.1[36..52],
                    }),
                    alice.clone(),
                ][..],
            ),
            (
                SAY_HELLO,
                &[ALICE],
                "Ok",
                &[json!({"outcome": "allowed", "rule": SAY_HELLO}), alice.clone()],
            ),
            (OPEN, &[BAD], "Unimplemented", &[json!({"outcome": "allowed", "rule": OPEN})]),
            (
                SAY_HELLO,
                &[BAD],
                "Unauthenticated TOKEN_INVALID",
                &[refused("TOKEN_INVALID", "nobody knows it", "UNAUTHENTICATED")],
            ),
            (
                SAY_HELLO,
                &[],
                "Unauthenticated CREDENTIALS_MISSING",
                &[
                    refused(
                        "CREDENTIALS_MISSING",
                        "no credential was presented",
                        "UNAUTHENTICATED",
                    ),
                    json!({"rule": SAY_HELLO}),
                ],
            ),
            (
                RESET,
                &[ALICE],
                "PermissionDenied POLICY_DENIED",
                &[
                    refused("POLICY_DENIED", "the method has no rule", "PERMISSION_DENIED"),
                    alice.clone(),
                ],
            ),
        ] {
            let answer = client.call(path, metadata).await;
            assert_eq!(told(&answer), expected, "{path}");
            writer.flush(SOON).await.expect("written");
            let event = sink.events().pop().expect("an event");
            if let Some(decision) = decision_of(&answer.grpc()) {
                assert_eq!(event["id"], decision, "{path}");
                assert_eq!(logs.lines_with(&decision).len(), 1, "{path}");
            }
            let mut whole = json!({
                "schema": 1, "time": "2026-11-29T11:20:07.000000005Z", "method": path,
            });
            for part in more {
                let fields = part.as_object().expect("an object").clone();
                whole.as_object_mut().expect("an object").extend(fields);
            }
            assert_eq!(without_accidents(event), whole, "{path}, waits: {waits}");
        }
        assert_eq!((sink.events().len(), reached.count()), (6, 3));
        let ids: std::collections::HashSet<_> = sink.all("id").into_iter().collect();
        assert_eq!(ids.len(), 6);
    }
}

#[tokio::test]
async fn a_path_that_is_no_methods_is_on_record_without_its_query() {
    let sink = Sink::default();
    let (audit, writer) = one(&sink);
    let (server, reached) = behind(builder().audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    let query = format!("{SAY_HELLO}?access_token=alice-token");
    for path in [&*query, "//a.B/C", "/%61.B/C"] {
        let answer = client.call(path, &[ALICE]).await;
        assert_eq!(told(&answer), "Unimplemented", "{path}");
    }
    writer.flush(SOON).await.expect("written");
    assert_eq!(sink.all("method"), [SAY_HELLO, "//a.B/C", "/%61.B/C"]);
    for event in sink.events() {
        assert_eq!(
            (&event["outcome"], &event["status"]),
            (&json!("refused"), &json!("UNIMPLEMENTED"))
        );
        assert!(event["reason"].is_null() && event["principal"].is_null(), "{event}");
    }
    assert_eq!(reached.count(), 0);
}

#[tokio::test]
async fn a_certificate_is_on_record_by_its_hash_and_its_name() {
    let ca = CertificateAuthority::new("audit");
    let sink = Sink::default();
    let (audit, writer) = one(&sink);
    let gate = Gate::builder().authenticate(MutualTls::new()).authorize(rules()).audit(&audit);
    let (server, _) = behind_tls(&ca, &gate.build().expect("a gate")).await;
    let web = ca.client(&["spiffe://test/web"]);
    for tls in [trusting(&ca).identity(identity(&web)), trusting(&ca)] {
        let channel = connect(server.https("localhost"), ChannelCredentials::tls(tls)).await;
        let mut greeter = GreeterClient::new(channel.expect("connected"));
        // The second one is refused.
        drop(greeter.say_hello(HelloRequest { name: "you".to_owned() }).await);
    }
    writer.flush(SOON).await.expect("written");
    let [with, without] = &sink.events()[..] else { panic!("{:?}", sink.events()) };
    let hash = with["peer_certificate"].as_str().expect("a hash");
    assert_eq!(hash.strip_prefix("sha256:").map(str::len), Some(64), "{hash}");
    for (field, value) in [
        ("outcome", "allowed"),
        ("peer_name", "spiffe://test/web"),
        ("principal", "spiffe://test/web"),
        ("authenticated_by", "mutual-tls"),
    ] {
        assert_eq!(with[field], value);
    }
    assert_eq!(without["outcome"], "refused");
    assert!(without["peer_certificate"].is_null() && without["peer_name"].is_null());
}

#[tokio::test]
async fn a_call_over_quota_is_on_record_once_and_with_its_caller() {
    let sink = Sink::default();
    let (audit, writer) = one(&sink);
    let limit = Limit::new(1, Duration::from_secs(3600)).expect("a limit");
    let quota = Quota::new().per_caller(limit).expect("a quota");
    let (server, _) = behind(builder().quota(quota).audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    for expected in ["Ok", "ResourceExhausted RATE_LIMITED"] {
        assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), expected);
    }
    writer.flush(SOON).await.expect("written");
    assert_eq!(sink.all("reason"), ["", "RATE_LIMITED"]);
    assert_eq!(sink.all("principal"), ["alice", "alice"]);
    assert_eq!(sink.all("status"), ["", "RESOURCE_EXHAUSTED"]);
}

#[tokio::test]
async fn a_stream_that_ends_with_its_credential_has_a_second_event_that_names_the_first() {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_951_207);
    let clock = ManualClock::new(start);
    let sink = Sink::default();
    let (audit, writer) = one(&sink);
    let until = Some(start + Duration::from_secs(60));
    let gate = Gate::builder()
        .authenticate(Tokens { until, ..Tokens::default() })
        .authorize(rules())
        .clock(clock.clone())
        .recheck_streams_every(Duration::from_millis(100))
        .audit(&audit);
    let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
    let server = serve(incoming, gate.build().expect("a gate").layer(Endless));
    let mut client = RawClient::connect(&server).await;
    let request = grpc_request(SAY_HELLO).header(ALICE.0, ALICE.1);
    let request = request.header(REQUEST_ID.0, REQUEST_ID.1);
    let mut body =
        client.begin(request.body(empty_message()).expect("a request")).await.into_body();
    clock.advance(Duration::from_secs(60));
    let frame = body.frame().await.expect("a frame").expect("no error");
    let trailers = frame.into_trailers().expect("trailers");
    let status = tonic::Status::from_header_map(&trailers).expect("a status");
    assert_eq!(reason_of(&status), "TOKEN_EXPIRED");

    writer.flush(SOON).await.expect("written");
    let [allowed, ended] = &sink.events()[..] else { panic!("{:?}", sink.events()) };
    assert_eq!(allowed["outcome"], "allowed");
    assert_eq!(ended["passed_as"], allowed["id"]);
    assert_eq!(ended["id"], decision_of(&status).expect("an ID"));
    for (field, value) in [
        ("outcome", "ended"),
        ("reason", "TOKEN_EXPIRED"),
        ("status", "UNAUTHENTICATED"),
        ("principal", "alice"),
        ("rule", SAY_HELLO),
        ("request_id", REQUEST_ID.1),
        ("time", "2026-11-29T11:21:07.000000000Z"),
    ] {
        assert_eq!(ended[field], value);
    }
    assert!(ended["latency_ns"].is_null());
}

#[tokio::test]
async fn a_sink_gets_the_decisions_of_its_condition_and_no_others() {
    // AU-01, AU-03, AU-04 and AU-05 of the reference's table.
    for (condition, expected) in [
        (AuditCondition::None, &[][..]),
        (AuditCondition::OnAllow, &["allowed"]),
        (AuditCondition::OnDeny, &["refused", "refused"]),
        (AuditCondition::OnDenyAndAllow, &["allowed", "refused", "refused"]),
    ] {
        let sink = Sink::default();
        let options = SinkOptions::new(WhenFull::DropAndCount).when(condition);
        let audit = Audit::builder().sink("one", sink.clone(), options).build().expect("an audit");
        let writer = audit.start().expect("threads");
        let (server, _) = behind(builder().audit(&audit)).await;
        let mut client = RawClient::connect(&server).await;
        for metadata in [&[ALICE][..], &[BAD], &[]] {
            client.call(SAY_HELLO, metadata).await;
        }
        writer.flush(SOON).await.expect("written");
        assert_eq!(sink.all("outcome"), expected, "{condition:?}");
        let report = &audit.report()[0];
        assert_eq!((report.written, report.dropped), (expected.len() as u64, 0), "{condition:?}");
    }
}

#[tokio::test]
async fn gates_may_share_an_audit_and_without_one_nothing_is_on_record() {
    let sink = Sink::default();
    let (audit, writer) = one(&sink);
    let gate = || builder().clock(SystemClock).authorize(Rules::new().authenticated(SAY_HELLO));
    let (with, _) = behind(gate().audit(&audit)).await;
    let (too, _) = behind(gate().audit(audit.clone())).await;
    let (without, _) = behind(gate()).await;
    for server in [&with, &too, &without] {
        let mut client = RawClient::connect(server).await;
        assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok");
    }
    writer.flush(SOON).await.expect("written");
    assert_eq!(sink.all("principal"), ["alice", "alice"]);
}
