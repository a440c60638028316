//! In process: what each step of the gate costs, beside what it cannot go below.

mod groups;
mod many;
mod sample;
mod threads;

use std::time::Instant;

use crate::options::Options;
use crate::proc::Placement;
use crate::report::{Report, Row, Section};
use groups::Group;
use sample::{Clock, Timed};

/// Adds a section per group of operations.
///
/// Every operation has one sample per round, so that what else the machine does falls on all of
/// them, and every other round goes backwards.
pub(super) fn run(options: &Options, placement: Placement, report: &mut Report) {
    let groups = groups::all(options).into_iter().filter(|group| group.is_wanted(options));
    measure(groups.collect(), options, report);
    threads::run(options, placement, report);
}

/// The sections alone that are lines over how many there are of something, unless an earlier
/// suite of the run has them.
pub(super) fn curves(options: &Options, report: &mut Report) {
    let has = |name: &str| report.sections.iter().any(|section| section.name == name);
    let groups = groups::all(options)
        .into_iter()
        .filter(|group| group.is_curve() && group.is_wanted(options) && !has(&group.section.name));
    measure(groups.collect(), options, report);
}

/// Every section with the names of its rows in a full run.
#[cfg(test)]
pub(super) fn names() -> super::Names {
    use clap::Parser as _;

    use crate::options::{Cli, Command};

    // A look has fewer callers, and is made ready sooner.
    let looked = Cli::try_parse_from(["countersign-bench", "micro", "--quick"]);
    let Ok(Cli { command: Command::Micro(options) }) = looked else { return Vec::new() };
    let names = |group: Group| {
        let section = group.section.name;
        let is_limits = section == "micro-limits";
        let rows =
            group.subjects.into_iter().map(|(name, _)| match name.strip_prefix("100,000 ") {
                Some(rest) if is_limits => format!("1,000,000 {rest}"),
                _ => name,
            });
        let rows = rows.collect();
        (section, rows)
    };
    groups::all(&options).into_iter().map(names).chain([threads::names()]).collect()
}

fn measure(groups: Vec<Group>, options: &Options, report: &mut Report) {
    if groups.is_empty() {
        return;
    }
    let rounds = options.rounds(5, 31);
    let clock = Clock::new();
    let mut timed: Vec<Timed> = Vec::new();
    let mut shown = Vec::new();
    for group in groups {
        let first = timed.len();
        let Group { section, subjects, finish } = group;
        timed.extend(subjects.into_iter().map(|(name, subject)| Timed::new(name, subject, &clock)));
        shown.push((section, first..timed.len(), finish));
    }
    let begun = Instant::now();
    let target = if options.quick { sample::QUICK } else { sample::FULL };
    for round in 0..rounds {
        let done = begun.elapsed().as_secs_f64();
        eprintln!("  micro: round {} of {rounds} begins after {done:.1} s", round + 1);
        let mut order: Vec<usize> = (0..timed.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            timed[index].sample(&clock, target);
        }
    }
    for (mut section, range, finish) in shown {
        section.rows.extend(timed[range].iter().map(Timed::row));
        finish(&mut section);
        report.push(section);
    }
}

/// The lowest sample of a row, which the neighbours disturbed least.
fn least(section: &Section, name: &str) -> Option<f64> {
    section.row(name).and_then(|row: &Row| row.summary).map(|summary| summary.min)
}
