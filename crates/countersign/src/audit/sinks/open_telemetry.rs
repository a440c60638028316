use std::fmt;

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger, Severity};
use opentelemetry::{SpanId, TraceFlags, TraceId};

use crate::audit::{AuditEvent, AuditOutcome, AuditSink, AuditValue, SinkError};

/// OpenTelemetry log records, through a [`Logger`] of one's own SDK.
///
/// The event's name is `countersign.decision`, its body a short text, and every field of
/// [`AuditEvent`] an attribute under `countersign.`, as `countersign.principal`. Who is let in is
/// `INFO`, the others are `WARN`. The trace is the one of the call's `traceparent`.
///
/// What the logger cannot deliver it does not tell: such events count as written.
pub struct OpenTelemetrySink<L> {
    logger: L,
}

impl<L: Logger + Send + 'static> OpenTelemetrySink<L> {
    /// To this logger.
    pub fn new(logger: L) -> Self {
        Self { logger }
    }
}

impl<L: Logger + Send + 'static> AuditSink for OpenTelemetrySink<L> {
    fn write(&mut self, event: &AuditEvent) -> Result<(), SinkError> {
        let mut record = self.logger.create_log_record();
        record.set_event_name("countersign.decision");
        record.set_timestamp(event.time());
        let (severity, text) = match event.outcome() {
            AuditOutcome::Allowed => (Severity::Info, "INFO"),
            AuditOutcome::Refused | AuditOutcome::Ended => (Severity::Warn, "WARN"),
        };
        record.set_severity_number(severity);
        record.set_severity_text(text);
        record.set_body(AnyValue::from(match event.outcome() {
            AuditOutcome::Allowed => "a call was allowed",
            AuditOutcome::Refused => "a call was refused",
            AuditOutcome::Ended => "a call was ended",
        }));
        for (name, value) in event.fields() {
            let name = format!("countersign.{name}");
            match value {
                AuditValue::Text(text) => record.add_attribute(name, text.into_owned()),
                AuditValue::Number(number) => {
                    record.add_attribute(name, i64::try_from(number).unwrap_or(i64::MAX));
                }
            }
        }
        if let Some(parent) = event.trace() {
            let trace = TraceId::from_bytes(parent.trace_id);
            let span = SpanId::from_bytes(parent.span_id);
            record.set_trace_context(trace, span, Some(TraceFlags::new(parent.flags)));
        }
        self.logger.emit(record);
        Ok(())
    }
}

impl<L> fmt::Debug for OpenTelemetrySink<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenTelemetrySink")
    }
}
