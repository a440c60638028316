//! How long calls took, where a sample is their 99th percentile.

use std::time::Duration;

use crate::report::{Fact, Row};
use crate::stats::{quantile, sorted};
use crate::suites::bench::per_one;

/// What was seen of one row beside its samples.
#[derive(Default)]
pub(super) struct Seen {
    /// How long each good call of all rounds took.
    milliseconds: Vec<f64>,
    /// Server CPU per call of each round, in µs.
    server: Vec<f64>,
}

impl Seen {
    /// How long the good calls of each part of a round took, and what so many calls, refused
    /// ones among them, cost the server; the 99th percentile of the median part in ms.
    pub(super) fn round(&mut self, parts: &[Vec<Duration>], calls: usize, cpu: Duration) -> f64 {
        self.server.push(per_one(cpu, calls));
        let mut lasts = Vec::with_capacity(parts.len());
        for part in parts {
            let milliseconds: Vec<f64> = part.iter().map(|took| took.as_secs_f64() * 1e3).collect();
            lasts.extend(quantile(&sorted(&milliseconds), 0.99));
            self.milliseconds.extend(milliseconds);
        }
        quantile(&sorted(&lasts), 0.5).unwrap_or(f64::NAN)
    }

    /// Puts quantiles of all rounds' good calls and the median cost into the row.
    pub(super) fn tell(&self, row: &mut Row, quantiles: &[(&str, f64)]) {
        let all = sorted(&self.milliseconds);
        for (name, fraction) in quantiles {
            if let Some(value) = quantile(&all, *fraction) {
                row.fact(name, Fact::Number(value));
            }
        }
        if let Some(value) = quantile(&sorted(&self.server), 0.5) {
            row.fact("µs of server CPU per call", Fact::Number(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_was_held_up_is_not_the_rounds_last() {
        let quick = vec![Duration::from_millis(1); 100];
        let held_up = vec![Duration::from_millis(50); 100];
        let mut seen = Seen::default();
        let round = |seen: &mut Seen, parts: &[Vec<Duration>]| {
            seen.round(parts, 300, Duration::from_millis(3))
        };
        assert_eq!(round(&mut seen, &[quick.clone(), held_up.clone(), quick.clone()]), 1.0);
        assert_eq!(round(&mut seen, &[held_up.clone(), held_up, quick]), 50.0);
        assert_eq!((seen.milliseconds.len(), seen.server.len()), (600, 2));
        assert!(round(&mut seen, &[]).is_nan());
    }
}
