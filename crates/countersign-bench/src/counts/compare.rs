//! Today's counts beside the committed ones.

use super::baseline::{Baseline, Counts};

/// By how much a count may grow where the baseline says nothing else.
pub const TOLERANCE: f64 = 0.03;

/// What became of one count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it was, within the tolerance.
    Same,
    /// It grew by more than it may. Fails.
    Grown,
    /// It shrank by more than the tolerance. The baseline should be made anew, so that it stays
    /// so.
    Shrunk,
    /// The baseline has not got the case, so nothing would hold it. Fails.
    New,
    /// Only the baseline has the case. Fails, since somebody may have lost it.
    Missing,
    /// The baseline is of another architecture.
    NotComparable,
}

impl Verdict {
    /// Whether the check fails.
    pub fn fails(self) -> bool {
        matches!(self, Self::Grown | Self::New | Self::Missing)
    }

    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Grown => "GROWN",
            Self::Shrunk => "shrunk",
            Self::New => "NEW",
            Self::Missing => "MISSING",
            Self::NotComparable => "other architecture",
        }
    }
}

/// One case, before and now.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The case.
    pub case: String,
    /// What is committed.
    pub before: Option<Counts>,
    /// What was counted.
    pub now: Option<Counts>,
    /// What became of the instructions.
    pub instructions: Verdict,
    /// What became of the allocations.
    pub allocations: Verdict,
}

impl Comparison {
    /// Whether the check fails.
    pub fn fails(&self) -> bool {
        self.instructions.fails() || self.allocations.fails()
    }
}

/// Compares case by case, by name. Allocations do not depend on the architecture; instructions
/// do.
pub fn compare(before: &Baseline, now: &Baseline) -> Vec<Comparison> {
    let same_architecture = before.made_with.architecture == now.made_with.architecture;
    let mut names: Vec<&String> = before.cases.keys().chain(now.cases.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|case| {
            let (was, is) = (before.cases.get(case).copied(), now.cases.get(case).copied());
            let (instructions, allocations) = match (was, is) {
                (Some(was), Some(is)) => {
                    let tolerance = was.tolerance.unwrap_or(TOLERANCE);
                    let instructions = match (was.instructions, is.instructions) {
                        // Allocations alone are counted.
                        (None, None) => Verdict::Same,
                        (None, Some(_)) => Verdict::New,
                        (Some(_), None) => Verdict::Missing,
                        (Some(_), Some(_)) if !same_architecture => Verdict::NotComparable,
                        (Some(was), Some(is)) => judge(float(was), float(is), tolerance),
                    };
                    (instructions, judge(was.allocations, is.allocations, tolerance))
                }
                (None, _) => (Verdict::New, Verdict::New),
                (Some(_), None) => (Verdict::Missing, Verdict::Missing),
            };
            Comparison { case: case.clone(), before: was, now: is, instructions, allocations }
        })
        .collect()
}

fn judge(before: f64, now: f64, tolerance: f64) -> Verdict {
    // What was nothing may not become anything: there is no share of nothing.
    if now > before * (1.0 + tolerance) {
        Verdict::Grown
    } else if now < before * (1.0 - tolerance) {
        Verdict::Shrunk
    } else {
        Verdict::Same
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counts::baseline::Tools;

    fn baseline(cases: &[(&str, u64, f64)]) -> Baseline {
        let cases = cases
            .iter()
            .map(|&(name, instructions, allocations)| {
                let instructions = Some(instructions);
                (name.to_owned(), Counts { instructions, allocations, tolerance: None })
            })
            .collect();
        let made_with = Tools { architecture: "x86_64".to_owned(), ..Tools::default() };
        Baseline { made_with, cases }
    }

    fn verdicts(before: &Baseline, now: &Baseline) -> (Verdict, Verdict) {
        let all = compare(before, now);
        assert_eq!(all.len(), 1);
        (all[0].instructions, all[0].allocations)
    }

    #[test]
    fn a_count_may_grow_by_the_tolerance_and_no_further() {
        use Verdict::{Grown, Same, Shrunk};
        for (name, before, now, told) in [
            ("equal", (1_000, 5.0), (1_000, 5.0), (Same, Same)),
            ("within", (1_000, 5.0), (1_030, 5.0), (Same, Same)),
            ("beyond", (1_000, 5.0), (1_031, 5.0), (Grown, Same)),
            ("one allocation more", (1_000, 5.0), (1_000, 6.0), (Same, Grown)),
            ("a first allocation", (1_000, 0.0), (1_000, 1.0), (Same, Grown)),
            ("still none", (1_000, 0.0), (1_000, 0.0), (Same, Same)),
            ("fewer", (1_000, 5.0), (900, 4.0), (Shrunk, Shrunk)),
        ] {
            let before = baseline(&[("case", before.0, before.1)]);
            let now = baseline(&[("case", now.0, now.1)]);
            assert_eq!(verdicts(&before, &now), told, "{name}");
        }
    }

    #[test]
    fn only_what_shrank_or_stayed_passes() {
        use Verdict::{Grown, Missing, New, NotComparable, Same, Shrunk};
        assert!([Grown, New, Missing].iter().all(|verdict| verdict.fails()));
        assert!(![Same, Shrunk, NotComparable].iter().any(|verdict| verdict.fails()));
    }

    #[test]
    fn a_case_that_only_one_side_has_fails() {
        let (none, one) = (baseline(&[]), baseline(&[("case", 1, 1.0)]));
        assert_eq!(verdicts(&none, &one), (Verdict::New, Verdict::New));
        assert_eq!(verdicts(&one, &none), (Verdict::Missing, Verdict::Missing));
    }

    #[test]
    fn instructions_that_only_one_side_has_fail_and_none_on_both_do_not() {
        let with = baseline(&[("case", 1_000, 5.0)]);
        let mut without = with.clone();
        without.cases.get_mut("case").expect("it is there").instructions = None;
        assert_eq!(verdicts(&without, &without), (Verdict::Same, Verdict::Same));
        assert_eq!(verdicts(&without, &with), (Verdict::New, Verdict::Same));
        assert_eq!(verdicts(&with, &without), (Verdict::Missing, Verdict::Same));
        let mut more = without.clone();
        more.cases.get_mut("case").expect("it is there").allocations = 6.0;
        assert_eq!(verdicts(&without, &more), (Verdict::Same, Verdict::Grown));
    }

    #[test]
    fn a_case_may_have_a_tolerance_of_its_own() {
        let mut before = baseline(&[("case", 1_000, 5.0)]);
        let now = baseline(&[("case", 1_080, 5.0)]);
        assert_eq!(verdicts(&before, &now).0, Verdict::Grown);
        before.cases.get_mut("case").expect("it is there").tolerance = Some(0.1);
        assert_eq!(verdicts(&before, &now).0, Verdict::Same);
        let mut renewed = now;
        renewed.keep_tolerances_of(&before);
        assert_eq!(renewed.cases["case"].tolerance, Some(0.1));
    }

    #[test]
    fn another_architecture_is_judged_by_its_allocations_alone() {
        let before = baseline(&[("case", 1_000, 5.0)]);
        let mut now = baseline(&[("case", 5_000, 6.0)]);
        now.made_with.architecture = "aarch64".to_owned();
        assert_eq!(verdicts(&before, &now), (Verdict::NotComparable, Verdict::Grown));
    }
}
