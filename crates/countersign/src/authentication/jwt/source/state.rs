//! What is known, what is under way, and what an unknown `kid` is worth.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::KeysError;

/// What readers of keys do not need, and the keeper and those who miss a key do.
#[derive(Debug)]
pub(super) struct State {
    /// When the keeper reads again by itself.
    pub(super) due: Instant,
    /// How many readings have begun.
    pub(super) begun: u64,
    /// Whether one is under way.
    pub(super) is_flying: bool,
    /// Whether somebody misses a key and no reading has begun since.
    pub(super) is_demanded: bool,
    /// When the last good reading began that somebody had asked for.
    pub(super) answered_demand_at: Option<Instant>,
    /// Failures in a row.
    pub(super) failures: u32,
    pub(super) last_error: Option<Arc<KeysError>>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            due: Instant::now(),
            begun: 0,
            is_flying: false,
            is_demanded: false,
            answered_demand_at: None,
            failures: 0,
            last_error: None,
        }
    }

    /// What can be done for somebody who misses a key, whether or not there are keys.
    ///
    /// The cooldown is a list of absent keys with all of them on it: a good reading that was made
    /// for one unknown `kid` has shown what there is, to every other `kid` too.
    pub(super) fn judge(&self, has_keys: bool, cooldown: Duration, now: Instant) -> Verdict {
        let cools =
            self.answered_demand_at.is_some_and(|at| now.saturating_duration_since(at) < cooldown);
        if has_keys && cools {
            return Verdict::Final;
        }
        if self.is_flying {
            return Verdict::Join(self.begun);
        }
        if self.is_demanded {
            return Verdict::Join(self.begun + 1);
        }
        match self.failures > 0 && now < self.due {
            true => Verdict::Later(self.due - now),
            false => Verdict::Demand,
        }
    }
}

/// What can be done for somebody who misses a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is no such key.
    Final,
    /// Nobody can tell before so long.
    Later(Duration),
    /// Wait until so many readings are done.
    Join(u64),
    /// Ask for a reading.
    Demand,
}

/// The delay after so many failures in a row: 1 s, 2 s, 4 s and so on up to 60 s, each up to a
/// fifth shorter or longer. `luck` is from -1 to 1.
pub(super) fn backoff(failures: u32, luck: f64) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1)).min(60);
    Duration::from_secs(doubled.into()).mul_f64(1.0 + 0.2 * luck)
}

/// When to read again: what the issuer says, from a minute to an hour, or else our own interval;
/// up to a tenth earlier or later, so that servers that started together part.
pub(super) fn refresh_after(own: Duration, max_age: Option<Duration>, luck: f64) -> Duration {
    const SHORTEST: Duration = Duration::from_secs(60);
    const LONGEST: Duration = Duration::from_secs(3600);
    let after = max_age.map_or(own, |age| age.clamp(SHORTEST, LONGEST));
    after.min(Duration::from_secs(30 * 86_400)).mul_f64(1.0 + 0.1 * luck)
}

/// A random number from -1 to 1; 0 when there is no randomness.
pub(super) fn luck() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX) * 2.0 - 1.0,
        Err(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_a_minute() {
        let seconds: Vec<_> = (1..9).map(|failures| backoff(failures, 0.0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff(u32::MAX, 1.0), Duration::from_secs(72));
        assert_eq!(backoff(1, -1.0), Duration::from_millis(800));
    }

    #[test]
    fn an_issuer_chooses_between_a_minute_and_an_hour() {
        let own = Duration::from_secs(600);
        let after =
            |age: Option<u64>| refresh_after(own, age.map(Duration::from_secs), 0.0).as_secs();
        assert_eq!(after(None), 600);
        assert_eq!(after(Some(0)), 60);
        assert_eq!(after(Some(300)), 300);
        assert_eq!(after(Some(86_400)), 3600);
        assert_eq!(refresh_after(own, None, 1.0).as_secs(), 660);
        assert_eq!(refresh_after(own, None, -1.0).as_secs(), 540);
        assert!(refresh_after(Duration::MAX, None, 1.0) < Duration::from_secs(100 * 86_400));
        assert!((0..100).all(|_| (-1.0..=1.0).contains(&luck())));
    }
}
