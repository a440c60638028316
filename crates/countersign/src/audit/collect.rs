use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use super::event::AuditEvent;
use super::options::{SinkOptions, WhenFull};
use super::queue::Queue;
use super::report::SinkReport;
use super::sink::AuditSink;
use super::writer::{AuditWriter, Running};
use crate::authorization::{AuditCondition, AuditOptions};

/// What a gate tells its decisions to: one or several sinks, each with a queue of its own.
///
/// A gate takes one with [`GateBuilder::audit`](crate::GateBuilder::audit). Nothing is written by
/// itself: [`start`](Self::start) begins it. Cloning shares the sinks, so several gates may have
/// one audit.
#[derive(Clone)]
pub struct Audit {
    inner: Arc<Inner>,
}

struct Inner {
    outlets: Vec<Outlet>,
    /// Gone when they were started.
    sinks: Mutex<Option<Vec<Box<dyn AuditSink>>>>,
}

struct Outlet {
    queue: Arc<Queue>,
    when_full: WhenFull,
    condition: AuditCondition,
    regardless: bool,
}

/// Makes an [`Audit`].
#[must_use = "a builder does nothing until it builds"]
pub struct AuditBuilder {
    sinks: Vec<(String, Box<dyn AuditSink>, SinkOptions)>,
}

/// Why there is no audit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// Without a sink nothing would be on record.
    #[error("an audit needs a sink")]
    NoSink,
    /// A policy could not tell them apart. (grpc-go takes the last of them.)
    #[error("two audit sinks are named {name:?}")]
    DuplicateSink {
        /// The name.
        name: String,
    },
    /// There are more than [`AuditBuilder::MAX_SINKS`].
    #[error("an audit has {} sinks at most", AuditBuilder::MAX_SINKS)]
    TooManySinks,
    /// It was started before.
    #[error("the audit is started already")]
    AlreadyStarted,
    /// There is no thread for a sink.
    #[error("cannot start a thread for the audit sink {name:?}")]
    Thread {
        /// The sink.
        name: String,
        /// What the operating system says.
        source: io::Error,
    },
}

/// Which sinks a decision goes to, a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted(u32);

/// A sink that calls have to wait for has no room.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoRoom;

impl AuditBuilder {
    /// The most sinks of one audit.
    pub const MAX_SINKS: usize = 32;

    /// Adds a sink under the name by which a policy's `audit_loggers` know it. With a name other
    /// than [`STDOUT_LOGGER`](super::STDOUT_LOGGER), let policies know it too:
    /// [`PolicyOptions::with_audit_logger`](crate::authorization::PolicyOptions::with_audit_logger).
    ///
    /// The options are [`SinkOptions`], or a [`WhenFull`] alone.
    pub fn sink(
        mut self,
        name: impl Into<String>,
        sink: impl AuditSink,
        options: impl Into<SinkOptions>,
    ) -> Self {
        self.sinks.push((name.into(), Box::new(sink), options.into()));
        self
    }

    /// Checks the names.
    ///
    /// # Errors
    ///
    /// There is no sink, there are too many, or two have one name.
    pub fn build(self) -> Result<Audit, AuditError> {
        match self.sinks.len() {
            0 => return Err(AuditError::NoSink),
            1..=Self::MAX_SINKS => {}
            _ => return Err(AuditError::TooManySinks),
        }
        let mut outlets: Vec<Outlet> = Vec::new();
        let mut sinks = Vec::new();
        for (name, sink, options) in self.sinks {
            if outlets.iter().any(|one| one.queue.name() == name) {
                return Err(AuditError::DuplicateSink { name });
            }
            outlets.push(Outlet {
                queue: Arc::new(Queue::new(name, &options)),
                when_full: options.when_full,
                condition: options.condition,
                regardless: options.regardless,
            });
            sinks.push(sink);
        }
        Ok(Audit { inner: Arc::new(Inner { outlets, sinks: Mutex::new(Some(sinks)) }) })
    }
}

impl Audit {
    /// An audit that so far writes nothing anywhere.
    pub fn builder() -> AuditBuilder {
        AuditBuilder { sinks: Vec::new() }
    }

    /// Starts a thread for each sink. Events that were collected before are written first.
    ///
    /// # Errors
    ///
    /// It was started before, or there are no more threads.
    pub fn start(&self) -> Result<AuditWriter, AuditError> {
        let sinks = self.inner.sinks.lock().unwrap_or_else(PoisonError::into_inner).take();
        let sinks = sinks.ok_or(AuditError::AlreadyStarted)?;
        let queues = self.inner.outlets.iter().map(|outlet| Arc::clone(&outlet.queue));
        // Made first: if a thread is missing, dropping it ends the others.
        let writer = AuditWriter::new(queues.clone().collect());
        for (queue, sink) in queues.zip(sinks) {
            let name = queue.name().to_owned();
            let running = Running::new(Arc::clone(&queue), sink);
            let thread = thread::Builder::new().name("countersign-audit".to_owned());
            if let Err(source) = thread.spawn(move || running.run()) {
                self.inner.outlets.iter().for_each(|outlet| outlet.queue.ended(None));
                return Err(AuditError::Thread { name, source });
            }
        }
        Ok(writer)
    }

    /// How each sink is doing.
    pub fn report(&self) -> Vec<SinkReport> {
        self.inner.outlets.iter().map(|outlet| outlet.queue.report()).collect()
    }

    /// The sinks' names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.inner.outlets.iter().map(|outlet| outlet.queue.name())
    }

    /// Who is to hear of a decision by a gate whose policy says this. `None`: it has no policy.
    pub(crate) fn wanted(&self, allowed: bool, policy: Option<&AuditOptions>) -> Wanted {
        let stated = policy.filter(|options| options.is_stated());
        let wants = |outlet: &Outlet| match stated {
            Some(options) if !outlet.regardless => {
                let named = options.loggers().iter().any(|name| name == outlet.queue.name());
                named && options.condition().holds(allowed)
            }
            _ => outlet.condition.holds(allowed),
        };
        let outlets = self.inner.outlets.iter().enumerate();
        Wanted(outlets.filter(|(_, outlet)| wants(outlet)).fold(0, |bits, (at, _)| bits | 1 << at))
    }

    /// Takes in an event whose call may still be refused.
    ///
    /// # Errors
    ///
    /// A sink without which no call may go on has no room. Then nobody has the event.
    pub(crate) fn record(&self, wanted: Wanted, event: &Arc<AuditEvent>) -> Result<(), NoRoom> {
        let refuse = |outlet: &&Outlet| outlet.when_full == WhenFull::RefuseCall;
        let mut strict = self.outlets(wanted).filter(refuse);
        match (strict.next(), strict.next()) {
            (None, _) => {}
            (Some(only), None) => match only.queue.try_push(event) {
                true => {}
                false => return Err(NoRoom),
            },
            // All or none: what one of them has must have happened.
            (Some(_), Some(_)) => self.record_in_all(wanted, event)?,
        }
        for outlet in self.outlets(wanted).filter(|outlet| !refuse(outlet)) {
            outlet.queue.offer(Arc::clone(event));
        }
        Ok(())
    }

    fn record_in_all(&self, wanted: Wanted, event: &Arc<AuditEvent>) -> Result<(), NoRoom> {
        let strict =
            || self.outlets(wanted).filter(|outlet| outlet.when_full == WhenFull::RefuseCall);
        let promised = strict().take_while(|outlet| outlet.queue.reserve(event)).count();
        if promised < strict().count() {
            strict().take(promised).for_each(|outlet| outlet.queue.release());
            return Err(NoRoom);
        }
        strict().for_each(|outlet| outlet.queue.keep(Arc::clone(event)));
        Ok(())
    }

    /// Takes in an event of what has happened anyway. Where there is no room it is counted.
    pub(crate) fn note(&self, wanted: Wanted, event: AuditEvent) {
        let event = Arc::new(event);
        self.outlets(wanted).for_each(|outlet| outlet.queue.offer(Arc::clone(&event)));
    }

    fn outlets(&self, wanted: Wanted) -> impl Iterator<Item = &Outlet> {
        let outlets = self.inner.outlets.iter().enumerate();
        outlets.filter(move |(at, _)| wanted.0 & 1 << at != 0).map(|(_, outlet)| outlet)
    }
}

impl Wanted {
    pub(crate) fn is_nobody(self) -> bool {
        self.0 == 0
    }
}

impl From<&Audit> for Audit {
    fn from(audit: &Audit) -> Self {
        audit.clone()
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Audit")?;
        f.debug_list().entries(self.names()).finish()
    }
}

impl fmt::Debug for AuditBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditBuilder")?;
        f.debug_list().entries(self.sinks.iter().map(|(name, ..)| name)).finish()
    }
}
