//! What authentication costs, beside what people would use instead.
//!
//! `cargo run --release -p countersign-bench -- <suite>` starts servers of several kinds, loads
//! them from a generator of its own, and reports the CPU time that each spent, as ratios.

mod call;
mod hold;
mod launch;
mod load;
mod machine;
mod material;
mod options;
mod peers;
mod proc;
mod publish;
mod report;
mod serve;
mod stats;
mod suites;

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser as _;

use crate::machine::Machine;
use crate::options::{Cli, Command, Options, Suite};
use crate::peers::Peers;
use crate::report::Report;

fn main() -> ExitCode {
    let (suites, options) = match Cli::parse().command {
        Command::Serve(options) => return ended(serve::run(&options).map(|()| true)),
        Command::Call(options) => return ended(call::run(&options).map(|()| true)),
        Command::Hold(options) => return ended(hold::run(&options).map(|()| true)),
        Command::Publish(options) => return ended(publish::run(&options).map(|()| true)),
        Command::All(options) => (Suite::ALL.to_vec(), options),
        Command::Micro(options) => (vec![Suite::Micro], options),
        Command::Calls(options) => (vec![Suite::Calls], options),
        Command::Client(options) => (vec![Suite::Client], options),
        Command::Handshakes(options) => (vec![Suite::Handshakes], options),
        Command::Accept(options) => (vec![Suite::Accept], options),
        Command::Memory(options) => (vec![Suite::Memory], options),
        Command::Curves(options) => (vec![Suite::Curves], options),
    };
    ended(measure(&suites, &options))
}

fn ended(outcome: Result<bool, Box<dyn Error>>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            tell(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

/// Runs suites and shows what they found. Whether every sample went as it should.
fn measure(suites: &[Suite], options: &Options) -> Result<bool, Box<dyn Error>> {
    // Before this thread is bound to one core.
    let peers = if suites == [Suite::Micro] { Peers::default() } else { Peers::build(options) };
    let placement = proc::placement();
    let command: Vec<String> = std::env::args().skip(1).collect();
    let command = format!("countersign-bench {}", command.join(" "));
    let mut machine = Machine::inspect(&placement.to_string());
    machine.add_versions(&peers);
    let name = match suites {
        [one] => one.name(),
        _ => "all",
    };
    let mut report = Report::new(command, machine, options, name);
    let mut went_well = true;
    let (whole, mut took) = (Instant::now(), Vec::new());
    tell_plan(suites, options);
    for &suite in suites {
        eprintln!("{}: about {:.1} minutes", suite.name(), minutes(suite, options));
        let (first, begun) = (report.sections.len(), Instant::now());
        let outcome = suites::run(suite, options, &peers, placement, &mut report);
        match outcome {
            Ok(()) => {}
            // What the other suites find is not lost.
            Err(error) if suites.len() > 1 => {
                tell(error.as_ref());
                went_well = false;
            }
            Err(error) => return Err(error),
        }
        took.push((suite, begun.elapsed()));
        if suites.len() == 1 || options.quick {
            continue;
        }
        let sections = report.to_repeat(first);
        if sections.is_empty() {
            continue;
        }
        let names = sections.join(", ");
        eprintln!("{names}: VOID by an A/A pair, so measured once more without the others");
        let again = Options { sections, ..options.clone() };
        if let Err(error) = suites::run(suite, &again, &peers, placement, &mut report) {
            tell(error.as_ref());
            went_well = false;
        }
    }
    let written = report.write()?;
    print!("{}", report.to_text());
    for path in written {
        eprintln!("wrote {}", path.display());
    }
    eprintln!("{}", told(whole.elapsed(), &took));
    Ok(went_well && !report.has_problems())
}

/// Says how long all will take, before any of it begins.
fn tell_plan(suites: &[Suite], options: &Options) {
    if suites.len() == 1 {
        return;
    }
    let each: Vec<String> = suites
        .iter()
        .map(|&suite| format!("{} {:.1}", suite.name(), minutes(suite, options)))
        .collect();
    let all: f64 = suites.iter().map(|&suite| minutes(suite, options)).sum();
    eprintln!(
        "plan: about {all:.0} minutes ({}), and more for each section that an A/A pair voids",
        each.join(", ")
    );
}

/// What a run took, and its suites; what an A/A pair voided and was measured again is in the whole.
fn told(whole: Duration, took: &[(Suite, Duration)]) -> String {
    let seconds =
        |(suite, took): &(Suite, Duration)| format!("{} {:.0} s", suite.name(), took.as_secs_f64());
    let each: Vec<String> = took.iter().map(seconds).collect();
    format!("took {:.1} minutes: {}", whole.as_secs_f64() / 60.0, each.join(", "))
}

fn minutes(suite: Suite, options: &Options) -> f64 {
    suite.expected(options).as_secs_f64() / 60.0
}

fn tell(error: &dyn Error) {
    eprintln!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  cause: {error}");
        cause = error.source();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_says_what_each_suite_took() {
        let took = [
            (Suite::Micro, Duration::from_millis(12_400)),
            (Suite::Calls, Duration::from_millis(59_600)),
        ];
        let whole = Duration::from_secs(90);
        assert_eq!(told(whole, &took), "took 1.5 minutes: micro 12 s, calls 60 s");
    }
}
