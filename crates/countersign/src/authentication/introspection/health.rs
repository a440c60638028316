use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Whether the endpoint is worth asking.
#[derive(Debug, Default)]
pub(super) struct Health {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Failures in a row.
    failures: u32,
    /// Not before this, once there were enough of them.
    rests_until: Option<Instant>,
}

/// What an answer says of the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It answered as it should.
    Well,
    /// It did not, and would not for any token.
    Ill,
    /// It did not for this token. A stranger chooses tokens, so this alone never stops the
    /// others from being asked for.
    Odd,
}

/// What a sign changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// It is left alone from now on, for so long at first.
    Rests(Duration),
    /// It answers again.
    Recovered,
}

impl Health {
    /// Fewer failures in a row are bad luck.
    const PATIENCE: u32 = 3;
    const FIRST_REST: Duration = Duration::from_millis(500);
    const LONGEST_REST: Duration = Duration::from_secs(30);

    /// `Err` while the endpoint is left alone, with how long still. After a rest one request may
    /// find out; for `probe`, the time that it may take, the others wait on.
    pub(super) fn admit(&self, probe: Duration) -> Result<(), Duration> {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.rests_until {
            Some(until) if now < until => Err(until - now),
            Some(_) => {
                state.rests_until = Some(now + probe);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// How long the endpoint is left alone still.
    pub(super) fn rest(&self) -> Option<Duration> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let left = state.rests_until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Takes note of an answer. `luck` is from 0 to 1.
    pub(super) fn note(&self, sign: Sign, luck: f64) -> Change {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = state.rests_until.is_some();
        match sign {
            Sign::Well => {
                *state = State::default();
                return if rested { Change::Recovered } else { Change::None };
            }
            Sign::Ill => state.failures = state.failures.saturating_add(1),
            Sign::Odd => {}
        }
        if state.failures < Self::PATIENCE {
            return Change::None;
        }
        let doublings = (state.failures - Self::PATIENCE).min(16);
        let rest = (Self::FIRST_REST * 2_u32.pow(doublings)).min(Self::LONGEST_REST);
        // Up to a fifth less, so that many servers do not come back at the same time.
        let rest = rest.mul_f64(1.0 - 0.2 * luck);
        state.rests_until = Some(Instant::now() + rest);
        if rested { Change::None } else { Change::Rests(rest) }
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

    const PROBE: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_fails_is_left_alone_and_then_tried_once() {
        let health = Health::default();
        assert_eq!(health.note(Sign::Ill, 0.0), Change::None);
        assert_eq!(health.note(Sign::Ill, 0.0), Change::None);
        assert_eq!((health.admit(PROBE), health.rest()), (Ok(()), None));
        let half = Duration::from_millis(500);
        assert_eq!(health.note(Sign::Ill, 0.0), Change::Rests(half));
        assert_eq!((health.admit(PROBE), health.rest()), (Err(half), Some(half)));
        tokio::time::advance(half).await;
        assert_eq!(health.rest(), None);
        assert_eq!(health.admit(PROBE), Ok(()));
        assert_eq!(health.admit(PROBE), Err(PROBE));
        assert_eq!(health.note(Sign::Ill, 0.0), Change::None);
        assert_eq!(health.admit(PROBE), Err(half * 2));
        tokio::time::advance(half * 2).await;
        assert_eq!(health.admit(PROBE), Ok(()));
        assert_eq!(health.note(Sign::Well, 0.0), Change::Recovered);
        assert_eq!((health.admit(PROBE), health.note(Sign::Well, 0.0)), (Ok(()), Change::None));
    }

    #[tokio::test(start_paused = true)]
    async fn rests_grow_to_the_longest_and_stay_there() {
        let health = Health::default();
        for _ in 0..100 {
            health.note(Sign::Ill, 0.0);
        }
        assert_eq!(health.rest(), Some(Health::LONGEST_REST));
        health.note(Sign::Ill, 1.0);
        assert_eq!(health.rest(), Some(Health::LONGEST_REST.mul_f64(0.8)));
        assert!((0.0..=1.0).contains(&luck()));
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_with_single_tokens_stops_nothing() {
        let health = Health::default();
        for _ in 0..100 {
            assert_eq!(health.note(Sign::Odd, 0.0), Change::None);
        }
        assert_eq!(health.admit(PROBE), Ok(()));
        for _ in 0..3 {
            health.note(Sign::Ill, 0.0);
        }
        tokio::time::advance(PROBE).await;
        assert_eq!(health.admit(PROBE), Ok(()));
        health.note(Sign::Odd, 0.0);
        assert_eq!(health.rest(), Some(Health::FIRST_REST));
    }
}
