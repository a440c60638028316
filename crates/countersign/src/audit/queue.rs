//! What waits for one sink: bounded, and taken in batches, so that a call that is noted wakes
//! nobody up as a rule.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::event::AuditEvent;
use super::options::SinkOptions;
use super::report::SinkReport;
use super::sink::{BATCH, SinkError};

/// One sink's queue, between the calls and its thread.
#[derive(Debug)]
pub(super) struct Queue {
    name: String,
    capacity: usize,
    gather: Duration,
    state: Mutex<State>,
    /// For the sink's thread.
    wake: Condvar,
    /// For who waits for the thread.
    over: Condvar,
    progress: watch::Sender<Progress>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Arc<AuditEvent>>,
    /// Places that were promised, see [`Queue::reserve`].
    reserved: usize,
    /// How many were taken in, ever.
    accepted: u64,
    /// How many of them are done with, ever: written or failed.
    done: u64,
    thread: Thread,
    /// Somebody waits for what is there.
    urgent: bool,
    /// Nothing more is taken in.
    closing: bool,
    ended: bool,
    /// What cannot be written at once is given up.
    abandoned: bool,
    told_dropped: Option<(Instant, u64)>,
    written: u64,
    dropped: u64,
    failed: u64,
    retries: u64,
    problem: Option<String>,
}

/// What the sink's thread does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Thread {
    /// It works, or is not there yet.
    #[default]
    Busy,
    /// It waits for an event.
    Asleep,
    /// It waits for more events.
    Gathering,
}

/// How far a sink has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    pub(super) done: u64,
    pub(super) ended: bool,
}

impl Queue {
    /// How often a problem that persists is told.
    const REPEAT: Duration = Duration::from_secs(10);
    const FIRST_PAUSE: Duration = Duration::from_millis(100);
    const LONGEST_PAUSE: Duration = Duration::from_secs(5);

    pub(super) fn new(name: String, options: &SinkOptions) -> Self {
        Self {
            name,
            capacity: options.capacity,
            gather: options.gather,
            state: Mutex::default(),
            wake: Condvar::new(),
            over: Condvar::new(),
            progress: watch::Sender::new(Progress::default()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event in, or counts it as dropped.
    pub(super) fn offer(&self, event: Arc<AuditEvent>) {
        let mut state = self.lock();
        if self.has_room(&state, &event) {
            self.push(state, event);
            return;
        }
        state.dropped += 1;
        let (dropped, now) = (state.dropped, Instant::now());
        let (since, untold) = match state.told_dropped {
            Some((at, told)) => (Some(now.duration_since(at)), dropped - told),
            None => (None, dropped),
        };
        if since.is_some_and(|since| since < Self::REPEAT) {
            return;
        }
        state.told_dropped = Some((now, dropped));
        drop(state);
        tracing::warn!(sink = self.name, dropped = untold, "audit events were dropped");
    }

    /// Takes an event in, or says that there is no room, and counts nothing.
    pub(super) fn try_push(&self, event: &Arc<AuditEvent>) -> bool {
        let state = self.lock();
        let room = self.has_room(&state, event);
        if room {
            self.push(state, Arc::clone(event));
        }
        room
    }

    /// Promises a place for an event. A promise is followed by [`keep`](Self::keep) or
    /// [`release`](Self::release).
    pub(super) fn reserve(&self, event: &AuditEvent) -> bool {
        let mut state = self.lock();
        let room = self.has_room(&state, event);
        state.reserved += usize::from(room);
        room
    }

    pub(super) fn keep(&self, event: Arc<AuditEvent>) {
        let mut state = self.lock();
        state.reserved -= 1;
        // A queue that was closed in between is still emptied, or its end says what was left.
        self.push(state, event);
    }

    pub(super) fn release(&self) {
        self.lock().reserved -= 1;
    }

    fn has_room(&self, state: &State, event: &AuditEvent) -> bool {
        let most = match event.is_known {
            true => self.capacity,
            false => self.capacity / 2,
        };
        let unfinished = usize::try_from(state.accepted - state.done).unwrap_or(usize::MAX);
        !state.closing && unfinished + state.reserved < most
    }

    fn push(&self, mut state: MutexGuard<'_, State>, event: Arc<AuditEvent>) {
        state.waiting.push_back(event);
        state.accepted += 1;
        let wakes = match state.thread {
            Thread::Busy => false,
            Thread::Asleep => true,
            Thread::Gathering => state.waiting.len() >= (self.capacity / 4).min(BATCH),
        };
        if wakes {
            // Once is enough.
            state.thread = Thread::Busy;
            drop(state);
            self.wake.notify_one();
        }
    }

    // --- the sink's thread -----------------------------------------------------------------------

    /// Waits for events and moves them into the batch, which is empty. `flush_in`: after that
    /// long without one, it is time to flush all the same. `gathers`: something was written just
    /// now. `false`: it is time to end.
    pub(super) fn next(
        &self,
        batch: &mut Vec<Arc<AuditEvent>>,
        flush_in: Option<Duration>,
        gathers: bool,
    ) -> bool {
        let began = Instant::now();
        let mut state = self.lock();
        if gathers {
            state = self.wait(state, Thread::Gathering, Some(self.gather), |state| {
                state.waiting.len() >= (self.capacity / 4).min(BATCH)
            });
        }
        let left = flush_in.map(|flush_in| flush_in.saturating_sub(began.elapsed()));
        state = self.wait(state, Thread::Asleep, left, |state| !state.waiting.is_empty());
        let most = state.waiting.len().min(BATCH);
        batch.extend(state.waiting.drain(..most));
        !batch.is_empty() || !state.closing
    }

    /// Waits until something holds, the time is over, or somebody is in a hurry.
    fn wait<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
        thread: Thread,
        time: Option<Duration>,
        holds: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        let until = time.map(|time| Instant::now() + time);
        let hurried = |state: &State| state.closing || (state.urgent && !state.waiting.is_empty());
        while !holds(&state) && !hurried(&state) {
            state.thread = thread;
            match until.map(|until| until.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    let waited = self.wake.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
        state.thread = Thread::Busy;
        state
    }

    /// Counts what became of a batch.
    pub(super) fn finished(&self, written: u64, failed: u64) {
        let mut state = self.lock();
        state.written += written;
        state.failed += failed;
        state.done += written + failed;
        if failed == 0 {
            state.problem = None;
        }
        if state.accepted == state.done {
            state.urgent = false;
        }
        let done = state.done;
        drop(state);
        self.progress.send_if_modified(|progress| {
            progress.done = done;
            true
        });
    }

    /// Notes what is wrong, and tells it now and then.
    pub(super) fn trouble(&self, error: &SinkError, told: &mut Option<Instant>) {
        let (cause, is_retried) = match error {
            SinkError::Again(cause) => (cause, true),
            SinkError::Lost(cause) => (cause, false),
        };
        let problem = cause.to_string();
        if told.is_none_or(|at| at.elapsed() >= Self::REPEAT) {
            *told = Some(Instant::now());
            tracing::warn!(sink = self.name, error = problem, "an audit sink fails");
        }
        let mut state = self.lock();
        state.retries += u64::from(is_retried);
        state.problem = Some(problem);
    }

    /// Waits before something is tried again, longer each time. `false`: it is not to be.
    pub(super) fn pause(&self, attempt: u32) -> bool {
        let mut state = self.lock();
        let was_closing = state.closing;
        let time = match was_closing {
            true => Self::FIRST_PAUSE,
            false => (Self::FIRST_PAUSE * 2_u32.pow(attempt.min(10))).min(Self::LONGEST_PAUSE),
        };
        let until = Instant::now() + time;
        while !state.abandoned && state.closing == was_closing {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.wake.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        !state.abandoned
    }

    /// The thread is no more.
    pub(super) fn ended(&self, why: Option<&str>) {
        let mut state = self.lock();
        (state.closing, state.ended) = (true, true);
        if let Some(why) = why {
            state.problem = Some(why.to_owned());
        }
        drop(state);
        self.over.notify_all();
        self.progress.send_modify(|progress| progress.ended = true);
    }

    // --- the handle ------------------------------------------------------------------------------

    /// Lets the thread hurry. How far it has to come, and how to see how far it is.
    pub(super) fn hurry(&self) -> (u64, watch::Receiver<Progress>) {
        let mut state = self.lock();
        state.urgent = true;
        let accepted = state.accepted;
        drop(state);
        self.wake.notify_one();
        (accepted, self.progress.subscribe())
    }

    /// Takes nothing more in, and lets the thread end.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    /// Waits for the end of the thread, blocking.
    pub(super) fn wait_for_end(&self, until: Instant) {
        let mut state = self.lock();
        while !state.ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.over.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives up what cannot be written.
    pub(super) fn abandon(&self) {
        self.lock().abandoned = true;
        self.wake.notify_one();
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn report(&self) -> SinkReport {
        let state = self.lock();
        SinkReport {
            name: self.name.clone(),
            queued: state.accepted - state.done,
            written: state.written,
            dropped: state.dropped,
            failed: state.failed,
            retries: state.retries,
            problem: state.problem.clone(),
        }
    }
}
