use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether the store is worth asking.
///
/// One failure is enough for it to be left alone for a while, and each attempt after that which
/// fails doubles the while. So a store that is down costs each call one deadline at most, and one
/// call in each while.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Counts the changes between well and ill, so that answers to older questions change nothing.
    epoch: u64,
    ill: Option<Ill>,
    /// Whether somebody stopped waiting since it last said something.
    given_up: bool,
    /// Whether a question is asked to its end, whoever stops waiting.
    carried: bool,
    told: Option<Instant>,
    untold: u64,
}

#[derive(Debug)]
struct Ill {
    /// Attempts that failed.
    failures: u32,
    rests_until: Instant,
    /// Whether somebody is finding out.
    probed: bool,
}

/// The right to ask once. Dropped without a word, it leaves the store as ill or well as it was.
#[derive(Debug)]
pub(super) struct Ticket {
    breaker: Arc<Breaker>,
    epoch: u64,
    probe: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Admitted,
    Asking { carried: bool },
    Told,
}

/// What an outcome changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// It is left alone, for so long at first. `Some`: worth telling, with how often it happened
    /// since the last time that was told.
    Rests(Duration, Option<u64>),
    Recovered,
}

impl Breaker {
    pub(super) const FIRST_REST: Duration = Duration::from_millis(100);
    pub(super) const LONGEST_REST: Duration = Duration::from_secs(10);
    /// A store that comes and goes is told of no more often than this.
    const TOLD_EVERY: Duration = Duration::from_secs(10);

    /// `Err` while the store is left alone, with how long still.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Ticket, Duration> {
        let mut state = self.lock();
        let epoch = state.epoch;
        let ticket =
            |probe| Ticket { breaker: Arc::clone(self), epoch, probe, stage: Stage::Admitted };
        let Some(ill) = &mut state.ill else {
            return Ok(ticket(false));
        };
        let left = ill.rests_until.saturating_duration_since(Instant::now());
        match ill.probed || !left.is_zero() {
            true => Err(left),
            false => {
                ill.probed = true;
                Ok(ticket(true))
            }
        }
    }

    /// How long the store is left alone still; `None` where it would be asked.
    pub(super) fn rest(&self) -> Option<Duration> {
        let state = self.lock();
        let ill = state.ill.as_ref()?;
        let left = ill.rests_until.saturating_duration_since(Instant::now());
        (ill.probed || !left.is_zero()).then_some(left)
    }

    /// Whether its last word was a failure.
    pub(super) fn is_ill(&self) -> bool {
        self.lock().ill.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// It is used now. True: nobody knows how the store is since somebody stopped waiting for it,
    /// so this question is to be asked to its end. One at a time is.
    pub(super) fn begin(&mut self) -> bool {
        let mut state = self.breaker.lock();
        let carried = state.given_up && !state.carried;
        state.carried |= carried;
        self.stage = Stage::Asking { carried };
        carried
    }

    /// The store answered.
    pub(super) fn well(mut self) -> Change {
        let breaker = Arc::clone(&self.breaker);
        let mut state = breaker.lock();
        self.told(&mut state);
        if state.epoch != self.epoch || state.ill.is_none() {
            return Change::None;
        }
        state.ill = None;
        state.epoch += 1;
        Change::Recovered
    }

    /// It did not. `luck` is from 0 to 1.
    pub(super) fn ill(mut self, luck: f64) -> Change {
        let breaker = Arc::clone(&self.breaker);
        let mut state = breaker.lock();
        self.told(&mut state);
        if state.epoch != self.epoch {
            return Change::None;
        }
        // Up to a fifth less, so that a fleet does not come back all at once.
        let jittered = |rest: Duration| rest.mul_f64(1.0 - 0.2 * luck);
        let now = Instant::now();
        if let Some(ill) = &mut state.ill {
            let rest = Breaker::FIRST_REST * 2_u32.pow(ill.failures.min(16));
            ill.failures = ill.failures.saturating_add(1);
            ill.rests_until = now + jittered(rest.min(Breaker::LONGEST_REST));
            ill.probed = false;
            return Change::None;
        }
        let rest = jittered(Breaker::FIRST_REST);
        state.ill = Some(Ill { failures: 1, rests_until: now + rest, probed: false });
        state.epoch += 1;
        state.untold += 1;
        let silent = state.told.is_some_and(|told| now - told < Breaker::TOLD_EVERY);
        let told = (!silent).then(|| {
            state.told = Some(now);
            std::mem::take(&mut state.untold)
        });
        Change::Rests(rest, told)
    }

    /// The store said something, be it to an older question.
    fn told(&mut self, state: &mut State) {
        state.given_up = false;
        if self.stage == (Stage::Asking { carried: true }) {
            state.carried = false;
        }
        self.stage = Stage::Told;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.stage == Stage::Told {
            return;
        }
        let mut state = self.breaker.lock();
        if let Stage::Asking { carried } = self.stage {
            state.given_up = true;
            state.carried &= !carried;
        }
        // Whoever was to find out went away, and the next one may.
        if self.probe
            && state.epoch == self.epoch
            && let Some(ill) = &mut state.ill
        {
            ill.probed = false;
        }
    }
}

/// A random number from 0 to 1.
pub(super) fn luck() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness there is no jitter, and nothing else is lost.
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Breaker::FIRST_REST;

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_it_is_left_alone_and_one_finds_out() {
        let breaker = Arc::new(Breaker::default());
        let (one, two) = (breaker.admit().expect("well"), breaker.admit().expect("well"));
        assert_eq!(one.ill(0.0), Change::Rests(FIRST, Some(1)));
        assert_eq!(two.ill(0.0), Change::None, "asked before");
        assert_eq!(breaker.admit().expect_err("it rests"), FIRST);
        assert_eq!((breaker.rest(), breaker.is_ill()), (Some(FIRST), true));
        tokio::time::advance(FIRST).await;
        assert_eq!(breaker.rest(), None);
        let probe = breaker.admit().expect("one may find out");
        breaker.admit().expect_err("and one alone");
        assert_eq!(probe.ill(0.0), Change::None);
        assert_eq!(breaker.rest(), Some(FIRST * 2));
        tokio::time::advance(FIRST * 2).await;
        assert_eq!(breaker.admit().expect("again").well(), Change::Recovered);
        assert_eq!(breaker.admit().expect("well").well(), Change::None);
        assert!(!breaker.is_ill());
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_out_and_goes_away_leaves_it_to_the_next() {
        let breaker = Arc::new(Breaker::default());
        breaker.admit().expect("well").ill(0.0);
        tokio::time::advance(FIRST).await;
        drop(breaker.admit().expect("one"));
        breaker.admit().expect("the next").well();
        assert!(!breaker.is_ill());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_from_before_says_nothing_of_now() {
        let breaker = Arc::new(Breaker::default());
        let (early, late) = (breaker.admit().expect("well"), breaker.admit().expect("well"));
        early.ill(0.0);
        assert_eq!(late.well(), Change::None);
        assert!(breaker.is_ill());
    }

    #[tokio::test(start_paused = true)]
    async fn rests_grow_to_the_longest_and_are_told_now_and_then() {
        let breaker = Arc::new(Breaker::default());
        for _ in 0..40 {
            breaker.admit().expect("worth a try").ill(0.0);
            let rest = breaker.rest().expect("it rests");
            tokio::time::advance(rest).await;
        }
        breaker.admit().expect("worth a try").ill(1.0);
        assert_eq!(breaker.rest(), Some(Breaker::LONGEST_REST.mul_f64(0.8)));
        let mut told = Vec::new();
        tokio::time::advance(Breaker::LONGEST_REST).await;
        // A second for each time that it comes and goes.
        for _ in 0..30 {
            breaker.admit().expect("worth a try").well();
            if let Change::Rests(_, Some(times)) = breaker.admit().expect("well").ill(0.0) {
                told.push(times);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(told, [1, 10, 10]);
        assert!((0.0..=1.0).contains(&luck()));
    }

    #[test]
    fn after_somebody_stopped_waiting_one_question_is_asked_to_its_end() {
        let breaker = Arc::new(Breaker::default());
        let begun = || {
            let mut ticket = breaker.admit().expect("well");
            let carried = ticket.begin();
            (ticket, carried)
        };
        let (one, carried) = begun();
        assert!(!carried, "nobody has stopped waiting");
        drop(breaker.admit().expect("well"));
        let (two, carried) = begun();
        assert!(!carried, "who has not asked has not waited");
        drop(one);
        let (three, carried) = begun();
        assert!(carried);
        let (four, carried) = begun();
        assert!(!carried, "one at a time");
        // The task itself is gone, with its runtime: the next one is asked to its end.
        drop(three);
        let (five, carried) = begun();
        assert!(carried);
        two.well();
        drop(four);
        let (six, carried) = begun();
        assert!(!carried, "one at a time");
        assert_eq!(six.well(), Change::None);
        assert_eq!(five.well(), Change::None);
        assert!(!begun().1, "it has said something since");
        assert!(begun().1);
    }
}
