//! What a policy says of the record.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use countersign::audit::{
    Audit, AuditCondition, AuditWriter, STDOUT_LOGGER, SinkOptions, WhenFull,
};
use countersign::authorization::{Policy, PolicyError, PolicyFile, PolicyOptions};
use countersign::quota::store::{Bucket, QuotaStore, QuotaStoreError, SharedQuota, WhenDown};
use countersign::quota::{Allowance, Limit, Quota};
use countersign::{Gate, GateError, ServerCredentials, async_trait};
use countersign_testkit::clock::ManualClock;
use countersign_testkit::greeter::SAY_HELLO;
use http_body_util::BodyExt;
use serde_json::json;
use tempfile::TempDir;
use tower_layer::Layer;

use super::handlers::Endless;
use super::kit::{ALICE, OPEN, RESET, SOON, Sink, Tokens, behind, builder, told};
use super::support::{RawClient, empty_message, grpc_request, serve};

/// A policy that allows the known all but one method, with these options.
fn policy(name: &str, options: Option<serde_json::Value>) -> String {
    let mut policy = json!({
        "name": name,
        "deny_rules": [{"name": "no-reset", "request": {"paths": [RESET]}}],
        "allow_rules": [
            {"name": "known", "source": {"countersign": {"authenticators": ["tokens"]}}},
        ],
    });
    if let Some(options) = options {
        policy["audit_logging_options"] = options;
    }
    policy.to_string()
}

fn options(condition: &str, loggers: &[&str]) -> Option<serde_json::Value> {
    let loggers: Vec<_> = loggers.iter().map(|name| json!({"name": name})).collect();
    Some(json!({"audit_condition": condition, "audit_loggers": loggers}))
}

fn known() -> PolicyOptions {
    PolicyOptions::new().with_audit_logger("file").with_audit_logger("siem")
}

/// `stdout_logger`, `file` and `siem`, of which the policy has no say over the last.
struct Three {
    audit: Audit,
    writer: AuditWriter,
    sinks: [Sink; 3],
}

impl Three {
    fn new() -> Self {
        let sinks = [Sink::default(), Sink::default(), Sink::default()];
        let all = || SinkOptions::new(WhenFull::DropAndCount);
        let audit = Audit::builder()
            .sink(STDOUT_LOGGER, sinks[0].clone(), all())
            .sink("file", sinks[1].clone(), all().when(AuditCondition::OnDeny))
            .sink("siem", sinks[2].clone(), all().regardless_of_policy())
            .build()
            .expect("an audit");
        let writer = audit.start().expect("threads");
        Self { audit, writer, sinks }
    }

    /// What each got since the last time: `+` for allowed, `-` for the rest.
    async fn got(&self, seen: &mut [usize; 3]) -> [String; 3] {
        self.writer.flush(SOON).await.expect("written");
        std::array::from_fn(|at| {
            let outcomes = self.sinks[at].all("outcome");
            let new = &outcomes[seen[at]..];
            seen[at] = outcomes.len();
            new.iter().map(|outcome| if outcome == "allowed" { '+' } else { '-' }).collect()
        })
    }
}

fn in_file(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("policy.json");
    std::fs::write(&path, text).expect("written");
    (folder, path)
}

#[tokio::test]
async fn a_policy_chooses_among_the_sinks_and_a_reload_chooses_anew() {
    let (_folder, path) = in_file(&policy("first", None));
    let file = PolicyFile::open_with(&path, known()).expect("a policy");
    let three = Three::new();
    let (server, _) = behind(builder().authorize(&file).audit(&three.audit)).await;
    let mut client = RawClient::connect(&server).await;
    let mut seen = [0; 3];
    for (name, said, expected) in [
        ("the code's own choice", None, ["+-", "-", "+-"]),
        ("AU-01", options("NONE", &[STDOUT_LOGGER, "file"]), ["", "", "+-"]),
        ("AU-02", options("ON_DENY_AND_ALLOW", &[STDOUT_LOGGER]), ["+-", "", "+-"]),
        ("AU-03", options("ON_ALLOW", &["file", STDOUT_LOGGER]), ["+", "+", "+-"]),
        ("AU-04", options("ON_DENY", &["file", "file"]), ["", "-", "+-"]),
        ("AP-14", options("ON_DENY_AND_ALLOW", &[]), ["", "", "+-"]),
        ("AP-14", Some(json!({"audit_loggers": [{"name": "file"}]})), ["", "", "+-"]),
        ("nobody's", Some(json!({})), ["", "", "+-"]),
        ("the code's again", None, ["+-", "-", "+-"]),
    ] {
        let text = policy(&format!("policy of {name}"), said);
        std::fs::write(&path, text).expect("written");
        file.reload().expect("a policy");
        for (path, expected) in [(SAY_HELLO, "Ok"), (RESET, "PermissionDenied POLICY_DENIED")] {
            assert_eq!(told(&client.call(path, &[ALICE]).await), expected, "{name}");
        }
        assert_eq!(three.got(&mut seen).await, expected, "{name}");
        let last = three.sinks[2].events();
        let [allowed, refused] = &last[last.len() - 2..] else { panic!("two events") };
        for (event, rule) in [(allowed, "known"), (refused, "no-reset")] {
            assert_eq!(event["policy"], format!("policy of {name}"));
            assert_eq!(event["rule"], rule, "{name}");
        }
    }
}

#[tokio::test]
async fn who_is_refused_before_a_rule_is_asked_is_on_the_record_of_that_policy() {
    let text = policy("strict", options("ON_DENY", &[STDOUT_LOGGER]));
    let three = Three::new();
    let asked = Policy::from_json_with(&text, &known()).expect("a policy");
    let (server, _) = behind(builder().authorize(asked).audit(&three.audit)).await;
    let mut client = RawClient::connect(&server).await;
    for (path, metadata) in
        [(SAY_HELLO, super::kit::BAD), ("//x", ALICE), (OPEN, ("x-nothing", "1"))]
    {
        client.call(path, &[metadata]).await;
    }
    assert_eq!(three.got(&mut [0; 3]).await, ["---", "", "---"]);
    assert_eq!(three.sinks[0].all("policy"), ["strict"; 3]);
    assert_eq!(three.sinks[0].all("rule"), [""; 3]);
}

/// Has nothing left for anybody; and while it is asked, somebody puts a new policy in place.
#[derive(Debug)]
struct Meanwhile {
    file: PolicyFile,
    path: PathBuf,
}

#[async_trait]
impl QuotaStore for Meanwhile {
    async fn take(&self, buckets: &[Bucket<'_>]) -> Result<Vec<Allowance>, QuotaStoreError> {
        std::fs::write(&self.path, policy("second", None)).expect("written");
        self.file.reload().expect("a policy");
        let none = Allowance { allowed: false, remaining: 0, retry_after_ns: Some(1) };
        Ok(vec![none; buckets.len()])
    }
}

#[tokio::test]
async fn a_call_over_quota_is_on_the_record_of_the_policy_whose_rule_it_met() {
    let (_folder, path) = in_file(&policy("first", None));
    let file = PolicyFile::open_with(&path, known()).expect("a policy");
    let three = Three::new();
    let gate = builder().authorize(&file).audit(&three.audit);
    let store = SharedQuota::new(Meanwhile { file, path }, WhenDown::Refuse);
    let quota = Quota::new().per_caller(Limit::per_day(1).expect("a limit"));
    let quota = quota.and_then(|quota| quota.shared(store)).expect("a quota");
    let (server, _) = behind(gate.quota(quota)).await;
    let mut client = RawClient::connect(&server).await;
    let answer = client.call(SAY_HELLO, &[ALICE]).await;
    assert_eq!(told(&answer), "ResourceExhausted RATE_LIMITED");
    three.got(&mut [0; 3]).await;
    assert_eq!(three.sinks[2].all("rule"), ["known"]);
    assert_eq!(three.sinks[2].all("policy"), ["first"]);
}

#[tokio::test]
async fn a_call_that_is_ended_names_a_rule_of_the_policy_that_it_names() {
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_951_207);
    let renamed = policy("second", None).replace("\"known\"", "\"friends\"");
    let nobody =
        r#"{"name": "second", "allow_rules": [{"name": "none", "source": {"principals": ["x"]}}]}"#;
    for (second, reason, told_rule, told_policy) in [
        (renamed.as_str(), "TOKEN_EXPIRED", "known", "first"),
        (nobody, "POLICY_DENIED", "", "second"),
    ] {
        let (_folder, path) = in_file(&policy("first", None));
        let file = PolicyFile::open_with(&path, known()).expect("a policy");
        let clock = ManualClock::new(start);
        let three = Three::new();
        let until = Some(start + Duration::from_secs(60));
        let gate = Gate::builder()
            .authenticate(Tokens { until, ..Tokens::default() })
            .authorize(&file)
            .clock(clock.clone())
            .recheck_streams_every(Duration::from_millis(100))
            .audit(&three.audit);
        let incoming = ServerCredentials::insecure().bind("127.0.0.1:0").await.expect("bound");
        let server = serve(incoming, gate.build().expect("a gate").layer(Endless));
        let mut client = RawClient::connect(&server).await;
        let request = grpc_request(SAY_HELLO).header(ALICE.0, ALICE.1);
        let request = request.body(empty_message()).expect("a request");
        let mut body = client.begin(request).await.into_body();
        std::fs::write(&path, second).expect("written");
        file.reload().expect("a policy");
        clock.advance(Duration::from_secs(60));
        body.frame().await.expect("a frame").expect("no error");
        three.got(&mut [0; 3]).await;
        assert_eq!(three.sinks[2].all("outcome"), ["allowed", "ended"]);
        assert_eq!(three.sinks[2].all("reason")[1], reason);
        assert_eq!(three.sinks[2].all("rule"), ["known", told_rule], "{reason}");
        assert_eq!(three.sinks[2].all("policy"), ["first", told_policy], "{reason}");
    }
}

#[test]
fn a_logger_that_the_audit_has_not_got_is_an_error_unless_it_is_optional() {
    let sink = || Audit::builder().sink("file", Sink::default(), WhenFull::DropAndCount);
    let audit = || sink().build().expect("an audit");
    let optional = json!({
        "audit_condition": "ON_DENY",
        "audit_loggers": [{"name": STDOUT_LOGGER, "is_optional": true}, {"name": "file"}],
    });
    for (name, said, missing_with, missing_without) in [
        ("none", None, None, None),
        ("there", options("ON_DENY", &["file"]), None, Some("file")),
        ("missing", options("ON_DENY", &["file", "siem"]), Some("siem"), Some("file")),
        ("missing, but never asked", options("NONE", &["siem"]), None, None),
        ("missing, but optional", Some(optional), None, Some("file")),
    ] {
        let text = policy("p", said);
        let asked = Policy::from_json_with(&text, &known()).expect("a policy");
        for (missing, gate) in
            [(missing_with, builder().audit(audit())), (missing_without, builder())]
        {
            match (missing, gate.authorize(asked.clone()).build()) {
                (None, built) => drop(built.unwrap_or_else(|error| panic!("{name}: {error}"))),
                (Some(missing), Err(GateError::UnknownAuditLogger { name: found, .. })) => {
                    assert_eq!(found, missing, "{name}");
                }
                (_, built) => panic!("{name}: {built:?}"),
            }
        }
    }
}

#[test]
fn a_reload_that_asks_for_a_logger_that_a_gate_has_not_got_is_not_taken() {
    let (_folder, path) = in_file(&policy("first", None));
    let file = PolicyFile::open_with(&path, known()).expect("a policy");
    let audit = Audit::builder().sink("file", Sink::default(), WhenFull::DropAndCount);
    let audit = audit.build().expect("an audit");
    let _gate = builder().authorize(&file).audit(&audit).build().expect("a gate");
    std::fs::write(&path, policy("second", options("ON_DENY", &["siem"]))).expect("written");
    let error = file.reload().expect_err("nobody is called that");
    let PolicyError::UnknownAuditLogger { name, known, .. } = &*error else { panic!("{error:?}") };
    assert_eq!((&**name, &known[..]), ("siem", &["file".to_owned()][..]));
    assert_eq!(file.current().name(), "first");
    std::fs::write(&path, policy("third", options("ON_DENY", &["file"]))).expect("written");
    assert!(file.reload().expect("mended"));
}
