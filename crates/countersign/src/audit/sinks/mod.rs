//! The sinks that come with the house.

#[cfg(unix)]
mod datagram;
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

use super::AuditEvent;
use super::sink::SinkError;

/// Appends an event as one line of JSON.
fn push_line(
    line: &mut Vec<u8>,
    event: &AuditEvent,
    in_grpc_format: bool,
) -> Result<(), SinkError> {
    let before = line.len();
    let written = match in_grpc_format {
        true => serde_json::to_writer(&mut *line, &event.as_grpc()),
        false => event.write_json(line),
    };
    if let Err(error) = written {
        line.truncate(before);
        return Err(SinkError::Lost(error.into()));
    }
    line.push(b'\n');
    Ok(())
}
