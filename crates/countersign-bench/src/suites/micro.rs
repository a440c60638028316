//! In process: what each step of the gate costs, beside what it cannot go below.

mod groups;
mod many;
mod sample;

use std::error::Error;

use crate::options::Options;
use crate::report::{Report, Row, Section};
use groups::Group;
use sample::{Clock, Timed};

/// Adds a section per group of operations.
///
/// Every operation has one sample per round, so that what else the machine does falls on all of
/// them, and every other round goes backwards.
pub(super) fn run(options: &Options, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let rounds = options.rounds(5, 31);
    let groups: Vec<Group> =
        groups::all(options).into_iter().filter(|group| group.is_wanted(options)).collect();
    let clock = Clock::new();
    let mut timed: Vec<Timed> = Vec::new();
    let mut shown = Vec::new();
    for group in groups {
        let first = timed.len();
        let Group { section, subjects, finish } = group;
        timed.extend(subjects.into_iter().map(|(name, subject)| Timed::new(name, subject, &clock)));
        shown.push((section, first..timed.len(), finish));
    }
    let target = if options.quick { sample::QUICK } else { sample::FULL };
    for round in 0..rounds {
        eprintln!("  round {} of {rounds}", round + 1);
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
    Ok(())
}

/// The lowest sample of a row, which the neighbours disturbed least.
fn least(section: &Section, name: &str) -> Option<f64> {
    section.row(name).and_then(|row: &Row| row.summary).map(|summary| summary.min)
}
