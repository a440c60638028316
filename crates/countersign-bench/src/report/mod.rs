//! What a run found: sections of rows, every sample kept, and the ways to show them.

mod charts;
mod table;

use std::error::Error;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::machine::{self, Machine};
use crate::options::Options;
use crate::stats::{self, Control, Summary};
pub(crate) use table::{fact_names, labels};

/// Everything that one run found.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Report {
    /// The arguments that made it.
    pub(crate) command: String,
    /// Where it ran, and with which versions.
    pub(crate) machine: Machine,
    /// What was found, in the order of measuring.
    pub(crate) sections: Vec<Section>,
    /// Where it is written, section by section.
    #[serde(skip)]
    out: Out,
}

/// Where a report is written, and what all its sections have in common.
#[derive(Debug, Default)]
struct Out {
    folder: PathBuf,
    name: String,
    made: Made,
}

/// When and how a section was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) struct Made {
    /// Day and time (UTC) at which it was finished.
    pub(crate) date: String,
    /// A look, whose figures are not to be quoted.
    pub(crate) quick: bool,
    /// The rows that were asked for, where that was not all of them.
    pub(crate) only: Option<String>,
    /// Whether it was measured once more, since an A/A pair strayed the first time.
    pub(crate) repeated: bool,
}

/// Rows that are compared with each other.
#[derive(Debug, Deserialize, Serialize)]
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
    /// Empty in reports of before it was written down.
    #[serde(default)]
    pub(crate) made: Made,
}

/// How a section is drawn.
#[derive(Clone, Debug, Deserialize, Serialize)]
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
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Row {
    /// The variant.
    pub(crate) name: String,
    /// The line that it belongs to, in charts of lines.
    pub(crate) series: Option<String>,
    /// Where on the axis it is, in charts of lines.
    pub(crate) x: Option<f64>,
    /// One per round; `None` where the sample failed or the row had no turn.
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
#[derive(Debug, Deserialize, Serialize)]
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
#[derive(Clone, Debug, Deserialize, Serialize)]
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
        let fact = match fact {
            // JSON has no such numbers.
            Fact::Number(number) if !number.is_finite() => Fact::Text("–".to_owned()),
            fact => fact,
        };
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
            made: Made::default(),
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
    /// An empty one, to be written into the folder of the options under this name.
    pub(crate) fn new(command: String, machine: Machine, options: &Options, name: &str) -> Self {
        let made = Made { quick: options.quick, only: options.only.clone(), ..Made::default() };
        let out = Out { folder: options.out.clone(), name: name.to_owned(), made };
        Self { command, machine, sections: Vec::new(), out }
    }

    /// Adds what a suite found, in the place of what it found before, and writes it down, so that
    /// a run that is interrupted leaves what it has.
    pub(crate) fn push(&mut self, mut section: Section) {
        section.made = Made { date: machine::now(), ..self.out.made.clone() };
        if section.name.contains(section.made.only.as_deref().unwrap_or_default()) {
            section.made.only = None;
        }
        let before = self.sections.iter().position(|one| one.name == section.name);
        let at = before.unwrap_or(self.sections.len());
        section.made.repeated = before.is_some();
        match before {
            Some(at) => self.sections[at] = section,
            None => self.sections.push(section),
        }
        let written = self.save().and_then(|_| self.draw(&self.sections[at]));
        if let Err(error) = written {
            eprintln!("  not written for now: {error}");
        }
    }

    /// The sections from this one on that an A/A pair voids and that were measured only once.
    pub(crate) fn to_repeat(&self, from: usize) -> Vec<String> {
        let sections = self.sections.iter().skip(from);
        let strayed = sections.filter(|section| section.is_void() && !section.made.repeated);
        strayed.map(|section| section.name.clone()).collect()
    }

    /// Whether a sample went wrong, for instance by a reply that was not as expected.
    pub(crate) fn has_problems(&self) -> bool {
        self.sections.iter().flat_map(|section| &section.rows).any(|row| !row.problems.is_empty())
    }

    /// The tables, for a terminal.
    pub(crate) fn to_text(&self) -> String {
        table::report(self)
    }

    /// Writes the JSON file and a chart per section, and returns their paths.
    ///
    /// # Errors
    ///
    /// What cannot be written or drawn.
    pub(crate) fn write(&self) -> Result<Vec<PathBuf>, Box<dyn Error>> {
        let mut written = vec![self.save()?];
        for section in &self.sections {
            written.extend(self.draw(section)?);
        }
        Ok(written)
    }

    /// Writes the JSON file: whole or not at all.
    fn save(&self) -> Result<PathBuf, Box<dyn Error>> {
        fs::create_dir_all(&self.out.folder)?;
        let json = self.out.folder.join(format!("{}.json", self.out.name));
        let begun = json.with_extension("json.new");
        fs::write(&begun, serde_json::to_string_pretty(self)? + "\n")?;
        fs::rename(begun, &json)?;
        Ok(json)
    }

    fn draw(&self, section: &Section) -> Result<Option<PathBuf>, Box<dyn Error>> {
        draw(section, &self.machine, &self.out.folder)
    }
}

/// Writes a section's chart into a folder, if it has one.
///
/// # Errors
///
/// It cannot be drawn or written.
pub(crate) fn draw(
    section: &Section,
    machine: &Machine,
    folder: &Path,
) -> Result<Option<PathBuf>, Box<dyn Error>> {
    let Some(svg) = charts::draw(section, machine)? else { return Ok(None) };
    let path = folder.join(format!("{}.svg", section.name));
    fs::write(&path, svg)?;
    Ok(Some(path))
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
