//! The arithmetic of samples: quartiles, ratios, and whether a run may be believed.

use serde::{Deserialize, Serialize};

/// Five numbers that stand for a set of samples.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Summary {
    pub(crate) count: usize,
    pub(crate) min: f64,
    pub(crate) q1: f64,
    pub(crate) median: f64,
    pub(crate) q3: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// `None` for no samples.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let sorted = sorted(samples);
        Some(Self {
            count: sorted.len(),
            min: *sorted.first()?,
            q1: quantile(&sorted, 0.25)?,
            median: quantile(&sorted, 0.5)?,
            q3: quantile(&sorted, 0.75)?,
            max: *sorted.last()?,
        })
    }
}

/// The samples in rising order, without what is not a number.
pub(crate) fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The value below which `fraction` of the samples lie; between two samples, on the line.
///
/// `sorted` is in rising order. `None` for no samples.
pub(crate) fn quantile(sorted: &[f64], fraction: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[allow(clippy::cast_precision_loss, reason = "a few thousand samples")]
    let position = last as f64 * fraction.clamp(0.0, 1.0);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last index"
    )]
    let below = position.floor() as usize;
    let above = (below + 1).min(last);
    let between = position - position.floor();
    Some(sorted[below] + (sorted[above] - sorted[below]) * between)
}

/// What one variant costs over another, round by round; rounds that lack either are left out.
pub(crate) fn ratios(of: &[Option<f64>], over: &[Option<f64>]) -> Vec<f64> {
    of.iter()
        .zip(over)
        .filter_map(|(of, over)| Some((*of)? / over.filter(|&over| over > 0.0)?))
        .filter(|ratio| ratio.is_finite())
        .collect()
}

/// How far the same thing measured twice may differ before nothing measured beside it counts.
pub(crate) const CONTROL_RANGE: std::ops::RangeInclusive<f64> = 0.95..=1.05;

/// One thing measured twice in the same run: an A/A pair.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Control {
    /// What was measured twice.
    pub(crate) name: String,
    /// The second over the first, round by round.
    pub(crate) ratios: Vec<f64>,
    /// `None` when nothing was measured.
    pub(crate) summary: Option<Summary>,
    /// Whether the run may be believed.
    pub(crate) valid: bool,
}

impl Control {
    pub(crate) fn new(name: &str, first: &[Option<f64>], second: &[Option<f64>]) -> Self {
        let ratios = ratios(second, first);
        let summary = Summary::of(&ratios);
        // What could not be measured proves nothing.
        let valid = summary.is_some_and(|summary| CONTROL_RANGE.contains(&summary.median));
        Self { name: name.to_owned(), ratios, summary, valid }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_on_the_line_between_samples() {
        let summary = Summary::of(&[4.0, 1.0, 3.0, 2.0]).expect("samples");
        assert_eq!((summary.min, summary.max, summary.count), (1.0, 4.0, 4));
        assert_eq!((summary.q1, summary.median, summary.q3), (1.75, 2.5, 3.25));
    }

    #[test]
    fn one_sample_is_its_own_summary() {
        let summary = Summary::of(&[7.0]).expect("a sample");
        assert_eq!((summary.min, summary.q1, summary.median, summary.q3), (7.0, 7.0, 7.0, 7.0));
    }

    #[test]
    fn no_samples_have_no_summary() {
        assert_eq!(Summary::of(&[]), None);
        assert_eq!(Summary::of(&[f64::NAN]), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round_and_skip_rounds_that_lack_one() {
        let of = [Some(2.0), None, Some(9.0), Some(5.0)];
        let over = [Some(1.0), Some(1.0), Some(3.0), None];
        assert_eq!(ratios(&of, &over), [2.0, 3.0]);
        assert!(ratios(&[Some(1.0)], &[Some(0.0)]).is_empty());
    }

    #[test]
    fn a_drifting_machine_does_not_move_the_ratio() {
        let of = [Some(2.0), Some(20.0), Some(200.0)];
        let over = [Some(1.0), Some(10.0), Some(100.0)];
        assert_eq!(Summary::of(&ratios(&of, &over)).expect("ratios").median, 2.0);
    }

    #[test]
    fn a_pair_within_five_percent_is_valid_and_one_outside_is_not() {
        let first = [Some(100.0); 3];
        for (second, valid) in [(95.0, true), (105.0, true), (94.9, false), (105.1, false)] {
            assert_eq!(Control::new("pair", &first, &[Some(second); 3]).valid, valid, "{second}");
        }
    }

    #[test]
    fn a_pair_that_was_not_measured_is_not_valid() {
        assert!(!Control::new("pair", &[], &[]).valid);
        assert!(!Control::new("pair", &[Some(1.0)], &[None]).valid);
    }
}
