//! What the logs of a Unix system have in common.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use crate::audit::{AuditOutcome, SinkError};

/// A socket that sends to another one by its name each time, so that the one of a daemon that was
/// restarted is found.
#[derive(Debug)]
pub(super) struct Datagrams {
    socket: Option<UnixDatagram>,
    pub(super) to: PathBuf,
}

impl Datagrams {
    pub(super) fn to(path: impl AsRef<Path>) -> Self {
        Self { socket: None, to: path.as_ref().to_owned() }
    }

    /// What is too long will always be; all else is tried again.
    pub(super) fn send(&mut self, message: &[u8]) -> Result<(), SinkError> {
        let socket = match &self.socket {
            Some(socket) => socket,
            None => self.socket.insert(UnixDatagram::unbound()?),
        };
        let too_long = Some(rustix::io::Errno::MSGSIZE.raw_os_error());
        match socket.send_to(message, &self.to) {
            Ok(_) => Ok(()),
            Err(error) if error.raw_os_error() == too_long => Err(SinkError::Lost(error)),
            Err(error) => Err(SinkError::Again(error)),
        }
    }
}

/// Severities of RFC 5424 §6.2.1: who is let in is information, who is not is a warning, and
/// whose call ends is a notice.
pub(super) fn severity(outcome: AuditOutcome) -> u8 {
    match outcome {
        AuditOutcome::Allowed => 6,
        AuditOutcome::Ended => 5,
        AuditOutcome::Refused => 4,
    }
}
