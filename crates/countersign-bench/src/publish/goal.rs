//! What a goal is: numbers with their bounds, and where each comes from.

use std::fmt;

use super::markdown::with_commas;

/// A goal of several checks.
#[derive(Debug)]
pub(super) struct Goal {
    pub(super) number: &'static str,
    pub(super) text: &'static str,
    /// What measures it, after `cargo run --release -p countersign-bench --`.
    pub(super) command: &'static str,
    pub(super) checks: &'static [Check],
}

/// One number and its bound.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) what: &'static str,
    pub(super) find: Find,
    /// Of no use where nothing is measured.
    pub(super) bound: Bound,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    pub(super) fn holds(self, number: f64) -> bool {
        match self {
            Self::AtMost(limit) => number <= limit,
            Self::AtLeast(limit) => number >= limit,
        }
    }

    pub(super) fn limit(self) -> f64 {
        match self {
            Self::AtMost(limit) | Self::AtLeast(limit) => limit,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "≤ {}", with_commas(&limit.to_string())),
            Self::AtLeast(limit) => write!(f, "≥ {}", with_commas(&limit.to_string())),
        }
    }
}

/// Where a number comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Find {
    /// The median of one row over another, round by round.
    Rounds { section: &'static str, row: &'static str, over: &'static str },
    /// The lowest sample over the lowest: for what runs in process.
    Minima { section: &'static str, row: &'static str, over: &'static str },
    /// The median of the samples.
    Median { section: &'static str, row: &'static str },
    /// What one median is above another.
    MedianMore { section: &'static str, row: &'static str, than: &'static str },
    /// What was seen beside the samples.
    Fact { section: &'static str, row: &'static str, fact: &'static str },
    /// One fact over another.
    FactRatio { section: &'static str, row: &'static str, fact: &'static str, over: &'static str },
    /// A fact such as `10 of 10`.
    Whole { section: &'static str, row: &'static str, fact: &'static str },
    /// Committed instructions above those of another case.
    InstructionsMore { case: &'static str, than: &'static str },
    /// Committed instructions over those of another case.
    InstructionsOver { case: &'static str, over: &'static str },
    /// Committed allocations.
    Allocations { case: &'static str },
    /// Committed allocations above those of another case.
    AllocationsMore { case: &'static str, than: &'static str },
    /// A test that would fail. The file is below `crates/countersign`.
    Test {
        name: &'static str,
        #[allow(dead_code, reason = "tests look it up")]
        file: &'static str,
    },
    /// It is known without measuring that it is not so.
    Lacking(&'static str),
}

impl Find {
    pub(super) fn is_ratio(self) -> bool {
        match self {
            Self::Rounds { .. }
            | Self::Minima { .. }
            | Self::FactRatio { .. }
            | Self::InstructionsOver { .. } => true,
            Self::Fact { fact, .. } => fact.contains('/'),
            _ => false,
        }
    }
}
