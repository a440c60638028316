use std::time::Duration;

use crate::authorization::AuditCondition;

/// What happens to a call whose event a sink has no room for. There is no default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// The call goes on as it was decided, and the sink lacks its event:
    /// [`SinkReport::dropped`](super::SinkReport::dropped) counts it, and a warning says so.
    DropAndCount,
    /// The call is refused with `UNAVAILABLE`, reason `AUDIT_UNAVAILABLE`, whatever was decided:
    /// nobody learns of a decision that is not on record.
    ///
    /// A call that ends with its credential ends all the same; its event is dropped and counted.
    RefuseCall,
}

/// How one sink of an [`Audit`](super::Audit) is fed. A [`WhenFull`] alone is enough.
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a sink has them"]
pub struct SinkOptions {
    pub(super) when_full: WhenFull,
    pub(super) condition: AuditCondition,
    pub(super) regardless: bool,
    pub(super) capacity: usize,
    pub(super) gather: Duration,
}

impl SinkOptions {
    /// With this choice, and the defaults for all else.
    pub fn new(when_full: WhenFull) -> Self {
        Self {
            when_full,
            condition: AuditCondition::OnDenyAndAllow,
            regardless: false,
            capacity: 8_192,
            gather: Duration::from_millis(10),
        }
    }

    /// Which decisions it gets where the policy does not say (gRFC A59). Default: all. A call that
    /// is ended counts as denied.
    pub fn when(mut self, condition: AuditCondition) -> Self {
        self.condition = condition;
        self
    }

    /// [`when`](Self::when) counts also where the policy says something else. Default: a policy
    /// with `audit_logging_options` decides for all sinks, and those that it does not name get
    /// nothing.
    pub fn regardless_of_policy(mut self) -> Self {
        self.regardless = true;
        self
    }

    /// How many events may wait, those included that are being written. Default: 8,192; at least
    /// 2.
    ///
    /// Events of callers of whom nobody knows who they are, and of calls that a limit refuses,
    /// take half of it at most, so that no flood of strangers and no caller beyond its limits
    /// keeps others off the record.
    pub fn capacity(mut self, events: usize) -> Self {
        self.capacity = events.max(2);
        self
    }

    /// How long events are gathered after some were written, before the next are. Default: 10 ms.
    ///
    /// The first event after a pause is written at once. Under load it means fewer and larger
    /// writes, and that so much may be lost if the process is killed.
    pub fn gather(mut self, time: Duration) -> Self {
        self.gather = time;
        self
    }
}

impl From<WhenFull> for SinkOptions {
    fn from(when_full: WhenFull) -> Self {
        Self::new(when_full)
    }
}
