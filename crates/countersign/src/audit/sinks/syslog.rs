use std::path::PathBuf;

use super::datagram::{Datagrams, severity};
use super::push_line;
use crate::audit::time::rfc3339;
use crate::audit::{AuditEvent, AuditSink, SinkError};

/// RFC 5424 messages over the local socket of a syslog daemon, with the event's JSON as the text.
///
/// The daemon has to read RFC 5424 there: rsyslog does with
/// `module(load="imuxsock" SysSock.UseSpecialParser="off")`, syslog-ng with
/// `unix-dgram("/dev/log" flags(syslog-protocol))`. For systemd's journal use
/// [`JournaldSink`](super::JournaldSink).
///
/// The host's name is left out (`-`); a local daemon knows it. A daemon that is restarted is found
/// again, and what it misses is tried again. An event that is longer than the socket takes (on
/// macOS 2 KiB) counts as failed.
#[derive(Debug)]
pub struct SyslogSink {
    datagrams: Datagrams,
    app_name: String,
    facility: Facility,
    message: Vec<u8>,
}

/// What kind of program a message comes from (RFC 5424 §6.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Facility {
    /// `authpriv`, 10: as a rule in a file that few may read. The default.
    #[default]
    AuthPriv,
    /// `auth`, 4.
    Auth,
    /// `daemon`, 3.
    Daemon,
    /// `local0` to `local7`, 16 to 23. Numbers above 7 count as 7.
    Local(u8),
}

impl Facility {
    fn number(self) -> u8 {
        match self {
            Self::Daemon => 3,
            Self::Auth => 4,
            Self::AuthPriv => 10,
            Self::Local(number) => 16 + number.min(7),
        }
    }
}

impl SyslogSink {
    /// The program's name as the daemon gets it (`APP-NAME`); visible ASCII, at most 48, and what
    /// is not is left out. The socket is `/dev/log`, on macOS `/var/run/syslog`.
    pub fn new(app_name: &str) -> Self {
        let path = match cfg!(target_os = "macos") {
            true => "/var/run/syslog",
            false => "/dev/log",
        };
        let visible = |byte: &u8| byte.is_ascii_graphic();
        let name: String = app_name.bytes().filter(visible).take(48).map(char::from).collect();
        Self {
            datagrams: Datagrams::to(path),
            app_name: if name.is_empty() { "-".to_owned() } else { name },
            facility: Facility::default(),
            message: Vec::new(),
        }
    }

    /// Another socket.
    #[must_use]
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.datagrams.to = path.into();
        self
    }

    /// Another facility. Default: [`Facility::AuthPriv`].
    #[must_use]
    pub fn facility(mut self, facility: Facility) -> Self {
        self.facility = facility;
        self
    }
}

impl AuditSink for SyslogSink {
    fn write(&mut self, event: &AuditEvent) -> Result<(), SinkError> {
        let priority = self.facility.number() * 8 + severity(event.outcome());
        let (time, name) = (rfc3339(event.time(), 6), &self.app_name);
        let (process, kind) = (std::process::id(), event.outcome().as_str());
        // A byte order mark says that the text is UTF-8 (RFC 5424 §6.4).
        let head = format!("<{priority}>1 {time} - {name} {process} {kind} - \u{feff}");
        self.message.clear();
        self.message.extend_from_slice(head.as_bytes());
        push_line(&mut self.message, event, false)?;
        self.message.pop();
        self.datagrams.send(&self.message)
    }
}
