//! Two threads that look remembered tokens up at the same time, each on a core of its own.
//!
//! A sample is what both threads spent for each of their lookups. Neither counts while the other
//! is not at it, and neither may share its core: a neighbour would keep one of them from getting
//! in the other's way, and the sample would look better than it is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use countersign_bench::in_process::jwt::{Lookups, Remembered, Token};

use super::sample::Clock;
use crate::options::Options;
use crate::proc::{Placement, stay_on};
use crate::report::{Chart, Report, Row, Section};

const NAME: &str = "micro-threads";
const ONE: &str = "one thread, 1,000 tokens";
const ONE_AGAIN: &str = "one thread, 1,000 tokens, again";

/// Lookups between two looks at the clock, whose reading costs less than one of them.
const BATCH: usize = 64;
/// How much of its time a thread has to have had its core for a sample to count.
const OWN_CORE: f64 = 0.95;
/// How often a sample that does not count is taken again.
const TRIES: u32 = 10;
/// How long a thread counts: the shorter, the likelier it has its core meanwhile.
const TARGET: Duration = Duration::from_millis(2);

/// What a row measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// A thread alone: first on one core, then on the other with another memory, as one that is
    /// used by both in turn is never near.
    Alone,
    /// Two threads and one memory of tokens.
    Together,
    /// Two threads, each with a memory of its own: what the machine alone does to them.
    Apart,
}

/// The rows, and how many tokens are remembered.
const ROWS: [(&str, Way, usize); 7] = [
    ("one thread, one token", Way::Alone, 1),
    ("two threads, one token", Way::Together, 1),
    ("two threads, one token, a cache each", Way::Apart, 1),
    (ONE, Way::Alone, 1_000),
    (ONE_AGAIN, Way::Alone, 1_000),
    ("two threads, 1,000 tokens", Way::Together, 1_000),
    ("two threads, 1,000 tokens, a cache each", Way::Apart, 1_000),
];

/// The section with the names of its rows.
#[cfg(test)]
pub(super) fn names() -> (String, Vec<String>) {
    (NAME.to_owned(), ROWS.map(|(name, ..)| name.to_owned()).to_vec())
}

/// Adds the section.
pub(super) fn run(options: &Options, placement: Placement, report: &mut Report) {
    let wanted = options.wants(NAME) || ROWS.iter().any(|(name, ..)| options.wants(name));
    if !wanted || !options.allows(NAME) {
        return;
    }
    let title = "A JWT that is remembered, by two threads at the same time";
    let mut section = Section::new(NAME, title, "ns of processor time", Chart::Bars);
    match placement.cores() {
        Some(cores) => section.rows.extend(measured(options, cores)),
        None => {
            let reason = "there are no two cores to choose";
            section.rows.extend(ROWS.map(|(name, ..)| Row::missing(name, reason)));
        }
    }
    section.compare("× one thread", |row| alone(&row.name));
    section.compare("× a cache each", |row| apart(&row.name));
    section.control(ONE, ONE_AGAIN);
    section.notes.extend([
        "the time of both threads, each on a core of its own, over the lookups of both; one thread \
         has each of the cores once"
            .to_owned(),
        "a sample in which a thread had less than 95 % of its core is taken again, and left out in \
         the end"
            .to_owned(),
        "a cache each: two threads that share nothing, so what is left is the machine's".to_owned(),
    ]);
    report.push(section);
}

/// What two threads are compared with.
fn alone(row: &str) -> Option<&'static str> {
    let (_, _, tokens) =
        ROWS.into_iter().find(|(name, way, _)| *name == row && *way != Way::Alone)?;
    of(Way::Alone, tokens)
}

/// The same without anything to share.
fn apart(row: &str) -> Option<&'static str> {
    let is_one = |(name, way, _): &(&str, Way, usize)| *name == row && *way == Way::Together;
    let (_, _, tokens) = ROWS.into_iter().find(is_one)?;
    of(Way::Apart, tokens)
}

fn of(wanted: Way, count: usize) -> Option<&'static str> {
    let found = ROWS.into_iter().find(|(_, way, tokens)| *way == wanted && *tokens == count);
    found.map(|(name, ..)| name)
}

fn measured(options: &Options, cores: [usize; 2]) -> Vec<Row> {
    let token = Token::es256();
    // Two of each size, for all rows.
    let [small, large] = [1, 1_000].map(|count| [(); 2].map(|()| token.remembered(count)));
    let rounds = options.rounds(5, 31);
    let mut samples: Vec<Vec<Option<f64>>> = vec![Vec::new(); ROWS.len()];
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..ROWS.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let (_, way, count) = ROWS[index];
            let memories = if count == 1 { &small } else { &large };
            let one = (0..TRIES).find_map(|_| sample(way, memories, cores, TARGET));
            samples[index].push(one);
        }
    }
    let rows = ROWS.into_iter().zip(samples);
    rows.map(|((name, ..), samples)| Row::of(name, samples)).collect()
}

/// Nanoseconds for each lookup; `None` when a thread did not have its core to itself.
fn sample(
    way: Way,
    memories: &[Remembered; 2],
    cores: [usize; 2],
    target: Duration,
) -> Option<f64> {
    let half = memories[0].count() / 2;
    let [first, second] = cores;
    let runs = match way {
        Way::Alone => {
            let mut runs = at_once(vec![(first, memories[0].lookups(0))], target);
            runs.extend(at_once(vec![(second, memories[1].lookups(half))], target));
            runs
        }
        // Half the way apart, so that they are at different tokens where there are several.
        Way::Together => at_once(
            vec![(first, memories[0].lookups(0)), (second, memories[0].lookups(half))],
            target,
        ),
        Way::Apart => at_once(
            vec![(first, memories[0].lookups(0)), (second, memories[1].lookups(half))],
            target,
        ),
    };
    let all_had_their_core = runs.iter().all(Run::had_its_core);
    let spent: Duration = runs.iter().map(|run| run.spent).sum();
    let lookups: usize = runs.iter().map(|run| run.lookups).sum();
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = spent.as_secs_f64() * 1e9 / lookups as f64;
    all_had_their_core.then_some(each)
}

/// What one thread did.
#[derive(Clone, Copy, Debug)]
struct Run {
    lookups: usize,
    /// Processor time for those.
    spent: Duration,
    /// Processor time from before all were at it until all were done.
    at_work: Duration,
    /// The same by everybody's clock.
    took: Duration,
}

impl Run {
    fn had_its_core(&self) -> bool {
        self.at_work >= self.took.mul_f64(OWN_CORE)
    }
}

/// Runs lookups at the same time, each in a thread on its core, until every thread has spent so
/// much. One that is done goes on uncounted until the others are done too.
fn at_once(threads: Vec<(usize, Lookups)>, target: Duration) -> Vec<Run> {
    let all = threads.len();
    let (at_it, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (at_it, done) = (&at_it, &done);
    thread::scope(|scope| {
        let started: Vec<_> = threads
            .into_iter()
            .map(|(core, lookups)| {
                scope.spawn(move || one(core, lookups, target, all, at_it, done))
            })
            .collect();
        let ended = started.into_iter().map(|thread| thread.join().expect("lookups do not panic"));
        ended.collect()
    })
}

fn one(
    core: usize,
    mut lookups: Lookups,
    target: Duration,
    all: usize,
    at_it: &AtomicUsize,
    done: &AtomicUsize,
) -> Run {
    // Where that is not allowed, the samples say so: it does not have its core.
    let _ = stay_on(core);
    let mut batch = || (0..BATCH).for_each(|_| assert!(lookups.find_next(), "it is remembered"));
    // Each token comes by several times before it counts, until it is as near as it will be.
    for _ in 0..64 {
        batch();
    }
    let (begun, at_first) = (Instant::now(), Clock::now());
    at_it.fetch_add(1, Ordering::SeqCst);
    while at_it.load(Ordering::SeqCst) < all {
        batch();
    }
    let (before, mut count, mut spent) = (Clock::now(), 0, Duration::ZERO);
    while spent < target {
        batch();
        count += BATCH;
        spent = Clock::now().saturating_sub(before);
    }
    done.fetch_add(1, Ordering::SeqCst);
    while done.load(Ordering::SeqCst) < all {
        batch();
    }
    let at_work = Clock::now().saturating_sub(at_first);
    Run { lookups: count, spent, at_work, took: begun.elapsed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_count_what_each_of_them_spent() {
        let memory = Token::es256().remembered(10);
        let target = Duration::from_micros(100);
        // The same core will do for two that only have to end.
        let runs = at_once(vec![(0, memory.lookups(0)), (0, memory.lookups(5))], target);
        assert_eq!(runs.len(), 2);
        for run in runs {
            assert!(run.spent >= target && run.lookups >= BATCH, "{run:?}");
            assert!(run.at_work >= run.spent, "{run:?}");
        }
    }

    #[test]
    fn a_thread_that_shared_its_core_does_not_count() {
        let run = |at_work| Run {
            lookups: BATCH,
            spent: Duration::from_millis(50),
            at_work: Duration::from_millis(at_work),
            took: Duration::from_millis(100),
        };
        assert!(run(96).had_its_core());
        assert!(!run(94).had_its_core());
    }

    #[test]
    fn each_row_is_compared_with_its_own() {
        assert_eq!(alone("two threads, one token"), Some("one thread, one token"));
        assert_eq!(alone("two threads, 1,000 tokens, a cache each"), Some(ONE));
        assert_eq!(alone(ONE), None);
        let each = Some("two threads, 1,000 tokens, a cache each");
        assert_eq!(apart("two threads, 1,000 tokens"), each);
        assert_eq!(apart("two threads, 1,000 tokens, a cache each"), None);
    }
}
