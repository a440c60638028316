//! The sinks that come with the house, fed by real calls.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use countersign::audit::{
    Audit, AuditEvent, AuditSink, FileSink, Fsync, JsonLines, STDOUT_LOGGER, WhenFull,
};
use countersign::authorization::Policy;
use countersign_testkit::clock::ManualClock;
use countersign_testkit::greeter::SAY_HELLO;
use countersign_testkit::wait::until;
use serde_json::Value;

use super::kit::{ALICE, BAD, SOON, behind, builder, told};
use super::support::{RawClient, empty_message, grpc_request};

/// Makes a good call and a bad one, and closes the audit.
pub(crate) async fn two_calls(name: &str, sink: impl AuditSink) {
    let audit = Audit::builder().sink(name, sink, WhenFull::RefuseCall).build().expect("an audit");
    let writer = audit.start().expect("threads");
    let (server, _) = behind(builder().audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok");
    assert_eq!(told(&client.call(SAY_HELLO, &[BAD]).await), "Unauthenticated TOKEN_INVALID");
    writer.close(SOON).await.expect("written");
    assert_eq!(audit.report()[0].written, 2);
}

fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("a file");
    assert!(text.ends_with('\n'), "{text}");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn outcomes(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["outcome"].as_str().expect("an outcome")).collect()
}

// --- files ---------------------------------------------------------------------------------------

#[tokio::test]
async fn a_file_has_a_line_for_each_decision_and_is_its_owners_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    for times in 1..=2 {
        two_calls("file", FileSink::open(&path).expect("a file")).await;
        assert_eq!(outcomes(&read(&path)), ["allowed", "refused"].repeat(times));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| path.metadata().expect("a file").permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        let shared = folder.path().join("shared.jsonl");
        let sink = FileSink::builder(&shared).readable_by_group().open().expect("a file");
        drop(sink);
        assert_eq!(mode(&shared) & 0o707, 0o600);
        // One that is there already is its owner's business.
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).expect("changed");
        FileSink::open(&path).expect("a file");
        assert_eq!(mode(&path), 0o644);
        FileSink::open(folder.path()).expect_err("no regular file");
    }
}

#[tokio::test]
async fn a_line_that_a_crash_cut_off_is_closed_and_none_is_lost_behind_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    std::fs::write(&path, "{\"schema\":1}\n{\"schema\":1,\"id\":\"5f0").expect("written");
    two_calls("file", FileSink::open(&path).expect("a file")).await;
    let text = std::fs::read_to_string(&path).expect("a file");
    let lines: Vec<_> = text.lines().map(serde_json::from_str::<Value>).collect();
    let whole: Vec<_> = lines.iter().map(Result::is_ok).collect();
    assert_eq!(whole, [true, false, true, true], "{text}");
}

#[tokio::test]
async fn files_are_put_away_by_the_gates_clock_and_by_their_size() {
    let folder = tempfile::tempdir().expect("a folder");
    let names = ["", ".1", ".2", ".3"];
    let files = |stem: &str| {
        names.map(|name| match folder.path().join(format!("{stem}{name}")) {
            path if path.exists() => read(&path).len(),
            _ => 0,
        })
    };
    let size = serde_json::to_string(&AuditEvent::example()).expect("JSON").len() as u64;
    let day = Duration::from_secs(24 * 3600);
    for (stem, expected) in [("size", [1, 1, 1, 0]), ("age", [2, 1, 1, 0])] {
        let path = folder.path().join(stem);
        let sink = FileSink::builder(&path).keep(2).fsync(Fsync::Always);
        // Less than two lines; or one day.
        let sink = if stem == "size" { sink.rotate_at(size) } else { sink.rotate_after(day) };
        let sink = sink.open().expect("a file");
        let audit = Audit::builder().sink("file", sink, WhenFull::RefuseCall).build();
        let audit = audit.expect("an audit");
        let writer = audit.start().expect("threads");
        let clock = ManualClock::new(SystemTime::UNIX_EPOCH + 400 * day);
        let (server, _) = behind(builder().clock(clock.clone()).audit(&audit)).await;
        let mut client = RawClient::connect(&server).await;
        for apart in [0, 1, 1, 0] {
            clock.advance(day * apart);
            assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok");
        }
        writer.close(SOON).await.expect("written");
        assert_eq!(files(stem), expected, "{stem}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_is_moved_away_is_made_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let [path, moved] = ["audit.jsonl", "moved"].map(|name| folder.path().join(name));
    let sink = FileSink::open(&path).expect("a file");
    let audit = Audit::builder().sink("file", sink, WhenFull::RefuseCall).build();
    let audit = audit.expect("an audit");
    let writer = audit.start().expect("threads");
    let (server, _) = behind(builder().audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    for metadata in [ALICE, BAD] {
        client.call(SAY_HELLO, &[metadata]).await;
        writer.flush(SOON).await.expect("written");
        if metadata == ALICE {
            std::fs::rename(&path, &moved).expect("moved");
        }
    }
    assert_eq!(
        (outcomes(&read(&moved)), outcomes(&read(&path))),
        (vec!["allowed"], vec!["refused"])
    );
    // And while its folder is gone, nothing is lost.
    let elsewhere = folder.path().with_extension("elsewhere");
    std::fs::rename(folder.path(), &elsewhere).expect("moved");
    client.call(SAY_HELLO, &[ALICE]).await;
    until("the trouble", || audit.report()[0].problem.is_some()).await;
    std::fs::rename(&elsewhere, folder.path()).expect("moved back");
    writer.close(SOON).await.expect("written");
    assert_eq!(outcomes(&read(&path)), ["refused", "allowed"]);
}

#[tokio::test]
async fn a_synced_file_is_synced_although_no_event_comes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    let every = Fsync::Every(Duration::from_millis(20));
    let mut sink = FileSink::builder(&path).fsync(every).open().expect("a file");
    sink.write(&AuditEvent::example()).expect("buffered");
    sink.flush().expect("written");
    let mut turns = 0;
    until("a sync", || {
        turns += 1;
        sink.flush().expect("nothing new");
        sink.flush_again_in().is_none()
    })
    .await;
    assert!(turns > 0);
    assert_eq!(read(&path).len(), 1);
}

// --- standard output and writers -----------------------------------------------------------------

const CHILD: &str = "COUNTERSIGN_AUDIT_TEST_CHILD";

#[tokio::test]
async fn the_built_in_logger_writes_a_line_for_each_decision_to_standard_output() {
    if std::env::vars_os().any(|(name, _)| name == CHILD) {
        return two_calls(STDOUT_LOGGER, JsonLines::stdout()).await;
    }
    let name = "sinks::the_built_in_logger_writes_a_line_for_each_decision_to_standard_output";
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args([name, "--exact", "--nocapture"])
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let mut text = String::new();
    child.stdout.take().expect("its output").read_to_string(&mut text).expect("text");
    assert!(child.wait().expect("its end").success(), "{text}");
    // The test runner's own words are there as well, one of them before our first line.
    let events: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(&line[line.find('{')?..]).ok())
        .collect();
    assert_eq!(outcomes(&events), ["allowed", "refused"], "{text}");
}

#[tokio::test]
async fn what_grpc_go_writes_is_written_where_it_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("grpc.jsonl");
    let sink = JsonLines::to(std::fs::File::create(&path).expect("a file")).in_grpc_format();
    let audit = Audit::builder().sink(STDOUT_LOGGER, sink, WhenFull::DropAndCount).build();
    let audit = audit.expect("an audit");
    let writer = audit.start().expect("threads");
    let policy = Policy::from_json(
        r#"{"name": "authz", "allow_rules": [{"name": "allow_hello", "request": {"paths": ["*"]}}],
            "deny_rules": [{"name": "deny_all", "request": {"paths": ["*/Reset"]}}],
            "audit_logging_options": {"audit_condition": "ON_DENY_AND_ALLOW",
                "audit_loggers": [{"name": "stdout_logger", "config": {}}]}}"#,
    );
    let gate = builder().authorize(policy.expect("a policy")).audit(&audit);
    let (server, _) = behind(gate).await;
    let mut client = RawClient::connect(&server).await;
    for path in [SAY_HELLO, super::kit::RESET] {
        client.call(path, &[ALICE]).await;
    }
    writer.close(SOON).await.expect("written");
    let logged: Vec<_> = read(&path).iter().map(|line| line["grpc_audit_log"].clone()).collect();
    for (line, (method, rule, authorized)) in logged
        .iter()
        .zip([(SAY_HELLO, "authz_allow_hello", true), (super::kit::RESET, "authz_deny_all", false)])
    {
        assert_eq!(line["rpc_method"], method);
        assert_eq!(line["principal"], "alice");
        assert_eq!(line["policy_name"], "authz");
        assert_eq!(line["matched_rule"], rule);
        assert_eq!(line["authorized"], authorized);
        assert_eq!(line.as_object().map(|fields| fields.len()), Some(6));
    }
    assert_eq!(logged.len(), 2);
}

#[tokio::test]
async fn nothing_that_a_caller_sends_begins_a_line_or_a_field() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("audit.jsonl");
    let sink = FileSink::open(&path).expect("a file");
    let audit = Audit::builder().sink("file", sink, WhenFull::RefuseCall).build();
    let audit = audit.expect("an audit");
    let writer = audit.start().expect("threads");
    let (server, _) = behind(builder().audit(&audit)).await;
    let mut client = RawClient::connect(&server).await;
    let huge = "x".repeat(20_000);
    let injected = "\",\"outcome\":\"allowed\",\"principal\":\"root";
    for (name, path, request_id) in [
        ("a quoted path", format!("/a.B/{}", injected.replace(' ', "")), "id"),
        ("a long path", format!("/a.B/{huge}"), "id"),
        ("a long ID", "/a.B/C".to_owned(), &huge),
        ("a quoted ID", "/a.B/C".to_owned(), injected),
        ("an ID with a tab", "/a.B/C".to_owned(), "a\tb"),
    ] {
        let uri = http::Uri::builder().scheme("http").authority("localhost").path_and_query(&*path);
        let Ok(uri) = uri.build() else { panic!("{name}: not even a path") };
        let mut request = grpc_request("/a.B/C").body(empty_message()).expect("a request");
        *request.uri_mut() = uri;
        let value = http::HeaderValue::from_str(request_id).expect("a value");
        request.headers_mut().insert("x-request-id", value);
        client.send(request).await;
    }
    let mut request = grpc_request("/a.B/C").body(empty_message()).expect("a request");
    let value = http::HeaderValue::from_bytes(b"\xc2\x9b31mred").expect("a value");
    request.headers_mut().insert("x-request-id", value.clone());
    request.headers_mut().insert("traceparent", value);
    client.send(request).await;
    writer.close(SOON).await.expect("written");

    let events = read(&path);
    assert_eq!(outcomes(&events), ["refused"; 6]);
    for event in &events {
        assert!(event["principal"].is_null() && event["trace_id"].is_null(), "{event}");
        assert!(event.to_string().len() < 1_500, "{event}");
    }
    assert_eq!(events[0]["request_id"], "id");
    let long = events[1]["method"].as_str().expect("a path");
    assert!(long.ends_with("x…") && long.chars().count() == 257, "{long}");
    assert!(events[2..].iter().all(|event| event["request_id"].is_null()));
}
