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
async fn two_calls(name: &str, sink: impl AuditSink) {
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

// --- the system's logs ---------------------------------------------------------------------------

#[cfg(unix)]
mod datagrams {
    use std::os::unix::net::UnixDatagram;

    use countersign::audit::{Facility, JournaldSink, SyslogSink};

    use super::*;

    fn received(socket: &UnixDatagram) -> Vec<u8> {
        socket.set_read_timeout(Some(SOON)).expect("a socket option");
        let mut buffer = vec![0; 64 * 1024];
        let length = socket.recv(&mut buffer).expect("a datagram");
        buffer.truncate(length);
        buffer
    }

    #[tokio::test]
    async fn syslog_gets_the_message_that_rfc_5424_describes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let sink = SyslogSink::new("orders api").socket(&path).facility(Facility::Local(3));
        two_calls("syslog", sink).await;
        // local3 is 19; informational is 6, a warning is 4.
        for (priority, outcome) in [("<158>1", "allowed"), ("<156>1", "refused")] {
            let message = String::from_utf8(received(&socket)).expect("text");
            let (head, json) = message.split_once('\u{feff}').expect("a byte order mark");
            let head: Vec<_> = head.split(' ').collect();
            let process = std::process::id().to_string();
            let [first, time, "-", "ordersapi", id, kind, "-", ""] = head[..] else {
                panic!("{head:?}")
            };
            assert_eq!((first, id, kind), (priority, &*process, outcome));
            assert!(time.len() == 27 && time.ends_with('Z'), "{time}");
            let event: Value = serde_json::from_str(json).expect("JSON");
            assert_eq!(event["outcome"], outcome);
        }
    }

    #[tokio::test]
    async fn the_journal_gets_a_field_for_each_field() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        two_calls("journal", JournaldSink::new("orders").socket(&path)).await;
        for (outcome, priority, sentence) in [
            ("allowed", "6", format!("{SAY_HELLO} allowed for alice")),
            ("refused", "4", format!("{SAY_HELLO} refused: TOKEN_INVALID")),
        ] {
            let fields = parsed(&received(&socket));
            let field = |name: &str| {
                let found: Vec<_> = fields.iter().filter(|(known, _)| known == name).collect();
                assert_eq!(found.len(), 1, "{name} in {fields:?}");
                found[0].1.clone()
            };
            assert_eq!(field("MESSAGE"), sentence);
            assert_eq!(field("MESSAGE_ID"), JournaldSink::MESSAGE_ID);
            assert_eq!((&*field("PRIORITY"), &*field("SYSLOG_IDENTIFIER")), (priority, "orders"));
            assert_eq!(field("COUNTERSIGN_OUTCOME"), outcome);
            assert_eq!(field("COUNTERSIGN_METHOD"), SAY_HELLO);
            assert_eq!(field("COUNTERSIGN_SCHEMA"), "1");
        }
    }

    /// The native protocol, with every value in its form with a length.
    fn parsed(mut message: &[u8]) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        while !message.is_empty() {
            let end = message.iter().position(|byte| *byte == b'\n').expect("a name");
            let (name, rest) = (text(&message[..end]), &message[end + 1..]);
            let length = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes"));
            let end = 8 + usize::try_from(length).expect("short");
            fields.push((name, text(&rest[8..end])));
            assert_eq!(rest[end], b'\n');
            message = &rest[end + 1..];
        }
        fields
    }

    #[tokio::test]
    async fn a_daemon_that_is_restarted_is_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let sink = SyslogSink::new("orders").socket(&path);
        let audit = Audit::builder().sink("syslog", sink, WhenFull::RefuseCall).build();
        let audit = audit.expect("an audit");
        let writer = audit.start().expect("threads");
        let (server, _) = behind(builder().audit(&audit)).await;
        let mut client = RawClient::connect(&server).await;
        for turn in 0..2 {
            assert_eq!(told(&client.call(SAY_HELLO, &[ALICE]).await), "Ok", "{turn}");
            until("the trouble", || audit.report()[0].problem.is_some()).await;
            let socket = UnixDatagram::bind(&path).expect("a socket");
            writer.flush(SOON).await.expect("written");
            assert!(received(&socket).starts_with(b"<86>1 "), "{turn}");
            std::fs::remove_file(&path).expect("removed");
        }
        let report = &audit.report()[0];
        assert_eq!((report.written, report.dropped, report.failed), (2, 0, 0));
        assert!(report.retries >= 2);
    }
}

// --- OpenTelemetry -------------------------------------------------------------------------------

#[cfg(feature = "opentelemetry")]
mod open_telemetry {
    use std::borrow::Cow;
    use std::sync::{Arc, Mutex, PoisonError};

    use countersign::audit::OpenTelemetrySink;
    use opentelemetry::logs::{AnyValue, LogRecord, Logger, Severity};
    use opentelemetry::{Key, SpanId, TraceFlags, TraceId};

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Record {
        name: Option<&'static str>,
        time: Option<SystemTime>,
        severity: Option<Severity>,
        body: Option<AnyValue>,
        attributes: Vec<(Key, AnyValue)>,
        trace: Option<(TraceId, SpanId)>,
    }

    impl LogRecord for Record {
        fn set_event_name(&mut self, name: &'static str) {
            self.name = Some(name);
        }

        fn set_target<T: Into<Cow<'static, str>>>(&mut self, _target: T) {}

        fn set_timestamp(&mut self, timestamp: SystemTime) {
            self.time = Some(timestamp);
        }

        fn set_observed_timestamp(&mut self, _timestamp: SystemTime) {}

        fn set_severity_text(&mut self, _text: &'static str) {}

        fn set_severity_number(&mut self, number: Severity) {
            self.severity = Some(number);
        }

        fn set_body(&mut self, body: AnyValue) {
            self.body = Some(body);
        }

        fn add_attributes<I, K, V>(&mut self, attributes: I)
        where
            I: IntoIterator<Item = (K, V)>,
            K: Into<Key>,
            V: Into<AnyValue>,
        {
            let all = attributes.into_iter().map(|(key, value)| (key.into(), value.into()));
            self.attributes.extend(all);
        }

        fn add_attribute<K, V>(&mut self, key: K, value: V)
        where
            K: Into<Key>,
            V: Into<AnyValue>,
        {
            self.attributes.push((key.into(), value.into()));
        }

        fn set_trace_context(&mut self, trace: TraceId, span: SpanId, _: Option<TraceFlags>) {
            self.trace = Some((trace, span));
        }
    }

    #[derive(Clone, Default)]
    struct Records(Arc<Mutex<Vec<Record>>>);

    impl Logger for Records {
        type LogRecord = Record;

        fn create_log_record(&self) -> Record {
            Record::default()
        }

        fn emit(&self, record: Record) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        }

        fn event_enabled(&self, _: Severity, _: &str, _: Option<&str>) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn a_logger_gets_a_record_with_an_attribute_for_each_field() {
        let records = Records::default();
        two_calls("otel", OpenTelemetrySink::new(records.clone())).await;
        let mut example = OpenTelemetrySink::new(records.clone());
        example.write(&AuditEvent::example()).expect("taken");
        let records = records.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let severities: Vec<_> = records.iter().map(|one| one.severity).collect();
        let expected = [Severity::Info, Severity::Warn, Severity::Warn].map(Some);
        assert_eq!(severities, expected);
        let [allowed, _, example] = &records[..] else { panic!("{records:?}") };
        let attribute = |name: &str| {
            let found = allowed.attributes.iter().find(|(key, _)| key.as_str() == name);
            found.map(|(_, value)| value.clone())
        };
        assert_eq!(allowed.name, Some("countersign.decision"));
        assert_eq!(attribute("countersign.schema"), Some(AnyValue::Int(1)));
        assert_eq!(attribute("countersign.principal"), Some(AnyValue::from("alice")));
        assert!(allowed.time.is_some() && allowed.body.is_some() && allowed.trace.is_none());
        let (trace, span) = example.trace.expect("a trace");
        assert_eq!((trace.to_string(), span.to_string()), ("4b".repeat(16), "b7".repeat(8)));
        assert_eq!(example.attributes.len(), AuditEvent::example().fields().len());
    }
}
