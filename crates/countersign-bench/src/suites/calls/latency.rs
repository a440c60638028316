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
    /// How long a round's good calls took, and what so many calls, refused ones among them, cost
    /// the server; the 99th percentile of the good ones in ms.
    pub(super) fn round(&mut self, latencies: &[Duration], calls: usize, cpu: Duration) -> f64 {
        self.server.push(per_one(cpu, calls));
        let milliseconds: Vec<f64> =
            latencies.iter().map(|took| took.as_secs_f64() * 1e3).collect();
        let last = quantile(&sorted(&milliseconds), 0.99);
        self.milliseconds.extend(milliseconds);
        last.unwrap_or(f64::NAN)
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
