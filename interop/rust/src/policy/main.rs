//! Asks us and grpc-go the same of random policies. `interop/policy/README.md` has the rest.

mod break_it;
mod case;
mod differences;
mod facts;
mod generate;
mod judge;
mod random;
mod readings;
mod shrink;
mod sides;
mod written;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::case::{Case, Decision, Verdict};
use crate::differences::{DIFFERENCES, SEVERAL_RULES};
use crate::judge::{Finding, Wrong};
use crate::random::Random;
use crate::readings::READINGS;
use crate::sides::{Failure, Sides};

#[derive(Parser)]
struct Cli {
    /// The program `countersign`.
    #[arg(long)]
    ours: PathBuf,
    /// What asks grpc-go.
    #[arg(long)]
    theirs: PathBuf,
    /// How many cases.
    #[arg(long, default_value_t = 20_000)]
    cases: usize,
    /// Where the random numbers begin: the same cases for the same seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether all is as expected.
fn run(cli: &Cli) -> Result<bool, Failure> {
    let started = Instant::now();
    println!("{} cases, seed {}", cli.cases, cli.seed);
    let mut sides = Sides::start(&cli.ours, &cli.theirs)?;
    let mut random = Random::new(cli.seed);
    let mut tally = Tally::default();
    while tally.cases < cli.cases {
        let cases = batch(&mut random, cli.cases - tally.cases);
        let verdicts = sides.ask(&cases)?;
        for (case, (ours, theirs)) in cases.iter().zip(&verdicts) {
            tally.count(ours);
            let mut finding = judge::by_default(case, (ours, theirs), &mut sides)?;
            let reading = judge::reading_for(case, (ours, theirs), tally.cases);
            if let (true, Some(reading)) = (finding.is_decided_alike(), reading) {
                tally.readings += 1;
                let by_reading = judge::by_reading(case, ours, reading, &mut sides)?;
                if !matches!(by_reading, Finding::Alike) {
                    finding = by_reading;
                }
            }
            match finding {
                Finding::Alike => tally.alike += 1,
                Finding::Wanted(name) => *tally.wanted.entry(name).or_default() += 1,
                Finding::Wrong(wrong) => {
                    report(case, &wrong, &mut sides)?;
                    println!("0 passed, 1 failed: case {} of seed {}", tally.cases, cli.seed);
                    return Ok(false);
                }
            }
        }
    }
    tally.print();
    eprintln!("{:.1} s", started.elapsed().as_secs_f64());
    Ok(tally.is_sound())
}

/// Policies, each with several requests, and a few without.
fn batch(random: &mut Random, most: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    while cases.len() < 256 {
        let plan = generate::plan(random);
        let written = plan.write(random);
        let broken = random.once_in(3);
        let policy = break_it::text(random, written, broken);
        if random.once_in(8) {
            cases.push(Case { policy: policy.clone(), request: None });
        }
        // One that is refused is refused whatever is asked.
        for _ in 0..if broken { 1 } else { 4 + random.below(8) } {
            let request = Some(generate::request(random, &plan));
            cases.push(Case { policy: policy.clone(), request });
        }
    }
    cases.truncate(most);
    cases
}

#[derive(Default)]
struct Tally {
    cases: usize,
    alike: usize,
    readings: usize,
    wanted: BTreeMap<&'static str, usize>,
    /// How ours were decided: what never happens is not tested.
    decided: BTreeMap<&'static str, usize>,
}

impl Tally {
    fn count(&mut self, ours: &Verdict) {
        self.cases += 1;
        let name = match (ours.decision, &ours.rule) {
            (Decision::Allow, _) => "allowed",
            (Decision::Deny, Some(_)) => "denied by a rule",
            (Decision::Deny, None) => "denied by no rule",
            (Decision::Valid, _) => "valid policies",
            (Decision::InvalidPolicy, _) => "invalid policies",
        };
        *self.decided.entry(name).or_default() += 1;
    }

    fn print(&self) {
        for (name, count) in &self.decided {
            println!("{count:>8}  {name}");
        }
        println!("{:>8}  judged by another reading too", self.readings);
        println!("different on purpose:");
        for (name, reason) in table() {
            println!("{:>8}  {name}: {reason}", self.wanted.get(name).copied().unwrap_or(0));
        }
        println!("{} alike, {} different on purpose", self.alike, self.cases - self.alike);
    }

    /// Whether every difference of the list was met. Few cases need not meet all.
    fn is_sound(&self) -> bool {
        if self.cases < ENOUGH_CASES {
            return true;
        }
        let unmet: Vec<_> =
            table().map(|(name, _)| name).filter(|name| !self.wanted.contains_key(name)).collect();
        for name in &unmet {
            println!("never met: {name}; it is no difference any more, or no case is made for it");
        }
        let rare = self.decided.iter().filter(|(_, count)| **count < self.cases / 100);
        let rare: Vec<_> = rare.collect();
        for (name, count) in &rare {
            println!("hardly tested: only {count} {name}");
        }
        unmet.is_empty() && rare.is_empty() && self.decided.len() == 5
    }
}

/// So many cases meet every difference.
const ENOUGH_CASES: usize = 20_000;

/// Every difference by name, with its reason.
fn table() -> impl Iterator<Item = (&'static str, &'static str)> {
    let several = (SEVERAL_RULES, "of several rules we tell the first in the file, grpc-go any");
    let reading = "our option for the other reading of the gRFCs, as their answers imply";
    let readings = READINGS.iter().map(move |one| (one.name, reading));
    DIFFERENCES.iter().map(|one| (one.name, one.reason)).chain([several]).chain(readings)
}

fn report(case: &Case, wrong: &Wrong, sides: &mut Sides) -> Result<(), Failure> {
    println!("FAIL: a difference that nothing explains, as small as it gets:");
    let (case, wrong) = shrink::shrink(case, wrong, sides)?;
    let case = match wrong.reading {
        Some(reading) => reading.choose(&case),
        None => case,
    };
    println!("{}", case.for_them());
    println!("{}", wrong.story);
    Ok(())
}
