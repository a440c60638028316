use std::fmt;
use std::io::{self, Write};

use super::push_line;
use crate::audit::{AuditEvent, AuditSink, SinkError};

/// One JSON object a line, to standard output or any other writer.
pub struct JsonLines<W> {
    to: W,
    in_grpc_format: bool,
    pending: Vec<u8>,
    /// How much of that is written.
    done: usize,
}

impl JsonLines<io::Stdout> {
    /// To standard output. Under the name [`STDOUT_LOGGER`](crate::audit::STDOUT_LOGGER) it is the
    /// built-in logger of gRFC A59.
    pub fn stdout() -> Self {
        Self::to(io::stdout())
    }
}

impl<W: Write + Send + 'static> JsonLines<W> {
    /// To a writer, whole lines at a time. It may block; see [`AuditSink`].
    pub fn to(writer: W) -> Self {
        Self { to: writer, in_grpc_format: false, pending: Vec::new(), done: 0 }
    }

    /// Writes what grpc-go's `stdout_logger` writes
    /// ([`GrpcAuditLog`](crate::audit::GrpcAuditLog)). Default: every field of [`AuditEvent`].
    #[must_use]
    pub fn in_grpc_format(mut self) -> Self {
        self.in_grpc_format = true;
        self
    }
}

impl<W: Write + Send + 'static> AuditSink for JsonLines<W> {
    fn write(&mut self, event: &AuditEvent) -> Result<(), SinkError> {
        push_line(&mut self.pending, event, self.in_grpc_format)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        while self.done < self.pending.len() {
            match self.to.write(&self.pending[self.done..]) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(written) => self.done += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.pending.clear();
        self.done = 0;
        Ok(self.to.flush()?)
    }
}

impl<W> fmt::Debug for JsonLines<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines").field("in_grpc_format", &self.in_grpc_format).finish()
    }
}
