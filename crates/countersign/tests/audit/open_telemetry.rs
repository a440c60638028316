//! A logger of one's own gets the events.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use countersign::audit::{AuditEvent, AuditSink, OpenTelemetrySink};
use opentelemetry::logs::{AnyValue, LogRecord, Logger, Severity};
use opentelemetry::{Key, SpanId, TraceFlags, TraceId};

use super::sinks::two_calls;

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
