use std::path::PathBuf;

use super::datagram::{Datagrams, severity};
use crate::audit::{AuditEvent, AuditSink, AuditValue, SinkError};

/// Entries of systemd's journal, by its native protocol, with a field for each field of the event:
/// `COUNTERSIGN_PRINCIPAL` and so on, so that `journalctl COUNTERSIGN_OUTCOME=refused` finds them.
///
/// `MESSAGE_ID` is [`JournaldSink::MESSAGE_ID`], `MESSAGE` a sentence for people, `PRIORITY` the
/// severity that [`SyslogSink`](super::SyslogSink) would use. Values are sent with their length,
/// so that none can bring a field of its own.
#[derive(Debug)]
pub struct JournaldSink {
    datagrams: Datagrams,
    identifier: String,
    message: Vec<u8>,
}

impl JournaldSink {
    /// The journal's ID of messages of this kind.
    pub const MESSAGE_ID: &'static str = "9e1a5c3f0b7d4e2f8c6a4b2d1f3e5a70";

    /// The program's name as the journal gets it (`SYSLOG_IDENTIFIER`). The socket is
    /// `/run/systemd/journal/socket`.
    pub fn new(identifier: impl Into<String>) -> Self {
        Self {
            datagrams: Datagrams::to("/run/systemd/journal/socket"),
            identifier: identifier.into(),
            message: Vec::new(),
        }
    }

    /// Another socket.
    #[must_use]
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.datagrams.to = path.into();
        self
    }

    fn compose(&mut self, event: &AuditEvent) {
        let to = &mut self.message;
        to.clear();
        let fields = event.fields();
        let text = |wanted: &str| {
            let found = fields.iter().find(|(name, _)| *name == wanted);
            match found {
                Some((_, AuditValue::Text(text))) => &**text,
                _ => "",
            }
        };
        let outcome = event.outcome().as_str();
        let sentence = match (text("principal"), text("reason")) {
            ("", "") => format!("{} {outcome}", text("method")),
            (who, "") => format!("{} {outcome} for {who}", text("method")),
            ("", why) => format!("{} {outcome}: {why}", text("method")),
            (who, why) => format!("{} {outcome} for {who}: {why}", text("method")),
        };
        push(to, "MESSAGE", &sentence);
        push(to, "MESSAGE_ID", Self::MESSAGE_ID);
        push(to, "PRIORITY", &severity(event.outcome()).to_string());
        push(to, "SYSLOG_IDENTIFIER", &self.identifier);
        for (name, value) in &fields {
            let name = format!("COUNTERSIGN_{}", name.to_uppercase());
            match value {
                AuditValue::Text(text) => push(to, &name, text),
                AuditValue::Number(number) => push(to, &name, &number.to_string()),
            }
        }
    }
}

/// A field in the form that takes any value: name, line feed, length as 64 bits little-endian,
/// value, line feed.
fn push(to: &mut Vec<u8>, name: &str, value: &str) {
    to.extend_from_slice(name.as_bytes());
    to.push(b'\n');
    to.extend_from_slice(&(value.len() as u64).to_le_bytes());
    to.extend_from_slice(value.as_bytes());
    to.push(b'\n');
}

impl AuditSink for JournaldSink {
    fn write(&mut self, event: &AuditEvent) -> Result<(), SinkError> {
        self.compose(event);
        self.datagrams.send(&self.message)
    }
}
