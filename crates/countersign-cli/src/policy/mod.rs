//! `countersign policy` and `countersign can-i`: the server's own engine, offline.

mod can_i;
mod cases;
mod check;
mod coverage;
mod descriptor;
mod diff;
mod load;
mod reflect;
pub(crate) mod request;

use std::time::SystemTime;

use clap::{Args, Subcommand};

use crate::output::{Failure, Output};

pub(crate) use can_i::{CanIArgs, run as can_i};

/// Check, test and compare authorization policies before they are deployed
#[derive(Args, Debug)]
pub(crate) struct PolicyArgs {
    /// Print one JSON object on standard output
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Subcommand, Debug)]
enum PolicyCommand {
    Check(check::CheckArgs),
    Test(cases::TestArgs),
    Diff(diff::DiffArgs),
    Coverage(coverage::CoverageArgs),
}

/// Runs the verb and returns the exit code (see [`crate::exit`]).
///
/// `now` is the time at which calls come that do not say theirs.
pub(crate) fn run(args: &PolicyArgs, now: SystemTime, output: &mut Output) -> Result<u8, Failure> {
    output.set_json(args.json);
    match &args.command {
        PolicyCommand::Check(args) => check::run(args, output),
        PolicyCommand::Test(args) => cases::run(args, now, output),
        PolicyCommand::Diff(args) => diff::run(args, output),
        PolicyCommand::Coverage(args) => coverage::run(args, output),
    }
}
