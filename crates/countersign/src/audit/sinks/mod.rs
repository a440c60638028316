//! The sinks that come with the house.

mod file;
#[cfg(unix)]
mod journald;
mod json_lines;
#[cfg(feature = "opentelemetry")]
mod open_telemetry;
#[cfg(unix)]
mod syslog;

pub use file::{FileSink, FileSinkBuilder, Fsync};
#[cfg(unix)]
pub use journald::JournaldSink;
pub use json_lines::JsonLines;
#[cfg(feature = "opentelemetry")]
pub use open_telemetry::OpenTelemetrySink;
#[cfg(unix)]
pub use syslog::{Facility, SyslogSink};

use std::io;

use super::sink::SinkError;
use super::{AuditEvent, AuditOutcome};

/// Appends an event as one line of JSON.
fn push_line(
    line: &mut Vec<u8>,
    event: &AuditEvent,
    in_grpc_format: bool,
) -> Result<(), SinkError> {
    let before = line.len();
    let written = match in_grpc_format {
        true => serde_json::to_writer(&mut *line, &event.as_grpc()),
        false => serde_json::to_writer(&mut *line, event),
    };
    if let Err(error) = written {
        line.truncate(before);
        return Err(SinkError::Lost(error.into()));
    }
    line.push(b'\n');
    Ok(())
}

/// Severities of RFC 5424 §6.2.1: who is let in is information, who is not is a warning, and
/// whose call ends is a notice.
#[cfg(unix)]
fn severity(outcome: AuditOutcome) -> u8 {
    match outcome {
        AuditOutcome::Allowed => 6,
        AuditOutcome::Ended => 5,
        AuditOutcome::Refused => 4,
    }
}

/// What became of sending a datagram: one that is too long will always be.
#[cfg(unix)]
fn sent(outcome: io::Result<usize>) -> Result<(), SinkError> {
    match outcome {
        Ok(_) => Ok(()),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {
            Err(SinkError::Lost(error))
        }
        Err(error) => Err(SinkError::Again(error)),
    }
}
