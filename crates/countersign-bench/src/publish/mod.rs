//! The page that people read, out of the JSON files that the suites left.
//!
//! The book is read as plain Markdown in the repository as often as through mdBook, and there
//! `{{#include}}` would show as itself. So nothing is included: what a run found goes between
//! markers of the page, `<!-- calls -->` and `<!-- /calls -->`, and the prose around them stays.

mod definitions;
mod goal;
mod goals;
mod markdown;
mod page;

use std::error::Error;
use std::fs;
use std::path::Path;

use countersign_bench::counts::baseline::Baseline;

use crate::machine::Machine;
use crate::options::PublishOptions;
use crate::report::{self, Report, Section};
use page::Page;

/// What is between markers beside sections.
const MACHINE: &str = "machine";
const GOALS: &str = "goals";
const COUNTS: &str = "counts";

/// Writes page and charts. Nothing is written unless all of it can be.
///
/// # Errors
///
/// A report that cannot be read, a marker that is missing, a file that cannot be written.
pub(crate) fn run(options: &PublishOptions) -> Result<(), Box<dyn Error>> {
    let reports = reports(&options.from)?;
    let found = choose(&reports);
    if found.is_empty() {
        return Err(format!("no report in `{}`", options.from.display()).into());
    }
    let baseline = Baseline::read(&options.counts)?;
    let path = options.to.with_extension("md");
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("cannot read the page `{}`: {error}", path.display()))?;
    let charts = options.to.file_name().ok_or("--to names no folder")?.to_string_lossy();

    let mut page = Page::parse(&text)?;
    let mut parts: Vec<(&str, String)> = vec![
        (MACHINE, markdown::machine(&found)),
        (GOALS, goals::table(&found, &baseline)),
        (COUNTS, markdown::counts(&baseline)),
    ];
    for one in &found {
        parts.push((&one.section.name, markdown::section(one.section, &charts)));
    }
    page.require(parts.iter().map(|(name, _)| *name))?;
    for (name, part) in &parts {
        page.put(name, part);
    }

    fs::create_dir_all(&options.to)?;
    for one in &found {
        report::draw(one.section, &one.report.machine, &options.to)?;
    }
    fs::write(&path, page.text())?;
    tell(&found, &page, &path);
    Ok(())
}

/// A section and the report that it comes from.
#[derive(Clone, Copy)]
struct Found<'a> {
    section: &'a Section,
    report: &'a Report,
}

impl Found<'_> {
    fn machine(&self) -> &Machine {
        &self.report.machine
    }

    /// Why it should be shown rather than another one of this name, the most important first.
    fn rank(&self) -> (bool, bool, bool, &str) {
        let made = &self.section.made;
        let date = if made.date.is_empty() { &self.machine().date } else { &made.date };
        (made.only.is_none(), !made.quick, !self.section.is_void(), date)
    }
}

/// Every report in a folder, in the order of their names.
fn reports(folder: &Path) -> Result<Vec<Report>, Box<dyn Error>> {
    let listed = fs::read_dir(folder)
        .map_err(|error| format!("cannot read the folder `{}`: {error}", folder.display()))?;
    let mut paths = Vec::new();
    for entry in listed {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path)?;
        let report = serde_json::from_str(&text)
            .map_err(|error| format!("`{}` is not a report: {error}", path.display()))?;
        found.push(report);
    }
    Ok(found)
}

/// Each section once: whole ones before parts, full runs before looks, valid ones before void
/// ones, and then the newest.
fn choose(reports: &[Report]) -> Vec<Found<'_>> {
    let mut found: Vec<Found<'_>> = Vec::new();
    for report in reports {
        for section in &report.sections {
            let one = Found { section, report };
            match found.iter_mut().find(|other| other.section.name == section.name) {
                Some(other) if one.rank() >= other.rank() => *other = one,
                Some(_) => {}
                None => found.push(one),
            }
        }
    }
    found
}

/// Says what was published, and what was not.
fn tell(found: &[Found<'_>], page: &Page, path: &Path) {
    for one in found {
        let section = one.section;
        let mut remarks = Vec::new();
        if section.is_void() {
            remarks.push("VOID, measure it again".to_owned());
        }
        if section.made.quick {
            remarks.push("a look, not figures to quote".to_owned());
        }
        if let Some(only) = &section.made.only {
            remarks.push(format!("only rows with `{only}`"));
        }
        let remarks =
            if remarks.is_empty() { String::new() } else { format!(": {}", remarks.join(", ")) };
        println!("{} published{remarks}", section.name);
    }
    for name in page.untouched() {
        println!("{name} not measured, what the page says stays");
    }
    println!("wrote {}", path.display());
}

#[cfg(test)]
mod tests;
