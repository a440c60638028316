//! Timing one operation by the processor time of this thread.

use std::time::Duration;

use countersign_bench::in_process::Subject;
use rustix::time::{ClockId, clock_gettime};

use crate::report::Row;

/// How long a sample takes for a look, and for figures to quote.
pub(super) const QUICK: Duration = Duration::from_millis(2);
pub(super) const FULL: Duration = Duration::from_millis(10);

/// The clock, and what reading it costs.
#[derive(Debug)]
pub(super) struct Clock {
    reading: Duration,
}

impl Clock {
    pub(super) fn new() -> Self {
        let nothing = Self { reading: Duration::ZERO };
        let reading = (0..1_000).map(|_| nothing.time(|| ())).min();
        Self { reading: reading.unwrap_or_default() }
    }

    /// This thread's processor time.
    pub(super) fn now() -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    }

    fn time(&self, operations: impl FnOnce()) -> Duration {
        let start = Self::now();
        operations();
        Self::now().saturating_sub(start + self.reading)
    }
}

/// One operation and its samples so far.
pub(super) struct Timed {
    name: String,
    subject: Box<dyn Subject>,
    /// Operations between two readings of the clock.
    batch: usize,
    /// Nanoseconds per operation, one for each round.
    samples: Vec<f64>,
}

impl Timed {
    /// Finds out how many operations make a batch, which also makes every lazy thing.
    pub(super) fn new(name: String, mut subject: Box<dyn Subject>, clock: &Clock) -> Self {
        let most = subject.most_at_once();
        let mut batch = 1;
        loop {
            subject.prepare(batch);
            let spent = clock.time(|| subject.run());
            if spent > Duration::from_micros(200) || batch >= most {
                break;
            }
            batch = (batch * 2).min(most);
        }
        Self { name, subject, batch, samples: Vec::new() }
    }

    /// Takes one sample.
    pub(super) fn sample(&mut self, clock: &Clock, target: Duration) {
        let (mut spent, mut operations) = (Duration::ZERO, 0);
        while spent < target {
            self.subject.prepare(self.batch);
            spent += clock.time(|| self.subject.run());
            operations += self.batch;
        }
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        self.samples.push(spent.as_secs_f64() * 1e9 / operations as f64);
    }

    pub(super) fn row(&self) -> Row {
        Row::measured(&self.name, self.samples.iter().copied())
    }
}
