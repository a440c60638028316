//! Tables for a terminal.

use std::fmt::Write as _;

use super::{Report, Row, Section, figure};

/// A whole report.
pub(super) fn report(report: &Report) -> String {
    let mut text = String::new();
    for section in &report.sections {
        text.push_str(&one(section));
        text.push('\n');
    }
    for line in report.machine.lines() {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn one(section: &Section) -> String {
    let mut text = String::new();
    let void = if section.is_void() { "VOID: " } else { "" };
    let _ = writeln!(text, "{void}{} ({})", section.title, section.unit);
    let labels = labels(section);
    let facts = fact_names(section);

    let mut header = vec!["variant".to_owned()];
    let sampled = section.rows.iter().any(|row| row.summary.is_some());
    if sampled {
        header.extend(["min", "q1", "median", "q3"].map(str::to_owned));
    }
    for label in &labels {
        header.push(label.clone());
        header.push("q1–q3".to_owned());
    }
    header.extend(facts.iter().cloned());
    let mut lines = vec![header];
    for row in section.rows.iter().filter(|row| row.missing.is_none()) {
        lines.push(cells(row, sampled, &labels, &facts));
    }
    text.push_str(&aligned(&lines));

    for row in &section.rows {
        if let Some(reason) = &row.missing {
            let _ = writeln!(text, "  {}  missing: {reason}", row.name);
        }
        for problem in &row.problems {
            let _ = writeln!(text, "  FAILED: {}: {problem}", row.name);
        }
    }
    for control in &section.controls {
        let seen =
            control.summary.map_or_else(|| "not measured".into(), |s| format!("{:.3}", s.median));
        let verdict = if control.valid { "valid" } else { "VOID, repeat the run" };
        let _ = writeln!(text, "  A/A {}: {seen} ({verdict})", control.name);
    }
    for note in &section.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    text
}

/// Comparisons that any row has, in order of appearance.
pub(crate) fn labels(section: &Section) -> Vec<String> {
    let mut labels = Vec::new();
    for comparison in section.rows.iter().flat_map(|row| &row.comparisons) {
        if !labels.contains(&comparison.label) {
            labels.push(comparison.label.clone());
        }
    }
    labels
}

/// Facts that any row has, in order of appearance.
pub(crate) fn fact_names(section: &Section) -> Vec<String> {
    let mut names = Vec::new();
    for (name, _) in section.rows.iter().flat_map(|row| &row.facts) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn cells(row: &Row, sampled: bool, labels: &[String], facts: &[String]) -> Vec<String> {
    let none = || "–".to_owned();
    let mut cells = vec![row.name.clone()];
    match (sampled, row.summary) {
        (true, Some(s)) => cells.extend([s.min, s.q1, s.median, s.q3].map(figure)),
        (true, None) => cells.extend([none(), none(), none(), none()]),
        (false, _) => {}
    }
    for label in labels {
        let comparison = row.comparisons.iter().find(|one| one.label == *label);
        match comparison.and_then(|one| one.summary) {
            Some(s) => {
                cells.push(format!("{:.2}", s.median));
                cells.push(format!("{:.2}–{:.2}", s.q1, s.q3));
            }
            None => cells.extend([none(), none()]),
        }
    }
    for name in facts {
        let fact = row.facts.iter().find(|(one, _)| one == name);
        cells.push(fact.map_or_else(none, |(_, fact)| fact.to_string()));
    }
    cells
}

/// Columns under each other: the first to the left, the others to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        let mut out = String::from(" ");
        for (column, cell) in line.iter().enumerate() {
            let width = widths[column];
            let _ = match column {
                0 => write!(out, " {cell:<width$}"),
                _ => write!(out, "  {cell:>width$}"),
            };
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::{Chart, Fact};
    use super::*;

    #[test]
    fn a_table_shows_ratios_missing_peers_and_a_void_run() {
        let mut section = Section::new("calls", "Calls", "µs", Chart::Bars);
        section.rows.push(Row::measured("tonic-tls", [10.0, 10.0]));
        section.rows.push(Row::measured("tonic-tls again", [12.0, 12.0]));
        section.rows.push(Row::missing("go tls", "not built"));
        section.rows[0].fact("checked", Fact::Count(2_000));
        section.compare("ratio", |_| Some("tonic-tls"));
        section.control("tonic-tls", "tonic-tls again");
        let text = one(&section);
        assert!(text.starts_with("VOID: Calls (µs)\n"), "{text}");
        assert!(text.contains("go tls  missing: not built"), "{text}");
        assert!(text.contains("1.20"), "{text}");
        assert!(text.contains("2000"), "{text}");
    }
}
