//! The comparison for people.

use std::fmt::Write as _;

use super::compare::{Comparison, Verdict};

/// A line for each case.
pub fn render(comparisons: &[Comparison]) -> String {
    let width = comparisons.iter().map(|one| one.case.len()).max().unwrap_or(0);
    let mut text = format!(
        "{:width$}  {:>12} {:>12} {:>8}  {:>7} {:>7}\n",
        "", "instructions", "committed", "", "allocs", "commtd"
    );
    for one in comparisons {
        let counted = |counts: Option<super::baseline::Counts>| counts?.instructions;
        let instructions =
            |counts| counted(counts).map_or("-".to_owned(), |count| count.to_string());
        let allocations = |counts: Option<super::baseline::Counts>| {
            counts.map_or("-".to_owned(), |counts| counts.allocations.to_string())
        };
        let change = match (counted(one.before), counted(one.now)) {
            (Some(before), Some(now)) if before > 0 => {
                let ratio = now as f64 / before as f64;
                format!("{:+.2} %", 100.0 * (ratio - 1.0))
            }
            _ => String::new(),
        };
        let verdict = match (one.instructions, one.allocations) {
            (Verdict::Same, Verdict::Same) => String::new(),
            (both, same) if both == same => both.as_str().to_owned(),
            (Verdict::Same, allocations) => format!("allocations {}", allocations.as_str()),
            (instructions, Verdict::Same) => format!("instructions {}", instructions.as_str()),
            (instructions, allocations) => format!(
                "instructions {}, allocations {}",
                instructions.as_str(),
                allocations.as_str()
            ),
        };
        let line = format!(
            "{:width$}  {:>12} {:>12} {change:>8}  {:>7} {:>7}  {verdict}",
            one.case,
            instructions(one.now),
            instructions(one.before),
            allocations(one.now),
            allocations(one.before),
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
