//! `countersign conformance`: our engines, one case a line in and one verdict a line out.

mod jwt;
mod lines;
mod policy;
mod quota;

use clap::{Args, Subcommand};

use crate::output::Failure;

/// Answer cases of a suite, one JSON object a line
///
/// Each line on standard input is a case, and is answered by one line on standard output, in
/// the same order and at once. A line that is no case is answered with its error.
#[derive(Args, Debug)]
pub(crate) struct ConformanceArgs {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Subcommand, Debug)]
enum Suite {
    /// Verify tokens, metadata values and JWT-SVIDs
    Jwt,
    /// Judge authorization policies (gRFC A43), and the requests that are put to them
    Policy,
    /// Meter calls by GCRA, exact to the nanosecond
    Quota,
}

/// Runs until standard input ends and returns the exit code (see [`crate::exit`]).
pub(crate) fn run(args: &ConformanceArgs) -> Result<u8, Failure> {
    match args.suite {
        Suite::Jwt => lines::answer(jwt::answer),
        Suite::Policy => lines::answer(policy::answer),
        Suite::Quota => lines::answer(quota::answer),
    }
}
