use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::queue::Queue;
use super::sink::{AuditSink, BATCH, SinkError};

/// Writes what an [`Audit`](super::Audit) collects, for as long as it is kept: a thread for each
/// sink.
///
/// Dropped without [`close`](Self::close), it lets the sinks finish and waits for them, blocking,
/// for a second at most: what is on record when a program ends should not depend on a line of
/// code that nobody misses.
#[must_use = "events are written for as long as this is kept"]
#[derive(Debug)]
pub struct AuditWriter {
    queues: Vec<Arc<Queue>>,
    is_closed: bool,
}

/// Events were not written in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("audit events were not written in time: {}", shown(.left))]
pub struct Unwritten {
    /// The sinks, and how many events each has left. None left, and the sink is still flushing or
    /// closing.
    pub left: Vec<(String, u64)>,
}

fn shown(left: &[(String, u64)]) -> String {
    let each: Vec<_> = left.iter().map(|(name, count)| format!("{count} of {name:?}")).collect();
    each.join(", ")
}

impl AuditWriter {
    /// How long dropping it waits at most.
    pub const DROP_WAIT: Duration = Duration::from_secs(1);

    pub(super) fn new(queues: Vec<Arc<Queue>>) -> Self {
        Self { queues, is_closed: false }
    }

    /// Waits until what was decided before is written by every sink.
    ///
    /// Dropping the future is safe at any time. Needs a tokio runtime with time.
    ///
    /// # Errors
    ///
    /// Not within that time; the sinks go on.
    pub async fn flush(&self, within: Duration) -> Result<(), Unwritten> {
        let marks: Vec<_> = self.queues.iter().map(|queue| queue.hurry()).collect();
        let all = async {
            for (accepted, mut progress) in marks {
                // The sender lives as long as the queue.
                let _ = progress.wait_for(|now| now.done >= accepted || now.ended).await;
            }
        };
        let in_time = tokio::time::timeout(within, all).await.is_ok();
        let left: Vec<_> = self.left().into_iter().filter(|(_, left)| *left > 0).collect();
        match in_time || left.is_empty() {
            true => Ok(()),
            false => Err(Unwritten { left }),
        }
    }

    /// Takes no more events, and waits until every sink has written what it has and has ended.
    ///
    /// From here on a decision's event is dropped and counted, or its call refused, as each
    /// sink's [`WhenFull`](super::WhenFull) says: close a server before its audit. What
    /// is not written in time is given up. A sink that hangs keeps its thread until it returns.
    /// Dropping the future is dropping the writer. Needs a tokio runtime with time.
    ///
    /// # Errors
    ///
    /// Not within that time.
    pub async fn close(mut self, within: Duration) -> Result<(), Unwritten> {
        self.begin_to_close();
        let all = async {
            for queue in &self.queues {
                let (_, mut progress) = queue.hurry();
                let _ = progress.wait_for(|now| now.ended).await;
            }
        };
        let in_time = tokio::time::timeout(within, all).await.is_ok();
        self.is_closed = true;
        self.queues.iter().for_each(|queue| queue.abandon());
        match in_time && self.left().iter().all(|(_, left)| *left == 0) {
            true => Ok(()),
            false => Err(Unwritten { left: self.left() }),
        }
    }

    fn begin_to_close(&self) {
        self.queues.iter().for_each(|queue| queue.close());
    }

    fn left(&self) -> Vec<(String, u64)> {
        self.queues.iter().map(|queue| (queue.name().to_owned(), queue.report().queued)).collect()
    }
}

impl Drop for AuditWriter {
    fn drop(&mut self) {
        if self.is_closed {
            return;
        }
        self.begin_to_close();
        let until = Instant::now() + Self::DROP_WAIT;
        for queue in &self.queues {
            queue.wait_for_end(until);
            queue.abandon();
        }
    }
}

/// What a sink's thread does from its beginning to its end.
pub(super) struct Running {
    queue: Arc<Queue>,
    sink: Box<dyn AuditSink>,
    /// When a problem was told last.
    told: Option<Instant>,
}

impl Running {
    pub(super) fn new(queue: Arc<Queue>, sink: Box<dyn AuditSink>) -> Self {
        Self { queue, sink, told: None }
    }

    pub(super) fn run(mut self) {
        let _end = End(Arc::clone(&self.queue));
        let mut batch = Vec::with_capacity(BATCH);
        let (mut flush_in, mut gathers) = (None, false);
        while self.queue.next(&mut batch, flush_in, gathers) {
            let all = batch.len() as u64;
            let mut failed = 0;
            for event in &batch {
                match self.insist(|sink| sink.write(event)) {
                    Done::Yes => {}
                    Done::No => failed += 1,
                    Done::GivenUp => return,
                }
            }
            match self.insist(|sink| sink.flush()) {
                Done::Yes => {}
                Done::No => failed = all,
                Done::GivenUp => return,
            }
            batch.clear();
            self.queue.finished(all - failed, failed);
            gathers = all > 0;
            // A sink that says *now* each time would keep a processor busy.
            flush_in = self.sink.flush_again_in().map(|time| time.max(Duration::from_millis(1)));
        }
        self.sink.close();
    }

    /// Tries until it works, is lost, or nobody waits any more.
    fn insist(
        &mut self,
        mut attempt: impl FnMut(&mut dyn AuditSink) -> Result<(), SinkError>,
    ) -> Done {
        for attempts in 0.. {
            let error = match attempt(&mut *self.sink) {
                Ok(()) => return Done::Yes,
                Err(error) => error,
            };
            self.queue.trouble(&error, &mut self.told);
            if matches!(error, SinkError::Lost(_)) {
                return Done::No;
            }
            if !self.queue.pause(attempts) {
                break;
            }
        }
        Done::GivenUp
    }
}

enum Done {
    Yes,
    No,
    GivenUp,
}

/// Notes the end of a thread, however it comes.
struct End(Arc<Queue>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.ended(thread::panicking().then_some("the sink panicked"));
    }
}
