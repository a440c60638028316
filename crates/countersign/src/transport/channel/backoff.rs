use std::time::Duration;

use super::options::CENTURY;

/// How long to leave a server alone after a connection failed (gRPC's connection back-off).
///
/// Delays are 1 s, 1.6 s, 2.56 s and so on up to 120 s, each up to 20 % shorter or longer.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Backoff {
    /// The first delay. Default: 1 s.
    pub base: Duration,
    /// What each further delay is multiplied by. Default: 1.6.
    pub multiplier: f64,
    /// By how much a delay may be off, as a part of it. Default: 0.2.
    pub jitter: f64,
    /// The longest delay. Default: 120 s.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            multiplier: 1.6,
            jitter: 0.2,
            max: Duration::from_secs(120),
        }
    }
}

impl Backoff {
    /// The defaults with another first and longest delay.
    pub fn between(base: Duration, max: Duration) -> Self {
        Self { base, max, ..Self::default() }
    }

    /// The delay after `failures` failures in a row, at least one. `luck` is from -1 to 1.
    pub(super) fn delay(&self, failures: u32, luck: f64) -> Duration {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.base.as_secs_f64() * self.multiplier.powi(exponent);
        let capped = grown.min(self.max.as_secs_f64());
        let seconds = capped * (1.0 + self.jitter * luck);
        Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(CENTURY).min(CENTURY)
    }

    pub(super) fn random_delay(&self, failures: u32) -> Duration {
        self.delay(failures, luck())
    }
}

/// A random number from -1 to 1.
pub(super) fn luck() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness there is no jitter, and nothing else is lost.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return 0.0;
    }
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX) * 2.0 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_longest_and_stay_there() {
        let backoff = Backoff::default();
        let seconds = |failures| backoff.delay(failures, 0.0).as_secs_f64();
        assert!((seconds(1) - 1.0).abs() < 1e-9);
        assert!((seconds(2) - 1.6).abs() < 1e-9);
        assert!((seconds(3) - 2.56).abs() < 1e-9);
        assert!((seconds(1000) - 120.0).abs() < 1e-9);
        assert!((seconds(u32::MAX) - 120.0).abs() < 1e-9);
    }

    #[test]
    fn the_longest_delay_can_still_be_added_to_now() {
        let backoff = Backoff::between(Duration::MAX, Duration::MAX);
        for luck in [-1.0, 0.0, 1.0] {
            assert!(std::time::Instant::now().checked_add(backoff.delay(1, luck)).is_some());
        }
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        let backoff = Backoff::default();
        assert!((backoff.delay(1, -1.0).as_secs_f64() - 0.8).abs() < 1e-9);
        assert!((backoff.delay(1, 1.0).as_secs_f64() - 1.2).abs() < 1e-9);
        for _ in 0..100 {
            assert!((-1.0..=1.0).contains(&luck()));
        }
    }
}
