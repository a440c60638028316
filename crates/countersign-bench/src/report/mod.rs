//! What a run found: sections of rows, every sample kept, and the ways to show them.

mod charts;
mod table;

use std::error::Error;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::machine::Machine;
use crate::stats::{self, Control, Summary};

/// Everything that one run found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The arguments that made it.
    pub(crate) command: String,
    /// Where it ran, and with which versions.
    pub(crate) machine: Machine,
    /// What was found, in the order of measuring.
    pub(crate) sections: Vec<Section>,
}

/// Rows that are compared with each other.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    /// The suite, and what its files are named after.
    pub(crate) name: String,
    /// For people.
    pub(crate) title: String,
    /// What a sample is.
    pub(crate) unit: String,
    /// How to draw it.
    pub(crate) chart: Chart,
    /// One per variant.
    pub(crate) rows: Vec<Row>,
    /// A/A pairs; without one, nothing here is judged on the wire.
    pub(crate) controls: Vec<Control>,
    /// What a reader of the numbers has to know.
    pub(crate) notes: Vec<String>,
}

/// How a section is drawn.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Chart {
    /// Not at all.
    None,
    /// A bar per row, with quartiles.
    Bars,
    /// A line per series over `x`, which is named here; what is drawn is the first comparison.
    Lines {
        /// The axis.
        x: String,
    },
}

/// One variant's samples.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Row {
    /// The variant.
    pub(crate) name: String,
    /// The line that it belongs to, in charts of lines.
    pub(crate) series: Option<String>,
    /// Where on the axis it is, in charts of lines.
    pub(crate) x: Option<f64>,
    /// One per round; `None` where the sample failed.
    pub(crate) samples: Vec<Option<f64>>,
    /// Of the samples.
    pub(crate) summary: Option<Summary>,
    /// Against other rows, the most important first.
    pub(crate) comparisons: Vec<Comparison>,
    /// What else was seen: shown as columns.
    pub(crate) facts: Vec<(String, Fact)>,
    /// Why it could not be measured at all.
    pub(crate) missing: Option<String>,
    /// What went wrong in a sample.
    pub(crate) problems: Vec<String>,
}

/// One row over another.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    /// The column.
    pub(crate) label: String,
    /// The other row.
    pub(crate) over: String,
    /// Round by round.
    pub(crate) ratios: Vec<f64>,
    /// Of the ratios; the median is the result.
    pub(crate) summary: Option<Summary>,
}

/// Something seen beside the samples.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Fact {
    Count(u64),
    Number(f64),
    Text(String),
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Number(number) => f.write_str(&figure(*number)),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Row {
    /// A row of samples, one per round.
    pub(crate) fn measured(name: &str, samples: impl IntoIterator<Item = f64>) -> Self {
        Self::of(name, samples.into_iter().map(Some).collect())
    }

    /// A row of samples of which some may have failed.
    pub(crate) fn of(name: &str, samples: Vec<Option<f64>>) -> Self {
        let present: Vec<f64> = samples.iter().copied().flatten().collect();
        let summary = Summary::of(&present);
        Self { name: name.to_owned(), samples, summary, ..Self::default() }
    }

    /// A variant that cannot be measured here. Nothing stands in for it.
    pub(crate) fn missing(name: &str, reason: &str) -> Self {
        Self { name: name.to_owned(), missing: Some(reason.to_owned()), ..Self::default() }
    }

    /// Puts it on a line of a chart.
    pub(crate) fn at(mut self, series: &str, x: f64) -> Self {
        (self.series, self.x) = (Some(series.to_owned()), Some(x));
        self
    }

    /// Adds a column.
    pub(crate) fn fact(&mut self, name: &str, fact: Fact) {
        self.facts.push((name.to_owned(), fact));
    }
}

impl Section {
    pub(crate) fn new(name: &str, title: &str, unit: &str, chart: Chart) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            unit: unit.to_owned(),
            chart,
            rows: Vec::new(),
            controls: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// Compares rows with the row that `over` names for each; under one column.
    pub(crate) fn compare<'a>(&mut self, label: &str, over: impl Fn(&Row) -> Option<&'a str>) {
        let mut found = Vec::new();
        for (index, row) in self.rows.iter().enumerate() {
            let Some(other) = over(row).and_then(|name| self.row(name)) else { continue };
            let ratios = stats::ratios(&row.samples, &other.samples);
            let summary = Summary::of(&ratios);
            let over = other.name.clone();
            found.push((index, Comparison { label: label.to_owned(), over, ratios, summary }));
        }
        for (index, comparison) in found {
            self.rows[index].comparisons.push(comparison);
        }
    }

    /// Checks an A/A pair.
    pub(crate) fn control(&mut self, first: &str, second: &str) {
        let samples = |name| self.row(name).map(|row| row.samples.as_slice()).unwrap_or_default();
        self.controls.push(Control::new(first, samples(first), samples(second)));
    }

    /// Whether an A/A pair strayed, so that nothing here may be quoted.
    pub(crate) fn is_void(&self) -> bool {
        self.controls.iter().any(|control| !control.valid)
    }
}

impl Report {
    pub(crate) fn new(command: String, machine: Machine) -> Self {
        Self { command, machine, sections: Vec::new() }
    }

    /// Adds what a suite found.
    pub(crate) fn push(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// Whether a sample went wrong, for instance by a reply that was not as expected.
    pub(crate) fn has_problems(&self) -> bool {
        self.sections.iter().flat_map(|section| &section.rows).any(|row| !row.problems.is_empty())
    }

    /// The tables, for a terminal.
    pub(crate) fn to_text(&self) -> String {
        table::report(self)
    }

    /// Writes `name.json` and a chart per section into a folder, and returns their paths.
    ///
    /// # Errors
    ///
    /// What cannot be written or drawn.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
        fs::create_dir_all(folder)?;
        let json = folder.join(format!("{name}.json"));
        fs::write(&json, serde_json::to_string_pretty(self)? + "\n")?;
        let mut written = vec![json];
        for section in &self.sections {
            if let Some(svg) = charts::draw(section, &self.machine)? {
                let path = folder.join(format!("{}.svg", section.name));
                fs::write(&path, svg)?;
                written.push(path);
            }
        }
        Ok(written)
    }
}

/// A number with about three digits that matter.
pub(crate) fn figure(number: f64) -> String {
    match number.abs() {
        size if size == 0.0 || size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        size if size >= 0.01 => format!("{number:.2}"),
        _ => format!("{number:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section() -> Section {
        let mut section = Section::new("calls", "Calls", "µs", Chart::Bars);
        section.rows.push(Row::measured("base", [10.0, 20.0, 40.0]));
        section.rows.push(Row::of("ours", vec![Some(5.0), None, Some(10.0)]));
        section.rows.push(Row::missing("go", "no toolchain"));
        section
    }

    #[test]
    fn rows_are_compared_round_by_round() {
        let mut section = section();
        section.compare("ratio", |_| Some("base"));
        let ours = &section.rows[1].comparisons[0];
        assert_eq!(ours.ratios, [0.5, 0.25]);
        assert_eq!(section.rows[2].comparisons[0].summary, None);
    }

    #[test]
    fn a_stray_pair_voids_the_section_and_a_steady_one_does_not() {
        let mut section = section();
        section.rows.push(Row::measured("base again", [10.1, 20.0, 39.0]));
        section.control("base", "base again");
        assert!(!section.is_void());
        section.control("base", "ours");
        assert!(section.is_void());
    }

    #[test]
    fn a_missing_control_voids_the_section() {
        let mut section = section();
        section.control("base", "go");
        assert!(section.is_void());
    }

    #[test]
    fn figures_keep_the_digits_that_matter() {
        for (number, text) in [(123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.0, "0")] {
            assert_eq!(figure(number), text);
        }
    }
}
