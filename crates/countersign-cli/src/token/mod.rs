//! `countersign token`: what is in a token, whether it would be accepted, and one to try it with.

mod check;
mod decoded;
mod explain;
mod fetch;
mod input;
mod inspect;
mod lint;
mod mint;
mod moment;
mod verify;

use std::time::SystemTime;

use clap::{Args, Subcommand};

use crate::output::{Failure, Output};

/// Look into tokens, verify them, and make some for development
#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// Print one JSON object on standard output
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Subcommand, Debug)]
enum TokenCommand {
    Fetch(fetch::FetchArgs),
    Inspect(inspect::InspectArgs),
    Mint(mint::MintArgs),
    Verify(verify::VerifyArgs),
}

/// Runs the verb and returns the exit code (see [`crate::exit`]). `now` is the time that tokens
/// are judged by and made at.
pub(crate) fn run(args: &TokenArgs, now: SystemTime, output: &mut Output) -> Result<u8, Failure> {
    output.set_json(args.json);
    match &args.command {
        TokenCommand::Fetch(args) => fetch::run(args, now, output),
        TokenCommand::Inspect(args) => inspect::run(args, now, output),
        TokenCommand::Mint(args) => mint::run(args, now, output),
        TokenCommand::Verify(args) => verify::run(args, now, output),
    }
}
