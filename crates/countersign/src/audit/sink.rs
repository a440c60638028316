use std::io;
use std::time::Duration;

use super::AuditEvent;

/// Where events go.
///
/// Every sink has a thread of its own, on which all of these are called, one after the other. It
/// may block: its queue then fills up, and what happens next is for its
/// [`WhenFull`](super::WhenFull). Nothing else waits for it.
pub trait AuditSink: Send + 'static {
    /// Takes one event. What is kept back has to be handed on by [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// Whether the same event may be written [later](SinkError::Again) or is
    /// [lost](SinkError::Lost).
    fn write(&mut self, event: &AuditEvent) -> Result<(), SinkError>;

    /// Hands on what was written. Called when there is no further event for now, and after
    /// 512 events at the latest; they count as written when it returns.
    ///
    /// # Errors
    ///
    /// [`SinkError::Again`]: it is called again after a pause, and no event comes in between.
    /// [`SinkError::Lost`]: the events since the last time count as failed.
    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// When [`flush`](Self::flush) has to be called although no event comes. Asked after each
    /// flush. Default: not before the next event.
    fn flush_again_in(&self) -> Option<Duration> {
        None
    }

    /// The last call, when the audit ends and everything is flushed.
    fn close(&mut self) {}
}

/// Why a sink has not written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// It may work later: it is tried again after 100 ms, and then after twice as long each time
    /// up to 5 s.
    #[error("the event cannot be written now")]
    Again(#[source] io::Error),
    /// It never will.
    #[error("the event cannot be written")]
    Lost(#[source] io::Error),
}

impl From<io::Error> for SinkError {
    fn from(error: io::Error) -> Self {
        Self::Again(error)
    }
}

impl AuditSink for Box<dyn AuditSink> {
    fn write(&mut self, event: &AuditEvent) -> Result<(), SinkError> {
        (**self).write(event)
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        (**self).flush()
    }

    fn flush_again_in(&self) -> Option<Duration> {
        (**self).flush_again_in()
    }

    fn close(&mut self) {
        (**self).close();
    }
}

/// The most events between two flushes.
pub(super) const BATCH: usize = 512;
