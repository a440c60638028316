use http::{HeaderMap, HeaderValue};

use crate::audit::{AuditEvent, AuditOutcome, CallIds, Text};
use crate::identity::Principal;

/// Each line is a text that somebody else chose: the path, `x-request-id`, `traceparent`, a
/// principal, a rule. The event stays one line of JSON that says what it said before.
pub fn audit_event(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut next = || lines.next().unwrap_or_default();
    let mut event = AuditEvent::example();
    event.method = Text::new(&String::from_utf8_lossy(next()));
    let mut headers = HeaderMap::new();
    for name in ["x-request-id", "traceparent"] {
        if let Ok(value) = HeaderValue::from_bytes(next()) {
            headers.insert(name, value);
        }
    }
    event.call_ids = CallIds::of(&headers);
    // What is left may have line feeds in it.
    let rest = String::from_utf8_lossy(data);
    event.principal = Some(Principal::new(&*rest, &*rest));
    event.rule = Some((&*rest).into());

    let line = serde_json::to_string(&event).expect("JSON");
    assert!(!line.contains(char::is_control), "one line, and nothing that nobody sees: {line}");
    let read: serde_json::Value = serde_json::from_str(&line).expect("one object");
    assert_eq!(read["outcome"], AuditOutcome::Refused.as_str(), "it says what it said");
    assert_eq!(read["reason"], "POLICY_DENIED", "it says what it said");
    let fields = read.as_object().expect("an object");
    assert_eq!(fields.len(), event.fields().len(), "no field comes along");
    for (name, value) in fields {
        let shown = value.as_str().map_or(0, |text| text.chars().count());
        // 2,048 characters, each at most a number of six digits in braces, and an ellipsis.
        assert!(shown <= 2_048 * 10 + 1, "{name} is too long");
    }
    if let Some(id) = read.get("request_id").and_then(serde_json::Value::as_str) {
        let sent = headers.get("x-request-id").map(HeaderValue::as_bytes);
        assert_eq!(Some(id.as_bytes()), sent, "an ID is taken whole");
    }
    if let (Some(trace), Some(span)) = (read["trace_id"].as_str(), read["span_id"].as_str()) {
        let sent = headers.get("traceparent").expect("it was sent").as_bytes();
        let expected = format!("-{trace}-{span}-");
        assert_eq!(&sent[2..53], expected.as_bytes(), "a trace is taken whole");
    }
}
