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
    measure(wanted(options, &[]), options, report);
    threads::run(options, placement, report);
}

/// The sections alone that are lines over how many there are of something, unless an earlier
/// suite of the run has them.
pub(super) fn curves(options: &Options, report: &mut Report) {
    let has: Vec<&str> = report.sections.iter().map(|section| section.name.as_str()).collect();
    let groups = wanted(options, &has).into_iter().filter(Group::is_curve).collect();
    measure(groups, options, report);
}

/// The groups that are asked for, but for these sections, which are not even made ready.
fn wanted(options: &Options, but: &[&str]) -> Vec<Group> {
    let sections = groups::ALL.into_iter();
    let sections = sections.filter(|(name, _)| options.allows(name) && !but.contains(name));
    let groups = sections.map(|(_, make)| make(options));
    groups.filter(|group| group.is_wanted(options)).collect()
}

/// Every section with the names of its rows in a full run.
#[cfg(test)]
pub(super) fn names() -> super::Names {
    use clap::Parser as _;

    use crate::options::{Cli, Command};

    // A look has fewer callers and tokens, and is made ready sooner.
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
        let more = (section == "micro-cache").then(|| "100,000 tokens".to_owned());
        let rows = rows.chain(more).collect();
        (section, rows)
    };
    let groups = groups::ALL.into_iter().map(|(_, make)| make(&options));
    groups.map(names).chain([threads::names()]).collect()
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::options::{Cli, Command};

    #[test]
    fn a_section_has_the_name_that_it_is_made_by_and_is_made_only_if_it_is_missing() {
        let line = ["countersign-bench", "micro", "--quick", "--only", "micro-client"];
        let Ok(Cli { command: Command::Micro(options) }) = Cli::try_parse_from(line) else {
            panic!("`micro` is a command");
        };
        let all = groups::ALL.map(|(name, _)| name);
        let others: Vec<&str> = all
            .into_iter()
            .filter(|name| !["micro-client", "micro-crypto"].contains(name))
            .collect();
        let names = |but: &[&str]| -> Vec<String> {
            wanted(&options, but).into_iter().map(|group| group.section.name).collect()
        };
        assert_eq!(names(&others), ["micro-client"]);
        assert!(names(&all).is_empty());
        for (name, make) in groups::ALL.into_iter().filter(|(name, _)| !others.contains(name)) {
            assert_eq!(make(&options).section.name, name);
        }
    }
}
