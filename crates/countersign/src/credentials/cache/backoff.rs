use std::time::Duration;

/// The first delay after a failure.
const BASE: Duration = Duration::from_secs(1);

/// The longest delay, also for a source that asks for a longer one.
pub(super) const MOST: Duration = Duration::from_secs(120);

/// How long a permanent failure is remembered.
pub(super) const PERMANENT: Duration = Duration::from_secs(30);

/// The delay after this many failures in a row: 1 s × 1.6 each time, ±20 %, 2 min at most.
pub(super) fn delay(failures: u32) -> Duration {
    let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
    let grown = (BASE.as_secs_f64() * 1.6_f64.powi(exponent)).min(MOST.as_secs_f64());
    Duration::from_secs_f64(grown * (0.8 + 0.4 * chance())).min(MOST)
}

/// A random number from 0 to 1.
pub(super) fn chance() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness there is no jitter, and nothing else is lost.
    if aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return 0.5;
    }
    f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_two_minutes_within_a_fifth() {
        for (failures, seconds) in
            [(1, 1.0), (2, 1.6), (3, 2.56), (11, 109.95), (12, 120.0), (u32::MAX, 120.0)]
        {
            for _ in 0..50 {
                let delay = delay(failures).as_secs_f64();
                assert!(delay >= seconds * 0.799, "{failures}: {delay}");
                assert!(delay <= (seconds * 1.201).min(120.0), "{failures}: {delay}");
            }
        }
    }
}
