//! Sections, machine and counts as Markdown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use countersign_bench::counts::baseline::Baseline;

use super::Found;
use crate::report::{Chart, Fact, Row, Section, fact_names, figure, labels};
use crate::stats::Control;

/// Facts that every row of the page has for granted: a reply that was wrong is a problem.
const TAKEN_FOR_GRANTED: [&str; 2] = ["checked", "refused"];

/// A section with its table, A/A pairs, notes and chart.
pub(super) fn section(section: &Section, charts: &str) -> String {
    let mut text = format!("## {}\n\n", section.title);
    for sentence in reservations(section) {
        let _ = writeln!(text, "**{sentence}**\n");
    }
    text.push_str(&table(section));
    let mut items = Vec::new();
    items.extend(section.controls.iter().map(control));
    for row in &section.rows {
        items.extend(
            row.missing.iter().map(|reason| format!("`{}` is missing: {reason}", row.name)),
        );
        items.extend(row.problems.iter().map(|what| format!("**`{}` failed**: {what}", row.name)));
    }
    items.extend(section.notes.iter().cloned());
    if section.made.repeated {
        items.push("measured once more, since an A/A pair strayed the first time".to_owned());
    }
    text.push('\n');
    for item in items {
        let _ = writeln!(text, "* {}", one_line(&item));
    }
    let has_chart = match section.chart {
        Chart::None => false,
        Chart::Bars => section.rows.iter().any(|row| row.summary.is_some()),
        Chart::Lines { .. } => section.rows.iter().any(|row| row.x.is_some()),
    };
    if has_chart {
        let _ = writeln!(text, "\n![{}]({charts}/{}.svg)", section.title, section.name);
    }
    text
}

/// Why figures are not to be taken as they are.
fn reservations(section: &Section) -> Vec<String> {
    let mut found = Vec::new();
    if section.is_void() {
        found.push("Void: an A/A pair strayed, so nothing here may be quoted.".to_owned());
    }
    if section.made.quick {
        found.push("A look (`--quick`), not figures to quote.".to_owned());
    }
    if let Some(only) = &section.made.only {
        found.push(format!("Only rows with `{only}` in their name."));
    }
    found
}

/// An A/A pair in words: the median of the rounds, and from where to where they went.
pub(super) fn control(control: &Control) -> String {
    let name = &control.name;
    match control.summary {
        None => format!("A/A {name}: **void**, not measured"),
        Some(seen) => {
            let verdict = if control.valid { "valid" } else { "**void**" };
            let (median, min, max) = (seen.median, seen.min, seen.max);
            format!("A/A {name}: {median:.2} ({min:.2} to {max:.2}), {verdict}")
        }
    }
}

fn table(section: &Section) -> String {
    let labels = labels(section);
    let facts: Vec<String> = fact_names(section)
        .into_iter()
        .filter(|name| !TAKEN_FOR_GRANTED.contains(&name.as_str()))
        .collect();
    let rows: Vec<&Row> = section.rows.iter().filter(|row| row.missing.is_none()).collect();
    let sampled = rows.iter().any(|row| row.summary.is_some());
    let rounds = |row: &Row| row.summary.map_or(0, |summary| summary.count);
    let uneven = rows.windows(2).any(|pair| rounds(pair[0]) != rounds(pair[1]));

    let mut header = vec!["Variant".to_owned()];
    if sampled {
        header.push(format!("min, {}", section.unit));
        header.extend(["q1", "median", "q3"].map(str::to_owned));
    }
    header.extend(Some("rounds".to_owned()).filter(|_| uneven));
    header.extend(labels.iter().chain(&facts).cloned());
    let mut text = line(&header);
    text.push_str(&format!("|{}\n", "---|".repeat(header.len())));
    for row in rows {
        let mut cells = vec![row.name.clone()];
        if sampled {
            let of = row.summary.map(|one| [one.min, one.q1, one.median, one.q3].map(grouped));
            cells.extend(of.unwrap_or_default());
        }
        cells.extend(Some(rounds(row).to_string()).filter(|_| uneven));
        for label in &labels {
            let comparison = row.comparisons.iter().find(|one| one.label == *label);
            let ratio = comparison.and_then(|one| one.summary);
            cells.push(ratio.map(|ratio| two(ratio.median)).unwrap_or_default());
        }
        for name in &facts {
            let fact = row.facts.iter().find(|(one, _)| one == name);
            cells.push(fact.map(|(_, fact)| shown(fact)).unwrap_or_default());
        }
        text.push_str(&line(&cells));
    }
    text
}

fn shown(fact: &Fact) -> String {
    match fact {
        Fact::Count(count) => with_commas(&count.to_string()),
        Fact::Number(number) => grouped(*number),
        Fact::Text(text) => text.clone(),
    }
}

fn line(cells: &[String]) -> String {
    let cells: Vec<String> = cells.iter().map(|text| cell(text)).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// What stays within one cell of a table.
pub(super) fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}

/// What a program said, without its line breaks.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A ratio: two decimals, and fewer where it is large.
pub(super) fn two(ratio: f64) -> String {
    if ratio.abs() < 10.0 { format!("{ratio:.2}") } else { figure(ratio) }
}

/// A figure with commas between thousands.
pub(super) fn grouped(number: f64) -> String {
    with_commas(&figure(number))
}

pub(super) fn with_commas(text: &str) -> String {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    if digits.contains('.') || digits.len() <= 3 {
        return text.to_owned();
    }
    let mut found = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            found.push(',');
        }
        found.push(digit);
    }
    format!("{sign}{found}")
}

/// Where, when, with what and how much: a list for each run that figures come from.
pub(super) fn machine(found: &[Found<'_>]) -> String {
    let mut runs: Vec<Found<'_>> = Vec::new();
    for one in found {
        if runs.iter().all(|other| !std::ptr::eq(other.report, one.report)) {
            runs.push(*one);
        }
    }
    let mut text = String::new();
    for run in &runs {
        let (machine, several) = (run.machine(), runs.len() > 1);
        let of_run: Vec<&Section> = found
            .iter()
            .filter(|one| std::ptr::eq(one.report, run.report))
            .map(|one| one.section)
            .collect();
        if several {
            let names: Vec<String> =
                of_run.iter().map(|section| format!("`{}`", section.name)).collect();
            let _ = writeln!(text, "For {}:\n", names.join(", "));
        }
        let _ = writeln!(text, "* Begun {}: `{}`", machine.date, run.report.command);
        let _ = writeln!(
            text,
            "* {}, {} cores, Linux {}, load {} when it began",
            machine.cpu, machine.cores, machine.kernel, machine.load_average
        );
        let _ = writeln!(text, "* {} build, {}", machine.build, machine.placement);
        let (peers, crates): (Vec<_>, Vec<_>) =
            machine.versions.iter().partition(|(name, _)| name.starts_with("peer "));
        let crates: Vec<String> =
            crates.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let _ = writeln!(text, "* Crates: {}", crates.join(", "));
        for (name, version) in peers {
            let name = name.strip_prefix("peer ").unwrap_or(name);
            let _ = writeln!(text, "* Peer {name}: {version}");
        }
        for (suite, sections) in by_suite(&of_run) {
            let _ = writeln!(text, "* `{suite}`: {}", amount(&sections));
        }
        text.push('\n');
    }
    text
}

fn by_suite<'a>(sections: &[&'a Section]) -> BTreeMap<&'a str, Vec<&'a Section>> {
    let mut found: BTreeMap<&str, Vec<&Section>> = BTreeMap::new();
    for section in sections {
        let suite = section.name.split('-').next().unwrap_or_default();
        found.entry(suite).or_default().push(section);
    }
    found
}

/// How many rounds, and how much in each.
fn amount(sections: &[&Section]) -> String {
    let rows = || sections.iter().flat_map(|section| &section.rows);
    let rounds = rows().filter_map(|row| row.summary).map(|summary| summary.count);
    let each = rows().filter_map(|row| {
        let rounds = u64::try_from(row.summary?.count).ok()?;
        let checked = row.facts.iter().find(|(name, _)| name == "checked");
        match checked?.1 {
            Fact::Count(count) => count.checked_div(rounds),
            _ => None,
        }
    });
    let rounds = range(rounds.map(|count| count as u64), "rounds");
    let each = range(each, "calls or connections in each");
    let told: Vec<String> = [rounds, each].into_iter().flatten().collect();
    if told.is_empty() { "nothing was measured".to_owned() } else { told.join(", ") }
}

fn range(counts: impl Iterator<Item = u64>, of: &str) -> Option<String> {
    let counts: Vec<u64> = counts.filter(|count| *count > 0).collect();
    let (least, most) = (counts.iter().min()?, counts.iter().max()?);
    let shown = |count: &u64| shown(&Fact::Count(*count));
    Some(match least == most {
        true => format!("{} {of}", shown(least)),
        false => format!("{} to {} {of}", shown(least), shown(most)),
    })
}

/// The committed counts.
pub(super) fn counts(baseline: &Baseline) -> String {
    let mut text = format!(
        "{}, {}, {}.\n\n| Case | Instructions | Allocations |\n|---|---|---|\n",
        baseline.made_with.architecture, baseline.made_with.compiler, baseline.made_with.valgrind
    );
    for (name, counts) in &baseline.cases {
        let instructions = counts.instructions.map(|count| shown(&Fact::Count(count)));
        let instructions = instructions.unwrap_or_else(|| "–".to_owned());
        // At most one decimal says something.
        let allocations = (counts.allocations * 10.0).round() / 10.0;
        let _ = writeln!(text, "| {name} | {instructions} | {allocations} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in
            [(40_043.2, "40,043"), (999.6, "1,000"), (-1_234_567.0, "-1,234,567"), (12.34, "12.3")]
        {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_pair_is_told_in_words() {
        let of = |second: &[f64]| {
            let second: Vec<_> = second.iter().copied().map(Some).collect();
            control(&Control::new("tonic-tls mt", &vec![Some(1.0); second.len()], &second))
        };
        let valid = of(&[0.94, 0.99, 1.02]);
        assert_eq!(valid, "A/A tonic-tls mt: 0.99 (0.94 to 1.02), valid");
        assert_eq!(of(&[1.2]), "A/A tonic-tls mt: 1.20 (1.20 to 1.20), **void**");
        assert_eq!(of(&[]), "A/A tonic-tls mt: **void**, not measured");
    }
}
