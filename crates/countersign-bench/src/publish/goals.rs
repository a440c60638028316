//! The goals beside what was measured.

use std::fmt::Write as _;

use countersign_bench::counts::baseline::{Baseline, Counts};

use super::Found;
use super::definitions::GOALS;
use super::goal::{Bound, Check, Find, Goal};
use super::markdown::{cell, grouped, two};
use crate::report::{Fact, Row, Section};
use crate::stats::{Summary, ratios};

/// What was found for a check.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// A number, and the quartiles of the rounds where there are any.
    Number(f64, Option<(f64, f64)>),
    /// Nothing has to be measured to know.
    Known(bool, String),
    NotMeasured(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Met,
    NotMet,
    NotMeasured,
}

/// The table of all goals.
pub(super) fn table(found: &[Found<'_>], baseline: &Baseline) -> String {
    let sections: Vec<&Section> = found.iter().map(|one| one.section).collect();
    let mut text = "| # | Goal | Command | Measured | |\n|---|---|---|---|---|\n".to_owned();
    for goal in GOALS {
        let checks: Vec<(String, Verdict)> =
            goal.checks.iter().map(|check| judged(check, &sections, baseline)).collect();
        let verdicts: Vec<Verdict> = checks.iter().map(|(_, verdict)| *verdict).collect();
        let told: Vec<&str> = checks.iter().map(|(told, _)| told.as_str()).collect();
        let Goal { number, text: what, command, .. } = goal;
        let (told, verdict) = (cell(&told.join("<br>")), overall(&verdicts));
        let _ = writeln!(text, "| {number} | {what} | {command} | {told} | {verdict} |");
    }
    text.push_str(
        "\nRatios of servers, clients and two threads are medians of those within a round, with \
         their quartiles; in process, the lowest sample over the lowest.\n",
    );
    text
}

fn judged(check: &Check, sections: &[&Section], baseline: &Baseline) -> (String, Verdict) {
    let what = check.what;
    match look(&check.find, sections, baseline) {
        Outcome::NotMeasured(reason) => {
            (format!("{what}: not measured, {reason}"), Verdict::NotMeasured)
        }
        Outcome::Known(met, how) => {
            let verdict = if met { Verdict::Met } else { Verdict::NotMet };
            (format!("{what}: {how}"), verdict)
        }
        Outcome::Number(number, quartiles) => {
            let met = check.bound.holds(number);
            let sign = if check.find.is_ratio() { " ×" } else { "" };
            let spread = quartiles
                .map(|(q1, q3)| format!(" ({} to {})", two(q1), two(q3)))
                .unwrap_or_default();
            let shown = precise(number, &check.bound, check.find.is_ratio());
            let verdict = if met { Verdict::Met } else { Verdict::NotMet };
            let said = if met { "" } else { ", not met" };
            (format!("{what}: {shown}{sign}{spread}, goal {}{said}", check.bound), verdict)
        }
    }
}

/// As many decimals as it takes to see on which side of the bound a number is.
fn precise(number: f64, bound: &Bound, is_ratio: bool) -> String {
    let limit = bound.limit();
    let near = (number - limit).abs() < 0.005 * limit.abs().max(1.0);
    let exact = near && (number - limit).abs() > f64::EPSILON;
    match (exact, is_ratio) {
        (true, _) => format!("{number:.3}"),
        (false, true) => two(number),
        (false, false) => grouped(number),
    }
}

fn overall(verdicts: &[Verdict]) -> String {
    let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
    let (met, not_met) = (count(Verdict::Met), count(Verdict::NotMet));
    let (unknown, all) = (count(Verdict::NotMeasured), verdicts.len());
    match (met, not_met, unknown) {
        (0, 0, _) => "not measured".to_owned(),
        (_, 0, 0) => "met".to_owned(),
        (0, _, 0) => "not met".to_owned(),
        (_, _, 0) => format!("{met} of {all} met"),
        _ => format!("{met} of {all} met, {unknown} not measured"),
    }
}

/// Finds what a check is about.
fn look(find: &Find, sections: &[&Section], baseline: &Baseline) -> Outcome {
    match sought(find, sections, baseline) {
        Ok(outcome) => outcome,
        Err(reason) => Outcome::NotMeasured(reason),
    }
}

fn sought(find: &Find, sections: &[&Section], baseline: &Baseline) -> Result<Outcome, String> {
    let number = |number: f64| Ok(Outcome::Number(number, None));
    match *find {
        Find::Rounds { section, row, over } => {
            let (one, other) =
                (measured(sections, section, row)?, measured(sections, section, over)?);
            let summary = Summary::of(&ratios(&one.samples, &other.samples));
            let seen = summary.ok_or("no round has both")?;
            Ok(Outcome::Number(seen.median, Some((seen.q1, seen.q3))))
        }
        Find::Minima { section, row, over } => {
            let (one, other) =
                (summary(sections, section, row)?, summary(sections, section, over)?);
            number(one.min / other.min)
        }
        Find::Median { section, row } => number(summary(sections, section, row)?.median),
        Find::MedianMore { section, row, than } => {
            let (one, other) =
                (summary(sections, section, row)?, summary(sections, section, than)?);
            number(one.median - other.median)
        }
        Find::Fact { section, row, fact } => number(fact_of(sections, section, row, fact)?),
        Find::FactRatio { section, row, fact, over } => {
            let over = fact_of(sections, section, row, over)?;
            number(fact_of(sections, section, row, fact)? / over)
        }
        Find::Whole { section, row, fact } => {
            let Fact::Text(text) = named(sections, section, row, fact)? else {
                return Err(format!("{fact} is a number"));
            };
            let (part, whole) = text.split_once(" of ").ok_or_else(|| text.clone())?;
            Ok(Outcome::Known(part == whole, text.clone()))
        }
        Find::InstructionsMore { case, than } => {
            number(instructions(baseline, case)? - instructions(baseline, than)?)
        }
        Find::InstructionsOver { case, over } => {
            number(instructions(baseline, case)? / instructions(baseline, over)?)
        }
        Find::Allocations { case } => number(counts(baseline, case)?.allocations),
        Find::AllocationsMore { case, than } => {
            number(counts(baseline, case)?.allocations - counts(baseline, than)?.allocations)
        }
        Find::Test { name, .. } => Ok(Outcome::Known(true, format!("a test says so, `{name}`"))),
        Find::Lacking(why) => Ok(Outcome::Known(false, format!("{why}, not met"))),
    }
}

/// A row that was measured, in a section that may be believed.
fn measured<'a>(sections: &[&'a Section], section: &str, row: &str) -> Result<&'a Row, String> {
    let found = sections.iter().find(|one| one.name == section);
    let found = found.ok_or_else(|| format!("no section `{section}`"))?;
    if found.is_void() {
        return Err(format!("`{section}` is void by an A/A pair"));
    }
    let row = found.row(row).ok_or_else(|| format!("no row `{row}`"))?;
    match &row.missing {
        Some(reason) => Err(format!("`{}` is missing: {reason}", row.name)),
        None => Ok(row),
    }
}

fn summary(sections: &[&Section], section: &str, row: &str) -> Result<Summary, String> {
    measured(sections, section, row)?.summary.ok_or_else(|| format!("`{row}` has no sample"))
}

fn named<'a>(
    sections: &[&'a Section],
    section: &str,
    row: &str,
    fact: &str,
) -> Result<&'a Fact, String> {
    let row = measured(sections, section, row)?;
    let found = row.facts.iter().find(|(name, _)| name == fact);
    found.map(|(_, fact)| fact).ok_or_else(|| format!("`{}` has no `{fact}`", row.name))
}

fn fact_of(sections: &[&Section], section: &str, row: &str, fact: &str) -> Result<f64, String> {
    match named(sections, section, row, fact)? {
        #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        Fact::Count(count) => Ok(*count as f64),
        Fact::Number(number) => Ok(*number),
        Fact::Text(text) => Err(text.clone()),
    }
}

fn counts(baseline: &Baseline, case: &str) -> Result<Counts, String> {
    baseline.cases.get(case).copied().ok_or_else(|| format!("no counts of `{case}`"))
}

fn instructions(baseline: &Baseline, case: &str) -> Result<f64, String> {
    let counted = counts(baseline, case)?.instructions;
    let counted = counted.ok_or_else(|| format!("no instructions of `{case}` are counted"))?;
    #[allow(clippy::cast_precision_loss, reason = "thousands")]
    let counted = counted as f64;
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Chart;

    fn section(name: &str, rows: &[(&str, &[f64])]) -> Section {
        let mut section = Section::new(name, "Title", "µs", Chart::Bars);
        for (name, samples) in rows {
            section.rows.push(Row::measured(name, samples.iter().copied()));
        }
        section
    }

    const FULL: Check = Check {
        what: "multi-thread",
        find: Find::Rounds { section: "calls", row: "ours", over: "theirs" },
        bound: Bound::AtMost(1.06),
    };

    #[test]
    fn the_median_within_rounds_is_held_against_the_bound() {
        let baseline = Baseline::default();
        let mut one =
            section("calls", &[("ours", &[10.0, 20.0, 33.0]), ("theirs", &[10.0, 20.0, 30.0])]);
        let (told, verdict) = judged(&FULL, &[&one], &baseline);
        assert_eq!(told, "multi-thread: 1.00 × (1.00 to 1.05), goal ≤ 1.06");
        assert_eq!(verdict, Verdict::Met);
        one.rows[0] = Row::measured("ours", [10.61, 21.22, 31.83]);
        let (told, verdict) = judged(&FULL, &[&one], &baseline);
        assert_eq!(told, "multi-thread: 1.061 × (1.06 to 1.06), goal ≤ 1.06, not met");
        assert_eq!(verdict, Verdict::NotMet);
    }

    #[test]
    fn what_is_void_missing_or_absent_is_not_measured() {
        let baseline = Baseline::default();
        let told = |section: &Section| judged(&FULL, &[section], &baseline);
        let mut one = section("calls", &[("ours", &[10.0]), ("theirs", &[10.0])]);
        one.control("ours", "nobody");
        assert_eq!(told(&one).1, Verdict::NotMeasured);
        assert!(told(&one).0.contains("void by an A/A pair"), "{:?}", told(&one));
        let one = section("calls", &[("ours", &[10.0])]);
        assert!(told(&one).0.contains("no row `theirs`"), "{:?}", told(&one));
        let mut one = section("calls", &[("ours", &[10.0])]);
        one.rows.push(Row::missing("theirs", "no Go"));
        assert!(told(&one).0.contains("missing: no Go"), "{:?}", told(&one));
        let other = section("client", &[]);
        assert!(told(&other).0.contains("no section `calls`"), "{:?}", told(&other));
    }

    #[test]
    fn a_goal_is_met_when_all_of_it_is() {
        use Verdict::{Met, NotMeasured, NotMet};
        for (verdicts, said) in [
            (&[Met, Met][..], "met"),
            (&[Met, NotMet], "1 of 2 met"),
            // What nobody measured may not be met.
            (&[Met, NotMeasured], "1 of 2 met, 1 not measured"),
            (&[NotMet, NotMeasured], "0 of 2 met, 1 not measured"),
            (&[Met, NotMet, NotMeasured], "1 of 3 met, 1 not measured"),
            (&[NotMet], "not met"),
            (&[NotMeasured], "not measured"),
        ] {
            assert_eq!(overall(verdicts), said);
        }
    }

    #[test]
    fn parts_of_a_whole_and_facts_are_read() {
        let mut one = section("accept", &[("ours", &[1.0])]);
        one.rows[0].fact("closed", Fact::Text("9 of 10".to_owned()));
        one.rows[0].fact("p99", Fact::Number(3.0));
        one.rows[0].fact("p99 alone", Fact::Count(2));
        let look = |find| look(&find, &[&one], &Baseline::default());
        let (section, row) = ("accept", "ours");
        let closed = look(Find::Whole { section, row, fact: "closed" });
        assert_eq!(closed, Outcome::Known(false, "9 of 10".to_owned()));
        let ratio = look(Find::FactRatio { section, row, fact: "p99", over: "p99 alone" });
        assert_eq!(ratio, Outcome::Number(1.5, None));
        let text = look(Find::Fact { section, row, fact: "closed" });
        assert_eq!(text, Outcome::NotMeasured("9 of 10".to_owned()));
    }
}
